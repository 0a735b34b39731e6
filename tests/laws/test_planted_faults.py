"""Planted faults: each is caught by the law that is named, within the default budget; and its sound counterpart is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from poutine import NonlocalExit
from poutine.laws import LAWS, LawBroken, ambient, check_law, check_laws
from poutine.laws.ambient import changed
from poutine.laws.settings import patches
from tests.laws import careless, faults, hostile, lossy, overlooked

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
    # what somebody else thought of
    ("H11", hostile.CachesByName),
    ("H11", hostile.CachesDistributions),
    ("H11", hostile.CachesCells),
    ("H8", hostile.ActsInThreads),
    ("H12", hostile.ActsByAddress),
    ("H21", hostile.GivesUnconstrained),
    ("H20", hostile.DropsKey),
    ("H22", hostile.ReturnsTheRequest),
    ("H15", hostile.GivesFloats),
    ("H11", hostile.SampleDrawsItself),
    ("H19", hostile.RenamesOneWay),
    ("H11", hostile.EntersByItself),
    ("I.outer-wins", hostile.ForgetsThatItConditioned),
    ("C.observed", hostile.ObservesAgain),
    ("R.reply", hostile.ScalesTwice),
    ("D.scale", hostile.ScalesSamples),
    ("I.mask", hostile.SetsMask),
    ("I.indep", hostile.FramesInside),
    ("I.indep", hostile.ForgetsDepth),
    ("I.entries", hostile.AlwaysEntersFirst),
    ("I.entries", faults.EntersOnce),
    ("H4", hostile.SeedsVisits),
    ("I.read-again", hostile.LiftsAnew),
    ("D.prior", hostile.LiftsAnything),
    ("H11", hostile.AnswersHidden),
    ("R.prefix", hostile.EscapesLate),
    ("K.records", hostile.RecordsChoices),
    ("C.observed", hostile.ReplaysData),
    ("R.substitute", hostile.SubstitutesUnconstrained),
    ("C.intervened", hostile.RemovesWhatItDoes),
    ("I.scope", hostile.PrefixesOnce),
    ("D.broadcast", hostile.BroadcastsNothing),
    ("I.infer_config", hostile.InnerNotesWin),
    ("H20", hostile.UnconditionsWithoutKey),
    # what somebody is not careful about
    *(("H23", fault) for fault in careless.FAILING),
    *(("H11", fault) for fault in (*careless.LEAVING, *careless.DEPENDENT)),
    ("H20", careless.ProposesTheSame),
    ("H26", careless.trying_again(ValueError)),
    ("H26", careless.trying_again(RuntimeError)),
    ("H26", careless.trying_again(torch.linalg.LinAlgError)),
    *careless.ALMOST,
    *lossy.FAULTS,
    *overlooked.FAULTS,
]


def name_of(fault: Any) -> str:
    return getattr(fault, "trace_class", fault).__name__


# They are seen late, or by a law that takes long.
SLOW = (
    hostile.CachesByName,
    hostile.CachesDistributions,
    hostile.CachesCells,
    hostile.RemovesWhatItDoes,
    hostile.ActsByAddress,
    hostile.SubstitutesUnconstrained,
)
PARAMS = [pytest.param(law, fault, marks=pytest.mark.slow) if fault in SLOW else (law, fault) for law, fault in FAULTS]


@pytest.mark.parametrize(("law", "fault"), PARAMS, ids=[f"{name_of(fault)}-{law}" for law, fault in FAULTS])
def test_fault_is_caught(law: str, fault: Any):
    with pytest.raises(LawBroken) as caught:
        check_law(LAWS[law], fault, BUDGET, shrink=False, seed=0)
    assert caught.value.law is LAWS[law]


@pytest.mark.parametrize("fault", careless.LEAVING)
def test_what_a_handler_leaves_behind_is_put_back(fault: Any):
    before = {**ambient(), **patches()}
    with pytest.raises(LawBroken, match="law H11 does not hold"):
        check_law(LAWS["H11"], fault, 1, shrink=False, seed=0)
    assert changed(before, {**ambient(), **patches()}) is None


@pytest.mark.parametrize("fault", careless.FAILING[:3])
def test_what_fails_is_said_to_fail_first_of_all(fault: Any):
    with pytest.raises(LawBroken, match="law H23 does not hold: where p comes to its end, so does h∘p\n") as caught:
        check_laws(fault, max_examples=5, seed=0)
    assert isinstance(caught.value.finding.found, str) and "model alone returns" in caught.value.finding.found


def test_a_handler_under_which_no_program_comes_to_its_end_is_shown_to_do_nothing():
    with pytest.raises(
        LawBroken, match="first difference, at the end of the run: in none of the cases does it come to its end; here Plate"
    ):
        check_laws(careless.RefusesAll, ["H23"], seed=0)


WITH_MESSAGES = [
    *((law, fault, lossy.QUERIES) for law, fault in lossy.ABOUT_QUERIES),
    *((law, fault, overlooked.STATEFUL) for law, fault in overlooked.ABOUT_STATE),
]


@pytest.mark.parametrize(("law", "fault", "messages"), WITH_MESSAGES, ids=[f"{name_of(fault)}-{law}" for law, fault, _ in WITH_MESSAGES])
def test_a_fault_with_a_message_of_its_own_is_caught(law: str, fault: Any, messages: Any):
    with pytest.raises(LawBroken) as caught:
        check_law(LAWS[law], fault, BUDGET, shrink=False, seed=0, messages=messages)
    assert caught.value.law is LAWS[law]


@pytest.mark.slow
@pytest.mark.parametrize("sound", overlooked.SOUND_ABOUT_STATE)
def test_what_is_sound_with_messages_of_its_own_is_not_accused(sound: Any):
    check_laws(sound, seed=0, messages=overlooked.STATEFUL)


@pytest.mark.parametrize("law", ["H24", "H25"])
@pytest.mark.parametrize("sound", [lossy.PassesOn, lossy.Draws])
def test_who_answers_some_messages_and_passes_others_on_is_not_accused(law: str, sound: Any):
    check_law(LAWS[law], sound, 20, seed=0, messages=lossy.QUERIES)


@pytest.mark.parametrize("law", ["H2", "H3", "H6", "H7", "H12"])
def test_without_a_fault_nothing_is_caught(law: str):
    """A handler that drives the program by hand, as the faulty ones do, but closes it and throws errors into it."""
    check_law(LAWS[law], faults.DrivesWell)


@pytest.mark.parametrize(
    ("law", "fault", "left", "right"),
    [
        ("H8", faults.CountsOnItself, "CountsOnItself(model), in a thread", "a fresh CountsOnItself(model)"),
        ("H9", faults.OnlyOnGenerators, "h(generator function)", "OnlyOnGenerators(model)"),
        ("H12", faults.RemembersValues, "RemembersValues(model), again with another seed", "a fresh RemembersValues(model)"),
        ("H13", faults.GlobalStack, "GlobalStack(model): run 0 of three, in the order", "GlobalStack(model), alone"),
    ],
)
def test_a_report_says_what_its_two_sides_are(law: str, fault: Any, left: str, right: str):
    with pytest.raises(LawBroken) as caught:
        check_law(LAWS[law], fault, BUDGET, shrink=False, seed=0)
    finding = caught.value.finding
    assert finding.left.startswith(left) and finding.right.startswith(right)
    assert f"left:   {left}" in str(caught.value) and f"right:  {right}" in str(caught.value)


def test_a_cache_of_a_function_that_gives_the_same_for_the_same_is_no_fault():
    check_law(LAWS["H11"], hostile.ScalesBySquare, 2, seed=0)
    assert hostile._square.cache_info().currsize == 1


@pytest.mark.slow
@pytest.mark.parametrize("sound", [*hostile.SOUND, *overlooked.SOUND])
def test_what_is_sound_is_not_accused(sound: Any):
    check_laws(sound, seed=0)


def test_there_are_many_faults():
    assert len({name_of(fault) for _, fault in FAULTS}) >= 120
