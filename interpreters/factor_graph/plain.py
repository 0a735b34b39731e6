"""A plain run, with which the one for all values is compared."""

from __future__ import annotations

from typing import Any

import torch

from interpreters.factor_graph.hiding import Labels
from interpreters.factor_graph.supports import some_value
from interpreters.factor_graph.watching import Watch
from interpreters.weighted.scores import score
from poutine import EnterMarkov, Message, Observe, ParamStore, Program, Runtime, Sample, TracePoutine, answer


class Plain:
    """What the sites of one plain run are. What is hidden and decided counts nothing, and is not here.

    values, densities:  by name. ``drawn`` are the names of those that were not decided.
    watch:              knows the vectorised loops whose steps are not alike.
    """

    def __init__(self, program: Program[Any], params: ParamStore | None, way: int | None = None) -> None:
        """Undecided sites are drawn, or have the value that ``some_value`` gives them in this ``way``."""
        self.values: dict[str, Any] = {}
        self.densities: dict[str, torch.Tensor] = {}
        self.drawn: set[str] = set()
        self.watch = Watch()
        self._labels, self._way = Labels(), way
        answer(TracePoutine(program.fn).traced(*program.args, **program.kwargs), self._answers(params))

    @property
    def rank(self) -> int:
        """How many batch dimensions the program has."""
        return max((density.dim() for density in self.densities.values()), default=0)

    def _answers(self, params: ParamStore | None) -> Runtime:
        answers = Runtime(params=params)
        draw, see = answers[Sample], answers[Observe]

        def value(site: Sample) -> Any:
            return draw(site) if site.is_decided or self._way is None else site.evolve(value=some_value(site, self._way))

        def sample(site: Sample) -> Message:
            found = value(site)
            self.watch.sent(found, not site.is_decided)
            self._count(found, not site.is_decided)
            return found  # type: ignore[no-any-return]  # a Sample

        def hidden_sample(site: Sample) -> Message:
            found = value(site)
            self.watch.sent(found, not site.is_decided, is_hidden=True)
            if not site.is_decided:
                self._count(self._labels.of(found), True)
            return found  # type: ignore[no-any-return]  # a Sample

        def observe(site: Observe) -> Message:
            found: Any = see(site)
            self.watch.sent(found, False)
            self._count(found, False)
            return found  # type: ignore[no-any-return]  # an Observe

        def hidden_observe(site: Observe) -> Message:
            found: Any = see(site)
            self.watch.sent(found, False, is_hidden=True)
            return found  # type: ignore[no-any-return]  # an Observe

        answers[Sample], answers[Observe], answers[EnterMarkov] = sample, observe, self.watch.enter
        answers.hidden = {Sample: hidden_sample, Observe: hidden_observe}
        return answers

    def _count(self, site: Any, is_drawn: bool) -> None:
        self.values[site.name], self.densities[site.name] = site.value, score(site).detach()
        if is_drawn:
            self.drawn.add(site.name)
