"""The handlers of this package obey the laws of any handler."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from interpreters.command.progress import WatchPoutine
from interpreters.weighted.numbered import NumberedPoutine
from poutine.laws import check_laws


@pytest.mark.slow
@pytest.mark.parametrize("handler", [partial(NumberedPoutine, prefix="particle_0"), partial(WatchPoutine, step=lambda: None)])
def test_the_laws_of_any_handler(handler: Any):
    check_laws(handler, max_examples=10)
