"""The log evidence of a program as a function of its tensors, for loops that ask for it and its gradient again and again.

``eliminate`` runs the program each time; here it is run twice, compared and recorded, and from then on torch's operations alone are run,
without the program: a hidden Markov model costs what a scan costs that is written by hand.

Not to be confused with ``compiled``, which turns the density of a program's continuous sites into machine code, in seconds: here nothing
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import attrs
import numpy as np
import torch
from torch.fx import GraphModule
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from interpreters.elimination import eliminate
from interpreters.errors import NotVectorizable, StructureChanged
from interpreters.factor_graph.collecting import Collector, collected, unvalidated
from interpreters.factor_graph.contraction import log_sum
from interpreters.factor_graph.eliminating import Algebra, log_evidence
from interpreters.factor_graph.recording import Scan, recorded
from interpreters.validation import SkipValidation
from poutine import ParamStore, Program, as_program
from poutine.equality import same
from poutine.program import name_of

_DATA: Final = (str, bytes, int, float, complex, Enum, np.ndarray, np.generic)


@attrs.frozen(eq=False)
class Evidence:
    """The log of the normaliser of a program whose discrete sites are summed out, in nats. Make it with ``evidence(program)``.

    Called without arguments, it is that of the program's own tensors, and of parameters, as they are now; with arguments, those of the
    program, it is theirs. A scalar, with gradients in all of them.
    """

    program: Program[Any]
    _module: GraphModule = attrs.field(repr=False)
    _structure: TreeSpec = attrs.field(repr=False)
    _shapes: tuple[torch.Size, ...] = attrs.field(repr=False)
    _fixed: tuple[Any, ...] = attrs.field(repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Raises ``StructureChanged`` at arguments of another structure, or shapes, than were recorded, and at others that are no tensors."""
        given = (args, kwargs) if args or kwargs else (self.program.args, dict(self.program.kwargs))
        leaves, structure = tree_flatten(given)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        shapes = tuple(tensor.shape for tensor in tensors)
        if structure != self._structure or shapes != self._shapes:
            raise StructureChanged(
                f"expected arguments as they were recorded, with tensors of shapes {_shown(self._shapes)}, got {_shown(shapes)}; "
                "record anew with evidence(program)"
            )
        others = [leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)]
        for known, now in zip(self._fixed, others, strict=True):
            if not _is_same(known, now):
                raise StructureChanged(
                    f"expected the argument {known!r} as it was recorded, got {now!r}; what is no tensor stays as it is recorded: make it a "
                    "tensor, or record anew with evidence(program)"
                )
        return self._module(*tensors)  # type: ignore[no-any-return]  # a tensor


def evidence(program: Program[Any] | Callable[..., Any], params: ParamStore | None = None) -> Evidence:
    """Runs and compares ``program`` as ``eliminate`` does, and records what it does with its tensors.

    ::

        loss = evidence(Program(model, transition, y), params)
        for _ in range(1000):
            optimizer.zero_grad()
            (-loss()).backward()
            optimizer.step()

    What is no tensor among the arguments, and which sites there are, stays as it is recorded; a call with another number or module is
    refused. The program may not look at values (``if w > 0:``). Arguments of distributions are validated while it is recorded only;
    a matrix that is not positive definite later has the log evidence nan.

    **Law**: ``evidence(program)() = eliminate(program).log_evidence``.
    Raises what ``eliminate`` raises, and ``NotVectorizable`` where the program looks at a value.
    """
    whole = as_program(program)
    known = eliminate(whole, params)
    leaves, structure = tree_flatten((whole.args, dict(whole.kwargs)))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    tensors = [leaves[i] for i in places]

    def function(given: Any, scan: Scan) -> torch.Tensor:
        args, kwargs = tree_unflatten([_at(i, leaf, places, given) for i, leaf in enumerate(leaves)], structure)
        collector = Collector(known.graph.rank, unvalidated, asks=False, in_turn=known.graph.in_turn)
        with SkipValidation():
            graph = collected(Program(whole.fn, *args, **kwargs), collector.answers(params), collector)
            return log_evidence(graph, Algebra(log_sum, scan))

    try:
        module = recorded(function, tensors)
    except Exception as error:
        cause = error.__cause__ or error
        raise NotVectorizable(
            f"{name_of(whole.fn)} cannot be recorded: it raises {type(cause).__name__}: {cause}; a program must not look at values of tensors "
            "(if w > 0:, float(w)); eliminate runs it each time"
        ) from error
    others = tuple(leaf for leaf in leaves if not isinstance(leaf, torch.Tensor))
    return Evidence(whole, module, structure, tuple(tensor.shape for tensor in tensors), others)


def _is_same(recorded: Any, now: Any) -> bool:
    """The same object, or plain data of the same content: what else is equal (a module) may hold tensors of its own."""
    return recorded is now or (isinstance(now, _DATA) and same(recorded, now))


def _at(i: int, leaf: Any, places: list[int], given: Any) -> Any:
    return given[places.index(i)] if i in places else leaf


def _shown(shapes: tuple[torch.Size, ...]) -> str:
    return ", ".join(str(tuple(shape)) for shape in shapes) or "(none)"
