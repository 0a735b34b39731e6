"""Printed handlers run where they are pasted, under the imports of a printed model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal

from poutine.laws import difference, handlers, outcome, programs
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.links import written
from poutine.laws.model import HEADER
from poutine.laws.sources import source_of


@pytest.mark.parametrize("kind", CONFIGURATIONS)
@settings(max_examples=5)
@given(data=st.data())
def test_a_printed_handler_does_what_the_handler_does(kind: str, data: st.DataObject):
    program = data.draw(programs())
    handler = data.draw(handlers(program, [kind]))
    namespace: dict[str, Any] = {}
    exec(HEADER, namespace)
    pasted = eval(written(handler, "model"), {**namespace, "model": program})
    assert difference(outcome(pasted), outcome(handler(program))) is None


def test_a_distribution_of_several_numbers_is_written_in_full():
    assert (
        source_of(Independent(Normal(torch.zeros(2), 1.0), 1))
        == "Independent(Normal(loc=torch.tensor([0.0, 0.0]), scale=torch.tensor([1.0, 1.0])), 1)"
    )
