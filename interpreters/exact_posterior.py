"""The exact posterior of a program: its traces with their weights, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import torch

from interpreters.errors import DegenerateWeights
from poutine import Trace

_ROUNDING: Final = 1e-4  # of a sum of log densities in single precision


@attrs.frozen(eq=False)
class Exact:
    """The exact posterior of a program, which ``enumeration.exact`` makes: its traces, and their unnormalised log densities, a tensor of shape [traces].

    The log density of a trace is its ``log_pdf`` and the log probability of the choices that ``block`` hides: two traces may differ in these
    alone. What is hidden and observed does not count, as in any trace.

    ``uncovered`` is the prior probability of the traces that a budget left out; it is 0 where all of them are here. It bounds prior
    probabilities. What the observations and factors of those traces come to, nobody knows: they may have nearly all of the evidence.
    So ``log_evidence``, ``probabilities``, ``expectation`` and ``marginal`` are those of the traces that are here, without a bound.
    ``evidence_bounds`` and ``marginal_bounds`` are bounds, where it is known how great these weights can be.
    ``log_priors`` are the log probabilities of each trace's choices, hidden ones too: a tensor of shape [traces], in nats.
    """

    traces: tuple[Trace, ...]
    log_densities: torch.Tensor
    uncovered: float
    log_priors: torch.Tensor

    @property
    def log_evidence(self) -> torch.Tensor:
        """The log of the normaliser (of the traces that are here), in nats."""
        return self.log_densities.logsumexp(0)

    def evidence_bounds(self, largest: float = 0.0) -> tuple[float, float]:
        """The least and the greatest log evidence, in nats, that the traces that were left out leave possible.

        largest:  the greatest log weight of any trace: what its observations and factors come to, and what scales and masks change. 0 is
                  right where these are probabilities (of discrete data), and no factor is greater than 0.

        **Law**: the log evidence of all traces is between them. Raises ``ValueError`` where a trace that is here has a greater weight.
        """
        covered, missing = self._masses(largest)
        return _log(covered), _log(covered + missing)

    def marginal_bounds(self, name: str, largest: float = 0.0) -> dict[Any, tuple[float, float]]:
        """The least and the greatest posterior probability of each value of site ``name`` that traces here have, as in ``marginal``.

        A value that no trace here has is at most as probable as all that is missing: 1 minus the sum of the least ones. ``largest`` and
        errors are those of ``evidence_bounds`` and ``marginal``.

        **Law**: the marginal of all traces is between them.
        """
        covered, missing = self._masses(largest)
        whole = covered + missing
        masses = {key: probability * covered for key, probability in self.marginal(name).items()}
        return {key: (mass / whole, (mass + missing) / whole) for key, mass in masses.items()}

    def _masses(self, largest: float) -> tuple[float, float]:
        """The evidence of the traces that are here, and the most that those can have that are not."""
        greatest = (self.log_densities - self.log_priors).max().item() if len(self.traces) else -math.inf
        if greatest > largest + _ROUNDING:
            raise ValueError(
                f"a trace has the log weight {greatest:.6g}, greater than {largest}: then what is left out may have any weight; give as "
                "largest the greatest log weight that observations and factors of a trace come to, if there is one"
            )
        return math.fsum(self.log_densities.exp().tolist()), self.uncovered * math.exp(largest)

    @property
    def probabilities(self) -> torch.Tensor:
        """The posterior probability of each trace: shape [traces]. Raises ``DegenerateWeights`` if none of them is possible."""
        evidence = self.log_evidence
        if not bool(evidence.isfinite()):
            raise DegenerateWeights(
                f"there is no posterior: the log evidence of the {len(self.traces)} traces is {evidence.item()}; check the observations and "
                "factors or, if a budget left traces out, try another strategy, or longer runs (longest)"
            )
        return self.log_densities.softmax(0)

    def expectation(self, of: Callable[[Trace], Any]) -> torch.Tensor:
        """The posterior expectation of ``of(trace)``, over the traces that are here; with a budget, nothing bounds its error.

        Raises ``DegenerateWeights`` without a posterior.
        """
        probabilities = self.probabilities
        values = torch.stack([torch.as_tensor(of(trace), dtype=self.log_densities.dtype) for trace in self.traces])
        mean: torch.Tensor = torch.tensordot(probabilities, values, 1)
        return mean

    def marginal(self, name: str) -> dict[Any, float]:
        """The posterior probability of each value of site ``name``; of "_RETURN", too. None is for traces that do not have the site.

        With a budget, it is of the traces that are here: see ``marginal_bounds``.
        Tensors, lists and dictionaries are nested tuples. Raises ``KeyError`` if no trace has the site, ``TypeError`` for values that are
        no keys, ``DegenerateWeights`` without a posterior.
        """
        if not any(name in trace for trace in self.traces):
            known = dict.fromkeys(each for trace in self.traces for each in trace)
            raise KeyError(f"no site {name!r} in any of the {len(self.traces)} traces; they have {', '.join(known)}")
        total: dict[Any, float] = {}
        for trace, probability in zip(self.traces, self.probabilities.tolist(), strict=True):
            key = _key(name, trace[name].value) if name in trace else None
            total[key] = total.get(key, 0.0) + probability
        return total


def _log(mass: float) -> float:
    return math.log(mass) if mass > 0 else -math.inf


def _key(name: str, value: Any) -> Any:
    """A value as the key of a dictionary."""
    try:
        hash(key := _hashable(value))
    except TypeError as error:
        raise TypeError(f"the values of {name!r}, such as {value!r}, are no keys of a dictionary; use expectation") from error
    return key


def _hashable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _hashable(value.tolist())
    if isinstance(value, Mapping):
        return tuple((key, _hashable(each)) for key, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value
