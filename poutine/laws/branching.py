"""Random programs of nested sequential plates, which say themselves which branch of which loop each of their sites is in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

import attrs
from hypothesis import strategies as st
from torch.distributions import Normal

from poutine.messages import Sample
from poutine.plates import plate
from poutine.program import Coroutine

Branch = tuple[tuple[int, int], ...]  # from the outermost loop inwards: the loop's number, and the element


@attrs.frozen
class Loop:
    """A sequential plate: ``body`` is run for each of ``size`` elements. None in a body is a site."""

    size: int
    body: tuple[Loop | None, ...]


@attrs.frozen
class Branching:
    """A program of sites and loops. Its value is where each site is: a dictionary from names to branches.

    Loops that are as deep have one plate's name, so that a plate is entered again and again.
    """

    parts: tuple[Loop | None, ...]

    def __call__(self) -> Coroutine[dict[str, Branch]]:
        seen: dict[str, Branch] = {}
        yield from _run(self.parts, (), seen, count())
        return seen


def _run(parts: tuple[Loop | None, ...], branch: Branch, seen: dict[str, Branch], numbers: Iterator[int]) -> Coroutine[None]:
    for part in parts:
        if part is None:
            name = f"x_{len(seen)}"
            seen[name] = branch
            yield Sample(name, Normal(0.0, 1.0))
        else:
            entered = partial(_enter, part, branch, seen, numbers, next(numbers))
            yield from plate(f"p_{len(branch)}", part.size, vectorized=False)(entered)()


def _enter(loop: Loop, branch: Branch, seen: dict[str, Branch], numbers: Iterator[int], number: int, element: int) -> Coroutine[None]:
    return (yield from _run(loop.body, (*branch, (number, element)), seen, numbers))


def apart(one: Branch, other: Branch) -> bool:
    """Whether they are two branches of one loop."""
    elements = dict(other)
    return any(elements.get(loop, element) != element for loop, element in one)


def branching() -> st.SearchStrategy[Branching]:
    """Programs of up to three levels."""
    return _PARTS.map(Branching)


def _around(bodies: st.SearchStrategy[tuple[Loop | None, ...]]) -> st.SearchStrategy[tuple[Loop | None, ...]]:
    return st.lists(st.none() | st.builds(Loop, st.integers(1, 3), bodies), min_size=1, max_size=3).map(tuple)


_SITES = st.just((None,)) | st.just((None, None))
_PARTS = _around(_around(_SITES))
