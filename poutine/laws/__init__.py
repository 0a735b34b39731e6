"""The law kit: random programs, random handlers, and the laws that hold between them. For handlers of your own, too.

::

    from poutine.laws import check_laws

    def test_doubled():
        check_laws(Doubled)

It is built on Hypothesis, whose profile says how many programs are tried. ``import poutine`` alone does not import this.
"""

from poutine.laws.ambient import ambient, module_state, state_of
from poutine.laws.ask import Ask, AskingRuntime
from poutine.laws.check import check_law, check_laws, laws_of
from poutine.laws.claims import Claims, claims_of
from poutine.laws.distributions import distributions
from poutine.laws.handlers import chains, handlers, link
from poutine.laws.law import Case, Law, law
from poutine.laws.links import Chain, Link
from poutine.laws.model import Model
from poutine.laws.outcome import Difference, Failure, Outcome, difference, outcome
from poutine.laws.programs import programs
from poutine.laws.report import Finding, LawBroken
from poutine.laws.stepping import Stepper, interleaved
from poutine.laws.subject import Subject
from poutine.laws.table import LAWS
from poutine.laws.traces import sampled, traces, values, without

__all__ = [
    "LAWS",
    "Ask",
    "AskingRuntime",
    "Case",
    "Chain",
    "Claims",
    "Difference",
    "Failure",
    "Finding",
    "Law",
    "LawBroken",
    "Link",
    "Model",
    "Outcome",
    "Stepper",
    "Subject",
    "ambient",
    "chains",
    "check_law",
    "check_laws",
    "claims_of",
    "difference",
    "distributions",
    "handlers",
    "interleaved",
    "law",
    "laws_of",
    "link",
    "module_state",
    "outcome",
    "programs",
    "sampled",
    "state_of",
    "traces",
    "values",
    "without",
]
