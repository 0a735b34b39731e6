"""The messages that a program yields.

1. A message is a frozen value. Going up it is a request; coming down, finished, it is a *site*.
2. A ``Sample`` that carries a value is *decided*: nobody draws it again. An ``Observe`` always carries its value.
3. Rewriting is a new object: ``message.evolve(scale=2.0)``. (Not ``attrs.evolve``, which calls the constructor: the keyword
   arguments of a site's constructor are its distribution's.)
4. ``Sample("x", Normal(0.0, 1.0))`` carries a distribution; ``Sample("x", Normal, 0.0, 1.0)`` is *deferred*: the
   distribution is built once, by whoever first asks for ``message.dist``.
5. Users define their own types as subclasses of ``Message``; a poutine that does not know a type passes it on.
6. A message reads as the seed's dictionary, too: ``message["value"]`` is ``message.value``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from math import prod
from types import CoroutineType, GeneratorType, MappingProxyType
from typing import Any, ClassVar, Final, NoReturn, Protocol, TypeVar, cast

import attrs
import torch
from torch.distributions import constraints

from poutine.densities import batch_log_density
from poutine.equality import equal
from poutine.errors import DistributionError, NoDensity, PoutineError
from poutine.randomness import Key, call_keyed
from poutine.tensors import deep_copy


class Undecided(Enum):
    """The type of ``UNDECIDED``, the value of a message that nobody has answered yet."""

    UNDECIDED = "undecided"

    def __repr__(self) -> str:
        return self.name


UNDECIDED: Final = Undecided.UNDECIDED


class DistributionLike(Protocol):
    """What may stand where a distribution is asked for. ``rsample`` and ``has_rsample`` are used where present."""

    def sample(self) -> Any: ...
    def log_prob(self, value: Any, /) -> Any: ...


def is_distribution(thing: Any) -> bool:
    """True for an object, not a class, with ``log_prob`` and ``sample`` or ``rsample``."""
    return hasattr(thing, "log_prob") and (hasattr(thing, "sample") or hasattr(thing, "rsample")) and not isinstance(thing, type)


def is_submodel(thing: Any) -> bool:
    """True for what ``yield from`` runs: a generator, a program or, once it is called, a poutine."""
    fn = getattr(thing, "fn", None)
    return isinstance(thing, GeneratorType) or (callable(fn) and hasattr(thing, "__iter__") and not isinstance(thing, Message))


Self = TypeVar("Self", bound="Message")


@attrs.frozen
class CondIndepStackFrame:
    """One plate around a site.

    ``counter`` numbers the entries of the plate within one run of the enclosing program, from 1. ``dim`` (negative,
    counted from the right) and ``size`` are those of the batch dimension of a vectorised plate, where it has one.
    ``loop`` is the same object in all entries that are branches of one loop over a sequential plate: only these are independent.
    ``index`` tells which elements a vectorised plate that is a subsample has; without it, it has all. ``weight`` is how many elements of
    the plate each of those that take part stands for: N / n in a subsample of n out of N. The scale of a site inside has this factor.
    """

    name: str
    counter: int
    vectorized: bool
    dim: int | None = None
    size: int | None = None
    loop: object = attrs.field(default=None, eq=False, repr=False)
    index: torch.Tensor | None = attrs.field(default=None, eq=False, repr=False)
    weight: float = attrs.field(default=1.0, repr=False)


class _Defaults:
    """What a field is where a message's own dictionary does not hold it.

    Messages are made and rewritten at every site of every run; a dictionary that holds only what is not the default
    takes two thirds of the time.
    """

    value: Any = UNDECIDED
    scale: float | torch.Tensor = 1.0
    mask: bool | torch.Tensor = True
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = ()
    infer: Mapping[str, Any] = MappingProxyType({})
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    key: Key | None = None
    conditioned: bool = False
    constraint: constraints.Constraint = constraints.real


@attrs.frozen(slots=False, eq=False, repr=False)
class Message(_Defaults):
    """A named request. Subclass it, with ``@attrs.frozen(slots=False, eq=False)``, for a message type of your own.

    ``name`` is the site's name; ``value`` is what the program will be sent, or ``UNDECIDED``. ``way_out`` is what the error says that is
    raised where nobody knows its type.
    **Law**: a poutine that does not know a message's type passes it on untouched, both ways (H5).
    """

    type: ClassVar[str] = "message"
    way_out: ClassVar[str] = "wrap the program in a poutine whose rules answer it"
    _fields: ClassVar[frozenset[str]] = frozenset(("name", "value"))
    name: str
    value: Any = attrs.field(default=UNDECIDED, kw_only=True)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        cls._fields = frozenset(field.name for field in attrs.fields(cls))

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get("__slots__"):
            raise TypeError(f"{cls.__name__} has __slots__; a message keeps its fields in its dictionary: write @attrs.frozen(slots=False)")

    @property
    def is_decided(self) -> bool:
        """True if it carries a value: nobody draws it again."""
        return self.value is not UNDECIDED

    @property
    def is_observed(self) -> bool:
        """True for an ``Observe``, the program's own or one that a poutine made."""
        return isinstance(self, Observe)

    def evolve(self: Self, **changes: Any) -> Self:
        """A copy with ``changes``; the receiver stays as it is. Raises ``TypeError`` for what is no field."""
        # Not attrs.evolve, which takes five times as long: a handler does this at every site.
        new = blank(type(self))
        fields = new.__dict__
        fields |= self.__dict__
        fields |= changes
        if len(fields) > len(self.__dict__):
            self._check_known(changes)
        return new

    def _check_known(self, names: Iterable[str]) -> None:
        """A property that is set would never be read: ``dist`` is made of ``fn``."""
        known = self._fields
        for name in names:
            if name not in known and name not in self.__dict__:
                hint = "; write evolve(fn=distribution, args=(), kwargs={})" if name == "dist" else ""
                cls = self.__class__
                raise TypeError(f"{cls.__name__} has no field {name!r}; it has {', '.join(f.name for f in attrs.fields(cls))}{hint}")

    def replaced(self: Self, field: str, value: Any) -> Self:
        """``evolve(field=value)``, in half of the time: for what is done at every site. Nobody checks that there is such a field."""
        new = blank(type(self))
        fields = new.__dict__
        fields |= self.__dict__
        fields[field] = value
        return new

    __deepcopy__ = deep_copy

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and not key.startswith("_") and (key in self.__dict__ or hasattr(type(self), key))

    def get(self, key: str, default: Any = None) -> Any:
        """The field or property ``key``, or ``default`` if there is none, as of a dictionary."""
        return self[key] if key in self else default

    def keys(self) -> list[str]:
        """The names of the fields, so that ``dict(message)`` is a dictionary of them."""
        return ["type", *(f.name for f in attrs.fields(self.__class__))]

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a message, and is yielded: write `yield`, not `yield from`; its fields are in keys()")

    __eq__ = equal
    __hash__ = None  # type: ignore[assignment]  # values are tensors: equality is by content, so identity must not be hashed

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join([repr(self.name), *self._shown()])})"

    def _shown(self) -> list[str]:
        return [f"{f.name}={getattr(self, f.name)!r}" for f in attrs.fields(type(self)) if f.name != "name" and f.name in self.__dict__]


blank: Final = object.__new__  # a message of a class, without fields: its maker puts them into its dictionary, which is quickest


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Site(Message):
    """What all of the built-in sites have: ``scale``, ``mask``, ``cond_indep_stack`` and ``infer``.

    scale:  positive factor of the log density, a number or a tensor that broadcasts to the batch shape.
    mask:   where the log density counts, a bool or a bool tensor that broadcasts to the batch shape.
    cond_indep_stack:  the frames of the plates around the site, outermost first.
    infer:  free-form configuration for inference algorithms.
    """

    scale: float | torch.Tensor = attrs.field(init=False)
    mask: bool | torch.Tensor = attrs.field(init=False)
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)
    infer: Mapping[str, Any] = attrs.field(init=False)


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Choice(Site):
    """A site with a distribution: ``Sample`` or ``Observe``.

    fn, args, kwargs:  a distribution, or whatever returns one (or, for a bare callable, a value) when called.
    key:  the (seed, name, visit) that a draw uses; None leaves it to the runtime.
    """

    fn: Any = attrs.field(init=False)
    args: tuple[Any, ...] = attrs.field(init=False)
    kwargs: Mapping[str, Any] = attrs.field(init=False)
    key: Key | None = attrs.field(init=False, eq=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the ``init`` of the param that it was: it may be a function that cannot be pickled, and only a run asks for it."""
        return {field: value for field, value in self.__dict__.items() if field != "init" or field in self._fields}

    @property
    def is_deferred(self) -> bool:
        """True if ``fn`` must be called to get the distribution (or the value)."""
        return not is_distribution(self.fn)

    @property
    def built(self) -> DistributionLike | None:
        """The distribution, if nobody need call ``fn`` for it any more; else None."""
        fn, args, kwargs, built, _ = self.__dict__.get("_built", _NOT_BUILT)
        kept = fn is self.fn and args is self.args and kwargs is self.__dict__.get("kwargs")
        return built if kept else None if self.is_deferred else self.fn

    @property
    def dist(self) -> DistributionLike:
        """The distribution, built at the first look and kept. Raises ``DistributionError``, ``NoDensity``."""
        fn, args, kwargs, built, with_grad = self.__dict__.get("_built", _NOT_BUILT)
        stale = fn is not self.fn or args is not self.args or kwargs is not self.__dict__.get("kwargs")
        if stale or (not with_grad and torch.is_grad_enabled()):  # what was built without gradients has none
            built = Choice.call(self, self.key or (0, self.name, 0))  # which builds, whatever else a subclass may have it do
            if not is_distribution(built):
                raise NoDensity(
                    self.name,
                    f"{self.fn!r} is a bare callable, which can be called but has no density; "
                    "give the site a distribution (an object with sample and log_prob, or a class with its arguments)",
                )
        return cast(DistributionLike, built)

    @property
    def batch_log_pdf(self) -> torch.Tensor:
        """The log density in nats, scaled and masked, of the batch shape; computed at each look. Raises ``NoDensity``, ``DistributionError``."""
        return batch_log_density(self)

    @property
    def log_pdf(self) -> torch.Tensor:
        """``batch_log_pdf`` summed: a scalar. (In the seed, both are there once the trace has computed them.)"""
        return self.batch_log_pdf.sum()

    def call(self, key: Key) -> Any:
        """What ``fn`` returns: a distribution, which is kept, or the value of a bare callable, drawn from the stream of ``key``."""
        if not self.is_deferred:
            built = self.fn
        else:
            try:
                built = call_keyed(self.fn, self.args, self.kwargs, key)
            except PoutineError:
                raise
            except Exception as error:
                self.check_callable()
                hint = f"; {_TO_OBSERVE}" if "obs" in self.kwargs else ""
                raise DistributionError(self.name, f"cannot call {_call(self.fn, self.args, self.kwargs)}: {error}{hint}") from error
        if is_distribution(built):
            kept = (self.fn, self.args, self.__dict__.get("kwargs"), built, torch.is_grad_enabled())
            self.__dict__["_built"] = kept  # for as long as these are its own: see dist
        else:
            self._check_drawn(built)
        return built

    def check_callable(self) -> None:
        """Raises ``DistributionError`` if ``fn`` is neither a distribution nor a callable."""
        if is_distribution(self.fn) or callable(self.fn):
            return
        hint = ""
        if is_submodel(self.fn):
            hint = f"; {_TO_RUN}"
        elif is_distribution(self.value):
            hint = f"; its value {self.value!r} is one: {_TO_OBSERVE}"
        raise DistributionError(self.name, f"expected a distribution, or a callable that returns one, got {self.fn!r}{hint}")

    def _check_drawn(self, value: Any) -> None:
        """Raises ``DistributionError`` if what a bare callable returned is there to be run or awaited, and is no value."""
        if isinstance(value, CoroutineType):
            value.close()
            raise DistributionError(
                self.name,
                f"{self.fn!r} is a coroutine function, whose value must be awaited: yield Await({self.name!r}, fn, *args) of "
                "interpreters.asynchronous, and run the program with its run_async",
            )
        if is_submodel(value):
            raise DistributionError(
                self.name, f"expected a distribution or a value from {self.fn!r}, got the submodel {value!r}; {_TO_RUN}"
            )

    def _shown(self) -> list[str]:
        fn = self.fn.__name__ if isinstance(self.fn, type) else repr(self.fn)
        rest = (part for part in super()._shown() if not part.startswith(("fn=", "args=", "kwargs=")))
        return [fn, *map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items()), *rest]


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Sample(Choice):
    """``x = yield Sample("x", Normal(0.0, 1.0))`` or, deferred, ``yield Sample("x", Normal, 0.0, 1.0)``.

    Also ``Sample("x", fn, *args, **kwargs)`` with a bare callable, which is called for the value and has no density.
    """

    type: ClassVar[str] = "sample"

    def __init__(self, name: str, fn: Any, /, *args: Any, infer: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        # Straight into the dictionary, as attrs does it for frozen classes: this runs at every site of every program.
        fields = self.__dict__
        fields["name"] = name if type(name) is str else _checked_name(self, name)
        fields["fn"] = fn
        if args:
            fields["args"] = args
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if kwargs:
            fields["kwargs"] = kwargs
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if infer:
            fields["infer"] = infer

    def observed(self, value: Any) -> Observe:
        """This site, conditioned on ``value``. Raises ``DistributionError`` if that is None."""
        if value is None:
            raise _unseen(self)
        new = blank(Observe)
        fields = new.__dict__
        fields |= self.__dict__
        fields["value"], fields["conditioned"] = value, True
        return new


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Observe(Choice):
    """``yield Observe("y", Normal(mu, 1.0), y)`` or, deferred, ``yield Observe("y", Normal, y, mu, 1.0)``.

    ``conditioned`` is True where a handler turned a ``Sample`` into this; only then may an outer one replace the value.
    Raises ``DistributionError`` if the value is None.
    """

    type: ClassVar[str] = "observe"
    conditioned: bool = attrs.field(init=False)

    def __init__(self, name: str, fn: Any, value: Any, /, *args: Any, infer: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else _checked_name(self, name)
        fields["fn"] = fn
        fields["value"] = value
        if value is None:
            raise _unseen(self)
        if args:
            fields["args"] = args
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if kwargs:
            fields["kwargs"] = kwargs
            if type(fn) is not type:
                _check_deferred(name, fn, args, kwargs)
        if infer:
            fields["infer"] = infer

    def unobserved(self) -> Sample:
        """This site as a ``Sample`` that nobody has decided."""
        new = blank(Sample)
        fields = new.__dict__
        fields |= self.__dict__
        del fields["value"]
        fields.pop("conditioned", None)
        return new


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Param(Site):
    """``w = yield Param("w", torch.zeros(3), constraint=constraints.real)``: a learnable, constrained value.

    ``init`` is the constrained value that it starts from, or a callable that returns it; None if it must exist already.
    ``key`` is that of a choice: what a callable draws by.
    """

    type: ClassVar[str] = "param"
    init: Any = attrs.field(init=False)
    constraint: constraints.Constraint = attrs.field(init=False)
    key: Key | None = attrs.field(init=False, eq=False)

    def __init__(
        self,
        name: str,
        init: torch.Tensor | float | Callable[[], torch.Tensor] | None = None,
        constraint: constraints.Constraint = constraints.real,
        infer: Mapping[str, Any] | None = None,
    ) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else _checked_name(self, name)
        fields["init"] = init
        if constraint is not _REAL:
            fields["constraint"] = constraint
        if infer:
            fields["infer"] = infer

    def lifted(self, prior: Any) -> Sample:
        """This site as a ``Sample`` from ``prior``.

        Whoever lifts it gives later reads the same value, in other branches of a loop and for other elements of a plate, too: its frames are
        those of no branch and of no subsample, and its prior counts once, and not once for each element that those of a subsample stand for.
        """
        new = blank(Sample)
        fields = new.__dict__
        fields |= self.__dict__
        fields["init"], fields["fn"] = self.init, prior
        fields.pop("key", None)  # what its initial value draws by is not what a sample does
        if "cond_indep_stack" in fields:
            frames = fields["cond_indep_stack"]
            fields["cond_indep_stack"] = tuple(map(_of_all, frames))
            if "scale" in fields:
                fields["scale"] = fields["scale"] / prod(frame.weight for frame in frames)
        return new


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Deterministic(Site):
    """``yield Deterministic("theta", mu + tau * z)``: names a computed value in the trace; has no density."""

    type: ClassVar[str] = "deterministic"

    def __init__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        fields["name"] = name if type(name) is str else _checked_name(self, name)
        fields["value"] = value


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class Sealed(Message):
    """A hidden site on its way through poutines that must not see it. Only the runtime opens ``message``."""

    type: ClassVar[str] = "sealed"
    message: Message = attrs.field(init=False)

    def __init__(self, message: Message) -> None:
        fields = self.__dict__
        fields["name"] = "(sealed)"
        fields["value"] = message.value
        fields["message"] = message


@attrs.frozen
class PlateEntry:
    """The answer to ``EnterPlate``: the number of this entry, from 1, and the frames of the plates around, outermost first.

    ``wide``: values may have batch dimensions to the left of all plates, those of a runtime that takes many values at once.
    """

    counter: int
    around: tuple[CondIndepStackFrame, ...]
    wide: bool = False


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class EnterPlate(Message):
    """A plate asks for its number; plates around it add their frames on the way up. Its value is a ``PlateEntry``."""

    type: ClassVar[str] = "enter_plate"
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)

    def __init__(self, name: str) -> None:
        self.__dict__.update(name=name)


@attrs.frozen
class MarkovEntry:
    """The answer to ``EnterMarkov``: the steps to run now, from ``start`` to before ``stop``, and the state that they start from.

    More than one step at once is for a runtime that takes all states together; ``loop`` then marks the frame of its sites, and ``dim`` is
    the batch dimension of the steps.
    ``watch`` is for one that must know what handlers around the loop do: it is shown each site of the steps as they get it.
    """

    start: int
    stop: int
    state: Any
    loop: object = None
    dim: int = -1
    watch: Callable[[Message], None] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(slots=False, eq=False, repr=False, init=False)
class EnterMarkov(Message):
    """A ``markov`` loop of ``size`` steps has come to step ``start`` with ``state``; it ends at ``size``. Its value is a ``MarkovEntry``.

    ``vectorized``: the steps after the first may be run at once. Plates around the loop add their frames on the way up.
    """

    type: ClassVar[str] = "enter_markov"
    start: int = attrs.field(init=False)
    size: int = attrs.field(init=False)
    state: Any = attrs.field(init=False)
    vectorized: bool = attrs.field(init=False)
    cond_indep_stack: tuple[CondIndepStackFrame, ...] = attrs.field(init=False)

    def __init__(self, name: str, start: int, size: int, state: Any, vectorized: bool) -> None:
        self.__dict__.update(name=name, start=start, size=size, state=state, vectorized=vectorized)


def _check_deferred(name: str, fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """A distribution that is built already takes no arguments: ``Sample("x", Normal(0.0, 1.0), obs=y)`` must not pass unnoticed."""
    if is_distribution(fn):
        raise DistributionError(
            name,
            f"{_call(fn, args, kwargs)} is a distribution that is built already, and takes no arguments; "
            f"write Sample(name, Normal, 0.0, 1.0) to defer it; {_TO_OBSERVE}",
        )


def _checked_name(message: Message, name: Any) -> str:
    """What is no plain string, as one. Raises ``TypeError`` for what is none at all."""
    if not isinstance(name, str):
        kind = type(message).__name__
        raise TypeError(f"{kind}: expected a string as the name of the site, got {name!r}; write {kind}(name, ...)")
    return str.__str__(name)  # of an enumeration's member, its value


def _of_all(frame: CondIndepStackFrame) -> CondIndepStackFrame:
    """The frame around what all elements share."""
    if frame.index is None and frame.weight == 1.0 and (frame.vectorized or frame.loop is None):
        return frame
    return attrs.evolve(frame, loop=frame.loop if frame.vectorized else None, index=None, weight=1.0)


def _unseen(site: Choice) -> DistributionError:
    return DistributionError(
        site.name,
        "expected the value that was observed, got None; write Sample(name, distribution) for what was not observed, "
        "and condition the model where it was",
    )


_TO_OBSERVE: Final = "write Observe(name, distribution, value) to observe it"
_TO_RUN: Final = "write `x = yield from submodel(...)` to run a submodel, whose sites have names of their own"
_REAL: Final = constraints.real
_NOT_BUILT: Final = (UNDECIDED, UNDECIDED, UNDECIDED, UNDECIDED, True)


def _call(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    inside = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    return f"{getattr(fn, '__name__', repr(fn))}({inside})"
