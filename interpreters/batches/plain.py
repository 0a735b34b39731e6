"""The quick way: deferred distributions of torch's with plain numbers, which are most of what programs ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs
import numpy as np
import torch

from interpreters.batches.closed_forms import CLOSED_FORMS, ClosedForm
from interpreters.batches.recipes import Recipe, is_known, of_class
from poutine import Choice, Observe, Sample, batch_log_density
from poutine.driver.arrivals import NUMBERS, Alike
from poutine.randomness import Key, stream_seed

_KINDS: Final = (torch.float64, torch.int64)


class Columns(tuple[torch.Tensor, ...]):
    """Parameters of a class that has a closed form: a column of each, of double precision, and in bounds; and these as one ``table``."""

    table: np.ndarray[Any, Any]

    @classmethod
    def of(cls, table: np.ndarray[Any, Any]) -> Columns:
        columns = cls(map(torch.from_numpy, table))
        columns.table = table
        return columns


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class RowsSample(Sample):
    """A ``Sample`` of rows: while its args are ``Columns``, it is drawn without building its distribution."""

    def call(self, key: Key) -> Any:
        if type(self.args) is not Columns or self.fn not in CLOSED_FORMS:  # somebody has rewritten it
            return super().call(key)
        drawn = CLOSED_FORMS[self.fn].draw(torch.Generator().manual_seed(stream_seed(key)), *self.args)
        self.__dict__["_drawn"] = drawn  # which is in the support: see rows_log_density
        return drawn


def rows_message(name: str, there: Alike, columns: Columns, infer: Mapping[str, Any]) -> Choice:
    """One message for all of them."""
    if there.kind is Sample:
        return RowsSample(name, there.fn, infer=infer).replaced("args", columns)
    return Observe(name, there.fn, torch.from_numpy(_row(there.observed)), infer=infer).replaced("args", columns)


def _row(observed: list[Any]) -> np.ndarray[Any, Any]:
    """Numbers of one kind; whole ones that are too large for torch as doubles."""
    try:
        return np.array(observed, dtype=np.float64 if type(observed[0]) is float else np.int64)
    except OverflowError:
        return np.array(observed, dtype=np.float64)


class Owed(NamedTuple):
    """The log density of rows in closed form, nats, for whoever sums up: those of all groups of a distribution are computed at once."""

    form: ClosedForm
    values: np.ndarray[Any, Any]  # [rows]
    table: np.ndarray[Any, Any]  # [parameters, rows]

    def paid(self) -> torch.Tensor:
        return torch.from_numpy(self.form.log_prob(self.values, *self.table))


def rows_log_density(site: Choice) -> torch.Tensor:
    """``batch_log_density(site)``; where its args are ``Columns``, and all else is plain, in closed form."""
    term = rows_owed(site)
    return term.paid() if isinstance(term, Owed) else term


def rows_owed(site: Choice) -> torch.Tensor | Owed:
    """``rows_log_density(site)`` or, where that has a closed form, what it is to be computed from."""
    columns, value = site.args, site.value
    if type(columns) is Columns and site.fn in CLOSED_FORMS and site.mask is True and type(site.scale) is float and site.scale == 1.0:
        form, table = CLOSED_FORMS[site.fn], columns.table
        if site.__dict__.get("_drawn") is value or (_is_row(value, table.shape[1]) and form.supports(value.numpy(), table)):
            return Owed(form, value.numpy(), table)
    return batch_log_density(site)


def _is_row(value: Any, size: int) -> bool:
    return type(value) is torch.Tensor and value.dtype in _KINDS and value.shape == (size,) and value.is_cpu and not value.requires_grad


def closed(there: Alike) -> Columns | None:
    """Their arguments as ``Columns``; None unless all have as many plain numbers, in bounds, of a class that has a closed form."""
    form = CLOSED_FORMS.get(there.fn)
    if form is None or there.width != len(form.parameters) or len({*map(type, there.observed)}) > 1:
        return None
    try:
        # A sum tells of what kind its terms are in a third of the time of a look at each: numbers have a number, tensors a tensor.
        if type(sum(there.numbers)) not in NUMBERS:
            return None
        table = _table(there)
    except (ValueError, OverflowError, TypeError):  # too large for a float, or no numbers
        return None
    return Columns.of(table) if form.accepts(table) else None


def _table(there: Alike) -> np.ndarray[Any, Any]:
    """[arguments, runs], double precision."""
    return np.ascontiguousarray(np.array(there.numbers, dtype=np.float64).reshape(-1, there.width).T)


def plain(there: Alike) -> tuple[Recipe, tuple[torch.Tensor, ...]] | None:
    """The recipe of all of them, and one column in double precision for each argument; None unless all have as many plain numbers."""
    if not NUMBERS.issuperset(map(type, there.numbers)) or len({*map(type, there.observed)}) > 1:
        return None
    recipe = of_class(there.fn, there.width) if is_known(there.fn) else None
    if recipe is None or not recipe.is_of_numbers:
        return None
    try:
        return recipe, tuple(map(torch.from_numpy, _table(there)))
    except OverflowError:  # too large for a float
        return None
