"""Counting random numbers: known answers, the same for numbers and tensors, and what they are distributed like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from interpreters.hamiltonian.philox import LEAF, MASK, MOMENTUM, normal_tensor, normals, philox, uniform, uniform_tensor

SEED = 2**62 + 12345678901


@pytest.mark.parametrize(("words", "expected"), [
    ((0,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])  # fmt: skip
def test_the_known_answers_of_random123(words, expected):
    assert philox(*words) == expected
    assert tuple(map(int, philox(*map(torch.tensor, words[:4]), *words[4:]))) == expected


def test_tensors_and_numbers_agree():
    chain, draw, index = torch.arange(3), torch.tensor([0, 5, 1000]), torch.tensor([7, 0, 2])
    many = uniform_tensor(SEED, chain, draw, LEAF, index)
    assert many.tolist() == [uniform(SEED, *map(int, (c, t)), LEAF, int(i)) for c, t, i in zip(chain, draw, index, strict=True)]
    for dim in (1, 4, 5):
        rows = normal_tensor(SEED, chain, draw, MOMENTUM, dim)
        for c in range(3):
            out = np.zeros(dim)
            normals(SEED, c, int(draw[c]), MOMENTUM, out)
            np.testing.assert_allclose(rows[c].numpy(), out, rtol=1e-14)


def test_they_are_distributed_as_they_should():
    u = uniform_tensor(SEED, torch.arange(10).unsqueeze(-1), 3, LEAF, torch.arange(2000))
    z = normal_tensor(SEED, torch.arange(10), torch.full((10,), 3), MOMENTUM, 2000)
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    assert torch.unique(u).numel() == u.numel()
    assert float(u.min()) > 0 and float(u.max()) < 1


@pytest.mark.parametrize("changed", range(5))
def test_every_part_of_the_name_counts(changed: int):
    name = [SEED, 1, 2, LEAF, 3]
    other = [part + (i == changed) * (1 << 40 if i == 0 else 1) for i, part in enumerate(name)]
    assert uniform(*name) != uniform(*other)
