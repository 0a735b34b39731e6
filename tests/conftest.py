"""Hypothesis profiles. ``HYPOTHESIS_PROFILE=deep make test``, or ``make deep`` for the laws alone.

dev   the default: few examples, the same in each run.
ci    more of them; also the same in each run. Chosen where the environment has ``CI``.
deep  150 for each law and kind of handler, tens of thousands in all, others in each run.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Random programs take long to draw, and one that is slow on a loaded machine is no fault.
COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

settings.register_profile("dev", COMMON, max_examples=10, derandomize=True)
settings.register_profile("ci", COMMON, max_examples=20, derandomize=True)
settings.register_profile("deep", COMMON, max_examples=150, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


def pytest_configure() -> None:
    """A shell starts what is to run in the background with SIGINT ignored, and the processes that tests interrupt would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
