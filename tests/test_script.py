"""The scripted runtime must itself catch what it is there to catch."""

from __future__ import annotations

import pytest
from torch.distributions import Normal

from poutine import Observe, Program, Sample
from tests.script import AS_IT_IS, perform

NORMAL = Normal(0.0, 1.0)


def model():
    x = yield Sample("x", NORMAL)
    yield Observe("y", NORMAL, x)
    return x + 1


def test_a_program_that_follows_the_script():
    assert perform(model, [(Sample("x", NORMAL), 2.0), (Observe("y", NORMAL, 2.0), AS_IT_IS)]) == 3.0


def test_another_message_than_the_script_has():
    with pytest.raises(AssertionError, match=r"Sample\('x'.*\n.*expected: Observe\('z'.*\nbut Observe\('y'") as caught:
        perform(model, [(Sample("x", NORMAL), 2.0), (Observe("z", NORMAL, 2.0), AS_IT_IS)])
    assert "-> 2.0" in str(caught.value)


def test_more_messages_than_the_script_has():
    with pytest.raises(AssertionError, match="expected: 'the end'"):
        perform(model, [(Sample("x", NORMAL), 2.0)])


def test_fewer_messages_than_the_script_has():
    def silent():
        return 1
        yield

    with pytest.raises(AssertionError, match="but the program ended"):
        perform(Program(silent), [(Sample("x", NORMAL), 2.0)])


def test_an_error_of_the_script_reaches_the_program():
    def careful():
        try:
            yield Sample("x", NORMAL)
        except LookupError as error:
            raise ValueError("seen") from error

    with pytest.raises(ValueError, match="seen"):
        perform(careful, [(Sample("x", NORMAL), LookupError("no"))])
