"""Live: one open run of a program, which is answered message by message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from interpreters.errors import StructureChanged
from interpreters.replies import unsealed, valued
from interpreters.steps.answers import Answer, is_open, own
from poutine import (
    UNDECIDED,
    EnterMarkov,
    EnterPlate,
    Message,
    ParamStore,
    Passing,
    Place,
    Probed,
    Program,
    Running,
    Runtime,
)

T = TypeVar("T")


@attrs.frozen(eq=False)
class Setup(Generic[T]):
    """What is run, and who answers it: ``runtime(seed, params)`` makes the answers for one run."""

    program: Program[T]
    seed: int = 0
    params: ParamStore | None = None
    runtime: Callable[[int, ParamStore | None], Runtime] = Runtime


@attrs.frozen(eq=False)
class Ending(Generic[T]):
    """How a run ended: it returned ``value``, or raised ``error``."""

    value: T | None = None
    error: Exception | None = None


@attrs.frozen(eq=False)
class Pause(Generic[T]):
    """Where a run stands: at ``pending``, or at its ``ending``; ``answered`` is what it was sent last.

    way:     how ``pending`` came up the chain so far.
    places:  where each of its generators waits, outermost first.
    """

    answered: Answer | None
    pending: Message | None
    way: tuple[Passing, ...]
    places: tuple[Place, ...]
    ending: Ending[T] | None


class Live(Generic[T]):
    """An open run, at ``pause``. Whoever opens it closes it.

    The numbers of plates' entries, and the steps of markov loops, are answered in passing: they follow from the program.
    """

    def __init__(self, setup: Setup[T]) -> None:
        self._probed = Probed.of(setup.program)
        self._runtime = setup.runtime(setup.seed, setup.params)
        self._running = Running(self._probed.program)
        self._natural: Message | None = None
        self.pause = self._go(self._running.begin)

    def natural(self) -> Message:
        """What the runtime answers to the message that it waits at. Raises what the runtime raises."""
        if self._natural is None:
            self._natural = self._ask(self._pending())
        return self._natural

    def step(self) -> Pause[T]:
        """Answers as the runtime does, and goes on to the next message or to the end."""
        return self._step(None)

    def reply(self, value: Any, edited: bool = True) -> Pause[T]:
        """Answers with ``value``, whatever the runtime would answer."""
        site = self._valued(own(value))
        return self._reply(site, Answer.of(site, given=True, edited=edited))

    def replay(self, answer: Answer) -> Pause[T]:
        """Answers as before. Raises ``StructureChanged`` if it waits at another message than before, or one of another log density."""
        here, before = self.pause.pending, unsealed(answer.site)
        if here is None or (type(unsealed(here)), unsealed(here).name) != (type(before), before.name):
            now = "it ended" if here is None else f"it yielded {unsealed(here)!r}"
            raise _changed(f"instead of site {before.name!r} ({before.type}) {now}")
        return self._step(answer) if answer.given is UNDECIDED else self._again(self._valued(answer.given), answer)

    def close(self) -> None:
        self._running.close()

    def _pending(self) -> Message:
        assert self.pause.pending is not None, "it has ended"
        return self.pause.pending

    def _ask(self, message: Message) -> Message:
        return self._runtime[type(message)](message)

    def _valued(self, value: Any) -> Message:
        """The message that it waits at, answered with ``value``."""
        if self._natural is None:  # then the runtime has not counted this visit
            self._natural = self._ask(valued(self._pending(), value))
        return valued(self._natural, value)

    def _step(self, answer: Answer | None) -> Pause[T]:
        """Answers as the runtime does; ``answer`` is what is known of that from before."""
        try:
            site = self.natural()
        except Exception as error:
            return self._go(self._running.fail, error)
        return self._again(site, answer) if answer else self._reply(site, Answer.of(site, given=is_open(self._pending()), edited=False))

    def _again(self, site: Message, answer: Answer) -> Pause[T]:
        difference = answer.difference(site)
        if difference is not None:
            raise _changed(f"at site {unsealed(site).name!r} {difference}")
        return self._reply(site, answer)

    def _reply(self, site: Message, answer: Answer) -> Pause[T]:
        """Sends ``site``. Program and record have a value each, so that neither is changed through the other, in place."""
        copy = valued(site, own(unsealed(site).value))
        if answer.given is UNDECIDED:  # the program has the value, whatever it is sent
            return self._go(self._running.reply, site, answer=attrs.evolve(answer, site=copy))
        return self._go(self._running.reply, copy, answer=answer)

    def _go(self, way: Callable[..., None], *what: Any, answer: Answer | None = None) -> Pause[T]:
        self._natural = None
        self._probed.forget()
        ending: Ending[T] | None = None
        try:
            way(*what)
            while (message := self._running.message) is not None and isinstance(unsealed(message), EnterPlate | EnterMarkov):
                self._running.reply(self._ask(message))
        except Exception as error:
            ending = Ending(error=error)
        else:
            ending = Ending(self._running.value) if message is None else None
        self.pause = self._paused(what, answer, ending)
        return self.pause

    def _paused(self, sent: tuple[Any, ...], answer: Answer | None, ending: Ending[T] | None) -> Pause[T]:
        visits = self._probed.visits() or [()]
        answered = answer.passing(visits[0], *sent) if answer is not None else None
        way = visits[-1] if ending is None else ()
        return Pause(answered, self._running.message, way, self._running.places(), ending)


def _changed(how: str) -> StructureChanged:
    return StructureChanged(
        f"the program did not do the same twice: {how}; a program that is stepped through must depend on nothing but its arguments and what "
        "it is sent"
    )
