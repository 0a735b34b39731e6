"""Printed handlers run where they are pasted, under the imports of a printed model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poutine.laws import difference, handlers, outcome, programs
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.links import written
from poutine.laws.model import HEADER


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
