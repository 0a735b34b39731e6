"""Draws that torch makes from another density than its own, put right.

``LKJCholesky`` of torch 2.13 is drawn wrongly from dimension 3 on. Row k of the factor, k from 0, is a direction of k entries times the
square root of a number from ``Beta(k / 2, concentration + (dim - 1 - k) / 2)``: so its density has it, and so Lewandowski, Kurowicka and
Joe, "Generating random correlation matrices based on vines and extended onion method" (2009), section 3.2, draw it. Torch takes
``k - 1 / 2`` for ``k / 2`` (``torch/distributions/lkj_cholesky.py``, ``beta_conc1 = offset + 0.5``; the file it follows, NumPyro's, has half of
the offset), and draws correlations that are too large.

It is put right wherever it is a part of what is drawn from, in an object of the user's own, too: in its dictionary, in its slots, and in
lists, tuples and dictionaries there, at any depth. What a callable or a ``sample`` of the user's asks of a distribution that it makes
itself, or finds elsewhere (in a closure, or in an object that is no distribution), torch answers.

Every other distribution of torch is drawn from its density: ``tests/test_draws_and_densities.py`` holds them to it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.distributions import Beta, LKJCholesky

from poutine.tensors import fields_of

_CONTAINERS: Final = frozenset((list, tuple, dict))


def parts_of(dist: Any) -> list[Any]:
    """``dist``, and the distributions that it is made of, at any depth."""
    return [thing for thing in _things_in(dist) if type(thing) not in _CONTAINERS]


def is_drawn_wrongly(parts: list[Any]) -> bool:
    """Whether a draw of what is made of these would be wrong."""
    return any(isinstance(part, LKJCholesky) for part in parts)


@contextmanager
def corrected(dist: Any) -> Iterator[Any]:
    """A copy of ``dist`` that draws rightly.

    Copied is what leads to a part that is drawn wrongly, and that part; all else is shared. What is set in a copy meanwhile (a user's
    ``sample`` may keep count of its calls) is set in the original at the end, and refers to originals.
    """
    copies = _Copies(dist)
    try:
        yield copies.of(dist)
    finally:
        copies.hand_back()


class _Copies:
    """Of what in ``dist`` leads to a part that is drawn wrongly."""

    def __init__(self, dist: Any) -> None:
        things = _things_in(dist)
        holders: dict[int, list[Any]] = {}
        for thing in things:
            for value in _fields(thing).values():
                holders.setdefault(id(value), []).append(thing)
        found = [thing for thing in things if isinstance(thing, LKJCholesky)]
        self._found = {*map(id, found)}
        for thing in found:
            new = {id(holder): holder for holder in holders.get(id(thing), []) if id(holder) not in self._found}
            self._found |= new.keys()
            found += new.values()
        self._made: dict[int, Any] = {}
        self._before: list[tuple[Any, Any, dict[Any, Any]]] = []

    def of(self, thing: Any) -> Any:
        """The copy of ``thing``, or itself if it needs none."""
        if id(thing) not in self._found:
            return thing
        if type(thing) is tuple:
            return tuple(map(self.of, thing))
        if id(thing) not in self._made:
            self._made[id(thing)] = new = copy.copy(thing)
            for key, value in _fields(new).items():
                _set(new, key, self.of(value))
            if isinstance(thing, LKJCholesky) and isinstance(new._beta, Beta):  # a torch that draws otherwise has mended it
                new._beta = _of_rows(new._beta)
            self._before.append((thing, new, _fields(new)))
        return self._made[id(thing)]

    def hand_back(self) -> None:
        originals = {id(new): thing for thing, new, _ in self._before}
        for thing, new, before in self._before:
            for key, value in _fields(new).items():
                if key not in before or value is not before[key]:
                    _set(thing, key, originals.get(id(value), value))


def _things_in(dist: Any) -> list[Any]:
    """``dist``, with all distributions and containers in it, once each."""
    things, known = [dist], {id(dist)}
    for thing in things:
        # For each draw: torch's own have no slots, and looking for some takes longer than all else here.
        is_torchs = type(thing).__module__.startswith("torch.distributions.")
        for value in (thing.__dict__ if is_torchs else _fields(thing)).values():
            if (type(value) in _CONTAINERS or (hasattr(value, "log_prob") and not isinstance(value, type))) and id(value) not in known:
                known.add(id(value))
                things.append(value)
    return things


def _fields(thing: Any) -> dict[Any, Any]:
    if type(thing) is dict:
        return {**thing}
    return dict(enumerate(thing)) if type(thing) in _CONTAINERS else fields_of(thing)


def _set(thing: Any, key: Any, value: Any) -> None:
    if type(thing) is list:
        thing[key : key + 1] = [value]  # or behind the last
    elif type(thing) is dict:
        thing[key] = value
    elif key in getattr(thing, "__dict__", ()):
        thing.__dict__[key] = value
    else:
        object.__setattr__(thing, key, value)


def _of_rows(beta: Beta) -> Beta:
    """The Beta distribution of each row, in the last dimension; what row 0 is multiplied with is zero."""
    second: Any = beta.concentration0
    first = torch.arange(second.shape[-1], dtype=second.dtype, device=second.device).clamp(min=1) / 2
    return Beta(first.expand_as(second), second, validate_args=False)
