"""PGPE: expected updates by quadrature, closed forms of the smoothed objective, ranks, failures, ClipUp."""

from typing import Any

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import streams
from zeroth_order import PGPE, ClipUp, Values
from zeroth_order.evolution.pgpe import PGPEState
from zeroth_order.evolution.shaping import centred_ranks

F64 = torch.float64


def gaussian_grid(nodes: int, dim: int) -> tuple[Tensor, Tensor]:
    """Standard normals [n^dim, dim] and weights [n^dim], exact for polynomials of degree 2 n - 1 in each."""
    z, w = (torch.tensor(part, dtype=F64) for part in hermegauss(nodes))
    w = w / w.sum()
    if dim == 1:
        return z[:, None], w
    return torch.cartesian_prod(*[z] * dim), torch.cartesian_prod(*[w] * dim).prod(-1)


def told(algorithm: PGPE, mu: Tensor, sigma: Tensor, eps: Tensor, f: Any) -> tuple[PGPEState, dict[str, Tensor]]:
    """The state after one iteration in which run r has the deviations eps [R, n, d]."""
    runs = len(eps)
    state = PGPEState(mu.expand(runs, -1), sigma.expand(runs, -1), algorithm.step.start(mu.expand(runs, -1)), 0)
    points = torch.cat((mu + eps, mu - eps), 1)
    return algorithm.tell(state, points, Values(f(points)))


@pytest.mark.parametrize("dim", [1, 2])
def test_the_expected_update_follows_the_smoothed_gradient(dim: int) -> None:
    """On f = x'Ax / 2 + b'x: grad_mu F = A mu + b and dF / dsigma_i = A_ii sigma_i, times sigma_i^2, for two pairs.

    Quadrature over both of them, so that the baseline from the other pair is taken along.
    """
    A = torch.tensor([[1.5, 0.4], [0.4, 0.7]], dtype=F64)[:dim, :dim]
    b, mu, sigma = (torch.tensor(x, dtype=F64)[:dim] for x in ([0.3, -1.0], [0.8, 0.5], [0.6, 1.3]))
    z, weights = gaussian_grid(4, 2 * dim)
    algorithm = PGPE(pairs=2, gamma=Schedule(0.1), alpha_sigma=1e-3, max_change=0.9, ranks=False)
    state, _ = told(
        algorithm,
        mu,
        sigma,
        sigma * z.view(-1, 2, dim),
        lambda x: torch.einsum("rki,ij,rkj->rk", x, A, x) / 2 + x @ b + 5.0,
    )
    assert_close(weights @ state.mu, mu - 0.1 * sigma**2 * (A @ mu + b), rtol=1e-12, atol=0.0)
    assert_close(weights @ state.sigma, sigma - 1e-3 * sigma**2 * A.diagonal() * sigma, rtol=1e-12, atol=0.0)
    assert not torch.allclose(state.mu, mu)


def test_the_expected_update_of_a_nonlinear_function() -> None:
    """f = x^4: F = mu^4 + 6 mu^2 sigma^2 + 3 sigma^4."""
    mu, sigma = torch.tensor([0.7], dtype=F64), torch.tensor([0.5], dtype=F64)
    z, weights = gaussian_grid(6, 2)
    algorithm = PGPE(pairs=2, gamma=Schedule(0.01), alpha_sigma=1e-3, max_change=0.9, ranks=False)
    state, _ = told(algorithm, mu, sigma, sigma * z[..., None], lambda x: x[..., 0] ** 4)
    by_mu, by_sigma = 4 * mu**3 + 12 * mu * sigma**2, 12 * mu**2 * sigma + 12 * sigma**3
    assert_close(weights @ state.mu, mu - 0.01 * sigma**2 * by_mu, rtol=1e-12, atol=0.0)
    assert_close(weights @ state.sigma, sigma - 1e-3 * sigma**2 * by_sigma, rtol=1e-12, atol=0.0)


def test_points_are_symmetric_and_have_the_search_distribution() -> None:
    """20000 pairs: standard deviations within 5 standard errors (rate 6e-7 each)."""
    algorithm = PGPE(pairs=20_000)
    sigma = torch.tensor([[0.1, 2.0]], dtype=F64)
    mu = torch.tensor([[3.0, -1.0]], dtype=F64)
    state = algorithm.init(mu, streams([0]))._replace(sigma=sigma)
    points, _ = algorithm.ask(state, streams([0]))
    ahead, behind = points.chunk(2, 1)
    assert_close((ahead + behind) / 2, mu[:, None].expand_as(ahead), rtol=1e-14, atol=1e-14)
    assert_close(ahead.std(1), sigma, rtol=5 / 40_000**0.5, atol=0.0)


def test_centred_ranks_share_ties_and_leave_failures_out() -> None:
    values = torch.tensor([[3.0, 1.0, 1.0, 9.0, 2.0], [5.0, 5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    counts = torch.tensor([[True, True, True, False, True], [True] * 5, [False] * 4 + [True]])
    expected = torch.tensor([[0.5, -1 / 3, -1 / 3, 0.0, 1 / 6], [0.0] * 5, [0.0] * 5])
    assert_close(centred_ranks(values, counts), expected)


def test_ranks_make_steps_independent_of_scale_and_values_do_not() -> None:
    mu, sigma = torch.tensor([1.0, -2.0], dtype=F64), torch.ones(2, dtype=F64)
    eps = streams([0]).spread(torch.arange(5)).normal(2, dtype=F64)
    for ranks, equal in ((True, True), (False, False)):
        algorithm = PGPE(pairs=5, ranks=ranks, gamma=Schedule(0.01), alpha_sigma=0.01)
        one, other = (
            told(algorithm, mu, sigma, eps, lambda x, s=scale: s * (x**2).sum(-1) + 7)[0] for scale in (1.0, 2.0)
        )
        assert torch.equal(one.mu, other.mu) == torch.equal(one.sigma, other.sigma) == equal


def test_a_constant_added_to_the_function_changes_nothing() -> None:
    """The baseline is a full mean: unbiased it would be at any scale, but not free of the constant."""
    mu, sigma = torch.tensor([1.0, -2.0], dtype=F64), torch.ones(2, dtype=F64)
    eps = streams([0]).spread(torch.arange(3)).normal(2, dtype=F64)
    algorithm = PGPE(pairs=3, ranks=False, alpha_sigma=0.001)
    one, other = (told(algorithm, mu, sigma, eps, lambda x, c=c: (x**2).sum(-1) + c)[0] for c in (0.0, 100.0))
    assert_close(one.mu, other.mu, rtol=1e-12, atol=0.0)
    assert_close(one.sigma, other.sigma, rtol=1e-12, atol=0.0)
    assert not torch.allclose(one.sigma, sigma, rtol=1e-5)


@pytest.mark.parametrize("ranks", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_pair_with_a_failure_is_dropped(ranks: bool, bad: float) -> None:
    """As if it had not been asked: equal to the update from the other pairs, whichever member failed."""
    mu, sigma = torch.tensor([1.0, -2.0], dtype=F64), torch.tensor([0.5, 1.0], dtype=F64)
    eps = streams([0]).spread(torch.arange(4)).normal(2, dtype=F64)
    healthy, _ = told(PGPE(pairs=3, ranks=ranks), mu, sigma, eps[:, [0, 1, 3]], lambda x: (x**2).sum(-1))
    for member in (2, 6):  # mu + eps_2 and mu - eps_2
        spoil = torch.arange(8) == member
        mixed, metrics = told(
            PGPE(pairs=4, ranks=ranks), mu, sigma, eps, lambda x, s=spoil: torch.where(s, bad, (x**2).sum(-1))
        )
        assert_close(mixed.mu, healthy.mu, rtol=1e-13, atol=0.0)
        assert_close(mixed.sigma, healthy.sigma, rtol=1e-13, atol=0.0)
        assert metrics["failed"].tolist() == [0.25]


def test_one_pair_left_moves_mu_alone_and_none_moves_nothing() -> None:
    mu, sigma = torch.tensor([1.0], dtype=F64), torch.tensor([1.0], dtype=F64)
    eps = torch.tensor([[[0.5], [1.5]]], dtype=F64)
    algorithm = PGPE(pairs=2, ranks=False, gamma=Schedule(0.1), step=ClipUp())
    one, _ = told(algorithm, mu, sigma, eps, lambda x: torch.where(x == 2.5, torch.nan, x**2)[..., 0])
    assert_close(one.mu, torch.tensor([[0.9]], dtype=F64))
    assert torch.equal(one.sigma, sigma[None])
    points = torch.zeros(1, 4, 1, dtype=F64)
    none, _ = algorithm.tell(one, points, Values(torch.full((1, 4), torch.nan)))
    assert torch.equal(none.mu, one.mu)
    assert torch.equal(none.sigma, one.sigma)
    assert torch.equal(none.moments, one.moments)


def test_sigma_changes_by_at_most_its_share() -> None:
    """Both ways, and so it stays positive."""
    mu, sigma = torch.zeros(2, dtype=F64), torch.tensor([1.0, 10.0], dtype=F64)
    eps = torch.tensor([[[2.0, 0.1], [0.1, 30.0]]], dtype=F64)
    algorithm = PGPE(pairs=2, ranks=False, alpha_sigma=1e3, max_change=0.25)
    state, _ = told(algorithm, mu, sigma, eps, lambda x: (x**2).sum(-1))
    assert_close(state.sigma, torch.tensor([[1.25, 7.5]], dtype=F64))


def test_clipup_by_hand() -> None:
    """A normalized step, then momentum that reaches the speed limit, then a turn; a zero gradient only slows down."""
    step, moments = ClipUp(momentum=0.9, max_speed=1.5), torch.zeros(1, 1, 2, dtype=F64)
    velocity, moments = step(torch.tensor([[30.0, 40.0]], dtype=F64), moments, 0.1, 0)
    assert_close(velocity, torch.tensor([[-0.06, -0.08]], dtype=F64))
    velocity, moments = step(torch.tensor([[0.003, 0.004]], dtype=F64), moments, 0.1, 1)
    assert_close(velocity, torch.tensor([[-0.09, -0.12]], dtype=F64))  # 0.19 is cut to 0.15
    assert_close(step(torch.zeros(1, 2, dtype=F64), moments, 0.1, 2)[0], 0.9 * velocity)
    turned, _ = step(torch.tensor([[-5.0, 0.0]], dtype=F64), moments, 0.1, 2)
    assert_close(turned, torch.tensor([[0.019, -0.108]], dtype=F64))
    still, _ = step(torch.zeros(1, 2, dtype=F64), torch.zeros(1, 1, 2, dtype=F64), 0.1, 0)
    assert torch.equal(still, torch.zeros(1, 2, dtype=F64))


def test_clipup_accumulates_in_the_state() -> None:
    """On a slope the second step is 1.9 times the first."""
    algorithm, stream = PGPE(gamma=Schedule(0.1), alpha_sigma=0.0, ranks=False, step=ClipUp()), streams([0, 1])
    state = algorithm.init(torch.zeros(2, 1, dtype=F64), stream)
    for t, mean in enumerate((0.1, 0.29, 0.29 + 0.2)):
        points, state = algorithm.ask(state, stream.at(t))
        state, metrics = algorithm.tell(state, points, Values(-3 * points[..., 0]))
        assert_close(state.mu, torch.full((2, 1), mean, dtype=F64))
    assert_close(metrics["step_norm"], torch.full((2,), 0.2, dtype=F64))
