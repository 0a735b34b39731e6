"""Many runs of a program in one: inside of ``torch.func.vmap``, where each run sees the shapes of a single one.

1. The program runs once. A reduction stays within a run; nothing that a run computes can reach another.
2. It is again a program: what it draws are messages, one for all runs, whose distribution and value have the runs' dimension on the left of
   all others. Between two messages it is inside of vmap, and while a message is out, outside.
3. What it has decided itself, observations and computed values, is answered inside, and goes no further.
4. What vmap cannot do, it refuses: a branch on a value, ``item()``, a write into a tensor that all runs share, a random number that is no
   site, a distribution that is not torch's and draws. Then ``NotVectorizable`` is raised, and ``lockstep`` runs such programs.

The draws are keyed by (seed, name, visit), one draw for all runs. ``Param`` is asked for once, and all get the same.

**Law**: ``vmapped(p, n) ≈ᴰ n runs of p``; with all values forced, each run's log densities are those of a single run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, Generic, TypeVar

import torch
from torch.utils._pytree import tree_map_only

from interpreters.batches.inside import Inside
from interpreters.batches.recipes import aligned
from interpreters.batches.stacking import ADDED, of_type, refuse_plates
from interpreters.batches.widening import widened
from interpreters.errors import BatchError, NotVectorizable
from interpreters.replies import unsealed
from poutine import (
    Coroutine,
    EnterMarkov,
    EnterPlate,
    Handling,
    Message,
    NoDensity,
    Param,
    ParamError,
    PoutineError,
    Program,
    Rule,
    Running,
    Sample,
    Sealed,
)
from poutine.priors import checked
from poutine.tensors import tensors_in

T = TypeVar("T")
S = TypeVar("S")

_MACHINERY: Final = (str(Path(torch.__file__).parent), Inside.step.__code__.co_filename)


def vmapped(
    make: Callable[[dict[str, torch.Tensor]], Program[T]],
    number: int,
    given: Mapping[str, torch.Tensor] | None = None,
    told: Callable[[str], object] | None = None,
) -> Coroutine[T]:
    """``number`` runs of ``make(row)``. Returns what one returns, with all of the tensors in its dictionaries, lists and tuples as [number, *shape].

    given:  tensors by name, each [number, *shape], of which ``row`` has each run's own.
    told:   is called with a sentence about each line whose operation vmap does for one run after the other.

    Raises ``NotVectorizable``; ``BatchError`` at an answer of the wrong shape, and inside of a vectorised plate.
    """
    runs = _Runs(Inside(number, told), make)
    whole: T = yield Handling(Program(runs.coroutine, dict(given or {})), {Message: Rule(down=runs.remember)})
    return whole


class _Runs(Generic[T]):
    """The one run that stands for all of them, seen from inside."""

    def __init__(self, inside: Inside, make: Callable[[dict[str, torch.Tensor]], Program[T]]) -> None:
        self.value: T | None = None
        self._inside, self._make = inside, make
        self._running: Running[T] | None = None
        self._site: Any = None

    def coroutine(self, given: dict[str, torch.Tensor]) -> Coroutine[T | None]:
        try:
            out = self.step(self.begin, given)
            while out is not None:
                try:
                    yield out
                    value = self.value_of(out, self._site)
                except Exception as error:
                    out = self.step(partial(self.fail, error))
                else:
                    out = self.step(partial(self.reply, out, self._site), value)
            return self.value
        finally:
            self._inside.step(self.close)

    def remember(self, site: Message) -> Message:
        """A program is sent values; what became of a message on its way is seen here."""
        self._site = site
        return site

    def step(self, act: Callable[[Any], S], given: Any = None) -> S:
        """``act`` inside. Raises ``NotVectorizable`` where it cannot be."""
        try:
            return self._inside.step(act, given)
        except NotVectorizable:
            raise
        except PoutineError as error:
            if not isinstance(error.__cause__, RuntimeError):
                raise
            raise NotVectorizable(f"when particles run at once, {error}") from error
        except RuntimeError as error:
            raise NotVectorizable(f"when particles run at once, {_told(error)}") from error

    def begin(self, row: dict[str, torch.Tensor]) -> Message | None:
        self._running = Running(self._make(row))
        self._running.begin()
        return self._next()

    def reply(self, out: Message, site: Message, row: Any) -> Message | None:
        """Sends the run its ``row`` of what ``site``, the answer to ``out``, has or, without one, ``site``."""
        assert self._running is not None and self._running.message is not None
        waiting: Any = self._running.message
        if row is not None:
            site = _finished(unsealed(waiting), unsealed(out), unsealed(site), row.clone())  # which a run may change in place
            try:
                checked(site)
            except ParamError as error:
                return self.fail(error, None)
            site = Sealed(site) if isinstance(waiting, Sealed) else site
        self._running.reply(site)
        return self._next()

    def fail(self, error: Exception, _: None) -> Message | None:
        assert self._running is not None
        self._running.fail(error)
        return self._next()

    def close(self, _: None) -> None:
        if self._running is not None:
            self._running.close()

    def value_of(self, out: Message, site: Message) -> torch.Tensor | None:
        """The value of a sample, [number, *shape]; None of what is answered alike in all runs. Raises ``BatchError``."""
        asked: Any = unsealed(out)
        answered: Any = unsealed(site)
        refuse_plates(asked, answered)
        if not isinstance(asked, Sample):
            return None
        dist: Any = asked.dist
        expected, value = dist.batch_shape + dist.event_shape, answered.value
        if not isinstance(value, torch.Tensor) or value.shape != expected:
            got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            raise BatchError(asked.name, f"expected a value of shape {tuple(expected)}, the first dimension for the particles, got {got}")
        return value

    def _next(self) -> Message | None:
        """The next message that is not decided inside, for all; None at the end, where ``value`` is there."""
        assert self._running is not None
        if self._inside.refusal is not None:
            raise NotVectorizable(f"the program goes on after an error that may be one particle's: {self._inside.refusal}")
        while (message := self._running.message) is not None:
            if not unsealed(message).is_decided:
                asked = self._for_all(unsealed(message))
                return Sealed(asked) if isinstance(message, Sealed) else asked
            self._running.reply(message)
        self.value = tree_map_only(torch.Tensor, self._inside.rows, self._running.value)
        return None

    def _for_all(self, request: Any) -> Message:
        if isinstance(request, Sample):
            dist = self._widened(request)
            around = {key: self._around(request, key, len(dist.batch_shape) - 1) for key in ("scale", "mask") if key in request.__dict__}
            return request.recast(fn=dist, args=(), kwargs={}, **around)
        if isinstance(request, (EnterPlate, EnterMarkov)):
            return request
        if isinstance(request, Param) and not any(differs for _, differs in self._inside.whole(*tensors_in(request.__dict__))):
            return request
        what = f"{type(request).__name__} {request.name!r}"
        if isinstance(request, Param):
            raise NotVectorizable(f"{what} is each particle's own")
        raise NotVectorizable(f"{what} cannot be asked for all particles at once")

    def _widened(self, request: Sample) -> Any:
        try:
            return widened(request.name, request.dist, self._inside)
        except NoDensity as error:
            raise NotVectorizable(str(error)) from error

    def _around(self, request: Sample, key: str, rank: int) -> Any:
        value = getattr(request, key)
        return aligned(self._inside.rows(value), rank - value.dim()) if isinstance(value, torch.Tensor) else value


def _finished(request: Message, out: Message, site: Message, row: torch.Tensor) -> Message:
    """``request``, answered with ``row``, and with all that ``site`` has got on its way since it was ``out``."""
    changed = {key: value for key, value in site.__dict__.items() if key in ADDED and value is not out.__dict__.get(key)}
    if any(isinstance(value, torch.Tensor) for value in changed.values()):
        raise NotVectorizable(f"site {request.name!r}: what is around it out here is of all particles")
    finished: Message = of_type(type(site), request, row)
    return finished.evolve(**changed) if changed else finished


def _told(error: BaseException) -> str:
    """The first sentence of an error, and the last line that it has come by on its way from torch."""
    lines = [line for line in extract_tb(error.__traceback__) if not line.filename.startswith(_MACHINERY)]
    at = f"{Path(lines[-1].filename).name}:{lines[-1].lineno}"
    where = f"`{lines[-1].line}` ({at})" if lines[-1].line else at  # of code without a file, there is no text
    return f"{where} raises {type(error).__name__}: {str(error).partition('. ')[0]}"
