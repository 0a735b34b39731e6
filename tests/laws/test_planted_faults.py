"""Planted faults: each is caught by the law that is named, within a hundred examples; and its sound counterpart is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from poutine.laws import LAWS, LawBroken, Link, check_law
from poutine.laws.handlers import CONFIGURATIONS
from tests.laws import faults

BUDGET = 100  # the default of Hypothesis


def plain(handler: Any) -> Callable[[Any], st.SearchStrategy[Any]]:
    """A handler without options."""
    return lambda program: st.just(handler)


def like(kind: str, handler: Any) -> Callable[[Any], st.SearchStrategy[Link]]:
    """A handler with the options of one of the library's."""
    return lambda program: CONFIGURATIONS[kind](program).map(lambda options: Link(handler.__name__, handler, options))


FAULTS = [
    # state
    ("H8", plain(faults.CountsOnItself)),
    ("H12", plain(faults.CountsOnItself)),
    ("H12", plain(faults.RemembersValues)),
    ("H12", like("indep", faults.EntersOnce)),
    ("H13", plain(faults.GlobalStack)),
    ("H12", plain(faults.StartsAtOnce)),
    ("H8", like("condition", faults.WritesOnData)),
    # running programs
    ("H6", plain(faults.NeverCloses)),
    ("H7", plain(faults.KillsOnError)),
    ("H7", plain(faults.SwallowsErrors)),
    ("H7", plain(faults.WrapsErrors)),
    ("H3", plain(faults.ForgetsArguments)),
    ("H3", plain(faults.ReturnsNothing)),
    ("H9", plain(faults.OnlyOnGenerators)),
    # passing messages
    ("H5", plain(faults.AnswersEverything)),
    ("H5", plain(faults.CopiesUnknown)),
    ("H5", plain(faults.ReplacesReplies)),
    ("D.draws", plain(faults.AnswersTwice)),
    ("D.draws", plain(faults.ShiftsValues)),
    ("D.keeps", plain(faults.ObservesLater)),
    ("B.isolates", plain(faults.OpensSealed)),
    ("B.isolates", like("escape", faults.EscapesHidden)),
    # ambient state
    ("H11", plain(faults.DrawsFromTorch)),
    ("H11", plain(faults.DrawsFromNumpy)),
    ("H11", plain(faults.DrawsFromRandom)),
    ("H11", plain(faults.SeedsTorch)),
    ("H11", plain(faults.WithoutGradients)),
    # handlers of the library, done wrong
    ("C.scale", like("condition", faults.DropsScale)),
    ("C.infer_config", like("uncondition", faults.DropsConfiguration)),
    ("C.indep", like("lift", faults.LosesFrames)),
    ("I.lift", like("lift", faults.LiftsAgain)),
    ("I.outer-wins", like("substitute", faults.InnerWins)),
    ("I.seed", like("seed", faults.OuterSeedWins)),
    ("C.condition", like("seed", faults.SeedsByOrder)),
    ("D.mask-gradient", like("mask", faults.MasksByScale)),
    ("I.scale", like("scale", faults.SetsScale)),
    ("C.scoped-names", like("scope", faults.KeepsPrefix)),
    ("B.hides", like("block", faults.HidesTooMuch)),
    ("C.intervened", like("do", faults.IntervenesOutside)),
    ("R.replay", like("replay", faults.ReplaysTwice)),
    ("R.predict", like("uncondition", faults.UnconditionsSome)),
    # traces, done wrong
    ("D.memo", like("trace", faults.tracing(faults.StaleTrace))),
    ("K.copy", like("trace", faults.tracing(faults.SharedTrace))),
    ("K.remove", like("trace", faults.tracing(faults.TangledTrace))),
    ("D.additive", like("trace", faults.tracing(faults.ForgetfulTrace))),
    ("K.records", like("trace", faults.RecordsRequests)),
    ("K.duplicates", like("trace", faults.tracing(faults.LastOneCounts))),
]


def name_of(subject: Callable[[Any], Any]) -> str:
    handler = next(cell.cell_contents for cell in subject.__closure__ or () if isinstance(cell.cell_contents, type))
    trace = getattr(handler, "trace_class", None)
    return trace.__name__ if trace else handler.__name__


@pytest.mark.parametrize(("law", "fault"), FAULTS, ids=[f"{name_of(fault)}-{law}" for law, fault in FAULTS])
def test_fault_is_caught(law: str, fault: Callable[[Any], st.SearchStrategy[Any]]):
    with pytest.raises(LawBroken) as caught:
        check_law(LAWS[law], fault, BUDGET, shrink=False)
    assert caught.value.law is LAWS[law]


@pytest.mark.parametrize("law", ["H2", "H3", "H6", "H7", "H12"])
def test_without_a_fault_nothing_is_caught(law: str):
    """A handler that drives the program by hand, as the faulty ones do, but closes it and throws errors into it."""
    check_law(LAWS[law], plain(faults.DrivesWell))


def test_there_are_many_faults():
    assert len({name_of(fault) for _, fault in FAULTS}) >= 40
