"""Lockstep: many instances of a program, advanced together although their control flow differs.

1. Every instance runs to its next message. Those who ask the same (type and name of the site, class of the distribution, shapes, what is
   around the site) are one group; their parameters are stacked, and one message asks for all of them.
2. So the batch is a program again: its messages are those of the groups, poutines and runtimes act on it, and only the
   outermost runtime draws. Instance i is equal in distribution to a single run; under the exact enumerator, exactly.
3. What cannot be stacked (a group of fewer than ``least``, a distribution that is not torch's, a bare callable, a site with a key of its own)
   is asked for one by one, under the name ``"instance_i/name"``.

A group's first message has the name of its site, a later one of that name in the batch ``"name#2"``, ``"name#3"``, …; its value and its
distribution have the group's dimension on the left of all others. ``infer["instances"]`` tells who asks.

The draws are keyed by (seed, name of the message, visit), one draw for a group. So the value of instance i depends on who is in its
group: it changes with n, and with whatever sends other instances another way; the same program, n and seed give the same.

Messages of the user's own pass one by one, as they came. A ``Param`` is asked for once, for all who read it at a time, and all get the
same. Each instance counts its own plates. What an instance hides, the batch hides.

**Laws**: ``lockstep(p, n) ≈ᴰ n runs of p``; with all values forced, each instance's trace and log densities are those of a single run.

Source: the grouping is that of autobatching for dynamic graphs, Neubig, Goldberg and Dyer, "On-the-fly operation batching in
dynamic computation graphs" (2017).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, TypeVar

import torch

from interpreters.batches.batch import Batch, Group, Scores
from interpreters.batches.gathering import Gathered, can_be_rows, gathered
from interpreters.batches.stacking import stacked
from poutine import (
    Choice,
    Coroutine,
    Deterministic,
    EnterPlate,
    Fleet,
    Handling,
    Message,
    Param,
    PlateEntry,
    Program,
    Rule,
    Sealed,
    as_program,
    batch_log_density,
)

T = TypeVar("T")
Score = Callable[[Choice, Choice], torch.Tensor | None]


def density(request: Choice, site: Choice) -> torch.Tensor | None:
    """What counts in a log density: every finished site that has one."""
    return batch_log_density(site)


def lockstep(
    program: Program[T] | Callable[..., Any],
    number: int,
    *,
    numbers: bool = False,
    least: int = 3,
    score: Score = density,
    note: Callable[[Group], object] | None = None,
    keep: bool = False,
) -> Coroutine[Batch[T]]:
    """Runs ``number`` instances of ``program`` together, and returns their ``Batch``.

    ::

        def walk():                                   # as long as it happens to be
            x = 0.0
            while (yield Sample("go", Bernoulli, 0.8)):
                x = yield Sample("x", Normal, x, 1.0)
            return x

        batch = run(Program(lockstep, walk, 10_000, numbers=True), seed=0)

    numbers:  a site whose arguments are plain numbers is answered by a plain number, in double precision, and not by a tensor: ten times
              faster, for programs that compute with Python's own operators and ``math``.
    least:    the size of the smallest group that is asked for at once.
    score:    from a group's request and its finished site to a log density of the site's batch shape, which is summed for each
              instance; None counts nothing. Sites that an instance hides do not count.
    note:     is called with each finished ``Group`` that is not hidden.
    keep:     keep the messages, for ``batch.trace(i)``.

    Raises ``BatchError`` at an answer of the wrong shape. What an instance raises leaves with a note that tells which one it was;
    all others are closed first. What the runtime raises is thrown into the instance that it is about.
    """
    if number < 1:
        raise ValueError(f"expected a positive number of instances, got {number}")
    batch = _Batching(Fleet(as_program(program), number), number, numbers, least, score, note, keep)
    whole: Batch[T] = yield Handling(Program(batch.run), {Message: Rule(down=batch.remember)})
    return whole


class _Batching:
    """How one batch asks, and what it remembers of it."""

    def __init__(
        self, fleet: Fleet[Any], number: int, numbers: bool, least: int, score: Score, note: Callable[[Group], object] | None, keep: bool
    ) -> None:
        self.fleet = fleet
        self.numbers, self.least, self.score, self.note, self.keep = numbers, least, score, note, keep
        self.scores = Scores(number)
        self.groups: list[Group] = []
        self._named: Counter[str] = Counter()
        self._entries: defaultdict[tuple[int, str], count[int]] = defaultdict(lambda: count(1))
        self._site: Any = None

    def run(self) -> Coroutine[Batch[Any]]:
        with self.fleet as fleet:
            fleet.begin()
            while waiting := fleet.take():
                for group in gathered(waiting):
                    yield from self.ask(group)
            return Batch(tuple(fleet.values), self.scores.sums(), tuple(self.groups) if self.keep else None)

    def remember(self, site: Message) -> Message:
        """A program is sent values; what became of a message on its way is seen here."""
        self._site = site
        return site

    def ask(self, asked: Gathered) -> Coroutine[None]:
        """Asks for what the members of a group wait for, and sends it to them."""
        first = asked.requests[0]
        if isinstance(first, (Param, EnterPlate)):
            yield from self._shared(asked)
        elif len(asked.members) >= self.least and (asked.recipe is not None or _is_computed(first)):
            yield from self._together(asked)
        else:
            for i, request in zip(asked.members, asked.requests, strict=True):
                yield from self._alone(i, request, asked.sealed)

    def _together(self, asked: Gathered) -> Coroutine[None]:
        name = asked.requests[0].name
        try:
            whole = stacked(asked, self._name(name), self.numbers)
            site = yield from self._asked(whole.message, asked.sealed)
            rows = whole.rows(site, self.numbers)
            self._finish(Group(name, asked.members, site, rows, whole), whole.message, asked.sealed)
        except Exception as error:
            self._fail(asked, error)
            return
        site_of = whole.site_of(site, rows)
        self._reply(name, asked.members, rows, lambda j: _resealed(site_of(j), asked.sealed))

    def _alone(self, i: int, request: Message, sealed: bool) -> Coroutine[None]:
        try:
            if isinstance(request, (Choice, Deterministic)):
                site = yield from self._asked(request.evolve(name=f"instance_{i}/{request.name}"), sealed)
                site = site.evolve(name=request.name)
                self._finish(Group(request.name, (i,), site, (site.value,)), request, sealed)
            else:
                site = yield from self._asked(request, sealed)
        except Exception as error:
            self.fleet.fail(i, request, error)
            return
        self._reply(request.name, (i,), (site.value,), lambda _: _resealed(site, sealed))

    def _shared(self, asked: Gathered) -> Coroutine[None]:
        """What all get the same of; of the entry into a plate, each its own number."""
        try:
            site = yield from self._asked(asked.requests[0], asked.sealed)
        except Exception as error:
            self._fail(asked, error)
            return
        sites = [self._numbered(i, site) if isinstance(site, EnterPlate) else site for i in asked.members]
        if isinstance(site, Param):
            self._finish(Group(site.name, asked.members, site, [site.value] * len(asked.members)), asked.requests[0], asked.sealed)
        self._reply(site.name, asked.members, [each.value for each in sites], lambda j: _resealed(sites[j], asked.sealed))

    def _numbered(self, i: int, entry: EnterPlate) -> Message:
        return entry.evolve(value=PlateEntry(next(self._entries[i, entry.name]), entry.value.around))

    def _finish(self, group: Group, request: Any, sealed: bool) -> None:
        """Scores and notes a group, if it is not hidden."""
        if sealed:
            return
        if isinstance(group.site, Choice):
            self.scores.add(group.members, self.score(request, group.site))
        if self.note is not None:
            self.note(group)
        if self.keep:
            self.groups.append(group)

    def _name(self, name: str) -> str:
        self._named[name] += 1
        return name if self._named[name] == 1 else f"{name}#{self._named[name]}"

    def _asked(self, message: Message, sealed: bool) -> Coroutine[Any]:
        """Asks for ``message``, hidden if ``sealed``; the finished site."""
        yield Sealed(message) if sealed else message
        site, self._site = self._site, None
        return site.message if sealed else site

    def _reply(self, name: str, members: Sequence[int], values: Iterable[Any], site: Callable[[int], Message]) -> None:
        try:
            self.fleet.reply(members, values, site)
        except BaseException as error:
            error.add_note(f"after the answer to its site {name!r}")
            raise

    def _fail(self, asked: Gathered, error: Exception) -> None:
        """Throws an error about a group into the instance whose own distribution raises one or, if there is none, into the first."""
        for i, request in zip(asked.members, asked.requests, strict=True):
            try:
                _ = request.dist if isinstance(request, Choice) else None
            except Exception as own:
                self.fleet.fail(i, request, own)
        self.fleet.fail(asked.members[0], asked.requests[0], error)


def _is_computed(message: Message) -> bool:
    return type(message) is Deterministic and can_be_rows(message.value)


def _resealed(site: Message, sealed: bool) -> Message:
    return Sealed(site) if sealed else site
