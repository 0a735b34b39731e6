"""The C++ of special functions, in double precision over the whole range, each written into a kernel that calls it only.

Sources. The Bessel functions, ``ndtri`` and Hurwitz' zeta function: S. Moshier, "Cephes Mathematical Library" (2000), as torch has them.
``erfcx``: its definition, with the rounding of x * x made good, and from 25 on its asymptotic series (Abramowitz and Stegun 7.1.23).
``erfinv``: as torch, two steps of Newton's method, but by ``ndtri`` near 1, where that loses digits. Trigamma: reflected, taken up by its recurrence, then the asymptotic series
(Abramowitz and Stegun 6.4.12). The incomplete gamma functions: their series, and their continued fraction by the modified Lentz method
(6.5.29 and 6.5.31 there; Press et al., "Numerical Recipes", section 6.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

_POLYNOMIAL: Final = r"""
template <int n> static inline double poutine_polynomial(double x, const double (&from_highest)[n]) {
    double sum = from_highest[0];
    for (int i = 1; i < n; ++i) sum = sum * x + from_highest[i];
    return sum;
}
"""

_CHEBYSHEV: Final = r"""
template <int n> static inline double poutine_chebyshev(double x, const double (&coefficients)[n]) {
    double now = coefficients[0], before = 0, last = 0;
    for (int i = 1; i < n; ++i) {
        last = before, before = now;
        now = x * before - last + coefficients[i];
    }
    return 0.5 * (now - last);
}
"""

_ERFCX: Final = r"""
static inline double poutine_erfcx(double x) {
    if (x < 25) {
        const double square = x * x, rest = std::fma(x, x, -square);
        if (x < -26.7) return INFINITY;
        return std::exp(square) * (1 + rest) * std::erfc(x);
    }
    if (x > 5e7) return 0.56418958354775628695 / x;
    const double y = 0.5 / (x * x);
    return 0.56418958354775628695 / x * (1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y * (1 - 9 * y * (1 - 11 * y * (1 - 13 * y)))))));
}
"""

_ERFINV: Final = r"""
static inline double poutine_erfinv(double y) {
    const double size = std::abs(y);
    if (!(size <= 1)) return NAN;
    if (size == 1) return std::copysign(INFINITY, y);
    if (size > 0.7) return std::copysign(poutine_ndtri((1 - size) / 2) / 1.4142135623730950488, y);
    const double z = y * y;
    double x = y * (((-0.140543331 * z + 0.914624893) * z - 1.645349621) * z + 0.886226899)
        / ((((0.012229801 * z - 0.329097515) * z + 1.442710462) * z - 2.118377725) * z + 1);
    for (int i = 0; i < 2; ++i) x -= (std::erf(x) - y) / (1.1283791670955125739 * std::exp(-x * x));
    return x;
}
"""

_NDTRI: Final = r"""
static inline double poutine_ndtri(double p) {
    static const double P0[] = {-59.96335010141079, 98.00107541859997, -56.67628574690703, 13.931260938727968, -1.2391658386738125};
    static const double Q0[] = {1.0, 1.9544885833814176, 4.676279128988815, 86.36024213908905, -225.46268785411937,
        200.26021238006066, -82.03722561683334, 15.90562251262117, -1.1833162112133};
    static const double P1[] = {4.0554489230596245, 31.525109459989388, 57.16281922464213, 44.08050738932008, 14.684956192885803,
        2.1866330685079025, -0.1402560791713545, -0.03504246268278482, -0.0008574567851546854};
    static const double Q1[] = {1.0, 15.779988325646675, 45.39076351288792, 41.3172038254672, 15.04253856929075, 2.504649462083094,
        -0.14218292285478779, -0.03808064076915783, -0.0009332594808954574};
    static const double P2[] = {3.2377489177694603, 6.915228890689842, 3.9388102529247444, 1.3330346081580755, 0.20148538954917908,
        0.012371663481782003, 0.00030158155350823543, 2.6580697468673755e-06, 6.239745391849833e-09};
    static const double Q2[] = {1.0, 6.02427039364742, 3.6798356385616087, 1.3770209948908132, 0.21623699359449663,
        0.013420400608854318, 0.00032801446468212774, 2.8924786474538068e-06, 6.790194080099813e-09};
    const double tail = 0.13533528323661269189;  // exp(-2)
    if (p == 0) return -INFINITY;
    if (p == 1) return INFINITY;
    if (!(p > 0 && p < 1)) return NAN;
    const double y = p > 1 - tail ? 1 - p : p;
    if (y > tail) {
        const double z = y - 0.5, square = z * z;
        return 2.50662827463100050242 * (z + z * square * poutine_polynomial(square, P0) / poutine_polynomial(square, Q0));
    }
    const double x = std::sqrt(-2 * std::log(y)), z = 1 / x;
    const double less = x < 8 ? poutine_polynomial(z, P1) / poutine_polynomial(z, Q1) : poutine_polynomial(z, P2) / poutine_polynomial(z, Q2);
    const double found = x - std::log(x) / x - z * less;
    return p > 1 - tail ? found : -found;
}
"""

_I0E: Final = r"""
static inline double poutine_i0e(double x) {
    static const double small[] = {-4.4153416464793395e-18, 3.3307945188222384e-17, -2.431279846547955e-16, 1.715391285555133e-15,
        -1.1685332877993451e-14, 7.676185498604936e-14, -4.856446783111929e-13, 2.95505266312964e-12, -1.726826291441556e-11,
        9.675809035373237e-11, -5.189795601635263e-10, 2.6598237246823866e-09, -1.300025009986248e-08, 6.046995022541919e-08,
        -2.670793853940612e-07, 1.1173875391201037e-06, -4.4167383584587505e-06, 1.6448448070728896e-05, -5.754195010082104e-05,
        0.00018850288509584165, -0.0005763755745385824, 0.0016394756169413357, -0.004324309995050576, 0.010546460394594998,
        -0.02373741480589947, 0.04930528423967071, -0.09490109704804764, 0.17162090152220877, -0.3046826723431984,
        0.6767952744094761};
    static const double large[] = {-7.233180487874754e-18, -4.830504485944182e-18, 4.46562142029676e-17, 3.461222867697461e-17,
        -2.8276239805165836e-16, -3.425485619677219e-16, 1.7725601330565263e-15, 3.8116806693526224e-15, -9.554846698828307e-15,
        -4.150569347287222e-14, 1.54008621752141e-14, 3.8527783827421426e-13, 7.180124451383666e-13, -1.7941785315068062e-12,
        -1.3215811840447713e-11, -3.1499165279632416e-11, 1.1889147107846439e-11, 4.94060238822497e-10, 3.3962320257083865e-09,
        2.266668990498178e-08, 2.0489185894690638e-07, 2.8913705208347567e-06, 6.889758346916825e-05, 0.0033691164782556943,
        0.8044904110141088};
    const double size = std::abs(x);
    return size <= 8 ? poutine_chebyshev(size / 2 - 2, small) : poutine_chebyshev(32 / size - 2, large) / std::sqrt(size);
}
"""

_I1E: Final = r"""
static inline double poutine_i1e(double x) {
    static const double small[] = {2.7779141127610464e-18, -2.111421214358166e-17, 1.5536319577362005e-16, -1.1055969477353862e-15,
        7.600684294735408e-15, -5.042185504727912e-14, 3.223793365945575e-13, -1.9839743977649436e-12, 1.1736186298890901e-11,
        -6.663489723502027e-11, 3.625590281552117e-10, -1.8872497517228294e-09, 9.381537386495773e-09, -4.445059128796328e-08,
        2.0032947535521353e-07, -8.568720264695455e-07, 3.4702513081376785e-06, -1.3273163656039436e-05, 4.781565107550054e-05,
        -0.00016176081582589674, 0.0005122859561685758, -0.0015135724506312532, 0.004156422944312888, -0.010564084894626197,
        0.024726449030626516, -0.05294598120809499, 0.1026436586898471, -0.17641651835783406, 0.25258718644363365};
    static const double large[] = {7.517296310842105e-18, 4.414348323071708e-18, -4.6503053684893586e-17, -3.209525921993424e-17,
        2.96262899764595e-16, 3.3082023109209285e-16, -1.8803547755107825e-15, -3.8144030724370075e-15, 1.0420276984128802e-14,
        4.272440016711951e-14, -2.1015418427726643e-14, -4.0835511110921974e-13, -7.198551776245908e-13, 2.0356285441470896e-12,
        1.4125807436613782e-11, 3.2526035830154884e-11, -1.8974958123505413e-11, -5.589743462196584e-10, -3.835380385964237e-09,
        -2.6314688468895196e-08, -2.512236237870209e-07, -3.882564808877691e-06, -0.00011058893876262371, -0.009761097491361469,
        0.7785762350182801};
    const double size = std::abs(x);
    if (size <= 8) return x * poutine_chebyshev(size / 2 - 2, small);
    return std::copysign(poutine_chebyshev(32 / size - 2, large) / std::sqrt(size), x);
}
"""

_I0: Final = "static inline double poutine_i0(double x) { return std::exp(std::abs(x)) * poutine_i0e(x); }"
_I1: Final = "static inline double poutine_i1(double x) { return std::exp(std::abs(x)) * poutine_i1e(x); }"

_TRIGAMMA: Final = r"""
static inline double poutine_trigamma(double x) {
    double sum = 0, sign = 1;
    if (x < 0.5) {
        const double sine = std::sin(M_PI * x);
        sum = -(M_PI / sine) * (M_PI / sine), sign = -1;
        x = 1 - x;
    }
    for (; x < 10; ++x) sum += 1 / (x * x);
    const double y = 1 / (x * x);
    const double series = y * (1.0 / 6 - y * (1.0 / 30 - y * (1.0 / 42 - y * (1.0 / 30 - y * (5.0 / 66 - y * (691.0 / 2730 - y * 7.0 / 6))))));
    return sign * (sum + (1 + 0.5 / x + series) / x);
}
"""

_ZETA: Final = r"""
static inline double poutine_zeta(double x, double q) {
    static const double divisors[] = {12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
        -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15, 1.8152105401943546773e17, -7.1661652561756670113e18};
    const double unit = 1.11022302462515654042e-16;
    if (x == 1 || (x > 1 && q <= 0 && q == std::floor(q))) return INFINITY;
    if (!(x > 1) || (q <= 0 && x != std::floor(x))) return NAN;
    double sum = std::pow(q, -x), w = q, term = 0;
    for (int i = 0; i < 9 || w <= 9; ++i) {
        term = std::pow(w += 1, -x);
        sum += term;
        if (-unit * sum < term && term < unit * sum) return sum;
    }
    sum += term * w / (x - 1) - 0.5 * term;
    double factor = 1;
    for (int i = 0; i < 12; ++i) {
        factor *= x + 2 * i, term /= w;
        const double next = factor * term / divisors[i];
        sum += next;
        if (std::abs(next / sum) < unit) return sum;
        factor *= x + 2 * i + 1, term /= w;
    }
    return sum;
}
"""

_GAMMA_PART: Final = r"""
static inline double poutine_gamma_part(double a, double x, bool upper) {
    if (!(a >= 0 && x >= 0) || (std::isinf(a) && std::isinf(x)) || (a == 0 && x == 0)) return NAN;
    if (a == 0 || std::isinf(x)) return !upper;
    if (x == 0 || std::isinf(a)) return upper;
    const double apart = (x - a) / a, y = 1 / (a * a);  // front: x^a exp(-x) / gamma(a + 1), by Stirling's series for large a
    const double front = a < 10 ? std::exp(a * std::log(x) - x - poutine_lgamma(a + 1))
        : std::exp(a * (std::log1p(apart) - apart) - (1 - y * (1.0 / 30 - y * (1.0 / 105 - y * (1.0 / 140 - y / 99)))) / (12 * a))
            / std::sqrt(2 * M_PI * a);
    const int most = 100000;
    if (x < a + 1) {
        double term = 1, sum = 1;
        for (int n = 1; n < most && term > 1e-17 * sum; ++n) sum += term *= x / (a + n);
        return upper ? 1 - front * sum : front * sum;
    }
    double b = x + 1 - a, c = 1e300, d = 1 / b, fraction = d;
    for (int n = 1; n < most; ++n) {
        const double numerator = -n * (n - a);
        b += 2;
        d = 1 / (numerator * d + b), c = b + numerator / c;
        fraction *= c * d;
        if (std::abs(c * d - 1) < 1e-16) break;
    }
    return upper ? front * a * fraction : 1 - front * a * fraction;
}
"""

# By name; each after those that it calls.
_DEFINITIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "poutine_polynomial": _POLYNOMIAL, "poutine_chebyshev": _CHEBYSHEV, "poutine_erfcx": _ERFCX, "poutine_ndtri": _NDTRI,
        "poutine_erfinv": _ERFINV, "poutine_i0e": _I0E, "poutine_i1e": _I1E, "poutine_i0": _I0, "poutine_i1": _I1,
        "poutine_trigamma": _TRIGAMMA, "poutine_zeta": _ZETA, "poutine_gamma_part": _GAMMA_PART,
    }
)  # fmt: skip
_CALLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "poutine_erfinv": "poutine_ndtri", "poutine_ndtri": "poutine_polynomial", "poutine_i0e": "poutine_chebyshev", "poutine_i1e": "poutine_chebyshev",
        "poutine_i0": "poutine_i0e", "poutine_i1": "poutine_i1e",
    }
)  # fmt: skip


def definitions(called: Iterable[str]) -> str:
    """The C++ of those that are ``called``, by name, and of what they call."""
    wanted = set(called) & _DEFINITIONS.keys()
    while missing := {_CALLS[name] for name in wanted & _CALLS.keys()} - wanted:
        wanted |= missing
    return "".join(text for name, text in _DEFINITIONS.items() if name in wanted)
