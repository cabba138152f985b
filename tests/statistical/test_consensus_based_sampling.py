"""CBS samples from a Gaussian: exp(-f) for a quadratic f."""

import torch

from envs.random import Purpose, streams
from zeroth_order import CBS, Growth, Values

RUNS, PARTICLES = 64, 400


def test_the_covariance_is_that_of_the_target() -> None:
    """In coordinates in which the target is standard normal, the ensembles' mean covariance is I and their mean is 0.

    Within 5 standard errors over 64 runs: with 12 comparisons an error rate below 1e-4. The covariance is allowed
    2 / N on top, an estimate of the bias of N particles. A wrong lam, covariance or decay is off by 0.1 at least.
    """
    precision = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 4.0]], dtype=torch.float64)
    centre = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    algorithm = CBS(particles=PARTICLES, alpha=Growth(1.0), sampling=True, dt=0.5, spread=2.0)
    root = streams(range(RUNS))
    state = algorithm.init(torch.zeros(RUNS, 3, dtype=torch.float64), root.fold(Purpose.INITIAL))
    for t in range(30):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        difference = points - centre
        state, _ = algorithm.tell(state, points, Values((difference @ precision * difference).sum(-1) / 2))
    standard = (state.particles - centre) @ torch.linalg.cholesky(precision)
    mean = standard.mean(1)
    centred = standard - mean[:, None]
    covariance = centred.mT @ centred / (PARTICLES - 1)
    error = covariance.std(0) / RUNS**0.5
    assert (mean.mean(0).abs() < 5 * mean.std(0) / RUNS**0.5).all()
    assert ((covariance.mean(0) - torch.eye(3)).abs() < 5 * error + 2 / PARTICLES).all()
    assert (error < 0.02).all()
