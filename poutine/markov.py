"""markov: a part of a program that is run step after step, each of which depends on the one before through its state alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch

from poutine.decorators import Decorator, check_name
from poutine.errors import PlateError
from poutine.handlers.indep import IndepPoutine
from poutine.messages import Choice, Deterministic, EnterMarkov, MarkovEntry, Message, Param
from poutine.options import check_number, of_type, whole
from poutine.poutine import Poutine
from poutine.program import Coroutine, Program, Rule, Rules


def markov(
    name: str,
    size: int = None,  # type: ignore[assignment]  # it is required: without a default, Python would refuse a bare @markov without a word on it
    *,
    vectorized: bool = False,
) -> Decorator[MarkovPoutine]:
    """Makes a generator function of a step's number and a state into a chain of ``size`` steps; run the result with ``yield from``.

    ::

        @markov("weeks", len(y))
        def week(t, x):                                     # t = 0, 1, ...; x is None at first
            x = yield Sample("x", Categorical(initial if x is None else transition[x]))     # "x_0", "x_1", ...
            yield Observe("y", Normal(location[x], 1.0), y[t])
            return x                                        # the next step's x

        last = yield from week()                            # or week(x0), to begin with another state than None

    What a step uses of earlier ones is its state: a value, or a tuple of values (two of them make a chain of second order). A
    runtime that sums out discrete sites relies on that, and forgets the rest.

    size:        the number of steps.
    vectorized:  the same chain; but where a runtime takes all states of a discrete one together (``interpreters.elimination``), it
                 runs the first step, and then all others at once: there ``t`` is ``torch.arange(1, size)``, along a new
                 batch dimension, and sites are called "x_1:500". So the steps may not differ but by ``t``, and a
                 state is made of discrete sites of its own step. ``run`` goes step by step all the same, and so does such a runtime
                 where steps are not alike: a handler names a site of one of them or hides one, or a plate inside has the dimension
                 that the steps would take, the first from the right that no plate around the loop uses (give it another ``dim``).
                 In a plate, that is to the left of the plate's, and ``t`` a column beside its index ``i``: of shape [size - 1, 1].
                 So what is computed element by element has its place, as ``y[i, t]``, ``c[t]`` and ``0.1 * t`` do; a whole row,
                 ``y.T[t]``, has none.

    Sites have their step's number behind their names; a ``Param`` is one for all steps. The chain's value is the last state.
    **Law**: the log density is the same, whether ``vectorized`` or not.
    Raises ``PlateError`` (a ``ValueError``) without a positive size.
    """
    check_name("markov", name, size)
    return Decorator("markov", "the step's number and the state", MarkovPoutine, (name, size, vectorized))


@attrs.frozen(slots=False, eq=False, repr=False)
class MarkovPoutine(Poutine):
    """What ``markov`` makes: calls ``fn(t, state, *args, **kwargs)`` for each step."""

    name: str = attrs.field(validator=of_type(str))
    size: int = attrs.field(converter=whole)
    vectorized: bool = attrs.field(default=False, validator=of_type(bool))

    def __attrs_post_init__(self) -> None:
        if self.size is None:
            raise PlateError(self.name, "expected a whole number as size, the number of steps, got None")
        check_number(self.name, "size", self.size)

    def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
        state, *args = program.args or (None,)
        entry = yield from self._enter(0, state)
        while entry.start < self.size:
            state = yield from self._steps(entry)(*args, **program.kwargs)
            entry = yield from self._enter(entry.stop, state)
        return entry.state

    def _enter(self, start: int, state: Any) -> Coroutine[MarkovEntry]:
        entry: MarkovEntry = yield EnterMarkov(self.name, start, self.size, state, self.vectorized)
        return entry

    def _steps(self, entry: MarkovEntry) -> Callable[..., Any]:
        """The steps of ``entry``, as a function of the remaining arguments."""
        count = entry.stop - entry.start
        index = entry.start if count == 1 else torch.arange(entry.start, entry.stop).reshape(count, *[1] * (-1 - entry.dim))
        body = _NumberedPoutine(self.fn, f"_{entry.start}" if count == 1 else f"_{entry.start}:{entry.stop}", entry.watch)
        marked = body if count == 1 else IndepPoutine(body, self.name, True, entry.dim, size=count, loop=entry.loop)
        return lambda *args, **kwargs: marked(index, entry.state, *args, **kwargs)


@attrs.frozen(slots=False, eq=False, repr=False)
class _NumberedPoutine(Poutine):
    """Puts ``suffix`` behind the names of samples, observations and computed values."""

    suffix: str
    watch: Callable[[Message], None] | None = None

    def rules(self) -> Rules:
        suffix, watch = self.suffix, self.watch

        def enter(site: Any) -> Message:
            return site.replaced("name", site.name + suffix)  # type: ignore[no-any-return]  # a Choice or Deterministic

        def leave(site: Message) -> Message:
            return site.replaced("name", site.name.removesuffix(suffix))

        rule = Rule(up=enter, undo=leave) if watch is None else Rule(up=enter, down=_watched(watch, leave))
        return {Choice: rule, Deterministic: rule, Param: Rule(up=Param.of_all_steps)}


def _watched(watch: Callable[[Message], None], leave: Callable[[Message], Message]) -> Callable[[Message], Message]:
    def down(site: Message) -> Message:
        watch(site)
        return leave(site)

    return down
