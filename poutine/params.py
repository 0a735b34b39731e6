"""Learnable parameters: an explicit object, nothing global."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from poutine.bijections import transformation_to
from poutine.bounds import check_constraint, is_at_bound
from poutine.equality import same
from poutine.errors import ParamError
from poutine.initial import initial_value
from poutine.messages import Param

_PREFIX: Final = "param/"  # so that a parameter may have the name of an attribute of torch.nn.Module: "type", "half", "train"


class ParamStore(torch.nn.Module):
    """Holds each parameter unconstrained, as a ``torch.nn.Parameter``; hands it out constrained by torch's transforms.

    It is a ``torch.nn.Module``: ``state_dict``, ``to(device)`` and ``torch.optim`` work on it. A parameter is made when a
    program first yields its ``Param``; a state that is loaded into an empty store makes them, too. ``store["w"]`` is the constrained
    value of ``w``, ``list(store)`` are the names, and ``del store["w"]`` forgets it, so that the next read starts anew. Stochastic
    variational inference is a loop of one's own (Hoffman et al., "Stochastic variational inference", JMLR 14 (2013))::

        def loss(seed):                                             # minus the ELBO, in nats, from one draw
            q = run(trace(guide).traced(y), seed, store)
            p = run(trace(replay(model, q)).traced(y), seed, store)
            return q.log_pdf() - p.log_pdf()

        store = ParamStore()
        loss(0)                                                     # makes the parameters: an optimiser must know them
        optimiser = torch.optim.Adam(store.parameters(), lr=0.05)
        for step in range(500):
            optimiser.zero_grad()
            loss(step).backward()
            optimiser.step()

    A parameter that is first read later on is added by ``optimiser.add_param_group({"params": [parameter]})``, with what
    ``store.parameters()`` has and had not before. The gradient is right where the guide's draws are reparameterised. In ``state_dict``,
    parameter ``w`` is ``param/w``, and a ``.`` in a name is written ``%2E`` (and ``%`` as ``%25``), since torch uses the dot for nesting.
    """

    def __init__(self) -> None:
        super().__init__()
        self._constraints: dict[str, constraints.Constraint] = {}

    def answer(self, site: Param) -> Param:
        """The finished site: its value from here unless a poutine decided it. Raises ``ParamError``."""
        return site if site.is_decided else site.replaced("value", self.read(site))

    def read(self, site: Param) -> torch.Tensor:
        """The constrained value, made from ``site.init`` at the first read; gradients reach the unconstrained one."""
        key = _encode(site.name)
        known = self._constraints.get(site.name, site.constraint)
        if not same(known, site.constraint):
            raise ParamError(
                site.name, f"the constraint was {known!r} and is now {site.constraint!r}; use one constraint, or another store"
            )
        is_new = key not in self._parameters
        if is_new:
            self.register_parameter(key, torch.nn.Parameter(_unconstrained_init(site)))
        unconstrained = self._parameters[key]
        assert unconstrained is not None
        value: torch.Tensor = _transform(site)(unconstrained)
        if value is unconstrained:
            value = value.clone()  # which an optimiser's step in place does not change: a trace holds what was
        if not is_new and (expected := self._shape_of(site)) not in (None, value.shape):
            raise ParamError(site.name, f"the store holds shape {tuple(value.shape)}, and the initial value has {tuple(expected)}")
        self._constraints[site.name] = known  # not before all of the checks: a read that failed leaves no trace
        return value

    def _shape_of(self, site: Param) -> torch.Size | None:
        """That of its initial value. None of a callable, which a store calls once: to make a parameter, or at the first read of a loaded one."""
        init = site.init
        if isinstance(init, torch.Tensor):
            return init.shape
        return None if init is None or (callable(init) and site.name in self._constraints) else initial_value(site).shape

    def __getitem__(self, name: str) -> torch.Tensor:
        """The constrained value of a parameter that a program has read from this store."""
        if name in self and name not in self._constraints:
            raise KeyError(f"parameter {name!r} was loaded, and its constraint is not known before a program has read it from this store")
        if name not in self._constraints:
            raise KeyError(f"no parameter {name!r} was read from this store; it has {', '.join(self) or '(none)'}")
        return self.read(Param(name, constraint=self._constraints[name]))

    def __delitem__(self, name: str) -> None:
        """Forgets a parameter and its constraint. An optimiser that knows it goes on stepping it, to no effect."""
        if name not in self:
            raise KeyError(f"no parameter {name!r} is in this store; it has {', '.join(self) or '(none)'}")
        del self._parameters[_encode(name)]
        self._constraints.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(map(_decode, self._parameters))

    def __len__(self) -> int:
        return len(self._parameters)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _encode(name) in self._parameters

    def extra_repr(self) -> str:
        """What ``repr`` shows: each name, with the shape of the unconstrained value and, once it is known, the constraint."""
        rows = ((_decode(key), tuple(value.shape)) for key, value in self.named_parameters())
        return ", ".join(f"{name}: {shape} {self._constraints.get(name, 'loaded')}" for name, shape in rows)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # torch's hook for loading one module: make what is in the state and not yet here, then load as ever.
        for key, value in state_dict.items():
            if key.startswith(prefix + _PREFIX) and key[len(prefix) :] not in self._parameters:
                self.register_parameter(key[len(prefix) :], torch.nn.Parameter(torch.empty_like(value)))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _unconstrained_init(site: Param) -> torch.Tensor:
    value = initial_value(site).detach()
    if not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool):
        value = value.to(torch.get_default_dtype())
    if not value.is_floating_point():
        raise ParamError(site.name, f"expected an initial value of floating point, got {value!r}")
    check_constraint(site)
    if value.dim() < site.constraint.event_dim:
        dims = site.constraint.event_dim
        raise ParamError(site.name, f"expected an initial value of {dims} or more dimensions for {site.constraint!r}, got {value!r}")
    transform = _transform(site)
    if not bool(site.constraint.check(value).all()):  # type: ignore[no-untyped-call]  # torch's own
        raise ParamError(site.name, f"the initial value {value!r} does not satisfy {site.constraint!r}")
    try:
        unconstrained: torch.Tensor = transform.inv(value).clone()
    except RuntimeError as error:  # no factor of a matrix that is only semidefinite
        raise ParamError(site.name, f"the initial value {value!r} has no unconstrained one under {site.constraint!r}: {error}") from error
    if not bool(unconstrained.isfinite().all()) or is_at_bound(value, site.constraint):  # where torch has a finite one, too
        raise ParamError(
            site.name, f"the initial value {value!r} is at a bound of {site.constraint!r}, from which no gradient leads; start inside of it"
        )
    return unconstrained


def _transform(site: Param) -> Transform:
    try:
        return transformation_to(site.constraint)
    except NotImplementedError as error:
        raise ParamError(site.name, f"no transform onto {site.constraint!r} is known; use a constraint that has one") from error


def _encode(name: str) -> str:
    return _PREFIX + name.replace("%", "%25").replace(".", "%2E")


def _decode(key: str) -> str:
    return key.removeprefix(_PREFIX).replace("%2E", ".").replace("%25", "%")
