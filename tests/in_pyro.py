"""Programs of this library, run by Pyro: each message becomes Pyro's own primitive, and each poutine Pyro's own handler.

So one model, written once, runs on both. A site that is drawn is drawn under the key that this library's runtime would use,
and so has the same value on both sides. Importing Pyro patches five methods of torch; they are put back here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import pyro
import pyro.contrib.autoname
import pyro.distributions
import torch
from pyro.poutine.messenger import Messenger
from torch.distributions import Distribution, HalfCauchy, Independent, Poisson, Transform, TransformedDistribution, Uniform, constraints

from poutine import (
    BlockPoutine,
    ConditionPoutine,
    Deterministic,
    DoPoutine,
    EscapePoutine,
    IndepPoutine,
    InferConfigPoutine,
    Keyed,
    LiftPoutine,
    MarkovPoutine,
    MaskPoutine,
    Observe,
    Param,
    PlatePoutine,
    Poutine,
    Program,
    ReplayPoutine,
    Sample,
    ScalePoutine,
    ScopePoutine,
    SeedPoutine,
    SubstitutePoutine,
    TracePoutine,
    UnconditionPoutine,
    Unit,
)

Fn = Callable[..., Any]


def _put_back(cls: type) -> None:
    """Undoes Pyro's patches of a class of torch, which all tests of the process would run with."""
    for name, method in list(vars(cls).items()):
        if hasattr(method, "_pyro_unpatched"):
            if method._pyro_unpatched is None:
                delattr(cls, name)
            else:
                setattr(cls, name, method._pyro_unpatched)


for _cls in (Transform, TransformedDistribution, HalfCauchy, type(constraints.corr_cholesky)):
    _put_back(_cls)


class NotInPyro(Exception):
    """Pyro has nothing that is to do the same."""


@attrs.frozen
class InPyro:
    """``fn``, a generator function or a poutine, as a Pyro model.

    seed, prefix, suffix:  of the key of a draw in ``fn``: the seed around it, the scopes between that seed and it, and the steps.
    """

    fn: Fn
    seed: int = 0
    prefix: str = ""
    suffix: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.fn, PlatePoutine):
            return self._plate(self.fn, *args, **kwargs)
        if isinstance(self.fn, MarkovPoutine):
            return self._markov(self.fn, *args, **kwargs)
        if isinstance(self.fn, Poutine):
            return HANDLERS[type(self.fn)](self.fn, self._inside(self.fn))(*args, **kwargs)
        started = self.fn(*args, **kwargs)
        return self._run(started) if isinstance(started, Generator) else self._program(started)

    def _inside(self, handler: Poutine) -> InPyro:
        if isinstance(handler, SeedPoutine):
            return InPyro(handler.fn, handler.seed)
        if isinstance(handler, ScopePoutine) and handler.prefix:
            return attrs.evolve(self, fn=handler.fn, prefix=f"{self.prefix}{handler.prefix}/")
        return attrs.evolve(self, fn=handler.fn)

    def _run(self, generator: Generator[Any, Any, Any]) -> Any:
        reply = None
        try:
            while True:
                reply = self._answer(generator.send(reply))
        except StopIteration as stop:
            return stop.value
        finally:
            generator.close()

    def _answer(self, yielded: Any) -> Any:
        if isinstance(yielded, Program):
            return self._program(yielded)
        numbered = attrs.evolve(self, suffix="") if isinstance(yielded, Param) else self  # a param is one for all steps
        with numbered._keyed(yielded.name):
            return PRIMITIVES[type(yielded)](yielded)

    def _program(self, program: Program[Any]) -> Any:
        owner = getattr(program.fn, "__self__", None)
        if isinstance(owner, Poutine):  # a poutine's program holds the program that it wraps
            (inner,) = program.args
            return attrs.evolve(self, fn=owner)(*inner.args, **inner.kwargs)
        return attrs.evolve(self, fn=program.fn)(*program.args, **program.kwargs)

    def _plate(self, plate: PlatePoutine, *args: Any, **kwargs: Any) -> Any:
        body = attrs.evolve(self, fn=plate.fn)
        with self._keyed(plate.name):
            entered = pyro.plate(plate.name, plate.size, plate.subsample_size, plate.subsample, plate.dim)
        if not plate.vectorized:
            return [body(i, *args, **kwargs) for i in entered]
        with entered as index:
            return body(slice(None) if index is None else index, *args, **kwargs)

    def _markov(self, markov: MarkovPoutine, state: Any, *args: Any, **kwargs: Any) -> Any:
        for t in pyro.markov(range(markov.size)):
            step = attrs.evolve(self, fn=markov.fn, suffix=f"_{t}{self.suffix}")
            with Numbered(f"_{t}"):
                state = step(t, state, *args, **kwargs)
        return state

    def _keyed(self, name: str) -> Keyed:
        return Keyed((self.seed, f"{self.prefix}{name}{self.suffix}", 1))


class Numbered(Messenger):  # type: ignore[misc]  # Pyro has no types
    """Puts a step's number behind names, which Pyro's users do by hand."""

    def __init__(self, suffix: str) -> None:
        super().__init__()
        self.suffix = suffix

    def _pyro_sample(self, message: Any) -> None:
        message["name"] += self.suffix


# The primitives


def as_pyros(dist: Any) -> Any:
    """Most of Pyro's classes are torch's with methods more: the same object under the class of the same name."""
    if not isinstance(dist, Distribution):
        return dist
    if type(dist) in REBUILT:
        return REBUILT[type(dist)](dist)
    twin = copy.copy(dist)
    twin.__class__ = getattr(pyro.distributions, type(dist).__name__)
    if isinstance(dist, Independent):
        twin.base_dist = as_pyros(dist.base_dist)
    return twin


# Those that have fields of their own in Pyro.
REBUILT: Final[Mapping[type, Callable[[Any], Any]]] = MappingProxyType(
    {
        Poisson: lambda dist: pyro.distributions.Poisson(dist.rate),
        Uniform: lambda dist: pyro.distributions.Uniform(dist.low, dist.high),
    }
)


def _sample(site: Sample) -> Any:
    return pyro.sample(site.name, as_pyros(site.dist), infer=dict(site.infer))


def _observe(site: Observe) -> Any:
    if isinstance(site.dist, Unit):
        pyro.factor(site.name, site.dist.log_factor)
        return site.value
    return pyro.sample(site.name, as_pyros(site.dist), obs=torch.as_tensor(site.value), infer=dict(site.infer))


def _param(site: Param) -> Any:
    return pyro.param(site.name, site.init, constraint=site.constraint)


def _deterministic(site: Deterministic) -> Any:
    return pyro.deterministic(site.name, torch.as_tensor(site.value))


PRIMITIVES: Final[Mapping[type, Callable[[Any], Any]]] = MappingProxyType(
    {Sample: _sample, Observe: _observe, Param: _param, Deterministic: _deterministic}
)

# The handlers


def _replay(handler: ReplayPoutine, fn: Fn) -> Fn:
    sites = {name: name for name in handler._samples()} if handler.sites is None else handler.sites
    trace = pyro.poutine.Trace()
    for name, source in sites.items():
        site = handler.guide_trace[source]
        trace.add_node(name, name=name, type="sample", is_observed=False, value=site.value, infer=dict(site.infer))
    return pyro.poutine.replay(fn, trace)


def _block(handler: BlockPoutine, fn: Fn) -> Fn:
    names = {key: None if some is None else sorted(some) for key in BLOCK_NAMES for some in [getattr(handler, key)]}
    return pyro.poutine.block(fn, hide_all=handler.hide_all and not handler.expose_all, expose_all=handler.expose_all, **names)


BLOCK_NAMES: Final = ("hide", "expose", "hide_types", "expose_types")


def _lift(handler: LiftPoutine, fn: Fn) -> Fn:
    prior = handler.prior
    return pyro.poutine.lift(fn, {k: as_pyros(v) for k, v in prior.items()} if isinstance(prior, Mapping) else as_pyros(prior))


def _infer_config(handler: InferConfigPoutine, fn: Fn) -> Fn:
    return pyro.poutine.infer_config(fn, config_fn=lambda site: dict(handler.config.get(site["name"], {})))


def _indep(handler: IndepPoutine, fn: Fn) -> Fn:
    """The only iteration of a sequential plate. A vectorised one without a size takes a dimension in Pyro, and none here."""
    if handler.vectorized:
        raise NotInPyro(handler)

    def entered(*args: Any, **kwargs: Any) -> Any:
        (value,) = [fn(*args, **kwargs) for _ in pyro.plate(handler.name, 1)]
        return value

    return entered


HANDLERS: Final[Mapping[type[Poutine], Callable[[Any, Fn], Fn]]] = MappingProxyType(
    {
        Poutine: lambda handler, fn: fn,
        SeedPoutine: lambda handler, fn: fn,  # it is in the keys
        TracePoutine: lambda handler, fn: pyro.poutine.trace(fn),
        ScalePoutine: lambda handler, fn: pyro.poutine.scale(fn, scale=handler.scale),
        MaskPoutine: lambda handler, fn: pyro.poutine.mask(fn, mask=handler.mask),
        ConditionPoutine: lambda handler, fn: pyro.poutine.condition(fn, data=dict(handler.data)),
        SubstitutePoutine: lambda handler, fn: pyro.poutine.substitute(fn, data=dict(handler.data)),
        DoPoutine: lambda handler, fn: pyro.poutine.do(fn, data=dict(handler.data)),
        UnconditionPoutine: lambda handler, fn: pyro.poutine.uncondition(fn),
        EscapePoutine: lambda handler, fn: pyro.poutine.escape(fn, escape_fn=lambda site: handler.escape_fn(_Named(site["name"]))),
        ScopePoutine: lambda handler, fn: pyro.contrib.autoname.scope(fn, prefix=handler.prefix) if handler.prefix else fn,
        ReplayPoutine: _replay,
        BlockPoutine: _block,
        LiftPoutine: _lift,
        InferConfigPoutine: _infer_config,
        IndepPoutine: _indep,
    }
)


@attrs.frozen
class _Named:
    """What an ``escape_fn`` may look at."""

    name: str


# What is compared


@attrs.frozen(eq=False)
class Seen:
    """A site as a trace shows it, whichever system made the trace."""

    name: str
    kind: str
    value: Any
    scale: Any
    mask: Any
    frames: tuple[tuple[str, bool], ...]
    log_density: torch.Tensor


def seen_here(trace: Any) -> list[Seen]:
    densities = trace.compute_batch_log_pdf()
    return [
        Seen(
            site.name,
            site.type,
            site.value,
            site.scale,
            site.mask,
            # Pyro's scope leaves plates their names: among the decisions.
            tuple((frame.name.rpartition("/")[2], frame.vectorized) for frame in site.cond_indep_stack),
            densities.get(site.name, torch.zeros(())).sum(),
        )
        for site in trace.nodes.values()
        if site.name not in ("_INPUT", "_RETURN")
    ]


def seen_by_pyro(trace: Any) -> list[Seen]:
    trace.compute_log_prob()
    return [
        Seen(
            name,
            _kind(node),
            node["value"],
            node["scale"],
            True if node["mask"] is None else node["mask"],
            tuple((frame.name, frame.vectorized) for frame in node["cond_indep_stack"]),
            torch.as_tensor(node.get("log_prob_sum", 0.0)),
        )
        for name, node in trace.nodes.items()
        if node["type"] in ("sample", "param") and not _is_index_of_all(node)
    ]


def _kind(node: Any) -> str:
    if node["type"] != "sample":
        return str(node["type"])
    if node["infer"].get("_deterministic"):
        return "deterministic"
    return "observe" if node["is_observed"] else "sample"


def _is_index_of_all(node: Any) -> bool:
    """Pyro draws the index of a plate of which nothing is left out, too."""
    size = getattr(node["fn"], "size", None)
    return type(node["fn"]).__name__ == "_Subsample" and node["fn"].subsample_size in (None, size)
