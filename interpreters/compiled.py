"""The log density of a program with its gradient, compiled.

Three tiers, the best that works taken by itself:

native    one C function, of loops and at most calls of BLAS and LAPACK; has an address that native loops call.
callable  a Python callable: the graph compiled by Inductor, whatever operations are in it, or run one by one if there are many.
eager     autograd, as ever: for data-dependent control flow, random draws, data on a GPU.

1. The program is recorded, once. Loops over time in it are found and stay loops; the rest is one batch of all steps
   (``interpreters/kernels/gradients.py``).
2. The first start of a model takes a second or two, half of it the C++ compiler's. The library is kept on disk by its graph,
   versions and machine, and so is which one a program with its data became: the next start takes as long as recording it.
3. Whatever was compiled is compared with autograd at several points where the density is finite, at each of them twice, before it is
   trusted; what was found on disk, at one. Where no such point is found, nothing is compiled.
"""

from __future__ import annotations

import ctypes
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.density import Density
from interpreters.derivatives import functional, is_overwritten, value_and_grad
from interpreters.errors import StructureChanged
from interpreters.kernels.cpp import build
from interpreters.kernels.decompositions import decompositions
from interpreters.kernels.gradients import grad_and_value
from interpreters.kernels.graphs import Captured
from interpreters.kernels.inductor import inductor
from interpreters.kernels.library import default_directory, library, recall, remember
from interpreters.kernels.recording import record
from interpreters.kernels.source import SYMBOL, written
from interpreters.singular import is_singular
from poutine.program import name_of

_SECONDS: Final = 0.4  # that it takes to compile a small graph,
_SECONDS_AN_OPERATION: Final = 1 / 250  # and what each operation adds; both roughly, on the machines that it was measured on

ValueAndGrad = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

TIERS: Final = ("native", "callable", "eager")
MOST_OPERATIONS: Final = 1000  # of a graph that Inductor is given: it takes about a second for 400, and more than twice that for 800
_SCALES: Final = (0.1, 0.5, 0.5, 1.0, 2.0)  # of the points that are tried, in turn, in unconstrained space
_COMPARED: Final = 4  # points
_TRIED: Final = 100
_TOLERANCE: Final = 1e-6  # of the gradient's largest entry; a wrong kernel is off by more, and single precision in a model by less

_log: Final = logging.getLogger(__name__)


class NotWorthIt(Exception):
    """To compile would take longer than to do without."""


class NowhereFinite(Exception):
    """There is no point at which a kernel could be compared."""


@attrs.frozen(eq=False)
class Kernel:
    """The log density of a flat unconstrained vector of shape [dim], in nats, and its gradient; double precision.

    address:  of ``int64_t f(uint64_t dim, const double* x, double* gradient, double* value, void* user)``, which returns 0, needs
              no interpreter lock and may run on any number of threads at once; 0 unless ``tier`` is "native".
    user:     its last argument. Both are valid while this object or its ``value_and_grad`` lives.
    """

    dim: int
    tier: str
    value_and_grad: ValueAndGrad = attrs.field(repr=False)
    address: int = 0
    user: int = 0


def compile_density(density: Density, *, tier: str | None = None, cache_dir: str | Path | None = None, worth: float = math.inf) -> Kernel:
    """Compiles ``density`` as far as it goes; ``tier`` is the first to try. One log line says which it was, and why no better.

    ``worth`` is how many seconds all the work takes on the eager tier: what is expected to compile for longer is not compiled.
    A library that is on disk already is always taken.

    Warns (``RuntimeWarning``) where compiled code disagreed with autograd, and takes the next tier.
    """
    if tier not in (None, *TIERS):
        raise ValueError(f"expected a tier of {', '.join(TIERS)}, got {tier!r}")
    tiers = TIERS[TIERS.index(tier or "native") :]
    compiler = _Compiler(density, default_directory() if cache_dir is None else Path(cache_dir), worth)
    reasons = []
    name = name_of(density.program.fn)
    for attempt in tiers:
        try:
            kernel = compiler.make(attempt)
        except Exception as error:  # whatever a tracer or a compiler raises, there is a tier that does without
            reasons.append(f"not {attempt}: {_first_line(error)}")
            continue
        if attempt == "eager" or compiler.agrees(kernel):
            break
        reasons.append(f"not {attempt}: disagrees with autograd")
        warnings.warn(f"the {attempt} kernel of {name} disagrees with autograd and is not used", RuntimeWarning, stacklevel=2)
    if kernel.tier == "eager":
        compiler.check_repeatable()
    _log.info("%s: tier %s%s", name, kernel.tier, "".join(f"; {reason}" for reason in reasons))
    return kernel


@attrs.frozen
class _Exact:
    """What autograd gives at a point."""

    point: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor


class _Compiler:
    """One compilation; what tiers share is made once."""

    def __init__(self, density: Density, directory: Path, worth: float) -> None:
        self.density, self.directory, self.worth = density, directory, worth
        self.enough = _COMPARED
        self._made: dict[str, Captured | Exception] = {}
        self._untried = _points(density.dim)
        self._finite: list[_Exact] = []
        self._others: list[_Exact] = []

    def make(self, tier: str) -> Kernel:
        if tier == "eager":
            return Kernel(self.density.dim, tier, _eager(self.density))
        return self._native() if tier == "native" else self._callable()

    def agrees(self, kernel: Kernel) -> bool:
        """Each point twice, in turn: code that keeps something from one call to the next is wrong at the second."""
        exact = [*self._where_finite(self.enough), *self._others]
        return all(_close(kernel.value_and_grad(at.point), at) for _ in range(2) for at in exact)

    def check_repeatable(self) -> None:
        """Raises ``StructureChanged`` if the density, computed twice at one point, differs: no sampler comes to an end with it."""
        for exact in self._where_finite(1):
            again, _ = _eager(self.density)(exact.point)
            if abs(float(again - exact.value)) > _tolerance(exact.value):
                raise StructureChanged(
                    f"the log density of {name_of(self.density.program.fn)} is {exact.value.item():.6g} and then {again.item():.6g} at one and the same "
                    "values of its sites; what it draws must be sites (yield Sample in place of torch.randn), and it must not keep anything from run to run"
                )

    @property
    def example(self) -> torch.Tensor:
        """A point where the density is finite."""
        found = self._where_finite(1)
        if not found:
            raise NowhereFinite(f"the log density is not finite at any of {_TRIED} points to compare it at")
        return found[0].point

    def _where_finite(self, count: int) -> list[_Exact]:
        """So many, or as many as there are."""
        while len(self._finite) < count and (point := next(self._untried, None)) is not None:
            found = _Exact(point, *_eager(self.density)(point))
            (self._finite if bool(found.value.isfinite()) else self._others).append(found)
        return self._finite[:count]

    def _native(self) -> Kernel:
        fingerprint = self._recorded().fingerprint()
        known = recall(fingerprint, self.directory)
        if known is None:
            lowered = self._straight()
            digest = lowered.digest()
            known = library(digest, self.directory, lambda path: self._build(lowered, path)), lowered.constants
            remember(fingerprint, digest, lowered.constants, self.directory)
        else:
            self.enough = 1  # the others were compared when it was made
        loaded, constants = known
        function = _NativeFunction(getattr(loaded, SYMBOL), constants, self.density.dim)
        return Kernel(self.density.dim, "native", function, function.address, function.user)

    def _build(self, lowered: Captured, path: Path) -> None:
        source = written(lowered)
        self._check_worth(lowered)
        cpp = path.with_suffix(".cpp")
        cpp.write_text(source.text)
        build(cpp, path, source.calls_blas, source.width)

    def _callable(self) -> Kernel:
        lowered = self._straight()
        graph: Callable[[torch.Tensor], Any] = lowered
        if lowered.size <= MOST_OPERATIONS and not lowered.has_loops:
            self._check_worth(lowered)
            graph = inductor(lowered, self.example)
        return Kernel(self.density.dim, "callable", _swapped(graph))

    def _check_worth(self, lowered: Captured) -> None:
        seconds = _SECONDS + lowered.size * _SECONDS_AN_OPERATION
        if seconds > self.worth:
            raise NotWorthIt(f"compiling {lowered.size} operations takes about {seconds:.0f} s, the eager tier {self.worth:.1f} s in all")

    def _straight(self) -> Captured:
        return self._once("lowered", lambda: grad_and_value(self._recorded(), self.example, decompositions()))

    def _recorded(self) -> Captured:
        return self._once("recorded", lambda: record(self.density, self.example.clone()))

    def _once(self, name: str, make: Callable[[], Captured]) -> Captured:
        """What it makes, or raises, the first time."""
        if name not in self._made:
            try:
                self._made[name] = make()
            except Exception as error:
                self._made[name] = error
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        return made


def _points(dim: int) -> Iterator[torch.Tensor]:
    """Where a kernel may be compared: near the origin of unconstrained space, always the same."""
    if dim == 0:
        raise ValueError("the program has no continuous latent site")
    generator = torch.Generator().manual_seed(0)
    scales = islice(cycle(_SCALES), _TRIED)
    return (scale * torch.randn(dim, dtype=torch.float64, generator=generator) for scale in scales)


def _close(ours: tuple[torch.Tensor, torch.Tensor], exact: _Exact) -> bool:
    """Where the density is not finite, its gradient is nobody's concern."""
    if not bool(exact.value.isfinite()):
        return not bool(ours[0].isfinite())
    pairs = zip(ours, (exact.value, exact.gradient), strict=True)
    return all(bool(torch.allclose(a, b.double(), rtol=0.0, atol=_tolerance(b), equal_nan=True)) for a, b in pairs)


def _tolerance(exact: torch.Tensor) -> float:
    return _TOLERANCE * (1.0 + float(exact.nan_to_num(0.0, 0.0, 0.0).abs().max()))


class _NativeFunction:
    """The C function for Python, and all that its addresses point to: who holds the function holds that. The foreign call gives the interpreter lock free."""

    def __init__(self, function: Any, constants: Sequence[torch.Tensor], dim: int) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_uint64
        self._constants, self._dim = constants, dim
        self._pointers = (pointer * len(constants))(*(constant.data_ptr() for constant in constants))
        self.address, self.user = ctypes.cast(function, pointer).value or 0, ctypes.addressof(self._pointers)
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, size, pointer, pointer, pointer, pointer)(self.address)  # a library is never unloaded

    def __call__(self, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dim = self._dim
        if position.shape != (dim,) or position.dtype != torch.float64 or position.device.type != "cpu":
            raise ValueError(f"expected {dim} numbers in double precision, got {position.dtype} of shape {tuple(position.shape)}")
        position = position.detach().contiguous()
        value, gradient = (torch.empty((), dtype=torch.float64), torch.empty(dim, dtype=torch.float64))
        self._call(dim, position.data_ptr(), gradient.data_ptr(), value.data_ptr(), self.user)
        return value, gradient


def _eager(density: Density) -> ValueAndGrad:
    recorded: list[Callable[[torch.Tensor], torch.Tensor]] = []

    def at(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return value_and_grad(recorded[0] if recorded else density, position)
        except Exception as error:
            if is_singular(error):  # where a sampler tries: nan, as on the other tiers
                return torch.full_like(position[0], math.nan), torch.full_like(position, math.nan)
            if recorded or not is_overwritten(error):
                raise
            recorded.append(functional(density, position))
            return at(position)

    return at


def _swapped(graph: Callable[[torch.Tensor], Any]) -> ValueAndGrad:
    def value_and_grad(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradient, value = graph(position.detach())
        return value, gradient

    return value_and_grad


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.300}"
