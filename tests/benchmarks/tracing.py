"""What tracing costs, side by side with Pyro and NumPyro, in one process and one run.

``python -m tests.benchmarks.tracing`` prints a table in microseconds a site. Each figure is the best of many; a ratio is that
of the peer's to the first contestant's of its table. ``OMP_NUM_THREADS=1`` steadies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import jax
import numpyro
import numpyro.distributions
import pyro
import pyro.distributions
import torch
from pyro.poutine.messenger import Messenger
from torch.distributions import Normal

import poutine
from poutine import Observe, Param, Poutine, Sample
from tests.benchmarks.racing import Contestant, race, setting

SITES: Final = 100
NESTED: Final = 8  # so many more poutines of one kind, to see what one costs
NAMES: Final = [f"x{i}" for i in range(SITES)]

# The models, of 100 sites each

SHARED: Final = Normal(0.0, 1.0)
VALUE: Final = torch.tensor(0.5)
DATA: Final = dict.fromkeys(NAMES, VALUE)

PYRO_SHARED: Final = pyro.distributions.Normal(0.0, 1.0)
NUMPYRO_SHARED: Final = numpyro.distributions.Normal(0.0, 1.0)
NUMPYRO_VALUE: Final = jax.numpy.asarray(0.5)
NUMPYRO_DATA: Final = dict.fromkeys(NAMES, NUMPYRO_VALUE)


def observing() -> Any:
    for name in NAMES:
        yield Observe(name, SHARED, VALUE)


def sampling() -> Any:
    for name in NAMES:
        yield Sample(name, SHARED)


def reading() -> Any:
    for name in NAMES:
        yield Param(name, VALUE)


def drawing_deferred() -> Any:
    for name in NAMES:
        yield Sample(name, Normal, 0.0, 1.0)


def drawing_built() -> Any:
    for name in NAMES:
        yield Sample(name, Normal(0.0, 1.0))


def pyro_observing() -> None:
    for name in NAMES:
        pyro.sample(name, PYRO_SHARED, obs=VALUE)


def pyro_sampling() -> None:
    for name in NAMES:
        pyro.sample(name, PYRO_SHARED)


def pyro_drawing() -> None:
    for name in NAMES:
        pyro.sample(name, pyro.distributions.Normal(0.0, 1.0))


def numpyro_observing() -> None:
    for name in NAMES:
        numpyro.sample(name, NUMPYRO_SHARED, obs=NUMPYRO_VALUE)


def numpyro_sampling() -> None:
    for name in NAMES:
        numpyro.sample(name, NUMPYRO_SHARED)


def numpyro_drawing() -> None:
    for name in NAMES:
        numpyro.sample(name, numpyro.distributions.Normal(0.0, 1.0))


# What is timed: tracing a model once

Fn = Callable[..., Any]  # a model, or a model in handlers


def ours(fn: Fn) -> Contestant:
    return poutine.trace(fn).get_trace


def of_pyro(fn: Fn) -> Contestant:
    return pyro.poutine.trace(fn).get_trace


def of_numpyro(fn: Fn) -> Contestant:
    return numpyro.handlers.trace(fn).get_trace


def unvalidated(contestant: Contestant) -> Contestant:
    """``contestant`` with Pyro's switch off, and torch's, which it turns too. They are process-wide, so only for its turns."""

    def turn() -> None:
        with pyro.validation_enabled(False):
            contestant()

    return turn


@attrs.frozen
class Layer:
    """A handler, around ``fn``, whose sites it all touches; ``times`` of them, of which each must find something to do."""

    label: str
    tracing: Callable[[Fn], Contestant]
    fn: Fn
    wrap: Callable[[Fn], Fn]
    times: int = NESTED

    def contestants(self) -> dict[str, Contestant]:
        fn = self.fn
        for _ in range(self.times):
            fn = self.wrap(fn)
        return {f"{self.label}, none": self.tracing(self.fn), self.label: self.tracing(fn)}

    def cost(self, costs: Mapping[str, float]) -> float:
        return (costs[self.label] - costs[f"{self.label}, none"]) / self.times


def our_layers() -> list[Layer]:
    decided = poutine.substitute(sampling, DATA)  # nothing is drawn, whoever else decides
    traced = poutine.trace(decided).get_trace()
    lifted = poutine.substitute(poutine.lift(reading, prior=SHARED), DATA)  # what they make of each site are samples, too,
    released = poutine.substitute(poutine.uncondition(observing), DATA)  # and one of each leaves nothing to a second
    return [
        Layer("Poutine (passes through)", ours, observing, Poutine),
        Layer("scale", ours, observing, poutine.scale(scale=2.0)),
        Layer("mask", ours, observing, poutine.mask(mask=True)),
        Layer("infer_config", ours, observing, poutine.infer_config(config={name: {"a": 1} for name in NAMES})),
        Layer("indep", ours, observing, lambda fn: poutine.indep(fn, name=f"plate {id(fn)}", vectorized=False)),
        Layer("condition", ours, decided, poutine.condition(data=DATA)),
        Layer("substitute", ours, decided, poutine.substitute(data=DATA)),
        Layer("do", ours, decided, poutine.do(data=DATA)),
        Layer("replay", ours, decided, poutine.replay(guide_trace=traced)),
        Layer("seed", ours, decided, poutine.seed(seed=1)),
        Layer("escape (never)", ours, observing, poutine.escape(escape_fn=lambda site: False)),
        Layer("block (nothing)", ours, observing, poutine.block(hide=["no site"])),
        Layer("scope", ours, observing, poutine.scope(prefix="a")),
        Layer("lift", ours, decided, lambda _: lifted, times=1),
        Layer("uncondition", ours, decided, lambda _: released, times=1),
    ]


def peers_layers() -> list[Layer]:
    trace = of_pyro(pyro_sampling)()
    conditioned = numpyro.handlers.condition(numpyro_sampling, data=NUMPYRO_DATA)
    return [
        Layer("Pyro: a messenger that passes on", of_pyro, pyro_observing, lambda fn: Messenger()(fn)),
        Layer("Pyro: scale", of_pyro, pyro_observing, lambda fn: pyro.poutine.scale(fn, scale=2.0)),
        Layer("Pyro: mask", of_pyro, pyro_observing, lambda fn: pyro.poutine.mask(fn, mask=True)),
        Layer("Pyro: condition", of_pyro, pyro_observing, lambda fn: pyro.poutine.condition(fn, data=DATA)),
        Layer("Pyro: replay", of_pyro, pyro.poutine.replay(pyro_sampling, trace), lambda fn: pyro.poutine.replay(fn, trace)),
        Layer("Pyro: block (nothing)", of_pyro, pyro_observing, lambda fn: pyro.poutine.block(fn, hide=["no site"])),
        Layer("NumPyro: scale", of_numpyro, numpyro_observing, lambda fn: numpyro.handlers.scale(fn, scale=2.0)),
        Layer("NumPyro: mask", of_numpyro, numpyro_observing, lambda fn: numpyro.handlers.mask(fn, mask=True)),
        Layer("NumPyro: condition", of_numpyro, conditioned, lambda fn: numpyro.handlers.condition(fn, data=NUMPYRO_DATA)),
        Layer("NumPyro: block (nothing)", of_numpyro, numpyro_observing, lambda fn: numpyro.handlers.block(fn, hide=["no site"])),
    ]


# The tables


def per_site(contestants: Mapping[str, Contestant]) -> dict[str, float]:
    return {label: best / SITES for label, best in race(contestants).items()}


@attrs.frozen
class Row:
    """One line of a table. ``limit`` is what the figure must stay below; None where nothing is promised."""

    label: str
    cost: float
    ratio: float | None = None
    limit: float | None = None
    why: str = ""

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:6.2f}"
        verdict = "" if self.limit is None else f"< {self.limit:.2f} {'met' if self.cost < self.limit else 'MISSED':6} {self.why}"
        return f"  {self.label:44} {self.cost:7.3f} {ratio:6}  {verdict}".rstrip()


def machinery() -> list[Row]:
    costs = per_site(
        {
            "poutine": ours(observing),
            "NumPyro": of_numpyro(numpyro_observing),
            "Pyro, without validation": unvalidated(of_pyro(pyro_observing)),
            "Pyro": of_pyro(pyro_observing),
        }
    )
    limits = {"NumPyro": costs["NumPyro"], "a third of Pyro, without validation": costs["Pyro, without validation"] / 3}
    goals = [Row("poutine", costs["poutine"], 1.0, limit, why) for why, limit in limits.items()]
    return [*goals, *(Row(label, cost, cost / costs["poutine"]) for label, cost in list(costs.items())[1:])]


def drawing() -> list[Row]:
    deferred, built = "poutine: Sample(x, Normal, 0., 1.)", "poutine: Sample(x, Normal(0., 1.))"
    costs = per_site(
        {
            deferred: ours(drawing_deferred),
            f"{built}, without validation": unvalidated(ours(drawing_built)),
            built: ours(drawing_built),
            "Pyro, without validation": unvalidated(of_pyro(pyro_drawing)),
            "Pyro": of_pyro(pyro_drawing),
            "NumPyro": of_numpyro(numpyro.handlers.seed(numpyro_drawing, rng_seed=0)),
        }
    )
    # Like against like: whether the distribution's arguments are validated is torch's time, not ours. The deferred site validates.
    rivals = {deferred: "Pyro, without validation", f"{built}, without validation": "Pyro, without validation", built: "Pyro"}
    return [
        Row(label, cost, cost / costs[deferred], costs.get(rivals.get(label, "")), rivals.get(label, "")) for label, cost in costs.items()
    ]


def layers() -> list[Row]:
    everybody = [*our_layers(), *peers_layers()]
    costs = per_site({name: contestant for layer in everybody for name, contestant in layer.contestants().items()})
    limits = dict.fromkeys((layer.label for layer in our_layers()), 0.7) | {"Poutine (passes through)": 0.1}
    return [Row(layer.label, layer.cost(costs), None, limits.get(layer.label)) for layer in everybody]


TABLES: Final[Mapping[str, Callable[[], list[Row]]]] = {
    "Tracing a shared, observed distribution: the machinery alone": machinery,
    "Tracing fresh draws of a Normal": drawing,
    "Each additional handler around the traced model": layers,
}


def main() -> None:
    print(f"Microseconds a site, of {SITES}: the best of many turns in one process, and the ratio to the first line.")
    print(f"{setting('torch', 'pyro-ppl', 'numpyro', 'jax')}, torch with {torch.get_num_threads()} thread(s)")
    for title, table in TABLES.items():
        print(f"\n{title}")
        print(*table(), sep="\n", flush=True)


if __name__ == "__main__":
    main()
