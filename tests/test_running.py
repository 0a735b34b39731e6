"""Running: a run that is answered by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.distributions import Normal

from poutine import Program, Running, Sample, scale
from poutine.laws.watch import Boom, Watched


def model():
    x = yield Sample("x", Normal(0.0, 1.0))
    return x + (yield from inner())


def inner():
    return (yield from Program(innermost))


def innermost():
    return (yield Sample("y", Normal(0.0, 1.0)))


def test_it_waits_at_each_message_for_its_site():
    with Running(scale(model, scale=2.0)()) as running:
        assert running.message is None
        running.begin()
        assert running.message == Sample("x", Normal(0.0, 1.0)).evolve(scale=2.0)
        running.reply(running.message.evolve(value=1.0))
        assert running.message is not None and running.message.name == "y"
        running.reply(running.message.evolve(value=2.0))
        assert running.message is None and running.value == 3.0


def test_it_knows_the_lines_where_its_generators_wait():
    with Running(Program(model)) as running:
        running.begin()
        assert [place.function for place in running.places()] == ["model"]
        running.reply(running.message.evolve(value=1.0))
        places = [place for place in running.places() if place.file == __file__]
        assert [place.function for place in places] == ["model", "inner", "innermost"]
        lines = Path(__file__).read_text().splitlines()
        assert [lines[place.line - 1].strip() for place in places] == [
            "return x + (yield from inner())",
            "return (yield from Program(innermost))",
            'return (yield Sample("y", Normal(0.0, 1.0)))',
        ]


def test_an_error_goes_in_at_the_yield_and_comes_out():
    watched = Watched(model)
    with Running(Program(watched)) as running:
        running.begin()
        with pytest.raises(Boom):
            running.fail(Boom())
    assert len(watched.thrown) == 1 and not watched.running and not watched.still_open


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_leaving_it_closes_all(steps: int):
    watched = Watched(model)
    with Running(Program(watched)) as running:
        for step in range(steps):
            running.reply(running.message.evolve(value=1.0)) if step else running.begin()
    assert watched.started == watched.ended == min(steps, 1)
    assert not watched.still_open


def test_of_a_deep_program_it_tells_the_innermost_places():
    def deep(n: int):
        return (yield Sample("x", Normal(0.0, 1.0))) if n == 0 else (yield from Program(deep, n - 1))

    with Running(Program(deep, 20_000)) as running:
        running.begin()
        places = running.places()
        assert len(places) == 50 and places[-1].function.endswith("deep")
        assert len(running.places(most=3)) == 3 and running.places(most=3) == places[-3:]
