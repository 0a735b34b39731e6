"""What is asked of Inductor: decompositions, the source of fused C++ kernels, how to compile it, and a callable.

Inductor is imported by who uses it, here inside of the functions: that takes half a second, and a cached kernel does without.
Everything runs under ``config.patch`` and a tracing context of its own; nothing global is left changed. One thread for each
kernel: chains run on threads of their own, and a scatter over threads would have to be atomic.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from interpreters.kernels.graphs import Captured, NotStraight, Table

FUSED_MV: Final = 20_000  # up to so many entries a matrix-vector product is fused into the loop around it; beyond, it is a call of BLAS
# Infinities and nan keep their meaning; who does not read floating-point exceptions does not miss them.
_FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
SHORT: Final = 32  # up to so many entries a cumulative sum or product is unrolled


def decompositions() -> Table:
    """Inductor's, except that the product of a large matrix and a vector stays one: fused, it took six times as long."""
    from torch._inductor.decomposition import select_decomp_table

    def mv(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        if matrix.numel() <= FUSED_MV:
            return (matrix.t().contiguous() * vector.unsqueeze(1)).sum(0)  # by columns, laid out so when constants are folded
        return torch.mm(matrix, vector.unsqueeze(1)).squeeze(1)

    aten = torch.ops.aten
    own: dict[Any, Callable[..., Any]] = {aten.mv.default: mv, aten.cumsum.default: _cumsum, aten.cumprod.default: _cumprod}
    return {**select_decomp_table(), **own, aten.index.Tensor: _index, aten.index_put.default: _index_put}


def _index(x: torch.Tensor, indices: list[torch.Tensor | None]) -> Any:
    """Masks as integers: where a mask is constant, they are too."""
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index.Tensor(x, numbers)


def _index_put(x: torch.Tensor, indices: list[torch.Tensor | None], values: torch.Tensor, accumulate: bool = False) -> Any:
    numbers = _numbers(indices)
    return NotImplemented if numbers is None else torch.ops.aten.index_put.default(x, numbers, values, accumulate)


def _numbers(indices: list[torch.Tensor | None]) -> list[torch.Tensor | None] | None:
    if not any(index is not None and index.dtype == torch.bool for index in indices):
        return None
    found: list[torch.Tensor | None] = []
    for index in indices:
        found += [index] if index is None or index.dtype != torch.bool else index.nonzero().unbind(1)
    return found


def _cumsum(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """Short sums as sums over triangles, which fuse; scans do not."""
    if dtype is not None or x.dim() == 0 or x.shape[dim] > SHORT:
        return NotImplemented
    rows = x.movedim(dim, -1).unsqueeze(-2)
    n = x.shape[dim]
    lower = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
    return torch.where(lower, rows, 0.0).sum(-1).movedim(-1, dim)


def _cumprod(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    if dtype is not None or x.dim() == 0 or x.shape[dim] > SHORT:
        return NotImplemented
    parts = list(x.unbind(dim))
    for i in range(1, len(parts)):
        parts[i] = parts[i - 1] * parts[i]
    return torch.stack(parts, dim)


def source(lowered: Captured, example: torch.Tensor) -> str:
    """The Python module that Inductor writes for the graph: C++ kernels in strings, and ``call``, which launches them in order.

    The steps of ``compile_fx_inner`` without compiling, so that the C++ is compiled once only, together with its adapter.
    """
    from torch._inductor.compile_fx import _recursive_post_grad_passes, fake_tensor_prop
    from torch._inductor.debug import DebugContext
    from torch._inductor.fx_passes.post_grad import view_to_reshape
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    with _compiling(lowered, example) as (module, inputs, shapes):
        view_to_reshape(module)  # type: ignore[no-untyped-call]  # torch's own
        with V.set_fake_mode(fake_tensor_prop(module, inputs)):
            _recursive_post_grad_passes(module, is_inference=True)
            graph = GraphLowering(module, example_inputs=inputs, shape_env=shapes, is_inference=True)
            with V.set_graph_handler(graph), V.set_extern_kernel_nodes([]), DebugContext():
                graph.run(*inputs)
                written: str = graph.codegen()[0].value
    return written


def call(lowered: Captured, example: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """The graph compiled by Inductor, as a Python callable of the vector."""
    from torch._inductor.compile_fx import compile_fx_inner

    with _compiling(lowered, example) as (module, inputs, _):
        compiled: Any = compile_fx_inner(module, inputs)
    return lambda vector: compiled([vector, *lowered.constants])


def build_fused(cpp: Path, library: Path) -> None:
    """Compiles what includes torch's headers, with the flags that Inductor uses."""
    from torch._inductor.cpp_builder import CppBuilder, CppTorchOptions
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    options = CppTorchOptions(vec_isa=pick_vec_isa())
    builder = CppBuilder(name=library.stem, sources=str(cpp), BuildOption=options, output_dir=str(library.parent))
    _compile(builder.get_command_line().split())


def build_plain(cpp: Path, library: Path) -> None:
    """Compiles what needs nothing but a C++ compiler: the one that Inductor finds."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    _compile([get_cpp_compiler(), str(cpp), *_FLAGS, "-o", str(library)])


def _compile(command: Sequence[str]) -> None:
    """Raises ``NotStraight`` with what the compiler said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotStraight(f"the compiler failed: {done.stderr[-2000:]}")


@contextmanager
def _compiling(lowered: Captured, example: torch.Tensor) -> Iterator[tuple[Any, list[FakeTensor], ShapeEnv]]:
    """A copy of the graph (Inductor rewrites what it is given) and fakes of its inputs, of static shapes."""
    from torch._inductor import config

    shapes = ShapeEnv()
    fake = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    with tracing(TracingContext(fake)), torch.no_grad(), config.patch({"cpp.threads": 1, "cpp_wrapper": False}):
        inputs = [fake.from_tensor(tensor, static_shapes=True) for tensor in (example, *lowered.constants)]
        yield copy.deepcopy(lowered.module), inputs, shapes
