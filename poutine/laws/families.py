"""The families of ``torch.distributions``, with valid parameters. Numbers are short and exact in binary, and shrink to simple ones."""

from __future__ import annotations

from typing import Any, Final

import attrs
from hypothesis import strategies as st

from poutine.laws.expressions import Const, Dist, Expression, Scalar

REALS: Final = st.sampled_from((0.0, 1.0, -1.0, 0.5, 2.0, -0.25, 3.0))
POSITIVES: Final = st.sampled_from((1.0, 0.5, 2.0, 1.5, 4.0))
UNITS: Final = st.sampled_from((0.5, 0.25, 0.75, 0.125))
COUNTS: Final = st.sampled_from((1, 2, 3))
SIMPLICES: Final = st.sampled_from(((0.5, 0.5), (0.25, 0.75), (0.5, 0.25, 0.25)))
VECTORS: Final = st.tuples(REALS, REALS)
CONCENTRATIONS: Final = st.sampled_from(((1.0, 1.0), (2.0, 0.5), (1.0, 2.0, 4.0)))
MATRICES: Final = st.sampled_from((((1.0, 0.0), (0.0, 1.0)), ((2.0, 0.5), (0.5, 1.0))))


# How a number of a model becomes an argument of each of these kinds.
DEPENDENT: Final = (("tanh", REALS), ("positive", POSITIVES), ("sigmoid", UNITS))

Args = tuple[st.SearchStrategy[Any], ...]


@attrs.frozen
class Family:
    """One class of ``torch.distributions``: strategies of its arguments and, for those that models observe, of values in its support.

    name:   of the class. args: strategies of numbers, nested tuples (tensors) or expressions.
    seen:   a strategy of values; where they are vectors, of those of every length that the arguments may have.
    event:  the rank of one draw. discrete: whether its values count something. finite: whether its support can be enumerated.
    """

    name: str
    args: Args
    seen: st.SearchStrategy[Any] | None = None
    event: int = 0
    discrete: bool = False
    finite: bool = False
    terms: st.SearchStrategy[Dist] = attrs.field(init=False, eq=False, repr=False)  # its distributions as expressions
    operations: tuple[str | None, ...] = attrs.field(init=False, eq=False, repr=False)

    @terms.default
    def _terms(self) -> st.SearchStrategy[Dist]:
        return st.tuples(*self.args).map(lambda drawn: Dist(self.name, tuple(map(_as_expression, drawn))))

    @operations.default
    def _operations(self) -> tuple[str | None, ...]:
        """For each argument, the operation that makes it of any real number, if there is one."""
        return tuple(next((name for name, kind in DEPENDENT if kind is arg), None) for arg in self.args)


def _as_expression(thing: Any) -> Expression:
    return Const(thing) if isinstance(thing, (int, float, tuple)) else thing


def as_value(thing: Any) -> Expression:
    """A tensor of a number or of nested tuples of numbers."""
    return Const(thing) if isinstance(thing, tuple) else Scalar(thing)


def _fixed(*args: Any) -> Args:
    return tuple(st.just(arg) for arg in args)


# Those whose first argument is a location on the real line: where a model's sites depend on one another.
LOCATED: Final = (
    Family("Normal", (REALS, POSITIVES), REALS),
    Family("Laplace", (REALS, POSITIVES), REALS),
    Family("Cauchy", (REALS, POSITIVES), REALS),
    Family("Gumbel", (REALS, POSITIVES), REALS),
    Family("LogNormal", (REALS, POSITIVES), POSITIVES),
)

FINITE: Final = (
    Family("Bernoulli", (UNITS,), st.sampled_from((0.0, 1.0)), discrete=True, finite=True),
    Family("Categorical", (SIMPLICES,), st.sampled_from((0, 1)), discrete=True, finite=True),
    Family("Binomial", (COUNTS, UNITS), st.sampled_from((0.0, 1.0)), discrete=True, finite=True),
)

INFINITE: Final = (
    Family("Poisson", (POSITIVES,), st.sampled_from((0.0, 1.0, 2.0)), discrete=True),
    Family("Geometric", (UNITS,), st.sampled_from((0.0, 1.0, 2.0)), discrete=True),
    Family("NegativeBinomial", (COUNTS, UNITS), st.sampled_from((0.0, 1.0, 2.0)), discrete=True),
)

CONTINUOUS: Final = (
    Family("Exponential", (POSITIVES,), POSITIVES),
    Family("Gamma", (POSITIVES, POSITIVES), POSITIVES),
    Family("HalfNormal", (POSITIVES,), POSITIVES),
    Family("Beta", (POSITIVES, POSITIVES), UNITS),
    Family("Uniform", _fixed(0.0, 1.0), UNITS),
    Family("StudentT", (POSITIVES, REALS, POSITIVES), REALS),
)

SHAPED: Final = (
    Family("Dirichlet", (CONCENTRATIONS,), SIMPLICES, event=1),
    Family("MultivariateNormal", (VECTORS, MATRICES), VECTORS, event=1),
    Family("OneHotCategorical", (SIMPLICES,), st.sampled_from(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0, 1.0))), event=1, finite=True),
)

# The rest of torch.distributions: what a runtime has to draw from, and what models need less often.
RARE: Final = (
    Family("Chi2", (POSITIVES,)),
    Family("ContinuousBernoulli", (UNITS,)),
    Family("FisherSnedecor", (POSITIVES, POSITIVES)),
    Family("GeneralizedPareto", (REALS, POSITIVES, UNITS)),
    Family("HalfCauchy", (POSITIVES,)),
    Family("InverseGamma", (POSITIVES, POSITIVES)),
    Family("Kumaraswamy", (POSITIVES, POSITIVES)),
    Family("LKJCholesky", (st.sampled_from((2, 3)), POSITIVES), event=2),
    Family("LogisticNormal", (VECTORS, st.tuples(POSITIVES, POSITIVES)), event=1),
    Family("LowRankMultivariateNormal", (VECTORS, st.just(((1.0,), (0.5,))), st.tuples(POSITIVES, POSITIVES)), event=1),
    Family(
        "MixtureSameFamily",
        (st.just(Dist("Categorical", (Const((0.25, 0.75)),))), st.just(Dist("Normal", (Const((0.0, 1.0)), Const(1.0))))),
    ),
    Family("Multinomial", (COUNTS, SIMPLICES), event=1, discrete=True),
    Family("OneHotCategoricalStraightThrough", (SIMPLICES,), event=1, finite=True),
    Family("Pareto", (POSITIVES, POSITIVES)),
    Family("RelaxedBernoulli", (st.just(Scalar(0.5)), UNITS)),
    Family("RelaxedOneHotCategorical", (st.just(Scalar(0.5)), SIMPLICES), event=1),
    Family("TransformedDistribution", (st.just(Dist("Normal", (Const(0.0), Const(1.0)))), st.just(Dist("SigmoidTransform", ())))),
    Family("VonMises", (REALS, POSITIVES)),
    Family("Weibull", (POSITIVES, POSITIVES)),
    Family("Wishart", (st.sampled_from((4.0, 6.0)), MATRICES), event=2),
)

COUNTING: Final = tuple(family for family in (*INFINITE, *FINITE) if family.name in ("Poisson", "Binomial", "Categorical"))
MODELLING: Final = LOCATED + FINITE + INFINITE + CONTINUOUS + SHAPED
FAMILIES: Final = MODELLING + RARE
