"""Sample and Observe: each becomes the other where a poutine conditions, or the contrary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from poutine.errors import DistributionError
from poutine.messages.choice import TO_OBSERVE, Choice, call_text
from poutine.messages.distribution_like import is_distribution
from poutine.messages.message import blank, checked_name


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Sample(Choice):
    """``x = yield Sample("x", Normal(0.0, 1.0))`` or, deferred, ``yield Sample("x", Normal, 0.0, 1.0)``.

    Also ``Sample("x", fn, *args, **kwargs)`` with a bare callable, which is called for the value and has no density.
    """

    type: ClassVar[str] = "sample"

    def __init__(self, name: str, fn: Any, /, *args: Any, infer: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        # Straight into the dictionary, as attrs does it for frozen classes: this runs at every site of every program.
        fields = self.__dict__
        fields["name"] = name if type(name) is str else checked_name(self, name)
        fields["fn"] = fn
        if args:
            fields["args"] = args
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if kwargs:
            fields["kwargs"] = kwargs
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if infer:
            fields["infer"] = infer

    def observed(self, value: Any) -> Observe:
        """This site, conditioned on ``value``. Raises ``DistributionError`` if that is None."""
        if value is None:
            raise _unseen(self)
        new = blank(Observe)
        fields = new.__dict__
        fields |= self.__dict__
        fields["value"], fields["conditioned"] = value, True
        return new


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Observe(Choice):
    """``yield Observe("y", Normal(mu, 1.0), y)`` or, deferred, ``yield Observe("y", Normal, y, mu, 1.0)``.

    ``conditioned`` is True where a handler turned a ``Sample`` into this; only then may an outer one replace the value.
    Raises ``DistributionError`` if the value is None.
    """

    type: ClassVar[str] = "observe"
    conditioned: bool = attrs.field(init=False)

    def __init__(self, name: str, fn: Any, value: Any, /, *args: Any, infer: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else checked_name(self, name)
        fields["fn"] = fn
        fields["value"] = value
        if value is None:
            raise _unseen(self)
        if args:
            fields["args"] = args
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if kwargs:
            fields["kwargs"] = kwargs
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if infer:
            fields["infer"] = infer

    @property
    def is_observed(self) -> bool:
        """True."""
        return True

    def unobserved(self) -> Sample:
        """This site as a ``Sample`` that nobody has decided."""
        new = blank(Sample)
        fields = new.__dict__
        fields |= self.__dict__
        del fields["value"]
        fields.pop("conditioned", None)
        return new


def _check_deferred(name: str, fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """A distribution that is built already takes no arguments: ``Sample("x", Normal(0.0, 1.0), obs=y)`` must not pass unnoticed."""
    if is_distribution(fn):
        raise DistributionError(
            name,
            f"{call_text(fn, args, kwargs)} is a distribution that is built already, and takes no arguments; "
            f"write Sample(name, Normal, 0.0, 1.0) to defer it; {TO_OBSERVE}",
        )


def _unseen(site: Choice) -> DistributionError:
    return DistributionError(
        site.name,
        "expected the value that was observed, got None; write Sample(name, distribution) for what was not observed, "
        "and condition the model where it was",
    )
