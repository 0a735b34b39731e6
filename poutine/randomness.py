"""Keyed randomness: every draw has its own generator, named by (seed, site name, visit number).

1. A draw depends on its key alone, never on what was drawn before: conditioning, inserting or removing a site moves no
   other draw.
2. Keys are hashed with BLAKE2b: the same on every machine, process and Python.
3. The global generators of torch, numpy and ``random`` are neither read nor changed. (What a callable of the user's own asks of numpy
   or ``random``, it asks of them: nobody can hand these a generator from outside.)

torch's distributions take no generator. ``Keyed`` is a ``TorchFunctionMode`` (thread-local, active only while one draw is made)
that hands one to each random function they call. The CPU generator of torch (mt19937) uses the low 32 bits of its seed:
two of n draws share a stream with probability about n² / 2³³, harmless for Monte Carlo but not for cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

import torch
from torch.distributions import Distribution, Independent, Normal
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from poutine.corrections import corrected, is_drawn_wrongly, parts_of

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


# torch's own distributions draw nothing when they are built, and by torch's random functions when they are asked to.
_TORCHS: Final = frozenset(thing for thing in vars(torch.distributions).values() if isinstance(thing, type))

# A tensor of these times a number is the same as times the number as such a tensor. Half precision rounds the second.
_EXACT: Final = frozenset((torch.float32, torch.float64))


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
        """The generator for ``device``, made and seeded when it is first asked for; the next draw goes on with it."""
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


class _KeyedInside(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """The same for what is drawn inside of torch's own functions (``torch.nn.init``, ``gumbel_softmax``), where ``Keyed`` is off.

    It is slower, and only for callables of the user's. Raises ``RuntimeError`` at an operation that can only draw from the global
    generator.
    """

    def __init__(self, keyed: Keyed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self._keyed = keyed

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What would keep Dynamo away from the mode imports it, which takes a second and adds to Python's warnings filters."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        options = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and not _has_generator(args, options):
            func = _with_generator(func)
            options["generator"] = self._keyed.generator(_device_of(args, options))
        return func(*args, **options)


def _has_generator(args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Whether a random operation was given one: ``Keyed``'s may come by position."""
    return options.get("generator") is not None or any(isinstance(value, torch.Generator) for value in args)


def _with_generator(func: Any) -> Any:
    """The overload of a random operation that takes a generator."""
    packet = func.overloadpacket
    for name in (func._overloadname, f"{func._overloadname}_generator", "generator"):
        overload = getattr(packet, name, None) if name in packet.overloads() else None
        if overload is not None and any(argument.name == "generator" for argument in overload._schema.arguments):
            return overload
    raise RuntimeError(
        f"{func} draws from torch's global generator, and takes no other; make what it draws a site of its own "
        "(dropout is a Bernoulli), or draw it with torch.bernoulli, torch.rand, ..."
    )


def _device_of(args: tuple[Any, ...], options: Mapping[str, Any]) -> torch.device:
    """The device on which a random function will draw."""
    asked = options.get("device")
    if asked is not None:
        return torch.device(asked)
    for value in (*args, *options.values()):
        if isinstance(value, torch.Tensor):
            return value.device
    return torch.get_default_device()


def call_keyed(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Key) -> Any:
    """``fn(*args, **kwargs)``; what it draws, if anything, comes from the stream of ``key``."""
    if draws_nothing(fn):
        return fn(*args, **kwargs)  # without the mode, which would slow down every call of torch in the constructor
    with (keyed := Keyed(key)), _KeyedInside(keyed):
        return fn(*args, **kwargs)


def draws_nothing(fn: Any) -> bool:
    """Whether making a distribution of ``fn`` surely draws nothing: it is one already, or a class of torch's."""
    return isinstance(fn, Distribution) or (isinstance(fn, type) and fn in _TORCHS)


def is_reparameterized(dist: Any) -> bool:
    """True if ``dist`` is drawn by ``rsample``: as its ``has_rsample`` says or, without that, if it can."""
    return bool(getattr(dist, "has_rsample", hasattr(dist, "rsample")))


def draw(dist: Any, key: Key) -> Any:
    """A value of ``dist``, reparameterised where it can be, from the stream of ``key``."""
    drawn = dist
    while type(drawn) is Independent:
        drawn = drawn.base_dist  # what it draws is what its base draws
    if type(drawn) is Normal and drawn.loc.is_cpu:
        return _normal(drawn.loc, drawn.scale, torch.empty_like(drawn.loc, memory_format=torch.contiguous_format), key)
    parts = parts_of(dist)
    if not is_drawn_wrongly(parts):
        return _sampled(dist, parts, key)
    with corrected(dist) as copy:
        return _sampled(copy, parts, key)


def _sampled(dist: Any, parts: list[Any], key: Key) -> Any:
    sample = dist.rsample if is_reparameterized(dist) else dist.sample
    if not all(type(part) in _TORCHS for part in parts):
        return call_keyed(sample, (), {}, key)
    with Keyed(key):
        return sample()


def draw_unbuilt(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Key) -> torch.Tensor | None:
    """What ``draw(fn(*args, **kwargs), key)`` gives, bit for bit, where that needs no distribution; else None.

    To build a Normal of two numbers, with torch's look at them, takes longer than to draw from it. Whoever asks for the
    site's density builds it then.
    """
    if fn is not Normal or kwargs or len(args) != 2 or not _surely_valid(*args):
        return None
    noise = torch.empty(())
    return _normal(*args, noise, key) if noise.is_cpu and noise.dtype in _EXACT else None


def _normal(loc: Any, scale: Any, noise: torch.Tensor, key: Key) -> torch.Tensor:
    """What ``Normal.rsample`` does, without the mode: half of the time for the commonest distribution. Fills ``noise``."""
    return loc + noise.normal_(generator=torch.Generator().manual_seed(stream_seed(key))) * scale  # type: ignore[no-any-return]


def _surely_valid(loc: Any, scale: Any) -> bool:
    """Whether they are floats that torch accepts in any precision; False leaves the judgement, and its error, to torch."""
    return type(loc) is float and type(scale) is float and abs(loc) < 1e30 and 1e-30 < scale < 1e30
