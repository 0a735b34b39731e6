"""What turns the loops of the samplers into native code: numba, where it is installed (the extra ``native``).

Without numba the same functions are plain Python, and only the batched sampler of torch is used.

1. ``jitable`` marks a function that others, compiled ones, may call. Python calls it as it is: formulas of arithmetic alone
   are so written once, for numbers in a compiled loop and for tensors.
2. ``entry`` compiles a function that Python calls. It releases the interpreter lock, and is kept on disk.
3. numba looks at the file of the function only when it decides whether what is on disk is still good. ``entry`` puts the
   content of all the files that make up the loop into the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

try:
    numba: Any = import_module("numba")
    extending: Any = import_module("numba.extending")
    llvm: Any = import_module("llvmlite.ir")
except ImportError:  # the extra is not installed
    numba = None

F = TypeVar("F", bound=Callable[..., Any])

NATIVE: Final[bool] = numba is not None

# Nothing is allocated in the loops, so nothing need be counted: numba would count a reference at every look at a vector, which
# takes five times as long as all the rest of a leapfrog. The option is not in numba's documentation. It refuses to compile, and
# does not miscompile, what allocates.
_BARE: Final = MappingProxyType({"_nrt": False})


def jitable(fn: F) -> F:
    """``fn``, which compiled functions may call, too."""
    marked: F = extending.register_jitable(**_BARE)(fn) if NATIVE else fn
    return marked


def inlined(fn: F) -> F:
    """``jitable``, and put in the place of each call.

    A call hands over each array as some seven numbers. Those of ``Machine`` and ``Work`` are together 160, on the stack, which
    took half the time of a short leapfrog.
    """
    marked: F = extending.register_jitable(forceinline=True, **_BARE)(fn) if NATIVE else fn
    return marked


def reducing(fn: F) -> F:
    """``jitable``, and its sums may be taken in any order: several numbers at once, and so three times as fast."""
    marked: F = extending.register_jitable(fastmath={"reassoc", "nsz", "contract"}, **_BARE)(fn) if NATIVE else fn
    return marked


def fingerprint(files: Sequence[str]) -> str:
    """The content of source files, in short."""
    return blake2b(b"\x1f".join(Path(file).read_bytes() for file in files), digest_size=8).hexdigest()


def entry(fn: F) -> F:
    """``fn``, compiled when it is first called. Its closure counts as part of its source."""
    compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy", **_BARE)(fn) if NATIVE else fn
    return compiled


def _call(typing: Any, address: Any, dim: Any, position: Any, gradient: Any, value: Any, user: Any) -> Any:
    """Calls the C function ``int64_t f(uint64_t dim, const double* x, double* grad, double* logp, void* user)`` at ``address``.

    All arguments are integers, pointers too. Being told the address at run time, one compiled loop serves every density.
    """
    signature = numba.types.int64(*[numba.types.intp] * 6)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64, f64, pointer = llvm.IntType(64), llvm.DoubleType().as_pointer(), llvm.IntType(8).as_pointer()
        to = [f64, f64, f64, pointer]
        function = builder.inttoptr(args[0], llvm.FunctionType(i64, [i64, *to]).as_pointer())
        return builder.call(function, [args[1], *map(builder.inttoptr, args[2:], to)])

    return signature, generate


call_density: Final[Any] = extending.intrinsic(_call) if NATIVE else None
