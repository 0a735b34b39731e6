"""The dense metrics of many chains, in plain torch: what ``native_metric`` does to one."""

from __future__ import annotations

import torch

from interpreters.adaptation import RIDGE, is_even, is_kept, is_scale, scale_of
from interpreters.hamiltonian.machine import DRAW_MEAN, ELDER, GRADIENT_MEAN, KEPT, Machine


def learned_products(machine: Machine, which: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The sums of products [n, 2, 2, dim, dim] with the last draw, before the means know of it; ``seen`` [n, 2, 1] counts it."""
    value = torch.stack([machine.position[which], machine.gradient[which]], dim=1).unsqueeze(1)
    delta = value - machine.moments[which][:, :, [DRAW_MEAN, GRADIENT_MEAN]]
    weight = (1.0 - 1.0 / seen.to(delta.dtype))[..., None, None]
    learned: torch.Tensor = machine.products[which] + weight * (delta.unsqueeze(-1) * delta.unsqueeze(-2)).tril()
    return learned


def set_scale(machine: Machine, which: torch.Tensor, draws: torch.Tensor, gradients: torch.Tensor) -> None:
    scale = scale_of(draws, gradients)
    machine.scale[which] = torch.where(is_scale(scale), scale, machine.scale[which])


def be_diagonal(machine: Machine, which: torch.Tensor) -> None:
    if machine.dense.shape[-1]:
        machine.dense[which] = torch.diag_embed(machine.scale[which])
        machine.factor[which] = torch.diag_embed(machine.scale[which].sqrt())


def renew(machine: Machine, which: torch.Tensor, most_uneven: float) -> None:
    """See ``native_metric.renew``."""
    draws, gradients = machine.products[which, 0].unbind(dim=1)
    set_scale(machine, which, draws.diagonal(dim1=-2, dim2=-1), gradients.diagonal(dim1=-2, dim2=-1))
    unit = (machine.scale[which].unsqueeze(-1) * machine.scale[which].unsqueeze(-2)).sqrt()
    degrees = (machine.counts[which, ELDER] - 1.0)[:, None, None]
    ridge = RIDGE * torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    mean, largest = geometric_mean(_whole(draws) / degrees / unit + ridge, _whole(gradients) / degrees * unit + ridge)
    values, vectors = torch.linalg.eigh(mean)
    changes = torch.where(is_kept(values), values - 1.0, 0.0)
    dense = (torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device) + (vectors * changes.unsqueeze(-2)) @ vectors.mT) * unit
    factor, failed = torch.linalg.cholesky_ex(dense)
    suits = (largest > 0.0) & is_even(largest, unit.shape[-1], machine.counts[which, ELDER], most_uneven)
    kept = is_kept(values).sum(dim=-1) * (suits & (failed == 0))
    machine.dense[which], machine.factor[which], machine.counts[which, KEPT] = dense, factor, kept
    be_diagonal(machine, which[kept == 0])


def geometric_mean(draws: torch.Tensor, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``native_metric.geometric_mean``; where there is none, the identity, and 0."""
    eye = torch.eye(draws.shape[-1], dtype=draws.dtype, device=draws.device)
    lower, failed = torch.linalg.cholesky_ex(gradients)
    inner = lower.mT @ draws @ lower
    sound = (failed == 0) & inner.flatten(start_dim=1).isfinite().all(dim=-1)
    values, vectors = torch.linalg.eigh(torch.where(sound[:, None, None], inner, eye))
    sound = sound & (values > 0).all(dim=-1)
    roots = torch.where(sound[:, None, None], vectors * values.abs().pow(0.25).unsqueeze(-2), eye)
    columns = torch.linalg.solve_triangular(torch.where(sound[:, None, None], lower, eye).mT, roots, upper=True)
    return columns @ columns.mT, torch.where(sound, values.amax(dim=-1).sqrt(), 0.0)


def _whole(lower: torch.Tensor) -> torch.Tensor:
    """The symmetric matrix of a lower triangle."""
    return lower.tril() + lower.tril(-1).mT
