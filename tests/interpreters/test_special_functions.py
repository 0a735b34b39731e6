"""Special functions in kernels: torch's numbers and derivatives over the whole range of double precision."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch

from interpreters.kernels.cpp import build
from interpreters.kernels.decompositions import decompositions
from interpreters.kernels.gradients import grad_and_value
from interpreters.kernels.recording import record
from interpreters.kernels.source import SYMBOL, written

F64 = torch.float64
Function = Callable[[torch.Tensor], torch.Tensor]


def both_signs(*numbers: float) -> list[float]:
    return [sign * number for number in numbers for sign in (1.0, -1.0)]


EDGES = both_signs(
    0.0, 5e-324, 1e-300, 1e-100, 1e-16, 1e-8, 1e-3, 0.5, 1.0, 2.0, 5.0, 8.0, 8.5, 10.0, 24.9, 25.1, 26.0, 40.0, 300.0, 1e10, 1e300
)
LINE = torch.tensor([*EDGES, torch.inf, -torch.inf, torch.nan, *torch.linspace(-30.0, 30.0, 241).tolist()], dtype=F64)
UNIT = torch.tensor(
    [0.0, 5e-324, 1e-300, 1e-100, 1e-16, 0.1, 0.2, 0.8, 0.9, 1 - 1e-9, 1.0, *torch.linspace(0.001, 0.999, 101).tolist()], dtype=F64
)
POSITIVE = torch.cat([torch.logspace(-6, 8, 80, dtype=F64), torch.linspace(0.1, 30.0, 80, dtype=F64)])

OF_THE_LINE: Mapping[str, Function] = {
    "log_ndtr": torch.special.log_ndtr,
    "ndtr": torch.special.ndtr,
    "erfcx": torch.special.erfcx,
    "i0": torch.special.i0,
    "i0e": torch.special.i0e,
    "i1": torch.special.i1,
    "i1e": torch.special.i1e,
    "expm1": torch.expm1,
    "sinc": torch.sinc,
    "sigmoid": torch.sigmoid,
    "logsigmoid": torch.nn.functional.logsigmoid,
    "softplus": torch.nn.functional.softplus,
    "mish": torch.nn.functional.mish,
    "gelu": torch.nn.functional.gelu,
    "xlog1py": lambda u: torch.special.xlog1py(u, (u * u).clamp(max=1e6)),
    "remainder": lambda u: torch.remainder(u, 0.7) + torch.fmod(u, -0.3),
    "hypot": lambda u: torch.hypot(u, torch.tensor(2.0, dtype=F64)) + torch.copysign(u, torch.tensor(-1.0, dtype=F64)),
}
OF_THE_UNIT: Mapping[str, Function] = {
    "ndtri": torch.special.ndtri,
    "erfinv": lambda p: torch.erfinv(2 * p - 1),
    "logit": torch.special.logit,
    "entr": torch.special.entr,
    "log1p": lambda p: torch.log1p(-p),
    "xlogy": lambda p: torch.special.xlogy(p, 1 - p),
}
SHAPES = [1e-3, 0.3, 1.0, 2.5, 9.9, 10.1, 40.0, 500.0]


def around(shape: float, x: Any) -> Any:
    """From far below the shape to far above."""
    return x if shape < 10.0 else shape * (0.5 + x / (10.0 + x))


def of_shape(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], shape: float) -> Function:
    return lambda x: function(torch.tensor(shape, dtype=F64), around(shape, x))


def part(shape: float, upper: bool) -> Callable[[float], float]:
    def exact(x: float) -> float:
        at = around(shape, x)
        return float(mpmath.gammainc(shape, at, mpmath.inf, regularized=True) if upper else mpmath.gammainc(shape, 0, at, regularized=True))

    return exact


GAMMAS: Mapping[str, Function] = {
    **{f"gammainc {a}": of_shape(torch.special.gammainc, a) for a in SHAPES},
    **{f"gammaincc {a}": of_shape(torch.special.gammaincc, a) for a in SHAPES},
}
OF_THE_POSITIVE: Mapping[str, Function] = {
    "digamma": torch.digamma,
    "trigamma": lambda x: torch.special.polygamma(1, x),
    "third": lambda x: torch.special.polygamma(2, x),
    "multigammaln": lambda x: torch.special.multigammaln(x + 1.0, 3),
}

# Where torch subtracts numbers that are nearly equal, so that the last digits of its derivative are noise: absolute tolerances.
NOISY: Mapping[str, float] = {"erfcx'": 1e-15, "sinc'": 3e-9}
# Of these, torch's own have 9 or 10 digits.
EXACT: Mapping[str, Callable[[float], float]] = {
    "digamma'": lambda x: float(mpmath.psi(1, x)),
    "trigamma": lambda x: float(mpmath.psi(1, x)),
    "trigamma'": lambda x: float(mpmath.psi(2, x)),
    "third": lambda x: float(mpmath.psi(2, x)),
    "third'": lambda x: float(mpmath.psi(3, x)),
    **{f"gammainc {a}": part(a, False) for a in SHAPES},
    **{f"gammaincc {a}": part(a, True) for a in SHAPES},
}


def digits(what: str) -> int:
    """What is an exponential of a difference of large numbers, as torch has the derivatives of these, loses some."""
    return 9 if what.startswith("gamma") and what.endswith("'") else 11 if what.startswith("gamma") else 12


def kernel(function: Function, example: torch.Tensor, directory: Path) -> Function:
    """The gradient of ``function``."""
    lowered = grad_and_value(record(function, example.clone()), example, decompositions())
    source = written(lowered)
    (directory / "kernel.cpp").write_text(source.text)
    build(directory / "kernel.cpp", directory / "kernel.so", source.calls_blas, source.width)
    call = getattr(ctypes.CDLL(str(directory / "kernel.so")), SYMBOL)
    constants = (ctypes.c_void_p * len(lowered.constants))(*(constant.data_ptr() for constant in lowered.constants))

    def gradient(u: torch.Tensor) -> torch.Tensor:
        found, value = torch.empty_like(u), torch.empty((), dtype=F64)
        call(*(ctypes.c_void_p(x) for x in (len(u), u.data_ptr(), found.data_ptr(), value.data_ptr(), ctypes.addressof(constants))))
        return found

    return gradient


@pytest.mark.slow
@pytest.mark.parametrize(
    ("functions", "points"), [(OF_THE_LINE, LINE), (OF_THE_UNIT, UNIT), (OF_THE_POSITIVE, POSITIVE), (GAMMAS, POSITIVE)]
)
def test_numbers_and_derivatives_are_torchs(functions: Mapping[str, Function], points: torch.Tensor, tmp_path: Path):
    """In one kernel: the gradient of x f(x), f(x) being held, is f(x)."""
    shape = (2, len(functions), len(points))

    def total(u: torch.Tensor) -> torch.Tensor:
        held, free = u.reshape(shape)
        rows = [x * f(x).detach() + f(y) for f, x, y in zip(functions.values(), held, free, strict=True)]
        return torch.stack(rows).sum()

    everywhere = points.expand(shape).reshape(-1).contiguous()
    found = kernel(total, torch.full_like(everywhere, 0.5), tmp_path)(everywhere).reshape(shape)
    wrong = []
    for i, (name, f) in enumerate(functions.items()):
        x = points.clone().requires_grad_()
        value = f(x)
        (derivative,) = torch.autograd.grad(value.sum(), x)
        for what, ours, theirs in ((name, found[0, i], value.detach()), (f"{name}'", found[1, i], derivative)):
            expected = torch.tensor([EXACT[what](at) for at in points.tolist()], dtype=F64) if what in EXACT else theirs
            close = torch.isclose(ours, expected, rtol=10.0 ** -digits(what), atol=NOISY.get(what, 1e-300), equal_nan=True)
            wrong += [(what, *map(float, at)) for at in zip(points[~close], ours[~close], expected[~close], strict=True)]
    assert not wrong
