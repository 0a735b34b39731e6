"""How a batch asks: for each group one message or, where that cannot be, one for each instance; and what becomes of the answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol

import attrs
import torch

from interpreters.batches.batch import Batch, Group, Scores
from interpreters.batches.gathering import Gathered, can_be_rows, gathered
from interpreters.batches.plain import Owed, rows_log_density, rows_owed
from interpreters.batches.stacking import refuse_plates, stacked
from interpreters.errors import BatchError
from poutine import (
    Choice,
    Coroutine,
    Deterministic,
    DistributionError,
    EnterPlate,
    Fleet,
    Handling,
    Message,
    Observe,
    Param,
    PoutineError,
    Program,
    Rule,
    Sealed,
    batch_log_density,
)
from poutine.driver.arrivals import Alike, Apart
from poutine.messages import param_of
from poutine.priors import checked

Score = Callable[[Choice, Choice], torch.Tensor | None]


class Given(Protocol):
    """What decides samples of a batch, each instance's own, before they are asked for.

    ``knows``: whether there is anything at a name. ``decide``: the request of an instance with its value, and where that is from (only
    what is from one place is gathered in one group), or None if nothing is given there. ``settle``: the finished site of a group, of which
    ``first`` is one's own request.
    """

    def knows(self, name: str) -> bool: ...
    def decide(self, i: int, request: Message) -> tuple[Message, Hashable] | None: ...
    def settle(self, first: Any, members: Sequence[int], message: Any) -> Message: ...


class Batching:
    """How one batch asks, and what it remembers of it.

    score:  None for the log density of every site.
    given:  what decides samples, which are then hidden from outside; None for nothing.
    named:  how often each name was asked for, if another batch has used some before.
    """

    def __init__(
        self,
        fleet: Fleet[Any],
        number: int,
        numbers: bool,
        least: int,
        score: Score | None,
        note: Callable[[Group], object] | None,
        keep: bool,
        given: Given | None = None,
        named: Counter[str] | None = None,
    ) -> None:
        self.fleet = fleet
        self.numbers, self.least, self.score, self.note, self.keep = numbers, least, score, note, keep
        self.scores = Scores(number)
        self.groups: list[Group] = []
        self._given = given
        self._named: Counter[str] = Counter() if named is None else named
        self._entries: defaultdict[tuple[int, str], count[int]] = defaultdict(lambda: count(1))
        self._site: Any = None
        self._parameters: dict[str, tuple[torch.Tensor, int]] = {}  # as they were read last, and torch's count of changes in place

    def coroutine(self) -> Coroutine[Batch[Any]]:
        """The batch as a program."""
        whole: Batch[Any] = yield Handling(Program(self.run), {Message: Rule(down=self.remember)})
        return whole

    def run(self) -> Coroutine[Batch[Any]]:
        with self.fleet as fleet:
            fleet.begin()
            while (waiting := fleet.take()) is not None:
                for group in self._groups(waiting):
                    yield from self._together(group) if group.is_closed else self.ask(group)
            for name in self._parameters:
                self._check_unchanged(name)
            return Batch(tuple(fleet.values), self.scores.sums(), tuple(self.groups) if self.keep else None)

    def remember(self, site: Message) -> Message:
        """A program is sent values; what became of a message on its way is seen here."""
        self._site = site
        return site

    def _groups(self, waiting: Apart | Alike) -> Iterator[Gathered]:
        given = self._given
        if given is None or not given.knows(waiting.name if isinstance(waiting, Alike) else waiting.messages[0].name):
            yield from gathered(waiting, self.numbers)
            return
        decided: dict[Hashable, Apart] = {}
        others = Apart()
        for i, request in zip(waiting.runs, waiting.messages, strict=True):
            try:
                found = given.decide(i, request)
            except Exception as error:
                self.fleet.fail(i, request, error)
                continue
            if found is None:
                others.add(i, request)
            else:
                decided.setdefault(found[1], Apart()).add(i, found[0])
        for part in decided.values():
            yield from (attrs.evolve(group, given=True) for group in gathered(part, self.numbers))
        yield from gathered(others, self.numbers)

    def ask(self, asked: Gathered) -> Coroutine[None]:
        """Asks for what the members of a group wait for, and sends it to them."""
        first = asked.requests[0]
        if isinstance(first, (Param, EnterPlate)):
            yield from self._shared(asked)
        elif len(asked.members) >= self.least and (asked.recipe is not None or _is_computed(first)):
            yield from self._together(asked)
        else:
            for i, request in zip(asked.members, asked.requests, strict=True):
                yield from self._alone(i, request, asked)

    def _together(self, asked: Gathered) -> Coroutine[None]:
        name = asked.name
        try:
            whole = stacked(asked, name if asked.given else self._name(name), self.numbers)
            if asked.given and self._given is not None:
                site: Any = self._given.settle(asked.requests[0], asked.members, whole.message)
            else:
                yield Sealed(whole.message) if asked.sealed else whole.message
                site = self._answered(whole.message, asked.sealed)
            rows = whole.rows(site, self.numbers)
            if not asked.is_closed and param_of(asked.requests[0]) is not None:
                for request, row in zip(asked.requests, rows, strict=True):
                    checked(request.replaced("value", row))
            self._finish(Group(name, asked.members, site, rows, whole.message, whole), asked.sealed)
        except Exception as error:
            self._fail(asked, error)
            return
        site_of = whole.site_of(site, rows)
        self._reply(name, asked.members, rows, lambda j: _resealed(site_of(j), asked.sealed))

    def _alone(self, i: int, request: Message, asked: Gathered) -> Coroutine[None]:
        sealed = asked.sealed
        try:
            if isinstance(request, (Choice, Deterministic)):
                if asked.given and self._given is not None:
                    site: Any = self._given.settle(request, (i,), request)
                else:
                    site = yield from self._asked(request.evolve(name=f"instance_{i}/{request.name}"), sealed)
                    site = site.evolve(name=request.name)
                self._finish(Group(request.name, (i,), site, (site.value,), request), sealed)
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
            if isinstance(site.value, torch.Tensor) and not site.value.is_inference():
                self._check_unchanged(site.name)
                self._parameters[site.name] = site.value, site.value._version
            self._finish(Group(site.name, asked.members, site, [site.value] * len(asked.members), asked.requests[0]), asked.sealed)
        self._reply(
            site.name,
            asked.members,
            [each.value for each in sites],
            lambda j: _resealed(sites[j], asked.sealed),
        )

    def _check_unchanged(self, name: str) -> None:
        """Raises ``BatchError`` if an instance has changed a parameter that others were given, too."""
        value, version = self._parameters.get(name, (None, 0))
        if value is not None and value._version != version:
            raise BatchError(
                name,
                "an instance has changed the parameter's value in place, which all instances share; write w = w + x in place of w += x",
            )

    def _numbered(self, i: int, entry: EnterPlate) -> Message:
        return entry.evolve(value=attrs.evolve(entry.value, counter=next(self._entries[i, entry.name])))

    def _finish(self, group: Group, sealed: bool) -> None:
        """Scores and notes a group, if it is not hidden."""
        if sealed:
            return
        if isinstance(group.site, Choice):
            self.scores.add(group.members, self._score(group, group.site))
        if self.note is not None:
            self.note(group)
        if self.keep:
            self.groups.append(group)

    def _score(self, group: Group, site: Choice) -> torch.Tensor | Owed | None:
        if self.score is not None:
            return _checked(self.score(group.request, site), group)
        return rows_owed(site) if self.note is None else rows_log_density(site)  # who is shown a value may change it in place

    def _name(self, name: str) -> str:
        self._named[name] += 1
        return name if self._named[name] == 1 else f"{name}#{self._named[name]}"

    def _asked(self, message: Message, sealed: bool) -> Coroutine[Any]:
        """Asks for ``message``, hidden if ``sealed``; the finished site."""
        yield Sealed(message) if sealed else message
        return self._answered(message, sealed)

    def _answered(self, message: Message, sealed: bool) -> Any:
        """The finished site of ``message``, which has come by just now."""
        site, self._site = self._site, None
        if sealed:
            site = site.message
        refuse_plates(message, site)
        return site

    def _reply(
        self,
        name: str,
        members: Sequence[int],
        values: Iterable[Any],
        site: Callable[[int], Message],
    ) -> None:
        try:
            self.fleet.reply(members, values, site)
        except BaseException as error:
            error.add_note(f"after the answer to its site {name!r}")
            raise

    def _fail(self, asked: Gathered, error: Exception) -> None:
        """Throws an error about a group into the instance whose own site raises one or, if there is none, into the first."""
        # An error that is not of a site came of stacking the values, it may be; that of a distribution may be about a value.
        of_values = not isinstance(error, PoutineError) or isinstance(error, DistributionError)
        for i, request in zip(asked.members, asked.requests, strict=True):
            try:
                if of_values and isinstance(request, Observe):
                    batch_log_density(request)
                elif isinstance(request, Choice):
                    _ = request.dist
            except Exception as own:
                self.fleet.fail(i, request, own)
        self.fleet.fail(asked.members[0], asked.requests[0], error)


def _checked(term: Any, group: Group) -> torch.Tensor | None:
    """A score of the right shape. Raises ``BatchError``."""
    number = len(group.members)
    if term is None or (isinstance(term, torch.Tensor) and (number == 1 or term.shape[:1] == (number,))):
        return term
    got = f"shape {tuple(term.shape)}" if isinstance(term, torch.Tensor) else repr(term)
    raise BatchError(
        group.name, f"expected a score of shape ({number}, ...), the first dimension for the {number} instances that ask, got {got}"
    )


def _is_computed(message: Message) -> bool:
    return type(message) is Deterministic and can_be_rows(message.value)


def _resealed(site: Message, sealed: bool) -> Message:
    return Sealed(site) if sealed else site
