"""A sampler as a program: its seed, its notices, threads, stopping and going on; and where chains start."""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from interpreters.density import density
from interpreters.errors import NoStart
from interpreters.hamiltonian.chains import Chains, Part
from interpreters.hamiltonian.machine import Machine, Options
from interpreters.hamiltonian.notices import Chunk, NoticePoutine, Progress
from interpreters.hamiltonian.philox import INITIAL, uniform
from interpreters.hamiltonian.sampling import Seeds, resumed
from interpreters.hamiltonian.starting import first_step, started
from interpreters.hamiltonian.targets import Target, differentiated
from interpreters.hmc import hmc
from interpreters.nuts import nuts
from poutine import Program, Sample, Sealed, block, condition, replay, run, trace
from tests.interpreters.gaussians import CORRELATED, F64, FUNNEL, NORMAL

SHORT = {"num_warmup": 60, "num_draws": 40, "chunk": 13}


def same(a: Chains, b: Chains) -> bool:
    """Bit for bit, their memories too."""
    statistics = all(torch.equal(a.statistics[name], b.statistics[name]) for name in a.statistics)
    machines = all((ours == theirs).all() for ours, theirs in zip(a.machine, b.machine, strict=True))
    return torch.equal(a.positions, b.positions) and statistics and machines


def test_its_seed_is_all_that_it_draws():
    t = run(trace(nuts).traced(CORRELATED, **SHORT), seed=3)
    assert [name for name, site in t.nodes.items() if isinstance(site, Sample)] == ["seed"]
    assert list(t.nodes) == ["_INPUT", "seed", "_RETURN"]  # notices are in no trace
    chains = t["_RETURN"].value
    assert chains.plan.seed == int(t["seed"].value)
    given = condition(nuts, data={"seed": chains.plan.seed})(CORRELATED, **SHORT)
    assert same(run(given, seed=99), chains)
    assert same(run(replay(nuts, guide_trace=t)(CORRELATED, **SHORT), seed=99), chains)
    assert same(run(block(nuts)(CORRELATED, **SHORT), seed=3), chains)
    assert not same(run(Program(nuts, CORRELATED, **SHORT), seed=4), chains)


def test_seeds():
    seeds = {int(run(Program(one_seed), seed=s)) for s in range(100)}
    assert len(seeds) == 100 and all(0 <= seed < 2**63 - 1 for seed in seeds)
    assert max(seeds) > 2**62
    assert float(Seeds().log_prob(5)) == pytest.approx(-63 * math.log(2))
    assert Seeds().log_prob(torch.tensor([-1, 2**63 - 1])).tolist() == [-math.inf, -math.inf]


def one_seed():
    return (yield Sample("seed", Seeds()))


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3}, {"chunk": 1}, {"chunk": 1000, "threads": 4}])
def test_threads_and_chunks_change_nothing(options):
    expected = run(Program(nuts, FUNNEL, **SHORT), seed=0)
    assert same(run(Program(nuts, FUNNEL, **(SHORT | options)), seed=0), expected)


@pytest.mark.parametrize("program", [nuts, hmc])
@pytest.mark.parametrize("batched", [False, True], ids=["native", "batched"])
def test_a_chain_does_not_depend_on_the_others(program, batched):
    target = CORRELATED.target if batched else CORRELATED
    options: dict = {"num_warmup": 8, "num_draws": 2} | ({"num_steps": 3} if program is hmc else {})
    three, two = (run(Program(program, target, num_chains=n, **options), seed=0) for n in (3, 2))
    torch.testing.assert_close(three.positions[:2], two.positions, rtol=1e-9, atol=1e-9)


def test_notices_tell_how_far_it_is():
    progress: list[Progress] = []
    chunks: list[Chunk] = []
    shown = NoticePoutine(nuts, progress=progress.append, chunk=chunks.append)
    chains = run(shown(CORRELATED, **SHORT), seed=0)
    assert same(chains, run(Program(nuts, CORRELATED, **SHORT), seed=0))
    assert progress[-1].draws == (100, 100, 100, 100) and progress[-1].total == 100
    assert progress[-1].step_sizes == tuple(chains.statistics["step_size"][:, -1].tolist())
    assert progress[-1].divergences == tuple(int(d) for d in chains.statistics["diverging"].sum(dim=-1))
    rounds = [(chain, start) for start in range(0, 100, 13) for chain in range(4)]
    assert [(chunk.part.chain, chunk.part.start) for chunk in chunks] == rounds
    whole = torch.stack([torch.cat([chunk.positions for chunk in chunks if chunk.part.chain == c]) for c in range(4)])
    assert whole.shape == (4, 100, 2)
    assert torch.equal(whole[:, 60:], chains.positions)


def test_draws_need_not_be_kept():
    chunks: list[Chunk] = []
    chains = run(NoticePoutine(nuts, chunk=chunks.append)(CORRELATED, **SHORT, keep=False), seed=0)
    assert chains.positions.shape == (4, 0, 2)
    assert sum(len(chunk.positions) for chunk in chunks) == 400
    assert repr(chains) == "<Chains: 4 chains of 0 draws of 2 numbers>"


@pytest.mark.parametrize("batched", [False, True], ids=["native", "batched"])
@pytest.mark.parametrize("options", [{"metric": "diagonal"}, {"metric": "dense"}, {"num_steps": 3}], ids=["diagonal", "dense", "hmc"])
def test_stopped_saved_and_resumed_is_the_same_bit_for_bit(batched, options):
    target = FUNNEL.target if batched else FUNNEL
    program = hmc if "num_steps" in options else nuts
    size = {"num_warmup": 10, "num_draws": 4, "chunk": 3} if batched else SHORT  # a step of the batched one takes a millisecond
    options = size | {"num_chains": 2, "period": 0.0, "target_accept": 0.6} | options
    whole = run(Program(program, target, **options), seed=1)
    assert whole.num_draws == size["num_draws"]
    chains, stops = None, 0
    while chains is None or chains.num_draws < whole.num_draws:
        left = iter(range(1 + 4 * stops, -1, -1))  # ever more looks, so that a long trajectory, begun again, comes to its end

        def few(progress: Progress, left: Iterator[int] = left) -> bool:
            return next(left) > 0

        if chains is None:
            chains = run(NoticePoutine(program, progress=few)(target, **options), seed=1)
        else:
            chains = run(NoticePoutine(resumed, progress=few)(target, chains, period=0.0))
        chains = pickle.loads(pickle.dumps(chains))
        stops += 1
    assert stops > 1
    assert same(chains, whole)


def test_more_draws_of_a_finished_sampler():
    longer = run(Program(nuts, CORRELATED, **(SHORT | {"num_draws": 70})), seed=0)
    chains = run(Program(resumed, CORRELATED, run(Program(nuts, CORRELATED, **SHORT), seed=0), 70))
    assert same(chains, longer)


def test_what_was_drawn_before_an_interrupt_is_kept_and_the_threads_end():
    kept: list[Chunk] = []

    def interrupt(progress: Progress) -> None:
        if len(kept) >= 8:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(NoticePoutine(nuts, progress=interrupt, chunk=kept.append)(CORRELATED, num_draws=10**9, chunk=50), seed=0)
    assert threading.active_count() == before
    finished = run(Program(nuts, CORRELATED, num_draws=400), seed=0)
    first = torch.cat([chunk.positions for chunk in kept if chunk.part.chain == 0])
    assert len(first) < 1000 or torch.equal(first[1000:1400], finished.positions[0, : len(first) - 1000])


def test_messages_of_notices():
    machine = Machine.empty(1, 2, dense=False)
    part = Part(0, 5, torch.zeros(3, 2), torch.zeros(3, 8), machine.of(0))
    assert run(Program(yielding, Sealed(Chunk(part)))) is None
    assert len(part.after(7).positions) == 1 and part.after(7).start == 7
    assert len(part.after(100).positions) == 0 and len(part.after(0).positions) == 3


def yielding(message):
    return (yield message)


def test_native_and_batched_chains_have_the_same_start_and_law():
    native, batched = (run(Program(nuts, t, num_chains=2, num_warmup=20, num_draws=10), seed=5) for t in (CORRELATED, CORRELATED.target))
    assert native.statistics.keys() == batched.statistics.keys()
    # The same momenta and uniforms: they part only by rounding, and the correlated normal does not amplify that much.
    torch.testing.assert_close(native.positions, batched.positions, rtol=1e-4, atol=1e-4)


def test_the_density_of_a_program_is_a_target():
    def model():
        yield Sample("x", torch.distributions.Normal, 3.0, 0.5)

    chains = run(Program(nuts, density(model), num_chains=20, num_warmup=15, num_draws=5), seed=0)
    assert chains.positions.shape == (20, 5, 1)
    assert abs(float(chains.positions.mean()) - 3.0) < 0.3


# Where chains start


def test_starts_are_tried_until_the_density_is_finite():
    def positive(x: torch.Tensor) -> torch.Tensor:
        return torch.where((x > 1.0).all(dim=-1), -x.sum(dim=-1), -torch.inf)

    machine = started(differentiated(positive), 3, 2, 7, Options(step_size=0.5))
    assert (machine.position > 1).all() and (machine.position < 2).all()
    tries = [[4 * uniform(7, 0, t, INITIAL, i) - 2 for i in range(2)] for t in range(100)]
    assert machine.position[0].tolist() == next(x for x in tries if min(x) > 1)
    assert machine.averaging[:, 0].tolist() == [math.log(0.5)] * 3


def test_no_start_says_what_was_not_finite():
    target = Target(2, lambda x: (x[:, 0] * math.nan, x), names=("mu", "tau"))
    with pytest.raises(NoStart, match=r"2 of 2 chains found no place to start in 100 tries .* the log density was nan \(200 times\)"):
        run(Program(nuts, target, num_chains=2))
    gradient = torch.tensor([0.0, math.inf], dtype=F64)
    target = Target(2, lambda x: (x[:, 0], gradient.expand(len(x), 2)), names=("mu", "tau"))
    with pytest.raises(NoStart, match=r"the gradient was not finite in tau \(100 times\)"):
        run(Program(nuts, target, num_chains=1))


def test_the_first_step_size_is_right_to_a_factor_of_two():
    machine = started(NORMAL.batched, 4, NORMAL.dim, 0, Options(metric="diagonal")).tensors(torch.device("cpu"))
    machine.scale[:] = 1.0
    steps = first_step(NORMAL.batched, machine, 0, 0.8)
    assert bool((steps > 0.002).all() and (steps < 0.04).all())  # the smallest scale is 0.01, and 2 of it are unstable


def test_options_are_checked():
    for options, words in (
        ({"target_accept": 1.0}, "target_accept to be a number above 0 and below 1, got 1.0"),
        ({"max_depth": 0}, "max_depth to be a whole number from 1 to 20, got 0"),
        ({"metric": "full"}, "metric to be one of 'auto', 'diagonal', 'dense', got 'full'"),
        ({"num_chains": 0}, "num_chains to be a whole number of at least 1, got 0"),
        ({"num_chains": True}, "num_chains to be a whole number of at least 1, got True"),
        ({"num_draws": -1}, "num_draws to be a whole number of at least 0, got -1"),
        ({"threads": 0}, "threads to be a whole number of at least 1, got 0"),
        ({"chunk": 0}, "chunk to be a whole number of at least 1, got 0"),
        ({"step_size": 0.0}, "step_size to be a number above 0 and below inf, got 0.0"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)) as caught:
            run(Program(nuts, CORRELATED, **options))
        assert len(caught.value.args) == 1  # and nothing of attrs


@pytest.mark.slow
def test_without_numba_the_batched_sampler_runs():
    code = "import sys; sys.modules['numba'] = None; import torch; from poutine import Program, run; from interpreters.nuts import nuts; "
    code += "from interpreters.hamiltonian.targets import Target; from interpreters.hamiltonian.jit import NATIVE; "
    code += "target = Target(2, lambda x: (-0.5 * (x**2).sum(dim=-1), -x)); "
    code += "print(NATIVE, run(Program(nuts, target, num_warmup=20, num_draws=5)))"
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False <Chains: 4 chains of 5 draws of 2 numbers>"
