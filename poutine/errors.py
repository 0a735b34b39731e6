"""Everything that this library raises on purpose.

::

    PoutineError
    ├── ProgramError           the program breaks the protocol
    │   ├── NotAProgram        something was run that is no generator, program or poutine
    │   ├── NotAMessage        something was yielded that is no message and no program
    │   ├── BadReply           a poutine or a runtime answered with something that is no finished site
    │   └── BadRules           the rules of a poutine are no mapping from message types to rules
    ├── UnhandledMessage       a message reached the runtime and nobody knows its type
    ├── SiteError              something about one site (carries ``.name``)
    │   ├── DuplicateSite      two sites of one name in one trace
    │   ├── AlreadyObserved    condition, substitute or replay at a site that the model observes
    │   ├── DistributionError  the distribution of a site could not be built, drawn or scored
    │   ├── NoDensity          a density was asked of a bare callable
    │   ├── ParamError         a parameter without a value, or with two constraints
    │   └── PlateError         shapes, sizes or dimensions of plates do not fit (also a ValueError)
    ├── UnusedNames            a poutine named sites that the program never reached
    └── NonlocalExit           control flow: EscapePoutine left the program at a site

A message gives the site, what was expected, what was there instead, and a way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class PoutineError(Exception):
    """The root of the tree above."""


class ProgramError(PoutineError, TypeError):
    """The program breaks the protocol: a programming error, not a modelling one."""


class NotAProgram(ProgramError):
    """Something was run that is no generator function, program or poutine."""


class NotAMessage(ProgramError):
    """A program yielded something that is neither a message nor a program."""


class BadReply(ProgramError):
    """A poutine or a runtime answered with something that is no finished site."""


class BadRules(ProgramError):
    """The rules of a poutine are no mapping from message types to rules."""


class UnhandledMessage(PoutineError, LookupError):
    """A message reached the runtime, which has no default behaviour for its type."""


class SiteError(PoutineError):
    """Something is wrong at one site, named ``name``."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"site {self.name!r}: {self.problem}"


class DuplicateSite(SiteError, ValueError):
    """Two sites of one name in one trace."""


class AlreadyObserved(SiteError, ValueError):
    """A value map names a site that the model itself observes."""


class DistributionError(SiteError, ValueError):
    """The distribution of a site could not be built, drawn from or scored; the cause is chained."""


class NoDensity(SiteError, TypeError):
    """The site's function is a bare callable: it can be drawn, but it has no log density."""


class ParamError(SiteError, ValueError):
    """A parameter that has no value and no way to get one, or whose constraint changed."""


class PlateError(SiteError, ValueError):
    """Sizes, shapes or dimensions of plates do not fit together."""


class UnusedNames(PoutineError, ValueError):
    """A poutine named sites that the program never reached, or that are of none of the types (``kinds``) on which it acts."""

    def __init__(self, who: str, unused: Iterable[str], seen: Iterable[str], kinds: str = "site") -> None:
        super().__init__(who, tuple(unused), tuple(seen), kinds)
        self.who, self.unused, self.seen, self.kinds = who, tuple(unused), tuple(seen), kinds

    def __str__(self) -> str:
        return (
            f"{self.who} names what the program never reached as a {self.kinds}: {', '.join(self.unused)}; "
            f"it reached: {', '.join(self.seen) or '(none)'}. Correct the names, or pass strict=False to allow it."
        )


class NonlocalExit(PoutineError):
    """``EscapePoutine`` left the program at ``site``, before the site was answered.

    ``trace`` is the partial trace of the outermost ``TracePoutine`` that the exit passed, or None.
    """

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self.site = site
        self.trace: Any = None

    def __str__(self) -> str:
        return f"left the program at site {self.site.name!r}"
