"""NUTS: its trees against their definition, its two implementations against each other, and what it leaves invariant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from interpreters.density import density
from interpreters.examples.eight_schools import model as eight_schools
from interpreters.hamiltonian.batched import Batch
from interpreters.hamiltonian.batched_tree import turns as turns_tensor
from interpreters.hamiltonian.integrator import MOMENTUM, VELOCITY
from interpreters.hamiltonian.machine import LOG_STEP, STATISTICS, Machine, Options, Settings
from interpreters.hamiltonian.native_chain import sampler
from interpreters.hamiltonian.native_start import start
from interpreters.hamiltonian.native_tree import Work
from interpreters.hamiltonian.runs import begun
from interpreters.hamiltonian.starting import started
from interpreters.hamiltonian.targets import Target
from interpreters.hamiltonian.turning import turns, turns_somewhere
from interpreters.nuts import infer, nuts
from interpreters.results.extras import extra
from poutine import Program, run
from tests.interpreters.gaussians import CORRELATED, F64, FUNNEL, NORMAL, STEEP, CKernel, check_means

ess = extra("arviz").ess


def native_draw(kernel: CKernel, machine: Machine, settings: Settings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One draw of each chain; changes ``machine``."""
    chains, dim = machine.position.shape
    positions, statistics = np.zeros((chains, 1, dim)), np.zeros((chains, 1, len(STATISTICS)))
    for c in range(chains):
        work, go = Work.empty(dim, settings.max_depth, machine.dense.shape[-1] > 0), np.zeros(1, np.int64)
        assert sampler(settings)((kernel.address, kernel.user), machine.of(c), c, work, settings, go, positions[c], statistics[c]) == 1
    return positions[:, 0], statistics[:, 0]


@pytest.mark.parametrize(
    "options",
    [
        Options(metric="diagonal"),
        Options(metric="dense", max_depth=5),
        Options(metric="diagonal", max_depth=3),
        Options(metric="dense", num_steps=4),
        Options(metric="diagonal", length=1.5),
    ],
)
@pytest.mark.parametrize("kernel", [NORMAL, CORRELATED, FUNNEL], ids=["normal", "correlated", "funnel"])
def test_the_native_and_the_batched_sampler_agree_draw_by_draw(kernel: CKernel, options: Options):
    """From one state, with the same momenta and uniforms: the same trees, and the same state after the adaptation."""
    warmup = 160  # long enough for the windows of the dense metric
    settings = options.settings(11, warmup)
    machine = started(kernel.batched, 3, kernel.dim, 11, options)
    for draw in range(warmup + 5):
        batch = Batch(kernel.batched, machine.tensors(torch.device("cpu")), settings, draw + 1, 1)
        positions, statistics = native_draw(kernel, machine, settings)
        if draw % 16 and not warmup - 12 < draw:
            continue  # the batched sampler is slow, and starts from the state of the native one each time
        while len(batch.active):
            batch.step()
        for c, (drawn, recorded) in enumerate(batch.take()):
            np.testing.assert_allclose(drawn[0].numpy(), positions[c], rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(recorded[0].numpy(), statistics[c], rtol=1e-7, atol=1e-8)
        for ours, theirs in zip(batch.machine.arrays(), machine, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


def test_they_agree_where_a_leapfrog_loses_thousands_of_nats():
    """From two hundred standard deviations away, by steps of which one or a few lead to the middle: weights of exp(5000), which are no numbers."""
    options = Options(metric="diagonal", max_depth=4)
    settings, machine = options.settings(11, 0), Machine.empty(40, NORMAL.dim, False)
    machine.scale[:] = 100.0 ** (np.arange(NORMAL.dim) - 2.0)
    machine.position[:] = 200.0 * np.sqrt(machine.scale)
    machine.log_density[:, 0], machine.gradient[:] = (result.numpy() for result in NORMAL.batched(torch.from_numpy(machine.position)))
    machine.averaging[:, LOG_STEP] = np.log(np.linspace(0.3, 1.5, 40))
    batch = Batch(NORMAL.batched, machine.tensors(torch.device("cpu")), settings, 1, 1)
    while len(batch.active):
        batch.step()
    expected_positions, expected = (torch.cat(columns).numpy() for columns in zip(*batch.take(), strict=True))
    start = -machine.log_density[:, 0]
    positions, statistics = native_draw(NORMAL, machine, settings)
    np.testing.assert_allclose(positions, expected_positions, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(statistics, expected, rtol=1e-7, atol=1e-7)
    assert (start - statistics[:, STATISTICS.index("energy")]).max() > 5000.0 and len(np.unique(statistics[:, -1])) > 2


def turns_by_definition(momenta: NDArray[np.float64], velocities: NDArray[np.float64]) -> bool:
    """Whether a balanced subtree turns: it does itself, or one of its halves does. By recursion, as Stan does it."""
    n = len(momenta)
    if n == 1:
        return False
    halves = (momenta[: n // 2], velocities[: n // 2]), (momenta[n // 2 :], velocities[n // 2 :])
    if any(turns_by_definition(*half) for half in halves):
        return True
    spans = (slice(0, n), slice(0, n // 2 + 1), slice(n // 2 - 1, n))
    return not all(momenta[span].sum(axis=0) @ velocities[span][end] > 0 for span in spans for end in (0, -1))


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_the_binary_counter_finds_the_first_subtree_that_turns(spread: float):
    random = np.random.default_rng(0)
    outcomes = []
    for _ in range(40):
        momenta = random.normal(0.0, spread, (16, 3)) + np.linspace(1.0, -random.uniform(0.0, 1.0), 16)[:, None]
        velocities = momenta * np.array([0.5, 1.0, 2.0])
        stack, rho, point = np.zeros((6, 5, 3)), np.zeros(3), np.zeros((5, 3))
        for leaf in range(16):
            point[MOMENTUM], point[VELOCITY] = momenta[leaf], velocities[leaf]
            done = leaf + 1
            ending = [size for size in (2, 4, 8, 16) if done % size == 0]
            expected = any(turns_by_definition(momenta[done - size : done], velocities[done - size : done]) for size in ending)
            assert turns_somewhere(stack, rho, point, leaf) == expected
            if expected:
                break
        outcomes.append(leaf)
    assert len(set(outcomes)) > 1 or spread == 1.0


def test_the_criterion_for_numbers_and_tensors():
    vectors = torch.randn(200, 8, 3, generator=torch.Generator().manual_seed(0), dtype=F64) + 0.8
    expected = [bool(turns(*row)) for row in vectors.numpy()]
    assert turns_tensor(*vectors.unbind(dim=1)).tolist() == expected
    assert 0 < sum(expected) < 200


def test_short_steps_do_not_make_trajectories_that_go_round_and_round():
    """A period of the slowest coordinate is at most 2 pi sqrt(1.9 / scale), a few hundred of these steps; a tree is shorter."""
    chains = run(Program(nuts, CORRELATED, num_warmup=0, num_draws=50, step_size=0.1), seed=0)
    periods = 2.0 * math.pi * np.sqrt(1.9 / chains.machine.scale.min(axis=-1))
    assert bool((0.1 * chains.statistics["n_steps"].amax(dim=-1).numpy() < periods).all())


@pytest.mark.parametrize("metric", ["diagonal", "dense"])
def test_a_correlated_normal(metric: str):
    chains = run(Program(nuts, CORRELATED, num_draws=4000, metric=metric), seed=1)
    x, y = chains.positions.unbind(dim=-1)
    for name, draws, expected in (("x", x, 0.0), ("y", y, 0.0), ("x2", x**2, 1.0), ("xy", x * y, 0.9), ("y4", y**4, 3.0)):
        check_means(draws, expected, 4.0, ess, name)


def test_normals_of_very_different_scales():
    chains = run(Program(nuts, NORMAL, num_draws=2000), seed=2)
    for i, draws in enumerate(chains.positions.unbind(dim=-1)):
        check_means(draws, 0.0, 4.0, ess, f"x{i}")
        check_means(draws**2, 100.0 ** (i - 2), 4.0, ess, f"x{i}^2")


def test_the_step_size_alone_leaves_the_target_invariant():
    """Without adaptation, at a step size at which many leaves are unlikely."""
    chains = run(Program(nuts, CORRELATED, num_warmup=20, num_draws=5000, target_accept=0.4), seed=3)
    x, y = chains.positions.unbind(dim=-1)
    for name, draws, expected in (("x", x, 0.0), ("x2", x**2, 1.0), ("xy", x * y, 0.9)):
        check_means(draws, expected, 4.0, ess, name)


def test_neals_funnel_roughly():
    """The neck is out of reach, which divergences tell; the rest is right to a tenth of a standard deviation."""
    chains = run(Program(nuts, FUNNEL, num_draws=5000, target_accept=0.95), seed=0)
    v = chains.positions[:, :, 0]
    assert abs(float(v.mean())) < 0.15 * 1.5
    assert float(v.std()) == pytest.approx(1.5, rel=0.1)


def test_what_is_recorded():
    chains = run(Program(nuts, NORMAL, num_draws=200), seed=0)
    s = chains.statistics
    values, _ = NORMAL.batched(chains.positions.flatten(end_dim=1))
    torch.testing.assert_close(s["lp"].flatten(), values)
    kinetic = s["energy"] + s["lp"]
    assert float(kinetic.min()) > 0
    check_means(kinetic, NORMAL.dim / 2, 4.0, ess, "kinetic energy")
    # A tree of depth d has 2 ** d leaves besides its start; one more half may have been begun and given up.
    assert bool((s["n_steps"] >= 2 ** s["tree_depth"] - 1).all() and (s["n_steps"] < 2 ** (s["tree_depth"] + 1)).all())
    assert bool((s["index_in_trajectory"].abs() <= s["n_steps"]).all())
    assert 0.7 < float(s["acceptance_rate"].mean()) < 0.95
    assert not s["diverging"].any()


def test_trees_stop_growing_at_the_greatest_depth():
    chains = run(Program(nuts, CORRELATED, num_warmup=0, num_draws=50, step_size=1e-3, max_depth=4), seed=0)
    assert set(chains.statistics["n_steps"].flatten().tolist()) == {15.0}
    assert set(chains.statistics["tree_depth"].flatten().tolist()) == {4.0}


def test_a_divergence_ends_the_tree_and_is_recorded():
    chains = run(Program(nuts, FUNNEL, num_warmup=0, num_draws=200, step_size=3.0), seed=0)
    diverging = chains.statistics["diverging"] == 1
    assert 0 < int(diverging.sum()) < diverging.numel()
    assert bool(chains.positions.isfinite().all())


# posteriordb (BSD-3-Clause, Stan developers), eight_schools-eight_schools_noncentered: mean, sd of 10,000 reference draws.
EIGHT_SCHOOLS = {
    "theta[1]": (6.1505, 5.6159),
    "theta[2]": (4.9396, 4.6456),
    "theta[3]": (3.9059, 5.2807),
    "theta[4]": (4.7960, 4.7709),
    "theta[5]": (3.6144, 4.6147),
    "theta[6]": (4.0511, 4.7962),
    "theta[7]": (6.3172, 5.0029),
    "theta[8]": (4.8840, 5.3177),
    "mu": (4.4105, 3.3093),
    "tau": (3.6021, 3.1985),
}  # fmt: skip


@pytest.mark.slow
def test_eight_schools_agrees_with_the_reference():
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=F64)
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=F64)
    d = density(Program(eight_schools, y, sigma))
    chains = run(
        Program(nuts, d, num_chains=50, num_warmup=200, num_draws=150, target_accept=0.9), seed=0
    )  # in tau's tail, longer steps stick
    assert chains.positions.shape == (50, 150, 10)
    values = torch.func.vmap(torch.func.vmap(d.constrain))(chains.positions)
    drawn = {"mu": values["mu"], "tau": values["tau"]} | {f"theta[{j + 1}]": values["theta"][..., j] for j in range(8)}
    assert drawn.keys() == EIGHT_SCHOOLS.keys()
    for name, (mean, sd) in EIGHT_SCHOOLS.items():
        error = math.hypot(float(drawn[name].std()) / float(ess(drawn[name].numpy())) ** 0.5, sd / 100.0)
        assert abs(float(drawn[name].mean()) - mean) < 4.0 * error, name
        # tau has a heavy tail, and its square a heavier one: what its mean is uncertain by is what the sd is
        squares = (drawn[name] - drawn[name].mean()) ** 2
        spread = float(squares.std()) / float(ess(squares.numpy())) ** 0.5 / (2.0 * float(squares.mean()))
        assert abs(math.log(float(drawn[name].std()) / sd)) < 4.0 * spread < 0.6, name
    assert float(chains.statistics["diverging"].mean()) < 0.01


@pytest.mark.parametrize("options", [Options(metric="diagonal"), Options(metric="dense"), Options(metric="diagonal", step_size=0.3)])
@pytest.mark.parametrize("kernel", [NORMAL, CORRELATED, FUNNEL, STEEP], ids=["normal", "correlated", "funnel", "steep"])
def test_the_native_loop_starts_where_the_batched_one_does(kernel: CKernel, options: Options):
    expected = started(kernel.batched, 10, kernel.dim, 5, options)
    found = begun(Target.of(kernel), 10, 5, options)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_what_must_be_climbed_from_is_left_to_the_batched_start():
    work, settings = Work.empty(STEEP.dim, 5, False), Options(metric="diagonal").settings(5, 0)
    for kernel, is_steep in ((STEEP, True), (NORMAL, False)):
        chain = Machine.empty(1, kernel.dim, False).of(0)
        assert start((kernel.address, kernel.user), chain, 0, work, settings, 0.0) != is_steep


def test_what_makes_no_sense_is_refused():
    program = Program(eight_schools, torch.zeros(8), torch.ones(8))
    for call in (infer, lambda program, **options: run(Program(nuts, density(program), **options))):
        with pytest.raises(ValueError, match="step_size"):
            call(program, step_size=-1.0, num_warmup=1, num_draws=1)
        with pytest.raises(ValueError, match="num_chains"):
            call(program, num_chains=0)


def test_infer_says_what_cannot_be_asked_for_before_anything_is_compiled():
    program = Program(eight_schools, torch.ones(2), torch.ones(2))
    for options, words in (
        ({"num_draws": 0}, "expected num_draws to be a whole number of at least 1, got 0"),
        ({"num_chains": True}, "expected num_chains to be a whole number of at least 1, got True"),
        ({"num_warmup": -1}, "expected num_warmup to be a whole number of at least 0, got -1"),
        ({"metric": "foo"}, "expected metric to be one of 'auto', 'diagonal', 'dense', got 'foo'"),
        ({"threads": 0}, "expected threads to be a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            infer(program, **{"num_warmup": 1, "num_draws": 1, **options})


@pytest.mark.parametrize(
    ("option", "hint"), [("warmup", "; did you mean num_warmup"), ("draws", "; did you mean num_draws"), ("samples", "")]
)
def test_an_option_that_there_is_not_is_told_before_anything_runs(option: str, hint: str):
    with pytest.raises(
        TypeError, match=f"^infer: got an unexpected argument '{option}'{hint}; it takes the program, num_chains, num_warmup, .* period$"
    ):
        infer(lambda: 1 / 0, **{option: 50})
