"""Exact enumeration in one run: all values of the discrete sites at once, summed out of a program's log density.

1. A discrete site with finitely many values gets all of them, along a tensor dimension of its own, left of all batch dimensions of
   the program; whatever is computed from it has that dimension, too. So the program must broadcast, and must not ask which value it is.
2. The log densities are factors over those dimensions; variables are summed out of their product two factors at a time, in an order
   that ``opt_einsum`` finds, those inside a plate in all of its elements at once.
3. Steps of ``markov`` use their dimensions again, and take time linear in their number. A vectorised loop runs its first step and
   then all others at once; its states are summed out by halves, along the dimension that time has.
4. Backwards, the same steps give the most probable values, or draws from the posterior. Draws are messages.

Not to be confused with ``enumeration``: that runs a program once for each trace, and needs nothing of the program but finite choices.

Sources: Obermeyer et al., "Tensor variable elimination for plated factor graphs" (2019); Darwiche, "A differential approach to
inference in Bayesian networks", JACM 50 (2003): marginals are derivatives of the log evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import torch

from interpreters.errors import DegenerateWeights
from interpreters.factor_graph.checking import WAYS, check
from interpreters.factor_graph.collecting import Collector, FactorGraph, StepsUnlike, collected, unvalidated
from interpreters.factor_graph.contraction import log_sum, maximum
from interpreters.factor_graph.decoding import best, decoded, drawn
from interpreters.factor_graph.eliminating import SUMS, Algebra, eliminated, log_evidence
from interpreters.factor_graph.factors import Factor, Indices, Plate, Variable, by_step, ordered, value_of, weight
from interpreters.factor_graph.hiding import is_label, visible
from interpreters.factor_graph.layout import TooFewDimensions
from interpreters.factor_graph.naming import Together, places, together
from interpreters.factor_graph.plain import Plain
from interpreters.factor_graph.scans import fast_product, product
from poutine import Coroutine, ParamStore, Program, as_program, run

_FAST_SUMS: Final = Algebra(log_sum, fast_product)
_MAXIMA: Final = Algebra(maximum, lambda matrices: product(matrices, maximum))


@attrs.frozen(eq=False)
class Elimination:
    """The exact posterior of a program's discrete sites. Make it with ``eliminate(program)``.

    What is asked of it raises ``DegenerateWeights`` if the log evidence is -inf or nan: there is no posterior then.

    Sites are called what they are in a plain run, also those of vectorised loops: "x_3". Together, as "x_1:500", these have the
    dimension of the steps.
    log_evidence:  of the normaliser, in nats: a scalar, differentiable in parameters, data and what else the program reads.
    """

    graph: FactorGraph = attrs.field(repr=False)
    log_evidence: torch.Tensor

    def marginal(self, *names: str, differentiable: bool = False) -> torch.Tensor:
        """The posterior probabilities of a site's values (``values(name)``), or of several sites' jointly.

        Of shape [*sizes of plates, *numbers of values], where the plates are those of one of the sites, and around all others. Of the
        steps of a vectorised loop, neighbours have joint probabilities: ``marginal("x_3", "x_4")``. ``differentiable`` ones take longer.
        """
        self._check_possible()
        found = self._together(names)
        variables, plates = found.variables, ordered(found.plates)
        sizes = [*(plate.size for plate in plates), *(variable.size for variable in variables)]
        probe = torch.zeros(sizes, dtype=self.log_evidence.dtype, requires_grad=True)
        with torch.enable_grad():
            total, _ = eliminated(
                (*self.graph.factors, Factor(probe, (*plates, *variables))), self.graph.chains, SUMS if differentiable else _FAST_SUMS
            )
            (slope,) = torch.autograd.grad(total, probe, create_graph=differentiable)
        return _at_step(slope / weight(plates), plates, found.at)  # the evidence has each element's own so many times

    def values(self, name: str) -> torch.Tensor:
        """The values of a site: [values, *event_shape], or with its batch shape in between where that is no plate's."""
        (variable,) = self._together((name,)).variables
        rank = len(variable.batch)
        joint = any(size > 1 for size in variable.values.shape[1 : 1 + rank])
        return variable.values if joint else variable.values.reshape(variable.size, *variable.values.shape[1 + rank :])

    def expectation(self, of: Callable[..., Any], *names: str) -> torch.Tensor:
        """The posterior expectation of ``of(*values)`` of sites that ``marginal`` takes together: [*sizes of plates].

        ``of`` is given tensors that broadcast to [values of the first site, of the second, ...], and returns one of that shape.
        """
        probability = self.marginal(*names)
        count = len(names)
        values = [self.values(name).reshape([-1 if i == place else 1 for i in range(count)]) for place, name in enumerate(names)]
        product: torch.Tensor = probability * torch.as_tensor(of(*values)).to(probability.dtype)
        return product.sum(list(range(-count, 0)))

    def most_probable(self) -> dict[str, torch.Tensor]:
        """The values that are most probable together (one of the best, if several are), by name of site; with hidden ones, of all."""
        self._check_possible()
        _, steps = eliminated(self.graph.factors, self.graph.chains, _MAXIMA)
        indices: Indices = run(Program(decoded, steps, best, maximum))
        return {name: values[0] for name, values in visible(self._named(indices)).items()}

    def sample(self, num_draws: int = 1) -> Coroutine[dict[str, torch.Tensor]]:
        """Draws from the posterior, by name of site, each [num_draws, *shape]: a program, ``run(Program(posterior.sample, 100))``."""
        return visible((yield from self.sample_all(num_draws)))

    def sample_all(self, num_draws: int = 1) -> Coroutine[dict[str, torch.Tensor]]:
        """``sample``, with what ``block`` hides by its labels: for whoever draws on, given these."""
        self._check_possible()
        _, steps = eliminated(self.graph.factors, self.graph.chains, SUMS)
        indices = yield from decoded(steps, drawn, log_sum, num_draws)
        return self._named(indices)

    def _check_possible(self) -> None:
        if not bool(self.log_evidence.isfinite()):
            raise DegenerateWeights(
                f"there is no posterior: the log evidence is {self.log_evidence.item()}; check the observations, factors and data"
            )

    @property
    def _visible(self) -> list[Variable]:
        return [variable for variable in self.graph.variables if not is_label(variable.name)]

    def _together(self, names: tuple[str, ...]) -> Together:
        known = places(self._visible, self.graph.chains)
        missing = [name for name in names if name not in known]
        if missing or not names:
            hidden = len(self.graph.variables) - len(self._visible)
            hint = f" (and {hidden} that block hides, which are in no result)" if hidden else ""
            raise KeyError(
                f"no site {', '.join(missing) or '(none)'} among those summed out: {', '.join(v.name for v in self._visible)}{hint}"
            )
        return together(names, known, self.graph.chains)

    def _named(self, indices: Indices) -> dict[str, torch.Tensor]:
        named: dict[str, torch.Tensor] = {}
        for variable in self.graph.variables:
            sizes = [plate.size for plate in ordered(variable.plates)]
            draws = max((len(index) for index in indices.values()), default=1)
            index = indices.get(variable, torch.zeros(draws, *sizes, dtype=torch.int64))  # a single value is in no factor
            named |= by_step(variable, value_of(variable, index))
        return named


def eliminate(
    program: Program[Any] | Callable[..., Any], params: ParamStore | None = None, *, max_plate_nesting: int | None = None
) -> Elimination:
    """Sums all discrete sites out of ``program``, which is run once for all of their values.

    ::

        posterior = eliminate(Program(model, y))
        posterior.log_evidence                             # a scalar; .backward() goes on into parameters
        posterior.marginal("x")                            # [values]
        run(Program(posterior.sample, 100), seed=0)        # {"x": [100], ...}

    max_plate_nesting:  how many batch dimensions the program has by itself. Without it, the program is run plainly some times more, to
                        find out, and at the values of those runs the log density of each site is compared; so are the steps of
                        vectorised loops with one another. A loop that trains a model needs that once. (With it, nobody notices a
                        handler, not strict, that names a site of one step of a vectorised loop, nor a look at a value, as in
                        ``if (x == 3).all():``, nor data that is laid out otherwise than the plates, but happens to broadcast.)

    Choices that ``block`` hides are summed out, too, with the probability that they are drawn with, and are not in the results; what is
    hidden and observed does not count.

    A subsample of n elements out of N, with discrete sites of its own, stands for the whole plate: the sum over each element's own is
    taken to the power N / n (Pyro and NumPyro do so where all sites are in the plate). ``exact`` takes the log density at its word
    there, and so does this with every other scale: a power of each term of the sum.

    A plate that draws its subsample is refused, since which elements take part is nothing to sum over: a guide may draw it, and
    ``eliminate(Program(replay(model, t), y))``, with a trace ``t`` of the guide, has its index and the rest of its draws.

    **Law**: agrees with ``enumeration.exact`` but for such a plate, and so does what it draws. A subsample out of w * n counts as the
    whole plate would in which each of its n elements were there w times.
    Raises ``NotFinite`` at a site that is undecided and continuous, or whose support is infinite; ``NotVectorizable`` where the program
    asks for a value (``if x:``), where it does not broadcast, and where exact sums are too many.
    """
    whole = as_program(program)
    if max_plate_nesting is None:
        plain = Plain(whole, params)
        graph = _collected(whole, params, Collector(plain.rank, in_turn=plain.watch.in_turn, drawn=plain.drawn, looks=False))
        for way in (None, *WAYS):
            plain = plain if way is None else Plain(whole, params, way)
            check(graph, plain.values, plain.densities, plain.drawn)
    else:
        graph = _collected(whole, params, Collector(max_plate_nesting, unvalidated))
    return Elimination(graph, log_evidence(graph, _FAST_SUMS))


def _collected(program: Program[Any], params: ParamStore | None, collector: Collector) -> FactorGraph:
    try:
        return collected(program, collector.answers(params), collector)
    except TooFewDimensions as plates:
        return _collected(program, params, collector.wider(plates.needed))
    except StepsUnlike as unlike:
        return _collected(program, params, collector.in_turn(unlike.loops))


def _at_step(probability: torch.Tensor, plates: list[Plate], at: Mapping[Plate, int | None]) -> torch.Tensor:
    """The part of a marginal that is of one step of its loops, without those dimensions that are of no plate of the program's tensors."""
    for place, plate in reversed(list(enumerate(plates))):
        element = 0 if plate.branch is not None else at.get(plate)
        probability = probability if element is None else probability.select(place, element)
    return probability
