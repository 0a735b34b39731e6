"""What a failing test of a user's own shows runs where it is pasted: distributions, traces, values; and what a report shows tells two sides apart."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from poutine import Sample, block, scale
from poutine.equality import same
from poutine.laws import Difference, distributions, programs, traces, values
from poutine.laws.model import HEADER
from poutine.laws.printing import name_of


def shown(strategy: Any, number: int) -> tuple[Any, str]:
    """A value, and what a test that fails with it shows of it."""
    drawn = []

    @settings(max_examples=1, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @seed(number)
    @given(x=strategy.filter(lambda thing: drawn.append(thing) is None or len(drawn) > number))
    def fails(x: Any) -> None:
        drawn.append(x)
        raise AssertionError

    with pytest.raises(AssertionError) as failed:
        fails()
    (text,) = [note for note in failed.value.__notes__ if "fails(" in note]
    return drawn[-1], re.search(r"fails\(\n +x=(.*?),?\n\)", text, re.DOTALL)[1]  # type: ignore[index]  # it is there


def pasted(text: str, **names: Any) -> Any:
    namespace: dict[str, Any] = {}
    exec(HEADER, namespace)
    return eval(text, {**namespace, **names})


@pytest.mark.parametrize("number", range(8))
def test_distributions(number: int):
    dist, text = shown(distributions(), number)
    assert same(pasted(text), dist)


def model():
    x = yield Sample("x", Normal(0.0, 1.0))
    yield Sample("y", Normal(x, 1.0))
    return x


@pytest.mark.parametrize("partial", [False, True])
def test_traces_of_a_program_that_is_not_shown_itself(partial: bool):
    """The program is shown with the trace; where it is shown itself, not again."""
    trace, text = shown(programs(asks=False, first=("sample",)).flatmap(lambda program: traces(program, partial)), 3)
    comment = [line.strip().removeprefix("# ") for line in text.splitlines() if line.strip().startswith("#")]
    assert comment[0] == "def model():" and "return" in comment[-1]
    namespace: dict[str, Any] = {}
    exec(HEADER + "\n".join(comment), namespace)
    assert same(pasted(f"({text})", model=namespace["model"]), trace)
    _, scaled = shown(programs(first=("sample",)).flatmap(lambda program: traces(scale(program, scale=2.0), partial)), 3)
    assert scaled.startswith("# def model():") and "outcome(ScalePoutine(model, scale=2.0), seed=" in scaled
    _, both = shown(
        programs(asks=False, first=("sample",)).flatmap(lambda program: st.tuples(st.just(program), traces(program, partial))), 3
    )
    assert both.count("def model():") == 1 and "# def" not in both


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_traces(number: int, partial: bool):
    trace, text = shown(traces(model, partial), number)
    assert "outcome(model, seed=" in text
    assert same(pasted(text, model=model), trace)


def test_values():
    given_values, text = shown(values(model), 2)
    assert same(pasted(text), given_values)


def test_a_trace_of_a_random_program_is_one_of_the_model():
    @settings(max_examples=3, database=None)
    @given(programs().flatmap(lambda program: st.tuples(st.just(program), traces(program))))
    def look(pair: Any) -> None:
        assert name_of(pair[0]) == "model"

    look()


def test_a_program_under_poutines_is_written_with_them():
    assert name_of(scale(block(model, hide=["x"]), scale=2.0)) == "ScalePoutine(BlockPoutine(model, hide=['x']), scale=2.0)"


@pytest.mark.parametrize(
    ("left", "right", "first", "second"),
    [
        (torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64), "(torch.float32, of shape ())", "(torch.float64, of shape ())"),
        (torch.tensor(0.5), torch.tensor(0.5, requires_grad=True), "of shape ())", "of shape (), with a gradient)"),
        (1, True, "1", "True"),
        ("1", 1, "(str)", "(int)"),
    ],
)
def test_a_difference_shows_in_what_two_sides_differ(left: Any, right: Any, first: str, second: str):
    text = str(Difference("site 'x'", "value", left, right)).splitlines()
    assert first in text[1] and second in text[2]
