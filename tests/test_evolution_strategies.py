"""OpenAI-ES, SNES, xNES, ARS: expected updates in closed form, utilities by hand, matrix exponentials, ellipsoids."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.stats import norm
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from zeroth_order import ARS, SNES, XNES, OpenAIES, Optimizer, Values
from zeroth_order.evolution.ars import ARSState
from zeroth_order.evolution.openai_es import OpenAIESState
from zeroth_order.evolution.pairs import around
from zeroth_order.evolution.shaping import utilities
from zeroth_order.evolution.snes import SNESState
from zeroth_order.evolution.xnes import XNESState, expm1
from zeroth_order.steps import Plain

F64 = torch.float64
Function = Callable[[Tensor], Tensor]


def draws(*shape: int, seed: int = 0) -> Tensor:
    """Standard normals."""
    return streams([seed]).spread(torch.arange(math.prod(shape[:-1]))).normal(shape[-1], dtype=F64).view(shape)


# OpenAI-ES.


def stepped(algorithm: OpenAIES, x: Tensor, z: Tensor, f: Function, t: int = 0) -> Tensor:
    """x after one iteration in which run r has the normals z [R, n, d]."""
    state = OpenAIESState(x.expand(len(z), -1), algorithm.step.start(x.expand(len(z), -1)), t)
    sigma = algorithm.sigma(t)
    points = around(state.x, sigma * z)
    return algorithm.tell(state, points, Values(f(points)))[0].x


def test_the_expected_step_of_openai_es_is_the_smoothed_gradient_of_a_quadratic() -> None:
    """E f(x + sigma eps) = f(x) + const, so its gradient is A x + b; quadrature over two pairs in two dimensions."""
    A = torch.tensor([[1.5, 0.4], [0.4, 0.7]], dtype=F64)
    b, x = torch.tensor([0.3, -1.0], dtype=F64), torch.tensor([0.8, 0.5], dtype=F64)
    nodes, weights = (torch.tensor(part, dtype=F64) for part in hermegauss(4))
    z = torch.cartesian_prod(*[nodes] * 4).view(-1, 2, 2)
    weights = torch.cartesian_prod(*[weights / weights.sum()] * 4).prod(-1)
    algorithm = OpenAIES(pairs=2, gamma=Schedule(0.1), sigma=Schedule(0.6), ranks=False, weight_decay=0.2, step=Plain())
    after = stepped(algorithm, x, z, lambda p: torch.einsum("rki,ij,rkj->rk", p, A, p) / 2 + p @ b + 5.0)
    assert_close(weights @ after, x - 0.1 * (A @ x + b + 0.2 * x), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("t", [0, 6])
def test_openai_es_smooths_with_the_sigma_of_the_iteration(t: int) -> None:
    """f = x^4: F = x^4 + 6 x^2 sigma^2 + 3 sigma^4."""
    x, sigma = torch.tensor([0.7], dtype=F64), 0.5 * (2 / (t + 2)) ** 0.5
    nodes, weights = (torch.tensor(part, dtype=F64) for part in hermegauss(4))
    algorithm = OpenAIES(pairs=1, gamma=Schedule(0.1), sigma=Schedule(0.5, 0.5), ranks=False, step=Plain())
    after = stepped(algorithm, x, nodes[:, None, None], lambda p: p[..., 0] ** 4, t)
    slope = 4 * x**3 + 12 * x * sigma**2
    assert_close((weights / weights.sum()) @ after, x - 0.1 * slope, rtol=1e-12, atol=0.0)


def test_openai_es_takes_ranks_and_a_step_of_adam() -> None:
    """Four values 1, 2 (ahead) and 16, 9 (behind): ranks -1/2, -1/6, 1/2, 1/6. Adam's first step is gamma sign(g)."""
    z = torch.tensor([[[1.0, 2.0], [-1.0, 1.0]]], dtype=F64)
    x = torch.tensor([3.0, 4.0], dtype=F64)
    values = torch.tensor([[1.0, 2.0, 16.0, 9.0]], dtype=F64)
    plain = OpenAIES(pairs=2, gamma=Schedule(0.1), sigma=Schedule(0.5), step=Plain())
    gradient = (torch.tensor([-1.0, -2.0], dtype=F64) - torch.tensor([-1.0, 1.0], dtype=F64) / 3) / (2 * 2 * 0.5)
    assert_close(stepped(plain, x, z, lambda p: values), (x - 0.1 * gradient)[None])
    adam = OpenAIES(pairs=2, gamma=Schedule(0.1), sigma=Schedule(0.5))
    assert_close(stepped(adam, x, z, lambda p: values), (x - 0.1 * gradient.sign())[None], rtol=1e-7, atol=0.0)


def test_openai_es_without_a_pair_keeps_its_moments() -> None:
    algorithm, stream = OpenAIES(pairs=2), streams([0])
    state = algorithm.init(torch.ones(1, 3, dtype=F64), stream)
    points, _ = algorithm.ask(state, stream)
    state, _ = algorithm.tell(state, points, Values((points**2).sum(-1)))
    assert state.moments.abs().sum() > 0
    after, metrics = algorithm.tell(state, points, Values(torch.tensor([[1.0, torch.nan, torch.inf, 1.0]])))
    assert torch.equal(after.x, state.x)
    assert torch.equal(after.moments, state.moments)
    assert metrics["failed"].tolist() == [1.0]


# Utilities.


def test_utilities_by_hand() -> None:
    """n = 4: ln 3 and ln 1.5, then nothing, over their sum ln 4.5, less a quarter."""
    a, b = math.log(3) / math.log(4.5) - 0.25, math.log(1.5) / math.log(4.5) - 0.25
    bad, inf = torch.nan, torch.inf
    rows = [
        ([3.0, -1.0, 2.0, 9.0], [-0.25, a, b, -0.25]),
        ([5.0, 1.0, 1.0, 7.0], [-0.25, (a + b) / 2, (a + b) / 2, -0.25]),
        ([2.0, 2.0, 2.0, 2.0], [0.0] * 4),
        ([bad, 1.0, -inf, 0.5], [-0.25, b, -0.25, a]),
        ([bad, 1.0, inf, bad], [(b - 0.5) / 3, a, (b - 0.5) / 3, (b - 0.5) / 3]),
        ([bad, inf, bad, -inf], [0.0] * 4),
    ]
    values, expected = (torch.tensor(part, dtype=F64) for part in zip(*rows, strict=True))
    assert_close(utilities(values), expected, rtol=0.0, atol=1e-15)
    assert_close(utilities(values.float()), expected.float())
    assert torch.equal(utilities(values)[-1], expected[-1])


# Natural gradients.


def moments_of_a_slope() -> tuple[float, float]:
    """E w s and E w (s^2 - 1), s ~ N(0, 1), w the utility of the rank of s in an infinite population: 2 max(0, -ln 2q)
    - 1 at the quantile q. On a linear function they are all there is, along its gradient."""

    def weighted(g: Callable[[float], float]) -> float:
        return float(quad(lambda s: -2 * (norm.logcdf(s) + math.log(2)) * g(s) * norm.pdf(s), -12, 0)[0])

    return weighted(lambda s: s), weighted(lambda s: s**2 - 1)


SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
RUNS, POPSIZE = 64, 2000
ERROR = 5 * (3 / (RUNS * POPSIZE)) ** 0.5
"""Five standard errors of the mean of w s over all runs, as E w^2 = 3; w (s^2 - 1) has a few times that."""


def test_snes_follows_the_natural_gradient_of_a_slope() -> None:
    """mu moves along -sigma^2 a, log sigma grows in proportion to (sigma a)^2; 192000 samples, rate 6e-7 a number."""
    first, second = moments_of_a_slope()
    sigma, z = torch.tensor([0.5, 1.0, 2.0], dtype=F64), draws(RUNS, POPSIZE, 3)
    v = sigma * SLOPE / (sigma * SLOPE).norm()
    algorithm = SNES(eta_mu=0.7, eta_sigma=1.5)
    state = SNESState(torch.zeros(RUNS, 3, dtype=F64), sigma.expand(RUNS, -1), z)
    points = sigma * z
    after, _ = algorithm.tell(state, points, Values(points @ SLOPE))
    assert_close(after.mu.mean(0), 0.7 * sigma * first * v, rtol=0.0, atol=2 * ERROR)
    eta = 1.5 * (3 + math.log(3)) / (5 * math.sqrt(3))
    assert_close((after.sigma / sigma).log().mean(0), eta / 2 * second * v**2, rtol=0.0, atol=3 * ERROR)


def test_xnes_follows_the_natural_gradient_of_a_slope() -> None:
    """mu moves along -A A' a, and A becomes A exp(eta / 2 E w (s^2 - 1) v v'), v = A'a / |A'a|, in closed form."""
    first, second = moments_of_a_slope()
    B = torch.tensor([[1.0, 0.8, 0.0], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]], dtype=F64)
    z, sigma = draws(RUNS, POPSIZE, 3), 0.5
    v = B.T @ SLOPE / (B.T @ SLOPE).norm()
    algorithm = XNES(eta_mu=0.7, eta_sigma=2.0, eta_b=2.0)
    state = XNESState(torch.zeros(RUNS, 3, dtype=F64), torch.full((RUNS,), sigma, dtype=F64), B.expand(RUNS, 3, 3), z)
    points = sigma * z @ B.T
    after, _ = algorithm.tell(state, points, Values(points @ SLOPE))
    assert_close(after.mu.mean(0), 0.7 * sigma * first * B @ v, rtol=0.0, atol=2 * ERROR)
    eta = 2 * (9 + 3 * math.log(3)) / (5 * 3 * math.sqrt(3))
    expected = sigma * (B + math.expm1(eta / 2 * second) * B @ torch.outer(v, v))
    assert_close((after.sigma[:, None, None] * after.B).mean(0), expected, rtol=0.0, atol=3 * ERROR)
    assert_close(torch.linalg.det(after.B), torch.ones(RUNS, dtype=F64), rtol=1e-12, atol=0.0)


def test_an_xnes_step_against_the_matrix_exponential_of_scipy() -> None:
    """With learning rates that differ, so that sigma and B are told apart."""
    d, n = 4, 9
    z, values, B = draws(1, n, d), draws(1, n, seed=1), torch.linalg.qr(draws(d, d, seed=2)).Q + 0.1
    mu, sigma = draws(1, d, seed=3), torch.tensor([0.7], dtype=F64)
    algorithm = XNES(eta_sigma=1.3, eta_b=2.5)
    after, _ = algorithm.tell(XNESState(mu, sigma, B[None], z), mu[:, None] + sigma * z @ B.T, Values(values))
    u, rate = utilities(values)[0], (9 + 3 * math.log(d)) / (5 * d**1.5)
    G = sum(u[k] * (torch.outer(z[0, k], z[0, k]) - torch.eye(d, dtype=F64)) for k in range(n))
    assert isinstance(G, Tensor)
    mean = G.trace() / d
    turned = torch.as_tensor(expm((2.5 * rate / 2 * (G - mean * torch.eye(d, dtype=F64))).numpy()))
    assert_close(after.mu[0], mu[0] + sigma * (B @ (u @ z[0])), rtol=1e-12, atol=1e-14)
    assert_close(after.sigma[0], sigma[0] * torch.exp(1.3 * rate / 2 * mean), rtol=1e-12, atol=0.0)
    assert_close(after.B[0], B @ turned, rtol=1e-12, atol=1e-14)


def test_xnes_with_points_on_the_axes_is_snes() -> None:
    """Then G_M is diagonal, and A stays so."""
    d, heights = 3, torch.tensor([0.4, 1.5, 0.9], dtype=F64)
    z = torch.cat((torch.diag(heights), -torch.diag(heights.flip(0))))[None]
    mu, sigma, values = draws(1, d), torch.tensor([[0.5, 1.0, 2.0]], dtype=F64), draws(1, 2 * d, seed=1)
    points = mu[:, None] + sigma * z
    units = ((3 + math.log(d)) / (5 * math.sqrt(d))) / ((9 + 3 * math.log(d)) / (5 * d * math.sqrt(d)))
    snes, _ = SNES().tell(SNESState(mu, sigma, z), points, Values(values))
    scale = sigma.prod() ** (1 / 3)
    state = XNESState(mu, scale[None], torch.diag(sigma[0] / scale)[None], z)
    xnes, _ = XNES(eta_sigma=units, eta_b=units).tell(state, points, Values(values))
    assert_close(xnes.mu, snes.mu, rtol=1e-13, atol=0.0)
    assert_close(xnes.sigma[:, None, None] * xnes.B, torch.diag_embed(snes.sigma), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("size", [1e-8, 0.1, 1.0, 10.0])
def test_expm1_of_matrices(size: float) -> None:
    """Relative to exp(M) - I itself, from eigenvalues: also where I + M would lose all of it."""
    M = draws(5, 6, 6)
    M = (M + M.mT) / 2
    M = size * M / torch.linalg.matrix_norm(M, 2)[:, None, None]
    values, vectors = torch.linalg.eigh(M)
    expected = (vectors * torch.expm1(values)[:, None]) @ vectors.mT
    error = torch.linalg.matrix_norm(expm1(M) - expected) / torch.linalg.matrix_norm(expected)
    assert (error < 1e-13).all()


@pytest.mark.parametrize("dim", [2, 16, 33])
def test_expm1_of_a_matrix_alone_and_among_others(dim: int) -> None:
    M = draws(5, dim, dim).float() * 0.1
    together = expm1(M)
    assert all(torch.equal(together[r], expm1(M[r : r + 1].clone())[0]) for r in range(5))


def test_xnes_alone_and_among_others_where_nothing_has_to_be_filled_up() -> None:
    """Dimension and population are multiples of a cache line."""
    start, root, algorithm = draws(3, 16).float(), streams([1, 2, 3]), XNES(popsize=32)
    together, _ = run(algorithm, start, root, lambda x: (x**2).sum(-1), 5)
    for r in range(3):
        alone, _ = run(algorithm, start[r : r + 1], streams([r + 1]), lambda x: (x**2).sum(-1), 5)
        assert torch.equal(together.B[r], alone.B[0])
        assert torch.equal(together.mu[r], alone.mu[0])


# Ellipsoids.


def run(algorithm: Optimizer, x0: Tensor, root: Any, f: Function, generations: int) -> tuple[Any, Tensor]:
    """The last state, and the values [R] of what it recommends."""
    state = algorithm.init(x0, root.fold(Purpose.INITIAL))
    for t in range(generations):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, _ = algorithm.tell(state, points, Values(f(points)))
    return state, f(algorithm.recommend(state)[:, None])[:, 0]


def ellipsoid(Q: Tensor) -> Function:
    """Condition 10^6, axes turned by Q [d, d]."""
    weights = 10 ** (6 * torch.arange(len(Q), dtype=F64) / (len(Q) - 1))
    return lambda points: (weights * (points @ Q.T).square()).sum(-1)


def test_xnes_solves_a_rotated_ellipsoid_and_snes_that_along_the_axes() -> None:
    """Of condition 10^6, d = 10, 30 points a generation, from N(0, I), in each of 4 runs; see xnes.md for evosax's."""
    dim, runs = 10, streams(range(4))
    x0, Q = draws(4, dim, seed=5), torch.linalg.qr(draws(dim, dim, seed=6)).Q
    assert (run(XNES(popsize=30), x0, runs, ellipsoid(Q), 850)[1] <= 1e-10).all()
    assert (run(SNES(popsize=30), x0, runs, ellipsoid(torch.eye(dim, dtype=F64)), 300)[1] <= 1e-10).all()
    assert (run(SNES(popsize=30), x0, runs, ellipsoid(Q), 300)[1] > 1.0).all()


# ARS.


def told(algorithm: ARS, x: Tensor, delta: Tensor, values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """x [1, d] and metrics after a step with directions delta [N, d] and values [2 N]."""
    points = around(x, algorithm.nu * delta[None])
    state, metrics = algorithm.tell(ARSState(x, 0), points, Values(values[None]))
    return state.x, metrics


def test_ars_by_hand() -> None:
    """Of three directions the second, with min 5, is left out. Values used: 1, 3, 4, 8: mean 4, variance 26 / 4."""
    x, delta = torch.tensor([[1.0, 1.0]], dtype=F64), torch.tensor([[1.0, 0.5], [3.0, 3.0], [0.0, -2.0]], dtype=F64)
    values = torch.tensor([4.0, 6.0, 1.0, 8.0, 5.0, 3.0], dtype=F64)
    after, metrics = told(ARS(directions=3, top=2, alpha=Schedule(0.1), nu=0.25), x, delta, values)
    std = (26 / 4) ** 0.5
    expected = x - 0.1 / (2 * std) * ((4.0 - 8.0) * delta[0] + (1.0 - 3.0) * delta[2])
    assert_close(after, expected)
    assert_close(metrics["value_std"], torch.tensor([std], dtype=F64))


def test_ars_moves_along_one_direction_by_twice_alpha() -> None:
    """Whatever the slope: the standard deviation of two values is half their difference."""
    x, delta = torch.zeros(1, 2, dtype=F64), torch.tensor([[0.6, -1.0]], dtype=F64)
    for scale in (1e-3, 1e3):
        values = scale * torch.tensor([7.0, 4.0], dtype=F64)
        after, _ = told(ARS(directions=1, top=1, alpha=Schedule(0.1)), x, delta, values)
        assert_close(after, -0.2 * delta)


def test_ars_drops_failed_pairs_and_stays_on_a_plateau() -> None:
    """A pair with a failure is not among the best, however good its other member."""
    x, delta = torch.tensor([[1.0, -1.0]], dtype=F64), draws(3, 2)
    values = torch.tensor([4.0, -9.0, 1.0, 8.0, torch.nan, 3.0], dtype=F64)
    algorithm = ARS(directions=3, top=3)
    after, metrics = told(algorithm, x, delta, values)
    healthy, _ = told(ARS(directions=2, top=2), x, delta[[0, 2]], values[[0, 2, 3, 5]])
    assert_close(after, healthy, rtol=1e-13, atol=0.0)
    assert_close(metrics["failed"], torch.tensor([1 / 3], dtype=F64))
    for nothing in (torch.full((6,), torch.inf, dtype=F64), torch.full((6,), 3.0, dtype=F64)):
        assert torch.equal(told(algorithm, x, delta, nothing)[0], x)


# What is asked.


@pytest.mark.parametrize(
    ("algorithm", "std"),
    [
        (OpenAIES(pairs=5000, sigma=Schedule(0.3)), 0.3),
        (ARS(directions=5000, top=5000, nu=0.3), 0.3),
        (SNES(popsize=10_000, sigma0=0.3), 0.3),
        (XNES(popsize=10_000, sigma0=0.3), 0.3),
    ],
)
def test_points_have_the_search_distribution(algorithm: Optimizer, std: float) -> None:
    """Standard deviations within 5 standard errors, which is std / (2 n)^(1/2) of n independent points."""
    centre = torch.tensor([[3.0, -1.0]], dtype=F64)
    points, _ = algorithm.ask(algorithm.init(centre, streams([0])), streams([0]))
    assert points.shape == (1, 10_000, 2)
    assert_close(
        (points - centre[:, None]).square().mean(1).sqrt(), torch.full((1, 2), std, dtype=F64), rtol=0.05, atol=0
    )


def test_the_default_population() -> None:
    for dim, popsize in ((1, 4), (2, 6), (10, 10), (40, 15)):
        algorithms: tuple[Optimizer, ...] = (SNES(), XNES())
        for algorithm in algorithms:
            points, _ = algorithm.ask(algorithm.init(torch.zeros(1, dim), streams([0])), streams([0]))
            assert points.shape == (1, popsize, dim)
