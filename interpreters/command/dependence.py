"""Whether the range of an observation is another one for other draws: an observation outside of one that is not can never be made."""

from __future__ import annotations

from typing import Any

import torch

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.looking import NoLooks, is_marked, mark
from interpreters.ranges import bounds
from poutine import Message, Observe, Program, Runtime, Sample, answer


def depends_on_draws(program: Program[Any], name: str, seed: int) -> bool:
    """Whether what the observation ``name`` can be is computed from what ``program`` draws, as a run with ``seed`` shows it.

    Of numbers of Python, such as the number of categories, it is if the program has looked at a draw before: ``Categorical(p[: int(k)])``.
    """
    answers = Runtime(seed)
    draw, drawn = answers[Sample], list[str]()
    is_free: list[bool] = []

    def sample(site: Sample) -> Message:
        found: Any = draw(site)
        if not site.is_decided:
            drawn.append(site.name)
            if isinstance(found.value, torch.Tensor):
                mark(found.value)
            else:  # a number of a bare callable's: nobody sees what is computed from it
                is_free.append(True)
        return found  # type: ignore[no-any-return]  # a Sample

    def observe(site: Observe) -> Message:
        if site.name == name:
            is_free.append(any(map(is_marked, bounds(site.dist))))
        return site

    answers[Sample], answers[Observe] = sample, observe
    try:
        with NoLooks(drawn):
            answer(program, answers)
    except NotVectorizable:  # a look; if it came after the observation, it is nobody's concern
        pass
    return not is_free or any(is_free)
