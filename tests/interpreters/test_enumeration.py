"""Exact enumeration: all traces, each once, in any order, with known bounds."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
import torch.distributions as td

from interpreters.enumeration import Enumeration, exact
from interpreters.errors import NotFinite, StructureChanged
from poutine import Observe, Program, Sample, block, condition, factor, mask, plate, run, scale, substitute

F64 = torch.float64
STRATEGIES = ["depth", "breadth", "best"]


def p(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def model():
    """The number of heads decides how many dice are thrown, and only a sum of them is seen."""
    heads = yield Sample("heads", td.Bernoulli(p(0.3)[0]))
    total = 0
    for i in range(1 + int(heads)):
        total = total + (yield Sample(f"die{i}", td.Categorical(p(0.5, 0.3, 0.2))))
    yield Observe("seen", td.Normal(total.to(F64), 1.0), p(2.0)[0])
    return total


def by_hand() -> dict[int, float]:
    dice = [0.5, 0.3, 0.2]
    weight: dict[int, float] = {}
    for a in range(3):
        weight[a] = weight.get(a, 0.0) + 0.7 * dice[a] * normal(a)
        for b in range(3):
            weight[a + b] = weight.get(a + b, 0.0) + 0.3 * dice[a] * dice[b] * normal(a + b)
    return weight


def normal(total: int) -> float:
    return math.exp(-((2 - total) ** 2) / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_posterior_is_exact(strategy):
    posterior = exact(model, strategy)
    weight = by_hand()
    evidence = math.fsum(weight.values())
    assert len(posterior.traces) == 3 + 9
    assert posterior.uncovered == 0
    assert posterior.log_evidence.item() == pytest.approx(math.log(evidence), rel=1e-12)
    marginal = posterior.marginal("_RETURN")
    assert marginal == pytest.approx({total: each / evidence for total, each in weight.items()}, rel=1e-12)
    mean = posterior.expectation(lambda t: t["_RETURN"].value)
    assert mean.item() == pytest.approx(sum(total * each for total, each in weight.items()) / evidence, rel=1e-12)


def test_all_strategies_give_the_same_distinct_traces():
    found = [sorted((choices(leaf), leaf.log_prob) for leaf in Enumeration(model, strategy)) for strategy in STRATEGIES]
    assert found[0] == found[1] == found[2]
    assert len({each for each, _ in found[0]}) == len(found[0]) == 12
    assert math.fsum(math.exp(log_prob) for _, log_prob in found[0]) == pytest.approx(1.0, rel=1e-12)


def choices(leaf):
    return tuple((name, value.item()) for name, value in leaf.choices)


def test_breadth_comes_in_order_of_length_and_best_in_order_of_probability_of_the_path():
    lengths = [len(leaf.choices) for leaf in Enumeration(model, "breadth")]
    assert lengths[0] <= lengths[-1]
    first = next(Enumeration(model, "best"))
    assert choices(first)[0] == ("heads", 0.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_budget_leaves_is_known(strategy):
    leaves = Enumeration(model, strategy)
    assert leaves.uncovered == 1.0
    covered = 0.0
    for leaf in leaves:
        covered += math.exp(leaf.log_prob)
        assert covered + leaves.uncovered == pytest.approx(1.0, rel=1e-12)
    assert leaves.uncovered == 0.0
    part = exact(model, strategy, budget=5)
    assert len(part.traces) == 5
    assert 0 < part.uncovered < 1


def test_best_first_finds_the_mass_of_an_unbounded_program():
    def geometric(n: int = 0):
        if (yield Sample(f"stop{n}", td.Bernoulli(p(0.75)[0]))):
            return n
        return (yield from Program(geometric, n + 1))

    posterior = exact(geometric, "best", budget=10)
    assert posterior.uncovered == pytest.approx(0.25**10, rel=1e-9)
    assert posterior.marginal("_RETURN")[3] == pytest.approx(0.75 * 0.25**3, rel=1e-4)


def test_what_cannot_happen_is_not_run():
    def sure():
        x = yield Sample("x", td.Categorical(logits=p(-math.inf, 0.0, -math.inf)))
        assert x == 1
        return x

    assert exact(sure).marginal("x") == {1: 1.0}


def test_batches_have_all_combinations():
    def two():
        @plate("coins", 2)
        def coins(index):
            return (yield Sample("x", td.Bernoulli(p(0.25, 0.5))))

        return (yield from coins())

    marginal = exact(two).marginal("x")
    assert marginal == pytest.approx({(0.0, 0.0): 0.375, (0.0, 1.0): 0.375, (1.0, 0.0): 0.125, (1.0, 1.0): 0.125})
    one_hot = exact(lambda: iter_one(td.OneHotCategorical(p(0.2, 0.8)))).marginal("x")
    assert one_hot == pytest.approx({(1.0, 0.0): 0.2, (0.0, 1.0): 0.8})


def iter_one(dist):
    return (yield Sample("x", dist))


def test_handlers_apply():
    def coin():
        x = yield Sample("x", td.Bernoulli(p(0.5)[0]))
        yield factor("f", x.log())
        return x

    assert exact(condition(model, data={"heads": p(1.0)[0]})()).log_evidence < exact(model).log_evidence
    assert len(exact(substitute(model, data={"heads": p(1.0)[0]})()).traces) == 9
    assert exact(coin).marginal("x") == {0.0: 0.0, 1.0: 1.0}
    assert exact(mask(model, mask=False)()).log_evidence.item() == pytest.approx(math.log(12))
    assert len(exact(scale(block(model), scale=2.0)()).traces) == 12


def test_an_algorithm_is_enumerated_like_a_model():
    """The mean of three draws has the mean of one, exactly."""

    def estimate(n: int):
        total = 0.0
        for i in range(n):
            total = total + float((yield from Program(one_die, i)))
        return total / n

    def mean(n: int) -> float:
        return math.fsum(math.exp(leaf.log_prob) * float(leaf.value) for leaf in Enumeration(Program(estimate, n)))

    assert mean(1) == pytest.approx(mean(3), rel=1e-12) == pytest.approx(0.7)


def one_die(i: int):
    return (yield Sample(f"die{i}", td.Categorical(p(0.5, 0.3, 0.2))))


@pytest.mark.parametrize(("dist", "problem"), [
    (td.Normal(0.0, 1.0), "site 'x'.*is continuous"),
    (td.Poisson(1.0), "site 'x'.*infinitely many values"),
    (lambda: torch.zeros(()), "bare callable"),
    (td.Bernoulli(torch.full((40,), 0.5)), "site 'x'.*1099511627776 values, more than"),
])  # fmt: skip
def test_what_cannot_be_enumerated_is_refused_by_name(dist, problem):
    with pytest.raises((NotFinite, TypeError), match=problem):
        exact(lambda: iter_one(dist))


@pytest.mark.parametrize(("second", "problem"), [
    (["b", "c"], "site 'b', of 2 values, is where site 'a', of 2 values, was"),
    (["a*", "c"], "site 'a', of 3 values, is where site 'a', of 2 values, was"),
    ([], "the program has ended where site 'a', of 2 values, was"),
])  # fmt: skip
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_program_that_changes_between_runs_is_refused(second, problem, strategy):
    """It asks for something else from the second run on: the masses of such traces would belong to no program."""
    started = iter(range(100))

    def changing():
        for name in second if next(started) else ["a", "c"]:
            yield Sample(name.strip("*"), td.Categorical(p(0.5, 0.3, 0.2) if "*" in name else p(0.5, 0.5)))

    with pytest.raises(StructureChanged, match=problem):
        exact(changing, strategy)


def test_strategies_have_names_and_errors_of_the_program_come_through():
    with pytest.raises(ValueError, match="expected a strategy out of depth, breadth, best, got 'width'"):
        exact(model, "width")

    def failing():
        yield Sample("x", td.Bernoulli(0.5))
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        exact(failing)


def test_the_exact_posterior_agrees_with_forward_runs():
    counts = [run(model, seed=s).item() for s in range(500)]
    expected = math.fsum(math.exp(leaf.log_prob) * float(leaf.value) for leaf in Enumeration(model))
    spread = torch.tensor(counts, dtype=F64).std().item() / math.sqrt(500)
    assert abs(sum(counts) / 500 - expected) < 4 * spread
    assert list(islice(Enumeration(model), 0)) == []
