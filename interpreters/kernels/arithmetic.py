"""The C++ of operations that make one number from others, element by element.

Everything is computed in double precision, results in single precision rounded to it, truth values are 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch.fx import Node

Element = Callable[[Sequence[str]], str]

# By the name of the operation; {0}, {1}, ... are its operands.
ELEMENTWISE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "reciprocal": "1.0 / {0}", "square": "{0} * {0}", "abs": "std::abs({0})",
        "exp": "std::exp({0})", "expm1": "std::expm1({0})", "exp2": "std::exp2({0})",
        "log": "std::log({0})", "log1p": "std::log1p({0})", "log2": "std::log2({0})", "log10": "std::log10({0})",
        "sqrt": "std::sqrt({0})", "rsqrt": "1.0 / std::sqrt({0})", "sigmoid": "1.0 / (1.0 + std::exp(-{0}))",
        "sin": "std::sin({0})", "cos": "std::cos({0})", "tan": "std::tan({0})", "atan": "std::atan({0})", "atan2": "std::atan2({0}, {1})",
        "asin": "std::asin({0})", "acos": "std::acos({0})", "sinh": "std::sinh({0})", "cosh": "std::cosh({0})", "tanh": "std::tanh({0})",
        "asinh": "std::asinh({0})", "acosh": "std::acosh({0})", "atanh": "std::atanh({0})",
        "erf": "std::erf({0})", "erfc": "std::erfc({0})", "lgamma": "poutine_lgamma({0})", "digamma": "poutine_digamma({0})",
        "special_erfcx": "poutine_erfcx({0})", "erfinv": "poutine_erfinv({0})", "special_ndtri": "poutine_ndtri({0})",
        "i0": "poutine_i0({0})", "special_i0e": "poutine_i0e({0})", "special_i1": "poutine_i1({0})", "special_i1e": "poutine_i1e({0})",
        "igamma": "poutine_gamma_part({0}, {1}, false)", "igammac": "poutine_gamma_part({0}, {1}, true)",
        "hypot": "std::hypot({0}, {1})", "copysign": "std::copysign({0}, {1})", "fmax": "std::fmax({0}, {1})", "fmin": "std::fmin({0}, {1})",
        "signbit": "double(std::signbit({0}))",
        "fmod": "std::fmod({0}, {1})", "remainder": "poutine_remainder({0}, {1})",
        "floor": "std::floor({0})", "ceil": "std::ceil({0})", "trunc": "std::trunc({0})", "round": "std::nearbyint({0})",
        "sign": "double(({0} > 0) - ({0} < 0))", "where": "{0} != 0.0 ? {1} : {2}", "relu": "poutine_larger({0}, 0.0)",
        "convert_element_type": "{0}", "_to_copy": "{0}", "clone": "{0}", "alias": "{0}", "copy": "{1}",
        "gt": "double({0} > {1})", "ge": "double({0} >= {1})", "lt": "double({0} < {1})", "le": "double({0} <= {1})",
        "eq": "double({0} == {1})", "ne": "double({0} != {1})", "logical_not": "double({0} == 0.0)", "bitwise_not": "double({0} == 0.0)",
        "logical_and": "double({0} != 0.0 && {1} != 0.0)", "logical_or": "double({0} != 0.0 || {1} != 0.0)",
        "bitwise_and": "double({0} != 0.0 && {1} != 0.0)", "bitwise_or": "double({0} != 0.0 || {1} != 0.0)",
        "clamp_min": "{0} < {1} ? {1} : {0}", "clamp_max": "{0} > {1} ? {1} : {0}",
        "maximum": "poutine_larger({0}, {1})", "minimum": "poutine_smaller({0}, {1})",
        "isnan": "double({0} != {0})", "isinf": "double(std::isinf({0}))",
    }
)  # fmt: skip

_BITS: Final = frozenset({"bitwise_not", "bitwise_and", "bitwise_or"})  # of truth values only
_OPTIONS: Final = frozenset(
    {"dtype", "memory_format", "layout", "device", "pin_memory"}
)  # which change no number but by the type of the result

# Loops over these functions become vector code: the C library has them for several numbers at once, up to 4 units in the last place.
# The digamma function: reflected into x > 0, taken up to x >= 10 by its recurrence, then the asymptotic series (Abramowitz and Stegun 6.3).
HEAD: Final = """
#include <cmath>
#include <cstdint>
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define VECTORS __attribute__((simd("notinbranch"), const, nothrow))
extern "C" { VECTORS double exp(double); VECTORS double log(double); VECTORS double sin(double); VECTORS double cos(double); }
#if __GLIBC_PREREQ(2, 35)
extern "C" { VECTORS double log1p(double); VECTORS double expm1(double); VECTORS double tanh(double); VECTORS double erf(double); }
#endif
#endif
static inline double poutine_larger(double a, double b) { return a < b || b != b ? b : a; }
static inline double poutine_smaller(double a, double b) { return a > b || b != b ? b : a; }
static inline double poutine_remainder(double a, double b) {
    const double found = std::fmod(a, b);
    return found != 0 && (b < 0) != (found < 0) ? found + b : found;
}
static inline double poutine_lgamma(double x) {
#if defined(__GLIBC__)
    int sign;
    return lgamma_r(x, &sign);
#else
    return std::lgamma(x);
#endif
}
static inline double poutine_digamma(double x) {
    if (x == 0) return std::copysign(INFINITY, -x);
    double sum = 0;
    if (x < 0) {
        if (x == std::floor(x)) return NAN;
        sum = -M_PI / std::tan(M_PI * (x - std::floor(x)));
        x = 1 - x;
    }
    for (; x < 10; ++x) sum -= 1 / x;
    const double y = 1 / (x * x);
    const double series = y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y * (1.0 / 132 - y * (691.0 / 32760 - y / 12))))));
    return sum + std::log(x) - 0.5 / x - series;
}
"""


def template(node: Node, name: str) -> str | None:
    """The C++ of an operation; none if it is not elementwise, or has options that would change it."""
    if set(node.kwargs) - _OPTIONS or (name in _BITS and dtype_of(node) != torch.bool):
        return None
    return ELEMENTWISE.get(name)


def rounded(node: Node, element: Element) -> Element:
    """``element`` as a number of the type of ``node``: a result in single precision is rounded to it, once for each operation."""
    dtype = dtype_of(node)
    if dtype == torch.float32:
        return lambda index: f"double(float({element(index)}))"
    if "_to_copy" in str(node.target) or "convert" in str(node.target):
        if dtype == torch.bool:
            return lambda index: f"double({element(index)} != 0.0)"
        if not (dtype or torch.float64).is_floating_point:
            return lambda index: f"std::trunc({element(index)})"
    return element


def rounded_literals(node: Node, args: Any) -> Any:
    """Python's numbers take part in single precision, where the tensors are."""
    dtypes = {dtype_of(arg) for arg in node.all_input_nodes} - {None}
    if torch.float32 not in {*dtypes, dtype_of(node)} or torch.float64 in dtypes:
        return args
    return [torch.tensor(arg, dtype=torch.float32).item() if isinstance(arg, float) else arg for arg in args]


def dtype_of(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None
