"""What the document of the laws states, and the objects of ``LAWS`` that say it: nothing is stated that is not put to the test, or the other way round."""

from __future__ import annotations

import pytest

from poutine.laws import LAWS
from poutine.laws.handlers import CONFIGURATIONS
from poutine.laws.witnesses import DO_NOT_COMMUTE

COMMUTES = tuple(f"C.{kind}" for kind in CONFIGURATIONS)
INSIDE = tuple(f"C.{kind}.inside" for kind in ("scale", "mask", "indep", "trace", "condition", "replay", "uncondition"))

STATED = {
    # H. Any handler
    "identity: Poutine∘p ≈ p": ("H1",),
    "associativity: (h∘g)∘p ≈ h∘(g∘p)": ("H2",),
    "unit: h∘(return x) returns x": ("H3",),
    "sequencing: h∘(p then k) ≈ (h∘p) then (x ↦ h∘k(x))": ("H4",),
    "unknown messages pass untouched, replies too": ("H5", "H14"),
    "a program that is dropped is closed, its finally runs once": ("H6",),
    "an error from outside reaches the program; its own leaves unchanged; one that is swallowed is raised again": ("H7",),
    "re-entrant: nested in itself, interleaved, in threads; the object is equal to itself before and after": ("H8", "H13"),
    "whatever a handler wraps is affected wherever it is iterated": ("H9",),
    "disjoint commutation": ("H10",),
    "nothing ambient": ("H11",),
    "running again gives the same": ("H12",),
    "stepping k programs in any interleaving gives what each gives alone": ("H13",),
    "what passes keeps its gradient, its contents, its meaning, its constraint, its name and its context": (
        "H15",
        "H16",
        "H17",
        "H18",
        "H19",
        "H20",
    ),
    "where a program comes to its end, so it does under a handler": ("H23",),
    "a program is run once": ("H26",),
    "a message of a user's own is answered, and heard": ("H24", "H25"),
    "what comes back is a value that may be, with what was done to it further out": ("H21", "H22"),
    "an answer goes to the site that it is for": ("H27",),
    # I. Identities, idempotence, fusion
    "scale(1), mask(True), condition({}), substitute({}), replay of nothing, … are identities": ("I.neutral",),
    "idempotent: trace, block, replay, mask, uncondition, lift": ("I.idempotent",),
    "scale(a)∘scale(b) = scale(ab)": ("I.scale",),
    "mask(m)∘mask(n) = mask(m∧n)": ("I.mask",),
    "block(hide=A)∘block(hide=B) = block(hide=A∪B)": ("I.block",),
    'scope(a)∘scope(b) = scope("a/b")': ("I.scope",),
    "scope(a): sites, plates and loops have the prefix outside, and their own names inside": ("I.names",),
    "substitute, replay: outer overrides inner, associative": ("I.outer-wins", "I.replay", "I.sites", "I.infer_config"),
    "seed, lift: inner wins": ("I.seed", "I.lift", "I.do"),
    "frames outermost first; one name at two depths is an error; entries are counted": ("I.indep", "I.entries"),
    "a second read of a lifted param gets the same value": ("I.read-again",),
    "a handler that is strict about names is the same where they are there, and an error where not": ("I.strict",),
    # B. Block
    "h∘block()∘p ≈ block()∘p": ("B.isolates",),
    "names, values and log density without A": ("B.hides", "B.types", "B.exposes"),
    "an inner trace sees all; an escape outside never fires on a hidden site": ("B.inner", "B.escape"),
    "equal when h acts only outside A": ("B.outside",),
    # C. Commutation
    "scale, mask, indep commute with one another and with trace, condition, replay, uncondition, lift; seed with most": COMMUTES + INSIDE,
    "condition with replay: data wins in both orders": ("C.data-wins",),
    "a site that the model observes stands, or whoever names it is refused": ("C.observed",),
    "scope(a)∘condition(d) ≈ condition({a/k: v})∘scope(a)": ("C.scoped-names",),
    "condition(d)∘do(e) ≈ do(e)∘condition(d): the trace has d, the model gets e": ("C.intervened",),
    "condition outside lift sees the lifted sites; inside it cannot": ("C.lifted-names",),
    # R. Round trips
    "trace(replay(p, t)) ≈ t; with a partial trace, the other sites keep their draws": ("R.replay", "R.partial"),
    "what comes back is what went out": ("R.reply",),
    "draws are keyed by (seed, name, visit): conditioning or removing a site moves no other": ("R.draws", "R.keys"),
    "what a value map gives arrives as it is, with its gradient; in a plate, for each element": ("R.given", "R.shared"),
    "an index is replayed into a plate of its size only": ("R.index",),
    "under seed(a), nothing that is drawn depends on the seed outside": ("R.seed",),
    "condition(p, latents of t): lp is lp(t), everything observed": ("R.condition",),
    "uncondition∘condition(p, d) ≈ p": ("R.uncondition", "R.predict"),
    "log density as a function, at the values of t, is lp(t)": ("R.substitute",),
    "constrain∘unconstrain is the identity in the interior": ("R.constrain", "R.params"),  # unflatten∘flatten: test_density
    "pickle.loads(pickle.dumps(x)) == x": ("R.pickle",),
    "resuming a recorded prefix and finishing = running once": ("R.prefix",),
    "a site that is observed, and is not any more, is what it was": ("R.observed",),
    # D. Densities
    "additive over sites; the batched one sums to the other": ("D.additive",),
    "memo = recomputation": ("D.memo",),
    "lp(scale(a)∘p) = a·lp(p)": ("D.scale",),
    "lp(mask(m)∘p) = Σ where(m, lp, 0), with exactly zero gradient where off": ("D.mask", "D.mask-gradient"),
    "lp(condition(d)∘p at z) = lp(p at (z, d))": ("D.condition",),
    "lp(lift(p, π) at θ) = log π(θ) + lp(substitute(p, θ))": ("D.lift", "D.prior"),
    "condition and do differ exactly when the site has ancestors that matter": ("D.do",),
    "a factor shifts lp and moves no value": ("D.factor",),
    "a vectorised plate of n = n sequential sites": ("D.plate", "D.broadcast", "D.index"),
    "scope, infer_config, seed, trace leave lp as it is": ("D.keeps", "D.draws"),
    # K. Graph
    "dense edges go forward, have no cycle, contain every true dependency": ("K.forward", "K.provenance"),
    "none between two branches of one sequential plate": ("K.branches",),
    "editing a copy never changes the original": ("K.copy",),
    "removing a node leaves the induced subgraph": ("K.remove",),
    "each site once, in order; two of one name are refused before anything is drawn": ("K.records", "K.duplicates"),
    "the entries of plates in a traced program are numbered from 1": ("K.entries",),
}

# What does not commute has a witness instead of a law.
WITNESSED = (("condition", "uncondition"), ("condition", "block"), ("condition", "scope"))


@pytest.mark.parametrize("statement", STATED)
def test_a_statement_is_put_to_the_test(statement: str):
    assert all(name in LAWS for name in STATED[statement])


def test_every_law_is_stated():
    stated = [name for names in STATED.values() for name in names]
    assert LAWS.keys() == {*stated}


@pytest.mark.parametrize("pair", WITNESSED, ids="-".join)
def test_what_is_said_not_to_hold_has_a_witness(pair: tuple[str, str]):
    assert pair in DO_NOT_COMMUTE
