"""Eight schools: what coaching for a test does, by a hierarchical model (Rubin 1981; Gelman et al., "Bayesian Data Analysis", 5.5)."""

from torch import Tensor
from torch.distributions import HalfCauchy, Normal

from poutine import Coroutine, Deterministic, Observe, Sample, plate


def model(y: Tensor, sigma: Tensor) -> Coroutine[None]:
    """``y``: the estimated effect of coaching in each school, ``sigma``: its standard error; both of shape [schools]."""
    mu = yield Sample("mu", Normal, 0.0, 5.0)
    tau = yield Sample("tau", HalfCauchy, 5.0)

    @plate("school", len(y))
    def school(_: Tensor) -> Coroutine[None]:
        theta_trans = yield Sample("theta_trans", Normal, 0.0, 1.0)  # non-centred: its prior does not depend on tau
        theta = yield Deterministic("theta", mu + tau * theta_trans)
        yield Observe("y", Normal, y, theta, sigma)

    yield from school()
