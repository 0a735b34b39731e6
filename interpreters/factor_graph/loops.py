"""Markov loops while a program runs: which variables a step still sees, and all steps at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch.utils._pytree import tree_leaves, tree_map

from interpreters.errors import NotVectorizable
from interpreters.factor_graph.factors import Plate, Variable
from interpreters.factor_graph.layout import Layout, TooFewDimensions, plates_of
from poutine import CondIndepStackFrame, EnterMarkov, MarkovEntry


@attrs.frozen(eq=False)
class Chain:
    """All steps of a vectorised loop but its first. Step by step, a state of several variables goes from ``before`` to ``after``.

    first, last:  the same variables outside of ``plate``, the steps: in the first step of the loop, and after its end.
    """

    plate: Plate
    first: tuple[Variable, ...]
    before: tuple[Variable, ...]
    after: tuple[Variable, ...]
    last: tuple[Variable, ...]


@attrs.frozen(eq=False)
class _Steps:
    """Many steps at once: the plate that they are, and the state before each of them."""

    plate: Plate
    state: Any
    first: tuple[Variable, ...]
    before: tuple[Variable, ...]


@attrs.define(eq=False)
class _Open:
    """A loop that is running.

    in_turn:  whether its steps are taken one after the other.
    around:   how many plates are around it. ``dims`` are the dimensions of those inside it.
    seen:     the variables that it has made and can still see.
    """

    in_turn: bool
    around: int
    dims: set[int] = attrs.field(factory=set)
    seen: list[Variable] = attrs.field(factory=list)
    steps: _Steps | None = None


class Loops:
    """The loops that are running, innermost last, and the ``chains`` of those that have run.

    in_turn:  the names of those whose steps are not taken at once, although they are vectorised.
    """

    def __init__(self, layout: Layout, asks: bool, in_turn: Collection[str]) -> None:
        self._layout, self._asks, self._in_turn = layout, asks, in_turn
        self._open: list[_Open] = []
        self.chains: list[Chain] = []

    def note(self, variable: Variable) -> None:
        """A new variable belongs to the innermost loop."""
        if self._open:
            self._open[-1].seen.append(variable)

    def inside(self, frames: Sequence[CondIndepStackFrame]) -> None:
        """A site is in these plates."""
        for loop in self._open:
            loop.dims.update(dims_of(frames[loop.around :]))

    def enter(self, entry: EnterMarkov) -> MarkovEntry:
        """What a loop is to do next. Raises ``NotVectorizable`` where steps cannot be taken at once."""
        if entry.start == 0:
            self._open.append(_Open(not may_be_at_once(entry) or entry.name in self._in_turn, len(entry.cond_indep_stack)))
            return MarkovEntry(0, 1, entry.state)
        loop, state = self._open[-1], entry.state
        if loop.steps is not None:
            state = self._closed(entry, loop, loop.steps)
        elif not loop.in_turn and free_dim(entry) not in loop.dims:
            return self._opened(entry, loop)
        loop.in_turn = True
        self._forget(loop, self._seen(state))
        if entry.start == entry.size:
            self._open.pop()
            for variable in loop.seen:
                self.note(variable)
        return MarkovEntry(entry.start, entry.start + 1, state)

    def _opened(self, entry: EnterMarkov, loop: _Open) -> MarkovEntry:
        """The state before each of the steps: the variables of the first step's state once more, for all of the steps."""
        for outer in self._open[:-1]:  # in its other steps this loop would have another dimension
            if outer.steps is not None:
                raise NotVectorizable(
                    f"markov loop {entry.name!r} is not in the first step of the vectorised one around it; use vectorized=False"
                )
            outer.in_turn = True
        first = self._own(loop, self._seen(entry.state))
        around = plates_of(entry.cond_indep_stack)
        plate = Plate(entry.name, self._free_dim(entry), entry.size - 1, object())
        before = tuple(_copy(variable, around | {plate}, "before") for variable in first)
        state = self._carried(entry.state, dict(zip(first, before, strict=True)))
        self._forget(loop, ())
        loop.seen[:] = before
        loop.steps = _Steps(plate, state, first, before)
        return MarkovEntry(1, entry.size, state, plate.loop, plate.dim)

    def _closed(self, entry: EnterMarkov, loop: _Open, steps: _Steps) -> Any:
        """The state after all of the steps."""
        after = self._own(loop, self._seen(entry.state))
        if self._asks:
            self._check(entry, steps, after)
        around = plates_of(entry.cond_indep_stack)
        last = tuple(_copy(variable, around, "last") for variable in steps.first)
        state = self._carried(steps.state, dict(zip(steps.before, last, strict=True)))
        loop.seen.extend(last)
        self.chains.append(Chain(steps.plate, steps.first, steps.before, after, last))
        return state

    def _check(self, entry: EnterMarkov, steps: _Steps, after: tuple[Variable, ...]) -> None:
        """A step must give what it takes: the next step takes it."""
        if [variable.size for variable in after] == [variable.size for variable in steps.before] and not set(after) & set(steps.before):
            to = dict(zip(after, steps.before, strict=True))
            pairs = zip(tree_leaves(entry.state), tree_leaves(steps.state), strict=False)
            if len(tree_leaves(entry.state)) == len(tree_leaves(steps.state)) and all(self._same(a, b, to) for a, b in pairs):
                return
        raise NotVectorizable(
            f"markov loop {entry.name!r}: its steps cannot be taken at once, since the state that they end with is not made as after the first "
            "step, of values of discrete sites of the same step alone; index data by the step's number, make what is computed from the "
            "state before a site, or use vectorized=False"
        )

    def _same(self, ours: Any, before: Any, to: Mapping[Variable, Variable]) -> bool:
        if not isinstance(ours, torch.Tensor) or not isinstance(before, torch.Tensor):
            return ours is before or bool(ours == before)
        seen = self._layout.seen_in(ours)
        moved = self._layout.moved(ours, {old: new for old, new in to.items() if old in seen})
        return moved.numel() == before.numel() and bool(torch.equal(moved.squeeze(), before.squeeze()))

    def _carried(self, state: Any, to: Mapping[Variable, Variable]) -> Any:
        """The same state of other variables, which are given dimensions."""
        for variable in to.values():
            self._layout.place(variable, 0)

        def carry(leaf: Any) -> Any:
            seen = self._layout.seen_in(leaf)
            return self._layout.moved(leaf, {old: new for old, new in to.items() if old in seen}) if seen else leaf

        return tree_map(carry, state)

    def _seen(self, state: Any) -> list[Variable]:
        return [variable for leaf in tree_leaves(state) for variable in self._layout.seen_in(leaf)]

    def _own(self, loop: _Open, variables: Iterable[Variable]) -> tuple[Variable, ...]:
        """Those that the loop has made, in the order of the program."""
        among = set(variables)
        return tuple(variable for variable in loop.seen if variable in among)

    def _forget(self, loop: _Open, kept: Iterable[Variable]) -> None:
        """What a step made that is no part of the state is seen no more."""
        among = set(kept)
        self._layout.free(variable for variable in loop.seen if variable not in among)
        loop.seen[:] = [variable for variable in loop.seen if variable in among]

    def _free_dim(self, entry: EnterMarkov) -> int:
        dim = free_dim(entry)
        if -dim > self._layout.rank:
            raise TooFewDimensions(-dim)
        return dim


def may_be_at_once(entry: EnterMarkov) -> bool:
    """Whether it is asked for, and there are steps after the first one that make a difference."""
    return entry.vectorized and entry.size > 2


def free_dim(entry: EnterMarkov) -> int:
    """The dimension that ``indep`` will take for the steps."""
    taken = {frame.dim for frame in entry.cond_indep_stack}
    return next(dim for dim in range(-1, -len(taken) - 2, -1) if dim not in taken)


def dims_of(frames: Iterable[CondIndepStackFrame]) -> Iterator[int]:
    return (frame.dim for frame in frames if frame.vectorized and frame.dim is not None)


def _copy(variable: Variable, plates: frozenset[Plate], what: str) -> Variable:
    return attrs.evolve(variable, name=f"{variable.name} ({what})", values=variable.values.reshape(variable.size, -1)[:, 0], plates=plates)
