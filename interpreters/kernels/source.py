"""The C++ of one whole log density with its gradient.

    int64_t poutine_log_density(uint64_t dim, const double* x, double* gradient, double* value, void* user)

``user`` points to an array of pointers, one to each constant. The function returns 0; it may be called from any thread, with
or without the interpreter lock: what it writes on the way is in memory of the calling thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from interpreters.kernels import entries, matrices, parts, powers, reductions, small_matrices
from interpreters.kernels.arithmetic import HEAD
from interpreters.kernels.arrays import Array, contiguous
from interpreters.kernels.graphs import Captured, NotStraight
from interpreters.kernels.nests import names_in, rendered
from interpreters.kernels.special_functions import definitions
from interpreters.kernels.writer import Operation, Shared, Writer

SYMBOL: Final = "poutine_log_density"
MOST_SCRATCH: Final = 1 << 28  # bytes per thread; thread-local memory cannot be refused politely when there is too little

# At 512 bits g++ gathers by an instruction that is slower than reading one by one, so that radon's kernel takes 2.7 us instead of 2.0;
# at 256 bits the logistic regressions' take 1.4 to 1.6 times as long. (On a Zen 5.)
WIDEST: Final = 512
GATHERING: Final = 256

LIBRARIES: Final[Mapping[str, str]] = MappingProxyType({"small": small_matrices.LIBRARY, "blas": matrices.LIBRARY})

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {**entries.OPERATIONS, **matrices.OPERATIONS, **parts.OPERATIONS, **powers.OPERATIONS, **reductions.OPERATIONS}
)


@attrs.frozen
class Source:
    """``width``: of the vectors in its loops, at most, in bits."""

    text: str
    calls_blas: bool
    width: int


def written(lowered: Captured) -> Source:
    """The source of a graph that gives gradient and value. Raises ``NotStraight`` for an operation that it does not know."""
    writer = Writer(lowered, OPERATIONS, Shared())
    vector, *inputs = (node for node in lowered.graph.nodes if node.op == "placeholder")
    writer.arrays[vector] = Array("x", tuple(vector.meta["val"].shape), (1,))
    for i, (node, tensor) in enumerate(zip(inputs, lowered.constants, strict=True)):
        writer.arrays[node] = writer.constant(node, i, tensor)
    for array, name in zip(writer.write(), ("gradient", "value"), strict=True):
        writer.assign(Array(name, array.size, contiguous(array.size)), array)
    lines = list(rendered(writer.lines))
    named = names_in("\n".join(lines))
    declared = [line for name, line in writer.shared.declared.items() if name in named]
    width = GATHERING if writer.shared.gathers else WIDEST
    return Source(_text(writer.shared, [*declared, *lines]), "blas" in writer.shared.libraries, width)


def _text(shared: Shared, lines: list[str]) -> str:
    body = "\n    ".join(lines)
    return (
        f"{HEAD}{definitions(names_in(body))}{''.join(LIBRARIES[name] for name in sorted(shared.libraries))}{_scratch(8 * shared.used + 64)}"
        f'extern "C" int64_t {SYMBOL}(uint64_t, const double* x, double* gradient, double* value, void* user) {{\n'
        f"    auto** constants = static_cast<void**>(user);\n    auto* scratch = reinterpret_cast<double*>(_scratch());\n"
        f"    {body}\n    return 0;\n}}\n"
    )


def _scratch(size: int) -> str:
    """Memory of ``size`` bytes for each thread, at ``_scratch()``: hidden from the compiler, which would ask in every loop where it is."""
    if size > MOST_SCRATCH:
        raise NotStraight(f"it needs {size} bytes of intermediate results")
    return _SCRATCH.replace("SIZE", str(size))


_SCRATCH: Final = """
static unsigned char* _scratch() {
    alignas(64) static thread_local unsigned char bytes[SIZE];
    unsigned char* at = bytes;
    asm("" : "+r"(at));
    return at;
}
"""
