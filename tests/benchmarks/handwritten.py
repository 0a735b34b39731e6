"""Log densities with their gradients as an engineer writes them by hand: one plain loop over the rows. What kernels are measured against.

Each is ``f(dim, x, gradient, value, user)``, ``user`` an array of pointers to the data; constants of the densities are left out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from interpreters.kernels.cpp import build
from interpreters.kernels.source import SYMBOL

_HEAD: Final = f"""
#include <cmath>
#include <cstdint>
extern "C" int64_t {SYMBOL}(uint64_t dim, const double* x, double* g, double* value, void* user) {{
    auto** data = static_cast<const double**>(user);
"""

_LOGISTIC: Final = """
    const double *X = data[0], *y = data[1];
    const int d = dim - 1;
    double lp = 0.0;
    for (uint64_t j = 0; j < dim; ++j) { lp -= 0.5 * x[j] * x[j]; g[j] = -x[j]; }
    for (int i = 0; i < ROWS; ++i) {
        double eta = x[0];
        for (int j = 0; j < d; ++j) eta += X[i * d + j] * x[j + 1];
        const double e = std::exp(-std::fabs(eta));
        lp += y[i] * eta - std::fmax(eta, 0.0) - std::log1p(e);
        const double r = y[i] - (eta > 0 ? 1.0 : e) / (1.0 + e);
        g[0] += r;
        for (int j = 0; j < d; ++j) g[j + 1] += r * X[i * d + j];
    }
    *value = lp;
    return 0;
}
"""

_RADON: Final = """
    const double *floor = data[1], *y = data[2];
    const int64_t* county = reinterpret_cast<const int64_t*>(data[0]);
    const double s0 = std::exp(x[2]), s1 = std::exp(x[3]), sigma = std::exp(x[174]);
    const double *z0 = x + 4, *z1 = x + 89;
    double a[85], b[85], ga[85] = {}, gb[85] = {}, squares = 0.0, lp = -(x[0] * x[0] + x[1] * x[1]) / 50.0;
    for (int c = 0; c < 85; ++c) { a[c] = x[0] + s0 * z0[c]; b[c] = x[1] + s1 * z1[c]; }
    const double precision = 1.0 / (sigma * sigma);
    for (int i = 0; i < ROWS; ++i) {
        const double r = y[i] - a[county[i]] - b[county[i]] * floor[i];
        squares += r * r;
        ga[county[i]] += r * precision;
        gb[county[i]] += r * precision * floor[i];
    }
    lp += -0.5 * squares * precision - ROWS * x[174] + x[2] + x[3] + x[174];
    lp -= std::log1p(s0 * s0) + std::log1p(s1 * s1) + std::log1p(sigma * sigma);
    double sa = 0.0, sb = 0.0, za = 0.0, zb = 0.0;
    for (int c = 0; c < 85; ++c) {
        lp -= 0.5 * (z0[c] * z0[c] + z1[c] * z1[c]);
        g[4 + c] = s0 * ga[c] - z0[c]; g[89 + c] = s1 * gb[c] - z1[c];
        sa += ga[c]; sb += gb[c]; za += ga[c] * z0[c]; zb += gb[c] * z1[c];
    }
    g[0] = sa - x[0] / 25.0; g[1] = sb - x[1] / 25.0;
    g[2] = s0 * za + 1.0 - 2.0 * s0 * s0 / (1.0 + s0 * s0); g[3] = s1 * zb + 1.0 - 2.0 * s1 * s1 / (1.0 + s1 * s1);
    g[174] = squares * precision - ROWS + 1.0 - 2.0 * sigma * sigma / (1.0 + sigma * sigma);
    *value = lp;
    return 0;
}
"""

_MIXTURE: Final = """
    const double* y = data[0];
    const double m0 = x[0], m1 = x[0] + std::exp(x[1]), s0 = std::exp(x[2]), s1 = std::exp(x[3]), p = 1.0 / (1.0 + std::exp(-x[4]));
    const double l0 = std::log(p) - x[2], l1 = std::log1p(-p) - x[3];
    double lp = 0.0, a0 = 0.0, a1 = 0.0, b0 = 0.0, b1 = 0.0, w = 0.0;
    for (int i = 0; i < ROWS; ++i) {
        const double z0 = (y[i] - m0) / s0, z1 = (y[i] - m1) / s1;
        const double u0 = l0 - 0.5 * z0 * z0, u1 = l1 - 0.5 * z1 * z1, top = std::fmax(u0, u1);
        const double e0 = std::exp(u0 - top), e1 = std::exp(u1 - top), r0 = e0 / (e0 + e1), r1 = 1.0 - r0;
        lp += top + std::log(e0 + e1) - 0.9189385332046727;
        a0 += r0 * z0; a1 += r1 * z1; b0 += r0 * (z0 * z0 - 1.0); b1 += r1 * (z1 * z1 - 1.0); w += r0 - p;
    }
    lp -= 0.125 * (m0 * m0 + m1 * m1) + 0.125 * (s0 * s0 + s1 * s1);
    const double d0 = a0 / s0 - 0.25 * m0, d1 = a1 / s1 - 0.25 * m1;
    g[0] = d0 + d1; g[1] = d1 * (m1 - m0) + 1.0;
    g[2] = b0 - 0.25 * s0 * s0 + 1.0; g[3] = b1 - 0.25 * s1 * s1 + 1.0;
    lp += x[1] + x[2] + x[3] + 5.0 * (std::log(p) + std::log1p(-p));
    g[4] = w + 5.0 - 10.0 * p;
    *value = lp;
    return 0;
}
"""

_EIGHT_SCHOOLS: Final = """
    const double *y = data[0], *sigma = data[1];
    const double tau = std::exp(x[1]), s = tau / 5.0;
    double lp = -x[0] * x[0] / 50.0 + x[1] - std::log1p(s * s), of_mu = 0.0, of_tau = 0.0;
    for (int i = 0; i < ROWS; ++i) {
        const double z = x[2 + i], r = (y[i] - x[0] - tau * z) / sigma[i], d = r / sigma[i];
        lp -= 0.5 * (r * r + z * z) + std::log(sigma[i]);
        of_mu += d; of_tau += d * z;
        g[2 + i] = d * tau - z;
    }
    g[0] = of_mu - x[0] / 25.0;
    g[1] = of_tau * tau + 1.0 - 2.0 * s * s / (1.0 + s * s);
    *value = lp;
    return 0;
}
"""

SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {"eight_schools": _EIGHT_SCHOOLS, "logistic": _LOGISTIC, "radon": _RADON, "mixture": _MIXTURE}
)


def handwritten(kind: str, data: Sequence[torch.Tensor], directory: Path) -> tuple[Callable[[torch.Tensor], torch.Tensor], int, int, Any]:
    """The gradient, the address of the function, its ``user``, and what must live as long. ``data``: the rows are those of the last."""
    rows = len(data[-1])
    cpp = directory / f"{kind}{rows}.cpp"
    cpp.write_text(_HEAD.replace("#include <cmath>", f"#include <cmath>\n#define ROWS {rows}") + SOURCES[kind])
    build(cpp, cpp.with_suffix(".so"))
    function = getattr(ctypes.CDLL(str(cpp.with_suffix(".so"))), SYMBOL)
    function.argtypes = [ctypes.c_uint64, *[ctypes.c_void_p] * 4]
    pointers = (ctypes.c_void_p * len(data))(*(tensor.data_ptr() for tensor in data))
    user = ctypes.addressof(pointers)

    def gradient(u: torch.Tensor) -> torch.Tensor:
        found, value = torch.empty_like(u), torch.empty((), dtype=u.dtype)
        function(len(u), u.data_ptr(), found.data_ptr(), value.data_ptr(), user)
        return found

    return gradient, ctypes.cast(function, ctypes.c_void_p).value or 0, user, (function, pointers, data)
