"""Model: a program of the kit's small language."""

from __future__ import annotations

from typing import Any, Final

import attrs

from poutine.laws.functions import Closure, Function
from poutine.laws.printing import note_shown
from poutine.program import Coroutine

HEADER: Final = """\
from functools import partial

import torch
from torch.distributions import *
from torch.distributions import constraints

from poutine import *
from poutine.laws import Ask, outcome, sampled, without
"""


@attrs.frozen(repr=False)
class Model:
    """A generator function as a value: it can be compared, pickled, shrunk and printed. Its ``repr`` is its source.

    Called, it starts the generator that its source describes, so it stands wherever a generator function does.
    """

    function: Function

    def __call__(self, *args: Any) -> Coroutine[Any]:
        return Closure(self.function, {})(*args)

    def __repr__(self) -> str:
        return "\n" + "\n".join(self.function.lines()) + "\n"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        note_shown(self, printer)
        printer.text(repr(self))  # Hypothesis would show the fields

    @property
    def source(self) -> str:
        """A module that runs as it stands and defines the model."""
        return f"{HEADER}\n\n{chr(10).join(self.function.lines())}\n"
