"""Choice: a site with a distribution, which it builds, draws by and scores with."""

from __future__ import annotations

from collections.abc import Mapping
from types import CoroutineType, GeneratorType
from typing import Any, Final, cast

import attrs
import torch

from poutine.densities import batch_log_density
from poutine.errors import DistributionError, NoDensity, PoutineError
from poutine.messages.distribution_like import DistributionLike, is_distribution
from poutine.messages.message import LIFTED, UNDECIDED, Message
from poutine.messages.site import Site
from poutine.randomness import Key, call_keyed


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Choice(Site):
    """A site with a distribution: ``Sample`` or ``Observe``.

    fn, args, kwargs:  a distribution, or whatever returns one (or, for a bare callable, a value) when called.
    key:  the (seed, name, visit) that a draw uses; None leaves it to the runtime.
    """

    fn: Any = attrs.field(init=False)
    args: tuple[Any, ...] = attrs.field(init=False)
    kwargs: Mapping[str, Any] = attrs.field(init=False)
    key: Key | None = attrs.field(init=False, eq=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what it has of a param that it was: the initial value may be a function that cannot be pickled, and only a run asks for it."""
        return {field: value for field, value in self.__dict__.items() if field not in LIFTED}

    @property
    def is_deferred(self) -> bool:
        """True if ``fn`` must be called to get the distribution (or the value)."""
        return not is_distribution(self.fn)

    @property
    def built(self) -> DistributionLike | None:
        """The distribution, if nobody need call ``fn`` for it any more; else None."""
        fn, args, kwargs, built, _ = self.__dict__.get("_built", _NOT_BUILT)
        kept = fn is self.fn and args is self.args and kwargs is self.__dict__.get("kwargs")
        return built if kept else None if self.is_deferred else self.fn

    @property
    def dist(self) -> DistributionLike:
        """The distribution, built at the first look and kept. Raises ``DistributionError``, ``NoDensity``."""
        fn, args, kwargs, built, with_grad = self.__dict__.get("_built", _NOT_BUILT)
        stale = fn is not self.fn or args is not self.args or kwargs is not self.__dict__.get("kwargs")
        if stale or (not with_grad and torch.is_grad_enabled()):  # what was built without gradients has none
            built = Choice.call(self, self.key or (0, self.name, 0))  # which builds, whatever else a subclass may have it do
            if not is_distribution(built):
                raise NoDensity(
                    self.name,
                    f"{self.fn!r} is a bare callable, which can be called but has no density; "
                    "give the site a distribution (an object with sample and log_prob, or a class with its arguments)",
                )
        return cast(DistributionLike, built)

    @property
    def batch_log_pdf(self) -> torch.Tensor:
        """The log density in nats, scaled and masked, of the batch shape; computed at each look. Raises ``NoDensity``, ``DistributionError``."""
        return batch_log_density(self)

    @property
    def log_pdf(self) -> torch.Tensor:
        """``batch_log_pdf`` summed: a scalar. (In the seed, both are there once the trace has computed them.)"""
        return self.batch_log_pdf.sum()

    def call(self, key: Key) -> Any:
        """What ``fn`` returns: a distribution, which is kept, or the value of a bare callable, drawn from the stream of ``key``."""
        if not self.is_deferred:
            built = self.fn
        else:
            try:
                built = call_keyed(self.fn, self.args, self.kwargs, key)
            except PoutineError:
                raise
            except Exception as error:
                self.check_callable()
                hint = f"; {TO_OBSERVE}" if "obs" in self.kwargs else ""
                raise DistributionError(self.name, f"cannot call {call_text(self.fn, self.args, self.kwargs)}: {error}{hint}") from error
        if is_distribution(built):
            kept = (self.fn, self.args, self.__dict__.get("kwargs"), built, torch.is_grad_enabled())
            self.__dict__["_built"] = kept  # for as long as these are its own: see dist
        else:
            self._check_drawn(built)
        return built

    def check_callable(self) -> None:
        """Raises ``DistributionError`` if ``fn`` is neither a distribution nor a callable."""
        if is_distribution(self.fn) or callable(self.fn):
            return
        hint = ""
        if _is_submodel(self.fn):
            hint = f"; {_TO_RUN}"
        elif is_distribution(self.value):
            hint = f"; its value {self.value!r} is one: {TO_OBSERVE}"
        raise DistributionError(self.name, f"expected a distribution, or a callable that returns one, got {self.fn!r}{hint}")

    def _check_drawn(self, value: Any) -> None:
        """Raises ``DistributionError`` if what a bare callable returned is there to be run or awaited, and is no value."""
        if isinstance(value, CoroutineType):
            value.close()
            raise DistributionError(
                self.name,
                f"{self.fn!r} is a coroutine function, whose value must be awaited: yield Await({self.name!r}, fn, *args) of "
                "interpreters.asynchronous, and run the program with its run_async",
            )
        if _is_submodel(value):
            raise DistributionError(
                self.name, f"expected a distribution or a value from {self.fn!r}, got the submodel {value!r}; {_TO_RUN}"
            )

    def _shown(self) -> list[str]:
        fn = self.fn.__name__ if isinstance(self.fn, type) else repr(self.fn)
        rest = (part for part in super()._shown() if not part.startswith(("fn=", "args=", "kwargs=")))
        return [fn, *map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items()), *rest]


def _is_submodel(thing: Any) -> bool:
    """True for what ``yield from`` runs: a generator, a program or, once it is called, a poutine."""
    fn = getattr(thing, "fn", None)
    return isinstance(thing, GeneratorType) or (callable(fn) and hasattr(thing, "__iter__") and not isinstance(thing, Message))


def call_text(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    inside = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    return f"{getattr(fn, '__name__', repr(fn))}({inside})"


TO_OBSERVE: Final = "write Observe(name, distribution, value) to observe it"
_TO_RUN: Final = "write `x = yield from submodel(...)` to run a submodel, whose sites have names of their own"
_NOT_BUILT: Final = (UNDECIDED, UNDECIDED, UNDECIDED, UNDECIDED, True)
