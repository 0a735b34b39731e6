"""Many runs of one program, answered by hand."""

from __future__ import annotations

from typing import Any

import pytest
from torch.distributions import Normal, Uniform

from poutine import Coroutine, Fleet, NotAMessage, Program, Sample, ScalePoutine, run


def either(log: list[str]) -> Coroutine[float]:
    """The first run has a Normal where the second has a Uniform."""
    log.append("begun")
    family: Any = Normal if len(log) == 1 else Uniform
    try:
        return (yield Sample("x", family, 0.0, 1.0))
    finally:
        log.append("closed")


def test_two_distributions_at_one_name_arrive_apart():
    log: list[str] = []
    with Fleet(Program(either, log), 2) as fleet:
        fleet.begin()
        arrived = [fleet.take(), fleet.take()]
        assert [[len(group.messages), *group.runs] for group in arrived if group is not None] == [[1, 0], [1, 1]]
        assert fleet.take() is None
    assert log == ["begun", "begun", "closed", "closed"]


def steps(until: int) -> Coroutine[None]:
    """Two sites, the first of which comes again as long as its value is below ``until``."""
    while (yield Sample("step", Normal, 0.0, 1.0)) < until:
        pass
    yield Sample("end", Normal, 0.0, 1.0)


def inside(until: int) -> Coroutine[None]:
    yield from steps(until)


@pytest.mark.parametrize("wrap", [
    lambda: Program(steps, 2), lambda: Program(inside, 2), lambda: ScalePoutine(inside, 2.0)(2), lambda: ScalePoutine(ScalePoutine(steps, 2.0), 2.0)(2),
])  # fmt: skip
def test_those_who_are_ahead_wait_for_those_who_are_not(wrap: Any):
    with Fleet(wrap(), 3) as fleet:
        fleet.begin()
        taken = []
        while (group := fleet.take()) is not None:
            taken.append((group.messages[0].name, sorted(group.runs)))
            values = [run + len(taken) - 1 for run in group.runs]  # run 2 leaves the loop at once, and run 0 last
            fleet.reply(group.runs, values, lambda j, group=group, values=values: group.messages[j].evolve(value=values[j]))
    assert taken == [("step", [0, 1, 2]), ("step", [0, 1]), ("step", [0]), ("end", [0, 1, 2])]


def test_what_does_not_start_says_which_run_it_was():
    def starts(made: list[int]) -> Any:
        made.append(1)
        if len(made) == 2:
            raise LookupError("no second one")
        return either([])

    with pytest.raises(LookupError, match="no second one") as caught, Fleet(Program(starts, []), 3) as fleet:
        fleet.begin()
    assert caught.value.__notes__ == ["in run 1 of 3"]


@pytest.mark.parametrize("wrap", [Program, lambda model: ScalePoutine(model, 2.0)()], ids=["bare", "with a poutine"])
def test_an_error_from_outside_reaches_the_run_where_it_waits(wrap: Any):
    log: list[str] = []

    def model() -> Coroutine[None]:
        try:
            yield Sample("a", Normal, 0.0, 1.0)
        except LookupError as error:
            log.append(str(error))
            raise

    with pytest.raises(LookupError, match="no a"), Fleet(wrap(model), 1) as fleet:
        fleet.begin()
        fleet.fail(0, Sample("a", Normal, 0.0, 1.0), LookupError("no a"))
    assert log == ["no a"]


def test_an_error_while_closing_does_not_keep_the_others_open():
    log: list[str] = []

    def stubborn() -> Coroutine[None]:
        try:
            yield Sample("x", Normal, 0.0, 1.0)
        finally:
            log.append("closed")
            raise ArithmeticError("while closing")

    fleet = Fleet(Program(stubborn), 2)
    fleet.begin()
    with pytest.raises(ArithmeticError, match="while closing"):
        fleet.close()
    assert log == ["closed", "closed"]


class ByHand:
    """A generator that is not Python's own."""

    def __iter__(self) -> ByHand:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return 3

    def throw(self, error: BaseException) -> Any:
        raise error

    def close(self) -> None:
        pass


def test_a_generator_that_is_not_pythons_own_has_a_name():
    with pytest.raises(NotAMessage, match="3"):
        run(Program(ByHand))
