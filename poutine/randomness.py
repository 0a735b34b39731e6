"""Keyed randomness: every draw has its own generator, named by (seed, site name, visit number).

1. A draw depends on its key alone, never on what was drawn before: conditioning, inserting or removing a site moves no
   other draw.
2. Keys are hashed with BLAKE2b: the same on every machine, process and Python.
3. The global generators of torch, numpy and ``random`` are neither read nor changed.

torch's distributions take no generator. ``Keyed`` is a ``TorchFunctionMode`` (thread-local, active only while one draw is made)
that hands one to each random function they call. The CPU generator of torch (mt19937) uses the low 32 bits of its seed:
two of n draws share a stream with probability about n² / 2³³, harmless for Monte Carlo but not for cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

import torch
from torch.distributions import Normal
from torch.overrides import TorchFunctionMode

Key = tuple[int, str, int]

_FUNCTIONS: Final = (
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli",
    "multinomial", "poisson", "binomial", "_standard_gamma", "_sample_dirichlet",
)  # fmt: skip
_METHODS: Final = (
    "normal_", "uniform_", "exponential_", "cauchy_", "geometric_", "log_normal_", "bernoulli_", "random_",
    "bernoulli", "multinomial",
)  # fmt: skip
_RANDOM: Final = frozenset([getattr(torch, name) for name in _FUNCTIONS] + [getattr(torch.Tensor, name) for name in _METHODS])


def stream_seed(key: Key) -> int:
    """The 63-bit seed of a key's stream."""
    seed, name, visit = key
    digest = blake2b(f"{seed}\x1f{visit}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Keyed(TorchFunctionMode):
    """While entered, torch's random functions draw from generators that are seeded with ``key``, one for each device."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._seed = stream_seed(key)
        self._generators: dict[torch.device, torch.Generator] = {}

    def generator(self, device: torch.device) -> torch.Generator:
        found = self._generators.get(device)
        if found is None:
            found = self._generators[device] = torch.Generator(device)
            found.manual_seed(self._seed)
        return found

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _RANDOM and options.get("generator") is None:
            options["generator"] = self.generator(_device_of(args, options))
        return func(*args, **options)


def _device_of(args: tuple[Any, ...], options: Mapping[str, Any]) -> torch.device:
    """The device on which a random function will draw."""
    asked = options.get("device")
    if asked is not None:
        return torch.device(asked)
    for value in (*args, *options.values()):
        if isinstance(value, torch.Tensor):
            return value.device
    return torch.get_default_device()


def draw(dist: Any, key: Key) -> Any:
    """A value of ``dist``, reparameterised where it can be, from the stream of ``key``."""
    if type(dist) is Normal and dist.loc.device.type == "cpu" and not (dist.loc.requires_grad or dist.scale.requires_grad):
        # What Normal.sample does, without the mode: a third of the time for the commonest distribution.
        generator = torch.Generator()
        generator.manual_seed(stream_seed(key))
        return torch.normal(dist.loc, dist.scale, generator=generator)
    with Keyed(key):
        return dist.rsample() if getattr(dist, "has_rsample", False) else dist.sample()
