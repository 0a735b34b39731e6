"""EnterPlate and EnterMarkov: plates and loops ask how they are to be gone through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from poutine.messages.frames import CondIndepStackFrame
from poutine.messages.message import Message


@attrs.frozen
class PlateEntry:
    """The answer to ``EnterPlate``: the number of this entry, from 1, and the frames of the plates around, outermost first.

    ``wide``: values may have batch dimensions to the left of all plates, those of a runtime that takes many values at once.
    """

    counter: int
    around: tuple[CondIndepStackFrame, ...]
    wide: bool = False


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class EnterPlate(Message):
    """A plate asks for its number; plates around it add their frames on the way up. Its value is a ``PlateEntry``."""

    type: ClassVar[str] = "enter_plate"
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)

    def __init__(self, name: str) -> None:
        self.__dict__.update(name=name)


@attrs.frozen
class MarkovEntry:
    """The answer to ``EnterMarkov``: the steps to run now, from ``start`` to before ``stop``, and the state that they start from.

    More than one step at once is for a runtime that takes all states together; ``loop`` then marks the frame of its sites, and ``dim`` is
    the batch dimension of the steps.
    ``watch`` is for one that must know what handlers around the loop do: it is shown each site of the steps as they get it.
    """

    start: int
    stop: int
    state: Any
    loop: object = None
    dim: int = -1
    watch: Callable[[Message], None] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class EnterMarkov(Message):
    """A ``markov`` loop of ``size`` steps has come to step ``start`` with ``state``; it ends at ``size``. Its value is a ``MarkovEntry``.

    ``vectorized``: the steps after the first may be run at once. Plates around the loop add their frames on the way up.
    """

    type: ClassVar[str] = "enter_markov"
    start: int = attrs.field(init=False)
    size: int = attrs.field(init=False)
    state: Any = attrs.field(init=False)
    vectorized: bool = attrs.field(init=False)
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)

    def __init__(self, name: str, start: int, size: int, state: Any, vectorized: bool) -> None:
        self.__dict__.update(name=name, start=start, size=size, state=state, vectorized=vectorized)
