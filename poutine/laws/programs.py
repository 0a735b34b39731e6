"""Random programs."""

from __future__ import annotations

from hypothesis import strategies as st

from poutine.laws.grammar import FIRST, KINDS
from poutine.laws.model import Model
from poutine.laws.writer import Draws, Features, Writer
from poutine.messages import Message


def programs(
    *,
    observations: bool = True,
    params: bool = True,
    asks: bool = True,
    plates: bool = True,
    loops: bool = True,
    submodels: bool = True,
    handlers: bool = True,
    blocks: bool = True,
    cleanup: bool = True,
    duplicates: bool = False,
    messages: st.SearchStrategy[Message] | None = None,
    first: tuple[str, ...] = (),
    rows: int = 0,
    prefix: str = "",
) -> st.SearchStrategy[Model]:
    """Generator models: straight lines, nested submodels (plain, as programs, under handlers), recursion, loops of drawn length,
    branches on drawn values, plates, ``markov`` loops, observations, params (constrained, and read again), computed values, factors,
    messages of the user's own, ``try`` with ``except`` and ``finally``.

    Each of the flags leaves something out: ``observations`` also stands for factors, ``asks`` for ``Ask`` messages, ``loops`` for
    ``markov``, ``handlers`` for those inside of the program, ``blocks`` for those of them that hide sites, ``cleanup`` for what is yielded in a ``finally``, where nobody answers it if
    the run is dropped. With ``duplicates``, two sites of a run may have one name, which a trace refuses.

    messages: of types of your own, which are sent, too; what comes back is recorded as a computed value.
    first:   what the model begins with in any case: "sample", "observe", "param", "constrained" (a param), "computed", "factor", "ask", "message".
    rows:    the size of a vectorised plate that the model is for; its argument is the index then.
    prefix:  begins every name.

    The model has no other arguments; ``run`` can run it if there are no asks, and ``poutine.laws.outcome`` can in any case. It prints as
    its source.
    """
    allowed = Features(observations, params, asks, plates, loops, submodels, handlers, blocks, cleanup, duplicates, messages)
    return st.composite(_model)(allowed, first, rows, prefix)


def _model(draw: Draws, allowed: Features, first: tuple[str, ...], rows: int, prefix: str) -> Model:
    return Model(Writer(draw, KINDS, allowed, prefix).model((FIRST[kind] for kind in first), rows))
