"""What is asked of Inductor: the source of fused C++ kernels, how to compile it, and a callable.

Inductor is imported by who uses it, here inside of the functions: that takes half a second, and a cached kernel does without.
Everything runs under ``config.patch`` and a tracing context of its own; nothing global is left changed. One thread for each
kernel: chains run on threads of their own, and a scatter over threads would have to be atomic.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from interpreters.kernels.cpp import run_compiler
from interpreters.kernels.decompositions import own_decompositions
from interpreters.kernels.graphs import Captured
from interpreters.kernels.tracing import lower


def lowered_for(captured: Captured, example: torch.Tensor) -> Captured:
    """With Inductor's own decompositions, too."""
    from torch._inductor.decomposition import select_decomp_table

    return lower(captured, example, {**select_decomp_table(), **own_decompositions()})


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
    run_compiler(builder.get_command_line().split())


@contextmanager
def _compiling(lowered: Captured, example: torch.Tensor) -> Iterator[tuple[Any, list[FakeTensor], ShapeEnv]]:
    """A copy of the graph (Inductor rewrites what it is given) and fakes of its inputs, of static shapes."""
    from torch._inductor import config

    shapes = ShapeEnv()
    fake = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    with tracing(TracingContext(fake)), torch.no_grad(), config.patch({"cpp.threads": 1, "cpp_wrapper": False}):
        inputs = [fake.from_tensor(tensor, static_shapes=True) for tensor in (example, *lowered.constants)]
        yield copy.deepcopy(lowered.module), inputs, shapes
