"""Exact enumeration: all traces, each once, in any order, with known bounds."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
import torch.distributions as td

from interpreters import enumeration
from interpreters.elimination import eliminate
from interpreters.enumeration import Enumeration, exact
from interpreters.errors import DegenerateWeights, NotFinite, StructureChanged
from poutine import DistributionError, Observe, Param, Program, Sample, block, condition, factor, mask, plate, run, scale, substitute

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


def risen():
    """A factor that is no probability: most of the evidence is where the prior is small."""
    z = yield Sample("z", td.Bernoulli(p(0.3)[0]))
    yield factor("f", 3 * z)
    yield Sample("w", td.Bernoulli(p(0.5)[0]))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("program", "largest", "names"), [(model, 0.0, ["heads", "_RETURN"]), (risen, 3.0, ["z", "w"])])
def test_what_a_budget_leaves_bounds_evidence_and_marginals(program, largest, names, strategy):
    whole = exact(program, strategy)
    for budget in range(1, len(whole.traces) + 1):
        part = exact(program, strategy, budget)
        low, high = part.evidence_bounds(largest)
        assert low - 1e-12 <= whole.log_evidence.item() <= high + 1e-12
        for name in names:
            truth, bounds = whole.marginal(name), part.marginal_bounds(name, largest)
            assert bounds.keys() == part.marginal(name).keys()
            assert all(low - 1e-12 <= truth[key] <= high + 1e-12 for key, (low, high) in bounds.items())
            missing = 1 - math.fsum(low for low, _ in bounds.values())
            assert all(truth[key] <= missing + 1e-12 for key in truth.keys() - bounds.keys())
    assert (low, bounds) == (pytest.approx(high), {key: pytest.approx((each, each)) for key, each in truth.items()})


def test_bounds_need_a_bound_on_the_weights():
    part = exact(risen, "depth", budget=3)
    for ask in (part.evidence_bounds, lambda: part.marginal_bounds("z")):
        with pytest.raises(
            ValueError, match=r"a trace has the log weight 3, greater than 0.0: .*; give as largest the greatest log weight"
        ):
            ask()
    none = exact(risen, budget=0)
    assert none.evidence_bounds(3.0) == (-math.inf, pytest.approx(3.0))


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


def going_on():
    """Depth first, the path that never ends comes first."""
    n = 0
    while not (yield Sample(f"stop{n}", td.Bernoulli(p(0.5)[0]))):
        n += 1
    return n


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_bounds_work_that_comes_to_no_end(strategy, monkeypatch):
    monkeypatch.setattr(enumeration, "_LONGEST", 20)
    part = exact(going_on, strategy, budget=8)
    covered = math.fsum(part.log_densities.exp().tolist())
    assert len(part.traces) == 8
    assert part.uncovered == pytest.approx(1.0 - covered, rel=1e-9)
    assert part.uncovered < 1
    none = exact(lambda: iter_ones(25), strategy, budget=8)
    assert (len(none.traces), none.uncovered) == (0, pytest.approx(1.0))
    assert len(exact(lambda: iter_ones(25), strategy, budget=8, longest=25).traces) == 1


def iter_ones(number):
    for i in range(number):
        yield Sample(f"x{i}", td.Categorical(p(1.0)))


def test_an_interruption_loses_nothing():
    stopping = [True]

    def interrupted():
        yield Sample("a", td.Bernoulli(p(0.25)[0]))
        if stopping:
            raise KeyboardInterrupt
        return (yield Sample("b", td.Bernoulli(p(0.25)[0])))

    leaves = Enumeration(interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(leaves)
    assert leaves.uncovered == pytest.approx(1.0)
    stopping.clear()
    assert math.fsum(math.exp(leaf.log_prob) for leaf in leaves) == pytest.approx(1.0)


@pytest.mark.parametrize(("bounds", "problem"), [
    ({"budget": -1}, "as budget an integer of at least 0, .* got -1"),
    ({"budget": 2.5}, "as budget an integer of at least 0, .* got 2.5"),
    ({"longest": 0}, "as longest an integer of at least 1, .* got 0"),
])  # fmt: skip
def test_bounds_are_numbers(bounds, problem):
    with pytest.raises(ValueError, match=problem):
        exact(model, **bounds)


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


@pytest.mark.parametrize(("dist", "number"), [
    (td.Independent(td.Bernoulli(p(0.3, 0.4)), 1), 4),
    (td.Independent(td.OneHotCategorical(torch.eye(3, dtype=F64) + 0.5), 1), 27),
    (td.Independent(td.Independent(td.Categorical(torch.ones(2, 2, 2, dtype=F64)), 1), 1), 16),
    (td.Independent(td.Binomial(p(2, 3), p(0.5)[0]), 1), 12),
    (td.Multinomial(3, p(0.2, 0.3, 0.5)), 10),
    (td.Multinomial(2, torch.tensor([[0.2, 0.8], [1.0, 0.5]], dtype=F64)), 9),
    (td.MixtureSameFamily(td.Categorical(p(0.4, 0.6)), td.Categorical(torch.tensor([[0.3, 0.7], [0.2, 0.8]], dtype=F64))), 2),
    (td.MixtureSameFamily(td.Categorical(p(0.4, 0.6)), td.Independent(td.Bernoulli(torch.full((2, 3), 0.3, dtype=F64)), 1)), 8),
    (td.Binomial(p(2, 3), p(0.5)[0]), 12),
])  # fmt: skip
def test_what_is_made_of_finite_choices_is_finite(dist, number):
    found = exact(lambda: iter_one(dist))
    assert len(found.marginal("x")) == len(found.traces) == number
    assert found.log_evidence.item() == pytest.approx(0.0, abs=1e-12)
    drawn = {tuple(run(lambda: iter_one(dist), seed=s).flatten().tolist()) for s in range(20)}
    assert drawn <= {tuple(trace["x"].value.flatten().tolist()) for trace in found.traces}


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


def test_a_hidden_choice_has_its_probability_and_a_hidden_observation_does_not_count():
    def two():
        k = yield Sample("k", td.Bernoulli(p(0.01)[0]))
        z = yield Sample("z", td.Bernoulli(0.1 + 0.8 * k))
        yield Observe("y", td.Normal(z, 1.0), p(1.0)[0])
        return float(z)

    whole, hidden = exact(two), exact(block(scale(two, scale=3.0), hide=["k"])())
    assert exact(block(two, hide=["k"])()).marginal("z") == pytest.approx(whole.marginal("z"), rel=1e-12)
    assert exact(block(two, hide=["k"])()).log_evidence.item() == pytest.approx(whole.log_evidence.item(), rel=1e-12)
    assert exact(block(two, hide=["k", "y"])()).marginal("_RETURN") == pytest.approx({0.0: 0.892, 1.0: 0.108}, rel=1e-12)
    assert exact(block(two)()).marginal("_RETURN") == pytest.approx({0.0: 0.892, 1.0: 0.108}, rel=1e-12)
    cubes = [[0.99, 0.9, normal(1)], [0.99, 0.1, normal(2)], [0.01, 0.1, normal(1)], [0.01, 0.9, normal(2)]]
    assert hidden.log_densities.exp().tolist() == pytest.approx([a * (b * c) ** 3 for a, b, c in cubes], rel=1e-12)
    given = exact(block(condition(two, data={"k": p(1.0)[0]}), hide=["k"])())
    assert given.log_evidence.item() == pytest.approx(math.log(0.1 * normal(1) + 0.9 * normal(2)), rel=1e-12)


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
    (td.Independent(td.Bernoulli(torch.full((40,), 0.5)), 1), "site 'x'.*1099511627776 values, more than"),
    (td.Independent(td.Poisson(p(1.0)), 1), "site 'x'.*infinitely many values"),
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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_program_whose_probabilities_change_between_runs_is_refused(strategy):
    """Its masses would be of neither the one nor the other."""
    runs = iter(range(100))

    def drifting():
        a = yield Sample("a", td.Bernoulli(p(0.9 if next(runs) % 2 else 0.5)[0]))
        yield Sample("b", td.Bernoulli(p(0.5)[0]))
        return a

    with pytest.raises(
        StructureChanged, match=r"site 'a' has the log probability .* at tensor\(.*\) where .* of site 'a', of 2 values, was"
    ):
        exact(drifting, strategy)


def test_a_program_may_change_in_place_what_it_draws():
    def turned():
        z = yield Sample("z", td.Categorical(p(0.5, 0.3, 0.2)))
        loc = torch.zeros((), dtype=F64)
        first = yield Sample("first", td.Bernoulli(logits=loc))
        loc.add_(5.0)
        w = yield Sample("w", td.Bernoulli(p(0.25)[0]))
        z.add_(1).remainder_(3)
        return (int(z), int(w), int(first))

    found = exact(turned)
    assert found.marginal("z") == pytest.approx({0: 0.5, 1: 0.3, 2: 0.2})
    expected = {((z + 1) % 3, w, f): a * b * 0.5 for z, a in enumerate([0.5, 0.3, 0.2]) for w, b in enumerate([0.75, 0.25]) for f in (0, 1)}
    assert found.marginal("_RETURN") == pytest.approx(expected, rel=1e-12)
    assert found.log_evidence.item() == pytest.approx(0.0, abs=1e-12)


def test_a_site_that_is_followed_is_scored_at_its_value_alone():
    scored = []

    class Counted(td.Categorical):
        def log_prob(self, value):
            scored.append(value)
            return super().log_prob(value)

    def wide():
        yield Sample("a", Counted(torch.ones(30, dtype=F64)))
        yield Sample("b", td.Bernoulli(p(0.5)[0]))

    leaves = Enumeration(wide)
    assert len(list(leaves)) == 60
    assert len(scored) == 30 + 59


def test_an_empty_batch_has_one_value():
    def empty(dist):
        x = yield Sample("x", dist)
        yield Sample("y", td.Bernoulli(p(0.25)[0]))
        return x

    for dist in (td.Bernoulli(torch.zeros(0)), td.Independent(td.Bernoulli(torch.zeros(2, 0)), 1), td.Categorical(torch.ones(0, 3))):
        found = exact(Program(empty, dist))
        assert [trace["_RETURN"].value.shape for trace in found.traces] == [dist.batch_shape + dist.event_shape] * 2
        assert found.marginal("y") == pytest.approx({0.0: 0.75, 1.0: 0.25})
        assert eliminate(Program(empty, dist)).log_evidence.item() == pytest.approx(0.0, abs=1e-6)


def test_what_a_parameter_is_made_of_is_scored_without_its_gradient():
    def learning():
        logits = yield Param("logits", torch.tensor([0.0, 1.0, 2.0]))
        yield Sample("x", td.Categorical(logits=logits))

    assert exact(learning).marginal("x") == pytest.approx(dict(enumerate(torch.tensor([0.0, 1.0, 2.0]).softmax(0).tolist())))


def test_a_plate_that_draws_its_elements_is_refused_for_what_it_is():
    @plate("p", 3, subsample_size=2)
    def part(index):
        yield Sample("x", td.Bernoulli(p(0.5)[0]))

    with pytest.raises(NotFinite, match=r"site 'p': a plate draws which 2 of its 3 elements take part: .*; give the plate its subsample"):
        exact(part)


def test_no_posterior_is_told():
    def impossible():
        k = yield Sample("k", td.Bernoulli(p(0.3)[0]))
        yield factor("f", torch.where(k >= 0, -math.inf, 0.0))

    found = exact(impossible)
    assert found.log_evidence == -math.inf
    for ask in (lambda: found.probabilities, lambda: found.marginal("k"), lambda: found.expectation(lambda t: t["k"].value)):
        with pytest.raises(DegenerateWeights, match="no posterior: the log evidence of the 2 traces is -inf"):
            ask()
    with pytest.raises(DistributionError, match="site 'x': the log probability of .* is nan"):
        exact(lambda: iter_one(td.Bernoulli(p(math.nan)[0], validate_args=False)))


def test_marginals_of_what_not_all_traces_have_and_of_any_value():
    def varying():
        if (yield Sample("a", td.Bernoulli(p(0.25)[0]))):
            yield Sample("b", td.Bernoulli(p(0.5)[0]))
            return {"b": [torch.tensor(1), {2: 3}]}
        return {1, 2}

    found = exact(varying)
    assert found.marginal("b") == pytest.approx({None: 0.75, 0.0: 0.125, 1.0: 0.125})
    with pytest.raises(KeyError, match="no site 'c' in any of the 3 traces; they have _INPUT, a, _RETURN, b"):
        found.marginal("c")
    with pytest.raises(TypeError, match="the values of '_RETURN', such as {1, 2}, are no keys of a dictionary; use expectation"):
        found.marginal("_RETURN")
    given = exact(condition(varying, data={"a": p(1.0)[0]})())
    assert given.marginal("_RETURN") == pytest.approx({(("b", (1, ((2, 3),))),): 1.0})


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
