"""The command line's precision: data is double, and so is what the model computes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpreters.precision import doubled
from poutine import Message, Param, ParamStore, Poutine, Program, Rule, Rules, Runtime, Sample


class DoublePoutine(Poutine):
    """Gives the program every sample and parameter of floating point in double precision, as its data is.

    torch's default is single precision, and ``X @ beta`` wants one type. To change the default would be to change it for everybody.
    """

    def rules(self) -> Rules:
        rule = Rule(down=doubled)
        return {Sample: rule, Param: rule}


def in_double(program: Program[Any]) -> Program[Any]:
    """``program`` under a ``DoublePoutine``."""
    return DoublePoutine(program.fn)(*program.args, **program.kwargs)


class DoubleRuntime(Runtime):
    """Answers as ``run`` does under a ``DoublePoutine``, which would be one more in the chain that a stepper shows."""

    def __init__(self, seed: int = 0, params: ParamStore | None = None) -> None:
        super().__init__(seed, params)
        for kind in (Sample, Param):
            self[kind] = _doubling(self[kind])


def _doubling(answer: Callable[[Any], Message]) -> Callable[[Any], Message]:
    return lambda message: doubled(answer(message))
