"""Planted faults: each is caught by the law that is named, within the default budget; and its sound counterpart is not."""

from __future__ import annotations

from typing import Any

import pytest

from poutine import NonlocalExit
from poutine.laws import LAWS, LawBroken, check_law
from tests.laws import faults

BUDGET = 40


FAULTS = [
    # state
    ("H8", faults.CountsOnItself),
    ("H12", faults.CountsOnItself),
    ("H12", faults.RemembersValues),
    ("H12", faults.EntersOnce),
    ("H13", faults.GlobalStack),
    ("H12", faults.StartsAtOnce),
    ("H8", faults.WritesOnData),
    # running programs
    ("H6", faults.NeverCloses),
    ("H7", faults.KillsOnError),
    ("H7", faults.SwallowsErrors),
    ("H7", faults.WrapsErrors),
    ("H7", faults.swallowing(ValueError)),
    ("H7", faults.swallowing(NonlocalExit)),
    ("H7", faults.swallowing(KeyboardInterrupt)),
    ("H7", faults.swallowing(BaseException)),
    ("H7", faults.AnswersForOthers),
    ("H6", faults.GoesOnAtTheEnd),
    ("H3", faults.ForgetsArguments),
    ("H3", faults.ReturnsNothing),
    ("H9", faults.OnlyOnGenerators),
    # passing messages
    ("H5", faults.AnswersEverything),
    ("H5", faults.CopiesUnknown),
    ("H5", faults.ReplacesReplies),
    ("H14", faults.OpensSealed),
    ("H14", faults.ScalesHidden),
    ("H14", faults.EscapesHidden),
    ("H15", faults.Detaches),
    ("H15", faults.DetachesData),
    ("H16", faults.RoundsInPlace),
    ("H16", faults.ShiftsDataInPlace),
    ("H16", faults.NotesInPlace),
    ("H17", faults.DropsKeywords),
    ("H17", faults.ScalesMasked),
    ("H18", faults.DropsConstraint),
    ("D.draws", faults.AnswersTwice),
    ("D.draws", faults.ShiftsValues),
    ("D.keeps", faults.ObservesLater),
    ("B.isolates", faults.OpensSealed),
    ("B.isolates", faults.EscapesHidden),
    # ambient state
    ("H11", faults.DrawsFromTorch),
    ("H11", faults.DrawsFromNumpy),
    ("H11", faults.DrawsFromRandom),
    ("H11", faults.SeedsTorch),
    ("H11", faults.WithoutGradients),
    ("H11", faults.ReadsGradMode),
    ("H11", faults.ReadsDtype),
    ("H11", faults.WritesGlobal),
    ("H11", faults.CountsOnClass),
    ("H11", faults.PatchesLibrary),
    # handlers of the library, done wrong
    ("C.scale", faults.DropsScale),
    ("H20", faults.DropsConfiguration),
    ("H20", faults.LosesFrames),
    ("I.lift", faults.LiftsAgain),
    ("I.outer-wins", faults.InnerWins),
    ("I.seed", faults.OuterSeedWins),
    ("C.condition", faults.SeedsByOrder),
    ("D.mask-gradient", faults.MasksByScale),
    ("I.scale", faults.SetsScale),
    ("H19", faults.KeepsPrefix),
    ("B.hides", faults.HidesTooMuch),
    ("C.intervened", faults.IntervenesOutside),
    ("R.replay", faults.ReplaysTwice),
    ("R.predict", faults.UnconditionsSome),
    # traces, done wrong
    ("D.memo", faults.tracing(faults.StaleTrace)),
    ("K.copy", faults.tracing(faults.SharedTrace)),
    ("K.remove", faults.tracing(faults.TangledTrace)),
    ("D.additive", faults.tracing(faults.ForgetfulTrace)),
    ("K.records", faults.RecordsRequests),
    ("K.duplicates", faults.tracing(faults.LastOneCounts)),
]


def name_of(fault: Any) -> str:
    return getattr(fault, "trace_class", fault).__name__


@pytest.mark.parametrize(("law", "fault"), FAULTS, ids=[f"{name_of(fault)}-{law}" for law, fault in FAULTS])
def test_fault_is_caught(law: str, fault: Any):
    with pytest.raises(LawBroken) as caught:
        check_law(LAWS[law], fault, BUDGET, shrink=False, seed=0)
    assert caught.value.law is LAWS[law]


@pytest.mark.parametrize("law", ["H2", "H3", "H6", "H7", "H12"])
def test_without_a_fault_nothing_is_caught(law: str):
    """A handler that drives the program by hand, as the faulty ones do, but closes it and throws errors into it."""
    check_law(LAWS[law], faults.DrivesWell)


def test_there_are_many_faults():
    assert len({name_of(fault) for _, fault in FAULTS}) >= 40
