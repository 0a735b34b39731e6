"""A latent site that is masked off: importance sampling says what it makes of it, where that can be felt."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, HalfNormal, Independent, Normal, Poisson

from interpreters.__main__ import main
from interpreters.elimination import eliminate
from interpreters.importance import importance, infer
from interpreters.weighted.varying import Lockstep
from poutine import Observe, Program, Sample, chain, mask, plate, substitute
from tests.interpreters.enumeration import expectation, unnormalized

OFF = torch.tensor(False)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is logged of masked sites."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "masked off" in record.getMessage():
                lines.append(record.getMessage())

    listener = Listener()
    logging.getLogger("interpreters").addHandler(listener)
    yield lines
    logging.getLogger("interpreters").removeHandler(listener)


def drawn(name, dist):
    return (yield Sample(name, dist))


def one(dist, off=False, depends=True):
    """``off`` is a mask around ``x``, on which what is observed ``depends``."""

    def model():
        x = yield from mask(drawn, mask=off)("x", dist)
        x = x.sum() if depends else 0.0
        yield Observe("y", Normal(2.0 * x, 1.0), torch.tensor(1.8))

    return model


DISTRIBUTIONS = {
    "continuous": Normal(torch.zeros(3), 1.0),
    "rarely true": Bernoulli(torch.full((3,), 1e-4)),
    "categories": Categorical(torch.tensor([0.999, 0.0005, 0.0005]).expand(3, 3)),
    "counts": Poisson(torch.full((3,), 4.0)),
    "vectors": Independent(Normal(torch.zeros(3, 2), 1.0), 1),
    "finite vectors": Independent(Bernoulli(torch.full((3, 2), 1e-4)), 1),
    "many values": Independent(Bernoulli(torch.full((3, 8), 0.5)), 1),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("off", [False, torch.tensor([True, False, True])], ids=["all", "one"])
def test_it_is_said_once_if_what_counts_depends_on_the_value(said, name: str, off):
    infer(one(DISTRIBUTIONS[name], off), 100)
    assert said == [
        "site 'x' is masked off, and what counts depends on its value: importance sampling keeps the distribution that a value is drawn from, as "
        "without the mask, while NUTS, elimination and enumeration take all values as equally likely; mask the observations alone, or sample from "
        "what is flat (ImproperUniform, with a guide)"
    ]


class Own:
    """A user's, which tells no shapes."""

    def sample(self) -> torch.Tensor:
        return torch.randn(())

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return -0.5 * value**2


@pytest.mark.parametrize("depends", [False, True])
def test_a_distribution_that_tells_no_shapes(said, depends: bool):
    infer(one(Own(), depends=depends), 100)
    assert len(said) == depends


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_nothing_is_said_if_nothing_depends_on_it(said, name: str):
    infer(one(DISTRIBUTIONS[name], depends=False), 100)
    infer(one(DISTRIBUTIONS[name], off=torch.tensor(True)), 100)
    assert said == []


def padded(lengths, y, discrete):
    """Sequences of several lengths, one after the other in time, all of them at once: what is beyond the end of one is masked off."""
    seen = torch.arange(y.shape[0])[:, None] < lengths
    transition = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    spread = yield Sample("spread", HalfNormal(1.0))

    @plate("sequences", y.shape[1])
    def sequences(_):
        x = torch.zeros(y.shape[1], dtype=torch.int64 if discrete else torch.float32)
        for t in range(y.shape[0]):
            x = yield from mask(step, mask=seen[t])(t, x)

    def step(t, x):
        x = yield Sample(f"x_{t}", Categorical(transition[x]) if discrete else Normal(0.9 * x, spread))
        yield Observe(f"y_{t}", Normal(x, 1.0), y[t])
        return x

    yield from sequences()


@pytest.mark.parametrize("discrete", [False, True])
def test_padding_annoys_nobody(said, discrete: bool):
    infer(Program(padded, torch.tensor([4, 1, 2]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), discrete), 100)
    assert said == []


def test_padding_whose_observations_count(said):
    def model():
        x = yield from mask(drawn, mask=torch.tensor([True, False]))("x", Normal(torch.zeros(2), 1.0))
        yield Observe("y", Independent(Normal(x, 1.0), 1), torch.ones(2))

    infer(model, 100)
    assert len(said) == 1


def test_only_those_are_named_that_matter(said):
    def model():
        x = yield from mask(drawn, mask=False)("x", Normal(0.0, 1.0))
        yield from mask(drawn, mask=False)("unfelt", Normal(x, 1.0))
        for i in range(4):
            x = x + (yield from mask(drawn, mask=False)(f"x_{i}", Normal(0.0, 1.0)))
        yield Observe("y", Normal(x, 1.0), torch.tensor(0.0))

    infer(model, 100)
    assert len(said) == 1 and said[0].startswith(
        "sites 'x', 'x_0', 'x_1' and 2 more are masked off, and what counts depends on their values:"
    )


def test_a_latent_site_further_on_is_what_counts(said):
    def model():
        x = yield from mask(drawn, mask=OFF)("x", Normal(0.0, 1.0))
        yield Sample("z", Normal(x, 1.0))

    infer(model, 100)
    assert len(said) == 1


def test_with_a_guide_and_in_lockstep(said):
    def guide():
        yield Sample("x", Normal(1.0, 1.0))

    def branching():
        x = yield from mask(drawn, mask=False)("x", Normal(0.0, 1.0))
        yield Observe("y", Normal(1.0 if x > 0 else 0.0, 1.0), torch.tensor(0.0))

    infer(one(Normal(0.0, 1.0)), 100, guide)
    infer(branching, 100)
    infer(branching, 100, guide)
    assert len(said) == 3


def test_what_is_not_drawn_is_as_it_is(said):
    infer(chain(one(Normal(0.0, 1.0)), substitute(data={"x": torch.tensor(0.3)})), 100)
    assert said == []


def test_what_cannot_be_told_is_said(said):
    class Shapeless:
        """Two vectors of three: nobody knows which of the dimensions the mask is along."""

        def sample(self):
            return torch.zeros(2, 3)

        def log_prob(self, value):
            return torch.zeros(2)

    def fragile():
        x = yield from mask(drawn, mask=False)("x", Bernoulli(1e-9))
        if x:
            raise ValueError("never seen")

    infer(fragile, 10)
    infer(one(Shapeless(), off=torch.tensor([True, False]), depends=False), 10)
    assert len(said) == 2


def test_what_is_said_is_so(said):
    """Elimination takes the values as equally likely, importance sampling as without the mask."""

    def model(off):
        x = yield from mask(drawn, mask=off)("x", Bernoulli(0.3))
        yield Observe("y", Normal(2 * x, 1.0), torch.tensor(1.8))

    masked, plain = (infer(Program(model, off), 20_000) for off in (torch.tensor(False), torch.tensor(True)))
    assert len(said) == 1
    assert masked.log_evidence == plain.log_evidence == pytest.approx(float(eliminate(Program(model, True)).log_evidence), abs=0.05)
    flat = Normal(torch.tensor([0.0, 2.0]), 1.0).log_prob(torch.tensor(1.8)).logsumexp(0)
    assert float(eliminate(Program(model, False)).log_evidence) == pytest.approx(float(flat))


def test_at_the_command_line(tmp_path, capsys):
    (tmp_path / "model.py").write_text(
        "from torch.distributions import Normal\nfrom poutine import Observe, Sample, mask\n"
        "def model(y):\n    mu = yield from mask(drawn, mask=False)()\n    yield Observe('y', Normal(mu, 1.0), y)\n"
        "def drawn():\n    return (yield Sample('mu', Normal(0.0, 1.0)))\n"
    )
    (tmp_path / "data.json").write_text(json.dumps({"y": 4.0}))
    options = ["--method", "importance", "--num-samples", "1000", "--num-draws", "10"]
    assert main(["infer", str(tmp_path / "model.py"), "--data", str(tmp_path / "data.json"), *options]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "masked" in line]
    assert len(lines) == 1 and "warning: site 'mu' is masked off" in lines[0]


@pytest.mark.parametrize("probability", [None, 0.6])
@pytest.mark.parametrize("plan", [None, Lockstep()], ids=["one by one", "in lockstep"])
def test_the_law_of_importance_sampling(plan, probability):
    """Exactly: a masked latent site has the density that it is drawn from, its prior's or, with ``probability``, the guide's."""

    def model(prior, off):
        a = yield from mask(drawn, mask=off)("a", Bernoulli(number(prior)))
        b = yield Sample("b", Bernoulli(0.25 + 0.5 * a))
        yield Observe("y", Bernoulli(number(0.2) + 0.3 * a + 0.4 * b), number(1.0))

    def guide():
        yield Sample("a", Bernoulli(number(probability)))

    def number(x):
        return torch.tensor(x, dtype=torch.float64)

    def points(particles):
        rows = zip(particles.draws["a"].tolist(), particles.draws["b"].tolist(), particles.log_weights.exp().tolist(), strict=True)
        for a, b, weight in rows:
            yield (a, b), weight / 2

    program = Program(model, 0.3, torch.tensor(False))
    found = expectation(Program(importance, program, 2, None if probability is None else Program(guide), plan), points)
    plain = Program(model, 0.3 if probability is None else probability, True)
    assert found == pytest.approx(unnormalized(plain, lambda t: (t["a"].value.item(), t["b"].value.item())), abs=0, rel=1e-12)
