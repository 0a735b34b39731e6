"""What a sampler samples from: a density as the native loop wants it, or as the batched one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import torch

from interpreters.batches.in_turn import at_once
from interpreters.compiled import compile_density
from interpreters.density import Density
from interpreters.hamiltonian.jit import NATIVE
from interpreters.hamiltonian.machine import BatchedDensity
from interpreters.singular import is_singular


class Kernel(Protocol):
    """A compiled density of one position. See ``compiled``."""

    @property
    def dim(self) -> int: ...
    @property
    def tier(self) -> str: ...
    def value_and_grad(self, position: torch.Tensor, /) -> tuple[Any, torch.Tensor]: ...


class NativeKernel(Kernel, Protocol):
    """One whose ``tier`` is ``"native"``: ``address`` is that of a C function, see ``jit.call_density``, and ``user`` its data.

    It may be called on any number of threads at once, and is valid while this object lives.
    """

    @property
    def address(self) -> int: ...
    @property
    def user(self) -> int: ...


@attrs.frozen(eq=False)
class Target:
    """A log density over [dim] unconstrained numbers, in nats.

    batched:  [chains, dim] to its values [chains] and gradients [chains, dim], in float64.
    kernel:   the same for the native loop, where there is one and numba is installed.
    names:    of the coordinates, for errors.
    device:   on which the batched sampler runs.
    """

    dim: int
    batched: BatchedDensity
    kernel: NativeKernel | None = None
    names: Sequence[str] = ()
    device: str = "cpu"

    @classmethod
    def of(cls, thing: Target | Density | Kernel) -> Target:
        """A ``Density`` runs batched, where it can; a kernel by its address if it has one, else chain after chain."""
        if isinstance(thing, Target):
            return thing
        if isinstance(thing, Density):
            names = [name for name, site in thing.sites.items() for _ in range(site.size)]
            return cls(thing.dim, Rows(thing), names=names)
        kernel: Any = thing
        return cls(kernel.dim, one_by_one(kernel.value_and_grad), kernel if NATIVE and kernel.tier == "native" else None)


class Rows:
    """A density of many positions: at once, or one by one for a model that asks for the value of a tensor, or does what vmap refuses.

    Where one of them has a matrix without a Cholesky factor, torch has no value of any; one by one, that one's is nan.
    """

    def __init__(self, density: Density) -> None:
        self._density = density
        self._at_once = differentiated(at_once(density))
        self._one_by_one: BatchedDensity | None = None
        self._is_refused = False

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._is_refused:
            try:
                return self._at_once(positions)
            except Exception as error:  # what is the model's own fault, it will raise again
                self._is_refused = not is_singular(error)
        if self._one_by_one is None:
            self._one_by_one = one_by_one(compile_density(self._density, tier="eager").value_and_grad)
        return self._one_by_one(positions)


def differentiated(batch: Callable[[torch.Tensor], torch.Tensor]) -> BatchedDensity:
    """The values of ``batch``, of which each depends on its own row alone, and their gradients."""

    def value_and_grad(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            positions = positions.detach().requires_grad_()
            values = batch(positions)
            (gradients,) = torch.autograd.grad(values.sum(), positions)
        return values.detach().to(torch.float64), gradients

    return value_and_grad


def one_by_one(value_and_grad: Callable[[torch.Tensor], tuple[Any, torch.Tensor]]) -> BatchedDensity:
    """Calls a density of one position for each row."""

    def batched(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        results = [value_and_grad(position) for position in positions]
        values = [torch.as_tensor(value, dtype=torch.float64) for value, _ in results]
        return torch.stack(values), torch.stack([torch.as_tensor(gradient).clone() for _, gradient in results])

    return batched
