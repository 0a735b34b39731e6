"""Random numbers by counting: Philox4x32-10. Each number is a function of its name, and no state is kept.

A number is named by (seed, chain, draw, purpose, index). So chains do not depend on the number of threads, on how draws are
cut into chunks, nor on the device; and a saved sampler need not save a generator. That is why the samplers use this and not
``torch.Generator``: its stream would have to be filled by the host in advance, for the longest trajectory that may come.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011), section 3.3 and table 2.
The normal variates: Box and Muller, "A note on the generation of random normal deviates" (1958).
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from interpreters.hamiltonian.jit import jitable

# Purposes. What a number is for is part of its name, so that no two uses share one.
MOMENTUM: Final = 0
DOUBLING: Final = 1  # of doubling number d, 2 d for its direction, and 2 d + 1 for whether its half has the sample
LEAF: Final = 2  # of a trajectory, from 1
ACCEPTING: Final = 3
INITIAL: Final = 4

MASK: Final = 0xFFFFFFFF
UNIT: Final = 2.0**-52


@jitable
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Ten rounds over a counter of four and a key of two 32-bit words, each held in an int64. Four words.

    Products of 64 bits may wrap around: only their bits count. So it is right for int64 numbers and int64 tensors alike.
    """
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & 0xFFFFFFFF) ^ c1 ^ k0, p1 & 0xFFFFFFFF, ((p0 >> 32) & 0xFFFFFFFF) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


@jitable
def bits(seed: Any, chain: Any, draw: Any, purpose: Any, index: Any) -> Any:
    """Two independent integers of 52 bits."""
    a, b, c, d = philox(index, purpose, draw, chain, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    return (a >> 6) * 67108864 + (b >> 6), (c >> 6) * 67108864 + (d >> 6)


@jitable
def uniforms(seed: int, chain: int, draw: int, purpose: int, pair: int) -> Any:
    """Numbers 2 ``pair`` and 2 ``pair`` + 1 in (0, 1), ends excluded: they come together, at the price of one."""
    first, second = bits(seed, chain, draw, purpose, pair)
    return (first + 0.5) * UNIT, (second + 0.5) * UNIT


@jitable
def uniform(seed: int, chain: int, draw: int, purpose: int, index: int) -> float:
    """A number in (0, 1), ends excluded."""
    first, second = uniforms(seed, chain, draw, purpose, index >> 1)
    return second if index & 1 else first  # type: ignore[no-any-return]  # bits are of numbers or of tensors


@jitable
def normals(seed: int, chain: int, draw: int, purpose: int, out: Any) -> None:
    """Fills the vector ``out`` with standard normal variates."""
    for pair in range((len(out) + 1) // 2):
        a, b = bits(seed, chain, draw, purpose, pair)
        radius, angle = math.sqrt(-2.0 * math.log((a + 0.5) * UNIT)), 2.0 * math.pi * ((b + 0.5) * UNIT)
        out[2 * pair] = radius * math.cos(angle)
        if 2 * pair + 1 < len(out):
            out[2 * pair + 1] = radius * math.sin(angle)


def uniform_tensor(seed: int, chain: torch.Tensor, draw: Any, purpose: int, index: Any) -> torch.Tensor:
    """``uniform`` for int64 tensors that broadcast: float64 on the device of ``chain``."""
    index = torch.as_tensor(index, device=chain.device)
    first, second = _bits_tensor(seed, chain, draw, purpose, index >> 1)
    return _to_unit(torch.where((index & 1).bool(), second, first))


def normal_tensor(seed: int, chain: torch.Tensor, draw: Any, purpose: int, dim: int) -> torch.Tensor:
    """``normals`` for chains of shape [chains] and their draws: [chains, dim]."""
    pairs = torch.arange((dim + 1) // 2, device=chain.device)
    a, b = _bits_tensor(seed, chain.unsqueeze(-1), draw.unsqueeze(-1), purpose, pairs)
    radius, angle = (-2.0 * _to_unit(a).log()).sqrt(), 2.0 * math.pi * _to_unit(b)
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return both.flatten(start_dim=-2)[..., :dim]


def _bits_tensor(seed: int, chain: torch.Tensor, draw: Any, purpose: int, index: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """On the CPU through numpy, which takes a third of the time for the two hundred operations on few numbers."""
    if chain.device.type != "cpu":
        return bits(seed, chain, draw, purpose, index)  # type: ignore[no-any-return]
    name: list[Any] = [part.numpy() if isinstance(part, torch.Tensor) else part for part in (chain, draw, index)]
    first, second = bits(seed, name[0], name[1], purpose, name[2])
    return torch.from_numpy(first), torch.from_numpy(second)


def _to_unit(integers: torch.Tensor) -> torch.Tensor:
    return (integers.to(torch.float64) + 0.5) * UNIT
