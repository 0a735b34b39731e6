"""Inductor makes a callable of a graph that our own C++ cannot express.

It is imported by who uses it, here inside of the function: that takes half a second, and a kernel does without. Everything runs
under ``config.patch`` and a tracing context of its own; nothing global is left changed. What Inductor keeps for the whole process
is not made for threads, so it runs under the lock of torch's own that ``torch.compile`` runs under.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from interpreters.kernels.decompositions import own_decompositions
from interpreters.kernels.graphs import Captured
from interpreters.kernels.tracing import lower


def inductor(captured: Captured, example: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """The graph compiled, as a function of the vector; on one thread, since chains run on threads of their own."""
    from torch._dynamo.convert_frame import compile_lock

    with compile_lock, _without_torchs_notices():
        return _compiled(captured, example)


def _compiled(captured: Captured, example: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table

    lowered = lower(captured, example, {**select_decomp_table(), **own_decompositions()})
    shapes = ShapeEnv()
    fake = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    with tracing(TracingContext(fake)), torch.no_grad(), config.patch({"cpp.threads": 1, "cpp_wrapper": False}):
        inputs = [fake.from_tensor(tensor, static_shapes=True) for tensor in (example, *lowered.constants)]
        compiled: Any = compile_fx_inner(copy.deepcopy(lowered.module), inputs)
    return lambda vector: compiled([vector, *lowered.constants])


@contextmanager
def _without_torchs_notices() -> Iterator[None]:
    """What torch says of its own deprecations, as its compiler is imported, is not for users; as errors, they would cost them the kernel."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r".*\btorch\b", category)
        yield
