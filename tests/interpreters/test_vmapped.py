"""Many runs in one: what is out, what goes in, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from torch.distributions import HalfNormal, Normal

from interpreters.errors import BatchError, NotVectorizable
from interpreters.vmapped import vmapped
from poutine import (
    BlockPoutine,
    Choice,
    Coroutine,
    Deterministic,
    DistributionError,
    NonlocalExit,
    Observe,
    Param,
    ParamStore,
    Program,
    Running,
    Sample,
    ScalePoutine,
    Trace,
    condition,
    escape,
    log_density,
    markov,
    mask,
    plate,
    run,
    scale,
    seed,
    substitute,
    trace,
)
from poutine.laws import programs


def pair(loc: Any = 0.0) -> Coroutine[dict[str, Any]]:
    x = yield Sample("x", Normal(loc, 1.0))
    y = yield Sample("y", Normal(torch.zeros(2), x.exp()))
    yield Observe("z", Normal(y, 1.0), torch.ones(2))
    total = yield Deterministic("total", x + y.sum())
    return {"x": x, "y": y, "parts": [total, (2.0, torch.ones(()))]}


def test_its_value_is_that_of_all_runs():
    found = run(Program(vmapped, lambda _: Program(pair), 5))
    assert found["x"].shape == (5,) and found["y"].shape == (5, 2)
    assert torch.allclose(found["parts"][0], found["x"] + found["y"].sum(1))
    assert found["parts"][1][0] == 2.0 and torch.equal(found["parts"][1][1], torch.ones(5))


def test_what_is_given_is_each_runs_own():
    loc = torch.tensor([-100.0, 0.0, 100.0])
    found = run(Program(vmapped, lambda row: Program(pair, row["loc"]), 3, {"loc": loc}))
    assert torch.allclose(found["x"], loc, atol=6.0)


def test_only_what_it_draws_is_out_one_message_for_all():
    outer = run(trace(vmapped).traced(lambda _: Program(pair), 5))
    assert [name for name in outer if not name.startswith("_")] == ["x", "y"]
    assert outer["y"].value.shape == (5, 2) and outer["y"].dist.batch_shape == (5, 2)
    assert torch.allclose(outer["y"].dist.scale, outer["x"].value.exp().unsqueeze(1).expand(5, 2))


def test_what_a_run_changes_in_place_is_its_own():
    def in_place() -> Coroutine[torch.Tensor]:
        x = yield Sample("x", Normal(torch.zeros(2), 1.0))
        return x.zero_()

    outer = run(trace(vmapped).traced(lambda _: Program(in_place), 5))
    assert torch.equal(outer["_RETURN"].value, torch.zeros(5, 2)) and len(outer["x"].value.unique()) == 10


def test_the_draws_are_those_of_the_site_and_hiding_moves_none():
    plain = run(Program(vmapped, lambda _: Program(pair), 5), 1)
    hidden = run(Program(vmapped, lambda _: BlockPoutine(pair)(), 5), 1)
    assert torch.equal(plain["y"], hidden["y"])
    assert torch.equal(plain["x"], run(Program(lambda: (yield Sample("x", Normal(torch.zeros(5), 1.0)))), 1))


def test_scale_mask_and_frames_are_out_too():
    def inside() -> Coroutine[torch.Tensor]:
        x = yield Sample("x", Normal(0.0, 1.0))
        return (yield from plate("p", 2)(lambda _: scale(mask(one, x > 0), x.exp())())())

    def one() -> Coroutine[torch.Tensor]:
        return (yield Sample("y", Normal(0.0, 1.0)))

    outer = run(trace(vmapped).traced(lambda _: Program(inside), 5))
    x, y = outer["x"].value, outer["y"]
    assert torch.allclose(log_density(y), (torch.where(x > 0, x.exp(), 0.0) * Normal(0.0, 1.0).log_prob(y.value).sum(1)).sum())
    assert [frame.name for frame in y.cond_indep_stack] == ["p"]


def test_handlers_decide_for_all_and_what_they_do_is_seen_inside():
    seen = []

    def looking() -> Coroutine[Any]:
        traced = yield from trace(pair).traced()
        seen.append(traced)
        return traced["x"].value

    values, look = torch.arange(3.0), lambda _: Program(looking)
    assert torch.equal(run(substitute(vmapped, {"x": values})(look, 3)), values)
    run(condition(vmapped, {"x": values})(look, 3))
    run(ScalePoutine(vmapped, 2.0)(look, 3))
    assert [each["x"].type for each in seen] == ["sample", "observe", "sample"]
    assert [each["x"].scale for each in seen] == [1.0, 1.0, 2.0]
    with pytest.raises(NotVectorizable, match="site 'x': what is around it out here"):
        run(ScalePoutine(vmapped, torch.ones(3))(look, 3))


@pytest.mark.parametrize("value", [torch.zeros(()), torch.zeros(3, 2), 1.0])
def test_an_answer_of_another_shape_is_an_error(value: Any):
    with pytest.raises(BatchError, match=r"site 'x': expected a value of shape \(3,\), the first dimension for the particles"):
        run(substitute(vmapped, {"x": value})(lambda _: Program(pair), 3))


def test_a_plate_around_is_an_error():
    with pytest.raises(BatchError, match="plate 'rows' is around the batch"):
        run(Program(plate("rows", 3)(lambda _: Program(vmapped, lambda _: Program(pair), 3))))


def test_an_error_from_outside_reaches_the_program_at_its_yield():
    ended = []

    class Refusing(Normal):
        def sample(self, sample_shape: Any = ()) -> torch.Tensor:
            raise ArithmeticError("no more")

        rsample = sample

        def expand(self, batch_shape: Any, _instance: Any = None) -> Refusing:
            return Refusing(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def refused() -> Coroutine[str]:
        try:
            yield Sample("x", Refusing(0.0, 1.0))
        except DistributionError as error:
            ended.append(str(error))
            raise
        finally:
            ended.append("once")
        return "never"

    with pytest.raises(DistributionError, match="no more"):
        run(Program(vmapped, lambda _: Program(refused), 3))
    assert len(ended) == 2 and "no more" in ended[0]


def test_what_is_left_open_is_closed_inside():
    ended = []

    def open_ended() -> Coroutine[None]:
        x = yield Sample("x", Normal(torch.zeros(2), 1.0))
        try:
            yield Sample("y", Normal(x, 1.0))
        finally:
            ended.append((x + 1.0).sum().shape)

    program = Program(vmapped, lambda _: Program(open_ended), 3)
    with pytest.raises(NonlocalExit):
        run(escape(program.fn, lambda site: bool(site.name == "y"))(*program.args))
    with Running(program) as running:
        running.begin()
        running.reply(running.message.evolve(value=torch.zeros(3, 2)))
        assert running.message.name == "y" and len(ended) == 1
    assert ended == [(), ()]


def test_parameters_are_shared():
    def learnable() -> Coroutine[torch.Tensor]:
        w = yield Param("w", torch.ones(2))
        return (yield Sample("x", Normal(w, 1.0)))

    params = ParamStore()
    found = run(Program(vmapped, lambda _: Program(learnable), 3), params=params)
    assert found.shape == (3, 2) and list(params) == ["w"] and params["w"].shape == (2,) and found.requires_grad


def test_a_markov_loop_goes_step_by_step():
    def walk() -> Coroutine[torch.Tensor]:
        @markov("steps", 3)
        def step(i: int, x: Any) -> Coroutine[torch.Tensor]:
            return (yield Sample(f"x_{i}", Normal(x, 1e-3)))

        return (yield from step(torch.tensor(5.0)))

    assert torch.allclose(run(Program(vmapped, lambda _: Program(walk), 4)), torch.full((4,), 5.0), atol=0.1)


def test_it_runs_inside_of_another():
    """Two levels of vmap."""

    def outer() -> Coroutine[torch.Tensor]:
        m = yield Sample("m", Normal(torch.zeros(()), 100.0))
        found = yield from Program(vmapped, lambda _: Program(pair, m), 4)
        return found["x"] - m

    found = run(Program(vmapped, lambda _: Program(outer), 3))
    assert found.shape == (3, 4) and len(found.unique()) == 12 and bool((found.abs() < 6).all())


def test_a_seed_inside_is_that_of_the_message():
    first, second = (run(Program(vmapped, lambda _: seed(pair, 3)(), 5), number) for number in (0, 1))
    assert torch.equal(first["x"], second["x"]) and len(first["x"].unique()) == 5


def test_a_global_generator_is_neither_read_nor_moved():
    state = torch.random.get_rng_state()
    first = run(Program(vmapped, lambda _: Program(pair), 5), 2)
    torch.rand(1)
    torch.random.set_rng_state(state)
    assert torch.equal(first["x"], run(Program(vmapped, lambda _: Program(pair), 5), 2)["x"])
    assert torch.equal(state, torch.random.get_rng_state())


def test_invalid_arguments_are_an_error_at_the_models_own_line():
    def wrong() -> Coroutine[None]:
        tau = yield Sample("tau", Normal(0.0, 1.0))
        yield Sample("x", Normal(0.0, tau))

    with pytest.raises(ValueError, match="Expected parameter scale"):
        run(Program(vmapped, lambda _: Program(wrong), 50))
    deferred = Program(lambda: (yield Observe("x", HalfNormal, torch.tensor(1.0), torch.tensor(-1.0))))
    assert run(Program(vmapped, lambda _: deferred, 3)) is not None  # nobody asks for its density


def weigh(program: Any) -> Coroutine[tuple[dict[str, Any], Any]]:
    """The draws of a program, by name, and the log density of each site."""
    sites: Trace = yield from trace(program).traced()
    values = {name: site.value for name, site in sites.nodes.items() if isinstance(site, Sample)}
    return values, {name: log_density(site) for name, site in sites.nodes.items() if isinstance(site, Choice)}


@given(programs(asks=False, cleanup=False, blocks=False), st.integers(0, 3))
def test_each_run_is_what_it_is_alone(program: Any, number: int):
    """The law, over random programs; those that branch on what they draw are refused."""
    try:
        values, densities = run(Program(vmapped, lambda _: Program(weigh, program), 4), number)
    except NotVectorizable:
        return
    event("runs at once")
    for i in range(4):
        own = {name: value[i] for name, value in values.items()}
        again, alone = run(Program(weigh, substitute(program, own)), number)
        assert list(again) == list(values)
        for name, density in alone.items():
            assert densities[name][i].item() == pytest.approx(density.item(), rel=1e-5, abs=1e-5)
