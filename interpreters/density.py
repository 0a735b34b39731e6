"""The log density of a program as a function of its latent values.

1. The program is run by answers that draw nothing: each sample is read from the argument, and its log density is added up.
2. Unconstrained, each site has coordinates of its own in one flat vector, in the order of the program. The bijection onto a
   site's support is built when the site is reached, so that bounds may depend on other sites; its log Jacobian is added.
3. The structure (names, order, shapes, kinds of supports) is found by one run at the origin of unconstrained space. A later run that departs
   from it is refused, by site.
4. Discrete sites with finitely many values are summed out: exactly, in the same run (see ``elimination``), so that the density is of
   the continuous ones alone. ``discrete`` gives them back.
5. Arguments of distributions are validated in that first run only: far out, where a sampler tries, the log density is
   nan or -inf, and no error.
6. So is an observation, if the range of its distribution does not depend on latent values; if it does, the log density is -inf where the
   observation is outside (``ranges``).
7. Latent values are in double precision. So the arguments of the program, its parameters, observations and distributions are
   converted to it, and arguments that are arrays of numpy to tensors; of other tensors, such as those in a closure, torch may complain.
   Where it rounds without a word, there is a warning (``rounding``).
8. What ``block`` hides is in no result. Hidden samples are latent all the same, and have coordinates: they count with the probability
   that they are drawn with, whatever their scale or mask. What is hidden and decided, or observed, does not count, as in any trace. So it
   is in importance sampling, elimination and enumeration, but for a subsample: here and in elimination, what is hidden in it counts as
   often as its plate's elements do; importance sampling draws it, which counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch

from interpreters.derivatives import each, hessian_vector_product, value_and_grad, with_or_without_writing
from interpreters.elimination import Elimination
from interpreters.errors import StructureChanged
from interpreters.evaluations.constrained import Constrained
from interpreters.evaluations.coordinates import WAY_OUT, Coordinates, require_order, require_same
from interpreters.evaluations.discovery import Discovery
from interpreters.evaluations.evaluation import Evaluation
from interpreters.evaluations.unconstrained import Unconstrained
from interpreters.factor_graph.checking import WAYS, check
from interpreters.factor_graph.collecting import Collector, FactorGraph, StepsUnlike, collected
from interpreters.factor_graph.eliminating import log_evidence
from interpreters.factor_graph.hiding import visible
from interpreters.factor_graph.layout import TooFewDimensions
from interpreters.precision import with_doubles
from interpreters.rounding import RoundingNotice
from interpreters.validation import SkipValidation
from poutine import ParamStore, Program, answer, as_program


@attrs.frozen(eq=False)
class Density:
    """The log density of ``program``, in nats. Make it with ``density(program)``.

    sites:   the continuous ones, which it is a function of. Those that ``block`` hides are here by a label of their own, "b (hidden)".
    summed:  the names of the discrete ones, in a plain run, or such labels. ``rank`` is the number of batch dimensions that the program has.
    bounded: the names of sites whose values may be outside of the range of their distributions, which depends on the latent ones.
    in_turn: the names of vectorised markov loops whose steps are not alike, so that they are taken in turn.
    """

    program: Program[Any]
    sites: Mapping[str, Coordinates]
    params: ParamStore
    summed: tuple[str, ...] = ()
    rank: int = 0
    bounded: frozenset[str] = frozenset()
    in_turn: frozenset[str] = frozenset()

    @property
    def dim(self) -> int:
        """The length of the flat unconstrained vector."""
        return sum(site.size for site in self.sites.values())

    def __call__(self, position: torch.Tensor) -> torch.Tensor:
        """The log density at an unconstrained ``position`` of shape [dim], log Jacobian included: a scalar."""
        evaluation = self._unconstrained(position)
        self._run(evaluation)
        return evaluation.log_density

    def batch(self, positions: torch.Tensor) -> torch.Tensor:
        """``positions`` of shape [chains, dim] give [chains]."""
        return each(self, positions)

    def log_prob(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The log density at constrained values by name, without Jacobian: -inf for what cannot be drawn, whatever would be computed from it.

        **Law**: at the values of a trace, its ``log_pdf``.
        Raises ``KeyError`` for names that are not those of the latent sites, and if ``block`` hides continuous ones, whose values nobody has.
        """
        evaluation = self._constrained(values)
        try:
            self._run(evaluation)
        except (ArithmeticError, RuntimeError, ValueError):
            if not bool(evaluation.impossible):
                raise
            return torch.full((), -torch.inf, dtype=torch.float64)
        unknown = values.keys() - self.sites.keys() - evaluation.named.keys()
        if unknown:
            raise KeyError(f"the program has no {', '.join(sorted(unknown))}; the latent sites are {', '.join(visible(self.sites))}")
        return evaluation.log_density

    def value_and_grad(self, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The log density, and its gradient of shape [dim]."""
        found: tuple[torch.Tensor, torch.Tensor] = with_or_without_writing(lambda f: value_and_grad(f, position), self, position)
        return found

    def hessian_vector_product(self, position: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        """The Hessian at ``position`` times ``vector``, both of shape [dim]."""
        found: torch.Tensor = with_or_without_writing(lambda f: hessian_vector_product(f, position, vector), self, position)
        return found

    def constrain(self, position: torch.Tensor) -> dict[str, torch.Tensor]:
        """The values of the samples and Deterministic sites at an unconstrained position, but of those that depend on what is summed out."""
        return visible(self.run_at(position)[0])

    def log_likelihood(self, position: torch.Tensor) -> dict[str, torch.Tensor]:
        """The log densities of the observations at an unconstrained position, by name, each of its site's batch shape.

        Those that depend on what is summed out have none of their own.
        """
        return self.run_at(position)[1]

    def run_at(self, position: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """``constrain``, with the samples that ``block`` hides by their labels, and ``log_likelihood``, in one run."""
        evaluation = self._unconstrained(position.clone())  # of which a real site's value is a part
        self._run(evaluation)
        return evaluation.named, evaluation.likelihoods

    def unconstrain(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The position of constrained values. Raises ``ValueError`` for what cannot be drawn. **Law**: ``unconstrain(constrain(u)) = u``,
        but for the distances of ``circles``, and where ``block`` hides continuous sites: that raises ``KeyError``.
        """
        evaluation = self._constrained(values, refuses=True)
        self._run(evaluation)
        parts = [evaluation.positions[name].reshape(-1) for name in self.sites]
        return torch.cat(parts) if parts else torch.zeros(0)

    def discrete(self, position: torch.Tensor) -> Elimination:
        """The exact posterior of the discrete sites, given that the continuous ones are at ``position``."""
        graph = self._graph(self._unconstrained(position))
        return Elimination(graph, log_evidence(graph))

    def graph(self, values: Mapping[str, torch.Tensor]) -> FactorGraph:
        """What the log density of the discrete sites is made of, given constrained values of the continuous ones by name."""
        return self._graph(self._constrained(values))

    def _graph(self, evaluation: Evaluation) -> FactorGraph:
        self._run(evaluation)
        if evaluation.collector is None:
            raise ValueError("the program has no discrete sites")
        return evaluation.collector.graph()

    def at(self, program: Program[Any]) -> Density:
        """The same structure over other data: ``program`` must have the same latent sites and shapes.

        It is run once, to see that, and that its observations can be drawn. Raises ``StructureChanged``, and what the program raises.
        """
        program = with_doubles(program)
        found = _discovered(program, self.params)
        expected = iter(self.sites)
        for name, site in found.sites.items():
            require_same(name, site.shape, site.kind, self.sites)
            require_order(name, next(expected, None))
        _require_all(self.sites, found.sites)
        return attrs.evolve(self, program=program, bounded=frozenset(found.may_be_outside), in_turn=self.in_turn.union(found.watch.in_turn))

    def _unconstrained(self, position: torch.Tensor) -> Unconstrained:
        if position.shape != (self.dim,) or position.dtype != torch.float64:
            raise ValueError(f"expected {self.dim} numbers in double precision, got {position.dtype} of shape {tuple(position.shape)}")
        return Unconstrained(self.sites, position, self._collector(), self.bounded)

    def _constrained(self, values: Mapping[str, torch.Tensor], refuses: bool = False) -> Constrained:
        return Constrained(self.sites, values, self._collector(), self.bounded, refuses)

    def _collector(self) -> Collector | None:
        return Collector(self.rank, asks=False, in_turn=self.in_turn) if self.summed else None

    def _run(self, evaluation: Evaluation) -> None:
        with SkipValidation():
            answer(self.program, evaluation.answers(self.params))
        _require_all(self.sites, evaluation.named)


def _require_all(sites: Mapping[str, Coordinates], reached: Mapping[str, Any]) -> None:
    missing = sites.keys() - reached.keys()
    if missing:
        raise StructureChanged(f"the program did not reach {', '.join(sorted(missing))}, which it sampled before; {WAY_OUT}")


def density(program: Program[Any], params: ParamStore | None = None) -> Density:
    """Finds the latent sites of ``program`` and returns its log density as a function of the continuous ones.

    Where discrete ones are summed out, each site's log density is compared, once, with that of a few runs at single values.
    Raises ``NotContinuous`` at a site that has infinitely many values, is subsampled or has no distribution, ``NotVectorizable`` where
    discrete sites cannot be summed out, and what the program raises.
    """
    store = ParamStore() if params is None else params
    program = with_doubles(as_program(program))
    discovery = _discovered(program, store)
    summed, bounded = tuple(discovery.summed), frozenset(discovery.may_be_outside)
    found = Density(program, discovery.sites, store, summed, discovery.rank, bounded, frozenset(discovery.watch.in_turn))
    return _compared(found, discovery) if found.summed else found


def _discovered(program: Program[Any], params: ParamStore, way: int = 2) -> Discovery:
    discovery = Discovery(way)
    try:
        with torch.enable_grad(), RoundingNotice(lambda: discovery.scored):
            answer(program, discovery.answers(params))
    except RuntimeError as error:
        if "dtype" in str(error):
            error.add_note(
                "what is sampled is in double precision: give the program its data as arguments, which are converted, or .double() it"
            )
        raise
    return discovery


def _compared(found: Density, discovery: Discovery) -> Density:
    """``found``, whose program has been run for all values of its discrete sites, with as many dimensions as that took."""
    collector = Collector(found.rank, in_turn=found.in_turn, drawn=discovery.drawn)
    evaluation = Unconstrained(found.sites, torch.zeros(found.dim, dtype=torch.float64), collector, found.bounded)
    try:
        graph = collected(found.program, evaluation.answers(found.params), collector)
    except TooFewDimensions as plates:
        return _compared(attrs.evolve(found, rank=plates.needed), discovery)
    except StepsUnlike as unlike:
        return _compared(attrs.evolve(found, in_turn=found.in_turn | unlike.loops), discovery)
    for way in WAYS:
        plain = discovery if way == discovery.way else _discovered(found.program, found.params, way)
        check(graph, plain.values, plain.densities, plain.summed)
    return found
