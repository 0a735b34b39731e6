"""Many particles in one run: a program under one vectorised plate, left of all dimensions that it uses.

1. The program is traced once; the plate's dimension is the first to the left of every batch dimension in it.
2. A model that does not broadcast (``theta.sum()``, ``theta[0]``, ``if theta > 0``) raises there or, worse, is silently wrong.
   So a few particles are run together first, and then one by one, from the same values: every log density and every
   computed value must agree.
3. Where they do not, ``NotVectorizable`` says at which site. The check draws in runs of its own: it is no part of any
   algorithm, and decides only how one is run.

The check sees the branches that a few particles take. A rarer one, ``if (theta > 9).any()``, shows only in a whole batch: so a few
particles of each batch are run alone once more, when it is there (``confirmed``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, Final

import attrs
import torch

from interpreters.errors import NotVectorizable
from interpreters.weighted.drawn import Drawn, drawn
from interpreters.weighted.scores import score
from poutine import (
    BlockPoutine,
    Choice,
    Coroutine,
    Deterministic,
    NoDensity,
    ParamStore,
    Program,
    Sample,
    Site,
    SubstitutePoutine,
    Trace,
    plate,
    run,
)
from poutine.trace_graph import is_subsample

PARTICLES: Final = "_particles"
_FEW: Final = 11  # particles that are compared: that all of them take one branch of two equal ones has probability 2**-10
_ELEMENTS: Final = 2**20  # of a batch: large enough that the machinery costs nothing, small enough for any memory


@attrs.frozen(eq=False)
class Vectorization:
    """How a program runs for many particles at once.

    dim:         the dimension of the particles (negative).
    shapes:      of each site's value in a single particle.
    batch_size:  how many particles at once, so that memory stays bounded.
    """

    dim: int
    shapes: Mapping[str, torch.Size]
    batch_size: int

    def batches(self, num_particles: int) -> list[int]:
        """The sizes of the batches: as many as needed, each ``batch_size`` but for the last."""
        full, rest = divmod(num_particles, self.batch_size)
        return [self.batch_size] * full + [rest] * (rest > 0)

    def plated(self, program: Program[Any], size: int) -> Program[Any]:
        """``program`` for ``size`` particles."""
        return plate(PARTICLES, size, dim=self.dim)(lambda index: program)()

    def rows(self, name: str, value: Any, size: int) -> torch.Tensor:
        """The value of site ``name`` in a plated run as a tensor of shape [size, *shape in a single particle]."""
        return rows(name, value, size, self.shapes[name])

    def sums(self, term: torch.Tensor, size: int) -> torch.Tensor:
        """The sum of a log density for each particle: [size], or [] where it is the same for all."""
        return term.reshape(size, -1).sum(dim=1) if term.dim() == -self.dim else term.sum()


def confirmed(program: Program[Any], together: Trace, shapes: Mapping[str, torch.Size], size: int) -> Coroutine[None]:
    """Runs a few of the ``size`` particles of ``together`` alone. Raises ``NotVectorizable`` where one is not what it was in the batch.

    They are those from the first to the last at equal distances: what a batch shares by mistake, a maximum, a branch, all of it has.
    """
    for k in sorted({round(i * (size - 1) / (_FEW - 1)) for i in range(_FEW)}):
        alone: Drawn = yield from BlockPoutine(drawn)(_at(program, together, k, size, shapes))
        _agree(together, alone.trace, k, size)


def rows(name: str, value: Any, size: int, shape: torch.Size) -> torch.Tensor:
    """``value`` as [size, *shape]. What does not depend on the particle is repeated. Raises ``NotVectorizable``."""
    tensor = torch.as_tensor(value)
    if tensor.numel() == size * prod(shape):
        return tensor.reshape(size, *shape)
    if tensor.numel() == prod(shape):
        return tensor.reshape(shape).expand(size, *shape)
    raise NotVectorizable(f"site {name!r} has shape {tuple(tensor.shape)} for {size} particles, and {tuple(shape)} for a single one")


def vectorize(
    program: Program[Any], guide: Program[Any] | None = None, *, seed: int = 0, params: ParamStore | None = None
) -> Vectorization:
    """Finds out how to run ``program``, and ``guide``, for many particles at once. Raises ``NotVectorizable``, and what a plain run raises."""
    programs = [program] if guide is None else [guide, program]
    checks = [_Check(each, run(Program(drawn, each), seed, params).trace, seed, params) for each in programs]
    dim = -1 - max(check.rank for check in checks)
    for check in checks:
        check.agree(dim, _FEW)
    elements = sum(prod(shape) for check in checks for shape in check.shapes.values())
    return Vectorization(dim, checks[-1].shapes, max(1, _ELEMENTS // max(1, elements)))


@attrs.frozen(eq=False)
class _Check:
    """One program, a plain trace of it, and the comparison of a plated run with plain ones."""

    program: Program[Any]
    plain: Trace
    seed: int
    params: ParamStore | None

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {site.name: torch.as_tensor(site.value).shape for site in _numeric(self.plain)}

    @property
    def rank(self) -> int:
        """How many batch dimensions the program uses: those of log densities and of computed values."""
        densities = (_density(site) for site in _numeric(self.plain))
        computed = (site.value for site in _numeric(self.plain) if isinstance(site, Deterministic))
        return max((torch.as_tensor(each).dim() for each in (*densities, *computed) if each is not None), default=0)

    def agree(self, dim: int, few: int) -> None:
        try:
            plated = Vectorization(dim, self.shapes, few).plated(self.program, few)
            together: Drawn = run(Program(drawn, plated), self.seed, self.params)
            _same_names(together.trace, self.plain, few)
            _each_has_its_own_draws(together, self.shapes)
            for k in range(few):
                alone: Drawn = run(Program(drawn, _at(self.program, together.trace, k, few, self.shapes)), self.seed, self.params)
                _agree(together.trace, alone.trace, k, few)
        except NotVectorizable:
            raise
        except Exception as error:
            raise NotVectorizable(f"run for {few} particles at once, it raises {type(error).__name__}: {error}") from error


def _at(program: Program[Any], together: Trace, k: int, size: int, shapes: Mapping[str, torch.Size]) -> Program[Any]:
    """The plain program at the values of particle ``k``."""
    samples = (site for site in _numeric(together) if isinstance(site, Sample))
    values = {site.name: rows(site.name, site.value, size, shapes[site.name])[k] for site in samples}
    return SubstitutePoutine(program.fn, values)(*program.args, **program.kwargs)


def _each_has_its_own_draws(together: Drawn, shapes: Mapping[str, torch.Size]) -> None:
    """What some poutine has made of a sample on its way may be one value for all particles."""
    for name in together.names:
        site = together.trace[name]
        if torch.as_tensor(site.value).numel() == prod(shapes[name]) > 0 and not is_subsample(site):
            raise NotVectorizable(f"site {name!r}: all particles share one draw of {site.fn!r}")


def _agree(together: Trace, alone: Trace, k: int, few: int) -> None:
    """Raises unless ``alone`` is what particle ``k`` is in ``together``."""
    _same_names(together, alone, few)
    for a, b in zip(_numeric(together), _numeric(alone), strict=True):
        for what, ours, theirs in _compared(a, b):
            row = rows(a.name, ours, few, torch.as_tensor(theirs).shape)[k]
            if not _close(row, torch.as_tensor(theirs)):
                raise NotVectorizable(
                    f"site {a.name!r}: its {what} is {_brief(row)} when particles are run at once, and {_brief(theirs)} "
                    "when this one is run alone; does the model broadcast over a leading dimension?"
                )


def _same_names(together: Trace, alone: Trace, few: int) -> None:
    if list(together) != list(alone):
        names = [", ".join(name for name in trace if not name.startswith("_")) for trace in (together, alone)]
        raise NotVectorizable(f"for {few} particles at once its sites are {names[0]}, for a single one {names[1]}")


def _compared(a: Site, b: Site) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(b, Deterministic):
        yield "value", a.value, b.value
    density = _density(b)
    if density is not None:
        yield "log density", _density(a), density


def _density(site: Site) -> torch.Tensor | None:
    """The log density of a site, if it has any; a bare callable has none."""
    if not isinstance(site, Choice):
        return None
    try:
        return score(site).detach()
    except NoDensity:
        return None


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for the rounding of two orders of summation: half of the digits."""
    eps = torch.finfo(a.dtype).eps if a.is_floating_point() else 0.0
    return torch.allclose(a, b.to(a.dtype), rtol=eps**0.5, atol=eps**0.5, equal_nan=True)


def _numeric(trace: Trace) -> Iterable[Site]:
    return [site for site in trace.nodes.values() if isinstance(site, (Choice, Deterministic)) and is_numeric(site.value)]


def is_numeric(value: Any) -> bool:
    """True for a tensor, an array, or a number."""
    return isinstance(value, (torch.Tensor, bool, int, float, complex)) or hasattr(value, "__array__")


def _brief(value: Any) -> str:
    flat = torch.as_tensor(value).flatten()
    return ", ".join(f"{number:.6g}" for number in flat[:3].tolist()) + (", …" if len(flat) > 3 else "")
