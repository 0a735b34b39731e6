"""Options of handlers as Python source, which runs where ``poutine.laws.model.HEADER`` has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any, Final

import torch
from torch.distributions import Distribution, Independent

from poutine.messages import Sample
from poutine.trace_graph import Trace, is_subsample


def source_of(value: Any) -> str:
    """An option as it is written: evaluated, it is equal to ``value``; of a trace, as far as replay and condition read it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {source_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "[" + ", ".join(map(source_of, sorted(value, key=repr))) + "]"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(source_of, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, Distribution):
        return _distribution(value)
    if isinstance(value, Trace):
        return _trace(value)
    if isinstance(value, partial):
        keywords = [f"{key}={source_of(each)}" for key, each in value.keywords.items()]
        return f"partial({', '.join([source_of(value.func), *map(source_of, value.args), *keywords])})"
    return getattr(value, "__name__", None) or repr(value)


def _tensor(tensor: torch.Tensor) -> str:
    flat = tensor.dim() > _FEW and tensor.numel() > 0  # else brackets would be most of it
    numbers = _numbers(tensor.detach().flatten() if flat else tensor.detach())
    source = f"torch.tensor({numbers})" if _is_inferred(tensor) else f"torch.tensor({numbers}, dtype={tensor.dtype})"
    return f"{source}.reshape{tuple(tensor.shape)}" if flat else source


_FEW: Final = 3


def _is_inferred(tensor: torch.Tensor) -> bool:
    """Whether its dtype is the one that ``torch.tensor`` takes for such numbers."""
    return tensor.dtype in (torch.get_default_dtype(), torch.int64, torch.bool) and (tensor.numel() > 0 or tensor.dtype.is_floating_point)


def _numbers(tensor: torch.Tensor) -> str:
    if tensor.dim():
        return f"[{', '.join(map(_numbers, tensor))}]"
    number = tensor.numpy()[()]
    shown = str(number) if tensor.dtype.is_floating_point else repr(tensor.item())
    return f"float({shown!r})" if shown in ("nan", "inf", "-inf") else shown  # the shortest that is read as the same


def _distribution(dist: Distribution) -> str:
    """With the parameters that it holds: those by which it was made, in whatever form it keeps them."""
    if isinstance(dist, Independent):
        return f"Independent({_distribution(dist.base_dist)}, {dist.reinterpreted_batch_ndims})"
    cls = type(dist)
    held = [name for name in signature(cls).parameters if name in vars(dist) and name != "validate_args"]
    known = held or [name for name in signature(cls).parameters if name in dist.arg_constraints]  # Beta keeps a Dirichlet
    return f"{cls.__name__}({', '.join(f'{name}={source_of(_plain(getattr(dist, name)))}' for name in known)})"


def _plain(parameter: Any) -> Any:
    """A number where a tensor is no more than that."""
    exact = isinstance(parameter, torch.Tensor) and parameter.dim() == 0 and parameter.dtype == torch.get_default_dtype()
    number = parameter.item() if exact else parameter
    return number if exact and len(repr(number)) < 8 else parameter


def _trace(trace: Trace) -> str:
    drawn = {name: site.value for name, site in trace.nodes.items() if isinstance(site, Sample)}
    plates = {name: site.fn.size for name, site in trace.nodes.items() if is_subsample(site)}
    values = {**drawn, **{name: trace[name].value for name in plates}}
    return f"sampled({source_of(values)}{f', plates={plates}' if plates else ''})"
