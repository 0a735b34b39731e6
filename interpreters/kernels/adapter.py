"""The C++ of one whole log density: Inductor's kernels, and one function that launches them in order.

    int64_t poutine_log_density(uint64_t dim, const double* x, double* gradient, double* value, void* user)

``user`` points to an array of pointers, one to each constant. The function returns 0; it may be called from any thread, with
or without the interpreter lock: what it writes between its kernels is in memory of the calling thread.
"""

from __future__ import annotations

import re
from math import prod
from typing import Final

import torch

from interpreters.kernels.graphs import NotStraight
from interpreters.kernels.launches import Launches, Step, View
from interpreters.kernels.linear_algebra import LIBRARY, call, pointer

SYMBOL: Final = "poutine_log_density"
MOST_SCRATCH: Final = 1 << 28  # bytes per thread; thread-local memory cannot be refused politely when there is too little


def adapter(launches: Launches) -> str:
    """The source. Raises ``NotStraight`` for what it cannot express."""
    kernels = [_renamed(kernel.cpp, name) for name, kernel in launches.kernels.items()]
    return "\n".join([*kernels, "#include <cstring>", LIBRARY if launches.calls else "", _function(launches)])


def scratch_of(size: int) -> str:
    """Memory of ``size`` bytes for each thread, at ``_scratch()``."""
    if size > MOST_SCRATCH:
        raise NotStraight(f"it needs {size} bytes of intermediate results")
    return f"static unsigned char* _scratch() {{ alignas(64) static thread_local unsigned char bytes[{size}]; return bytes; }}\n"


def _renamed(cpp: str, name: str) -> str:
    # All kernels of a process share one flag for division of integers by zero: threads would race for it, and nobody reads it here.
    lines = [line for line in cpp.splitlines() if "inductor_cpu_integer_div_error" not in line and "inductor_cpu_throw" not in line]
    return re.sub(r'extern "C"\s+void\s+kernel\(', f"static void {name}(", "\n".join(lines))


def _function(launches: Launches) -> str:
    gradient, value = launches.outputs
    places, scratch = _places(launches)
    lines = [f"auto* {name} = {place};" for name, place in places.items()]
    lines += [_step(launches, step) for step in launches.steps]
    lines += _copied(gradient, "gradient", places) + _copied(value, "value", places)
    body = "\n    ".join([*lines, "return 0;"])
    return (
        f"{scratch_of(scratch)}"
        f'extern "C" int64_t {SYMBOL}(uint64_t, const double* x, double* gradient, double* value, void* user) {{\n'
        f"    auto** constants = static_cast<unsigned char**>(user);\n    {body}\n}}\n"
    )


def _places(launches: Launches) -> tuple[dict[str, str], int]:
    """Where each input and buffer is, and how many bytes of scratch they take together. The outputs are written in place where they are buffers of their own."""
    vector, *constants = launches.inputs
    places = {vector: _BYTES.format("x")}
    places.update((name, f"constants[{i}]") for i, name in enumerate(constants))
    outputs = dict(zip((view.base for view in reversed(launches.outputs)), ("value", "gradient"), strict=False))
    offset = 0
    for buffer in launches.buffers:
        out = next((view for view in launches.outputs if view.base == buffer.base and _fills(view, buffer)), None)
        if out is not None:
            places[buffer.base] = _BYTES.format(outputs[buffer.base])
        else:
            places[buffer.base] = f"scratch + {offset}"
            offset += -(-buffer.nbytes // 64) * 64 + 64
    return {"scratch": "_scratch()", **places}, offset + 64


def _fills(view: View, buffer: View) -> bool:
    return view.offset == 0 and view.nbytes == buffer.nbytes and view.dtype == torch.float64 and _is_contiguous(view)


def _copied(view: View, name: str, places: dict[str, str]) -> list[str]:
    if places[view.base] == _BYTES.format(name):
        return []
    if view.dtype != torch.float64 or not _is_contiguous(view):
        raise NotStraight(f"its {name} is {view.dtype}, strides {view.stride}")
    return [f"std::memcpy({name}, {pointer(view)}, {view.nbytes});"]


def _step(launches: Launches, step: Step) -> str:
    if step.target in launches.kernels:
        types = launches.kernels[step.target].types
        arguments = [f"reinterpret_cast<{kind}>({pointer(view)})" for kind, view in zip(types, step.args, strict=True)]
        return f"{step.target}({', '.join(arguments)});"
    return call(step)


def _is_contiguous(view: View) -> bool:
    steps = [prod(view.size[i + 1 :]) for i in range(len(view.size))]
    return all(n == 1 or step == wanted for n, step, wanted in zip(view.size, view.stride, steps, strict=True))


_BYTES: Final = "reinterpret_cast<unsigned char*>(const_cast<double*>({}))"
