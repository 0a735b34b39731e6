"""Lockstep: many instances of a program, advanced together although their control flow differs.

1. Every instance runs to its next message. Those who ask the same (type and name of the site, class of the distribution, shapes, what is
   around the site) are one group; their parameters are stacked, and one message asks for all of them. Whoever waits furthest back in
   the program goes first: a loop runs until its last instance has left it, and all go on behind it together.
2. So the batch is a program again: its messages are those of the groups, poutines and runtimes act on it, and only the
   outermost runtime draws. Instance i is equal in distribution to a single run; under the exact enumerator, exactly.
3. What cannot be stacked (a group of fewer than ``least``, a distribution that is not torch's, a bare callable, a site with a key of its own)
   is asked for one by one, under the name ``"instance_i/name"``.
4. Where nothing but plain numbers differ, and are to be answered by plain numbers, a common distribution is drawn and scored in
   closed form, without being built (``batches.closed_forms``). Its draws are the same.

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

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from interpreters.batches.batch import Batch, Group
from interpreters.batches.batching import Batching, Score
from interpreters.batches.plain import rows_log_density
from interpreters.counts import positive_count
from poutine import Choice, Coroutine, Fleet, Program, as_program

T = TypeVar("T")


def density(request: Choice, site: Choice) -> torch.Tensor | None:
    """What counts in a log density: every finished site that has one."""
    return rows_log_density(site)


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
    least:    the size of the smallest group that is asked for at once. In closed form it takes less than one by one for a single one.
    score:    from a group's request and its finished site to a log density of the site's batch shape, which is summed for each
              instance; None counts nothing. Sites that an instance hides do not count.
    note:     is called with each finished ``Group`` that is not hidden.
    keep:     keep the messages, for ``batch.trace(i)``.

    Raises ``BatchError`` at an answer, or a score, of the wrong shape, at a parameter that an instance has changed in place, and inside
    of a vectorised plate, which belongs into the program. What an instance raises leaves with a note that tells which one it was; all others are closed first. What the runtime
    raises is thrown into the instance that it is about.
    """
    number = positive_count("of instances", number)
    least = positive_count('as the size of the smallest group, "least"', least)
    for name, flag in (("numbers", numbers), ("keep", keep)):
        if not isinstance(flag, bool):
            raise TypeError(f"expected True or False as {name!r}, got {flag!r}")
    chosen = None if score is density else score
    return (yield from Batching(Fleet(as_program(program), number), number, numbers, least, chosen, note, keep).coroutine())
