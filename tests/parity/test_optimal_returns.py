"""Optimal returns, state visitation and second moments of the processes whose exact return is known."""

from itertools import pairwise, product

import pytest
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor
from torch.testing import assert_close

from envs.lqr import LQR
from envs.optimal import project
from envs.random import streams
from envs.registry import make
from envs.tabular import TabularMDP

CPU, F64 = torch.device("cpu"), torch.float64
PLANT = {
    "A": [[0.9, 0.3], [-0.2, 1.05]],
    "B": [[0.0], [0.5]],
    "Q": [[1.0, 0.2], [0.2, 0.5]],
    "R": [[0.3]],
    "noise_std": 0.4,
}
SYSTEMS = {"laplacian": {}, "plant": PLANT}
systems = pytest.mark.parametrize("system", SYSTEMS)


def simplex_grid(actions: int, steps: int) -> Tensor:
    """Every distribution over the actions whose entries are multiples of 1 / steps."""
    counts = [c for c in product(range(steps + 1), repeat=actions) if sum(c) == steps]
    return torch.tensor(counts, dtype=F64) / steps


def all_policies(rows: Tensor, states: int) -> Tensor:
    """Every policy [n, S, A] whose rows are among `rows` [m, A]."""
    return torch.stack([rows[list(choice)] for choice in product(range(len(rows)), repeat=states)])


def best_time_dependent(env: TabularMDP, horizon: int, discount: float) -> float:
    value = torch.zeros_like(env.rho)
    for _ in range(horizon):
        value = (env.r + discount * env.P @ value).amax(-1)
    return float(env.rho @ value)


@pytest.mark.parametrize(("states", "actions", "steps"), [(3, 2, 24), (2, 3, 18)])
@pytest.mark.parametrize(("horizon", "discount"), [(2, 1.0), (3, 0.9), (6, 0.95)])
@pytest.mark.parametrize("seed", range(4))
def test_no_policy_of_a_small_process_is_better(
    states: int, actions: int, steps: int, horizon: int, discount: float, seed: int
) -> None:
    """A grid over all stationary policies: none is above the optimum, and the best is close below it."""
    env = TabularMDP.random(states, actions, seed, dtype=F64)
    optimum = env.optimal_return(horizon, discount)
    on_grid = float(env.exact_return(all_policies(simplex_grid(actions, steps), states), horizon, discount).max())
    assert on_grid - 1e-12 <= optimum <= on_grid + 2e-3
    assert optimum <= best_time_dependent(env, horizon, discount) + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_no_deterministic_policy_is_better(seed: int) -> None:
    env = TabularMDP.random(5, 3, seed, dtype=F64)
    pure = env.exact_return(all_policies(torch.eye(3, dtype=F64), 5), 20, 0.95).max()
    assert float(pure) - 1e-12 <= env.optimal_return(20, 0.95) <= best_time_dependent(env, 20, 0.95) + 1e-12


def test_mixing_actions_can_be_best() -> None:
    """Stay for 0.6 with probability p, or leave for 1 and earn no more: two steps give 1 + 0.6 p - 0.4 p^2."""
    P = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]], dtype=F64)
    r = torch.tensor([[0.6, 1.0], [0.0, 0.0]], dtype=F64)
    env = TabularMDP.of(P, r, torch.tensor([1.0, 0.0], dtype=F64), dtype=F64)
    assert env.optimal_return(2, 1.0) == pytest.approx(1.225, rel=1e-14)
    assert best_time_dependent(env, 2, 1.0) == pytest.approx(1.6)


@pytest.mark.parametrize("id", ["RandomMDP-v0", "GridWorld-v0"])
def test_over_a_long_horizon_a_stationary_policy_is_as_good_as_any(id: str) -> None:
    """0.8^150 = 3e-15 of the rewards is left after it."""
    env = make(id, "cpu", F64)
    assert env.optimal_return(150, 0.8) == pytest.approx(best_time_dependent(env, 150, 0.8), rel=1e-12)


def test_projection_is_the_nearest_distribution() -> None:
    points = 3 * streams([0]).normal(300, dtype=F64).view(100, 3)
    grid = simplex_grid(3, 60)
    found = project(points)
    assert_close(found.sum(-1), torch.ones(100, dtype=F64))
    assert float(found.min()) >= 0.0
    nearest = (points[:, None] - grid).norm(dim=-1).amin(-1)
    distance = (points - found).norm(dim=-1)
    assert bool((distance <= nearest + 1e-12).all())
    assert bool((nearest - distance < 0.03).all())


def test_visitation_is_the_sum_over_all_paths() -> None:
    env, horizon, discount = TabularMDP.random(3, 2, seed=3, dtype=F64), 4, 0.9
    policy = streams([7]).uniform(6, dtype=F64).view(3, 2).mul(3).softmax(-1)
    chain = torch.einsum("sa,sat->st", policy, env.P)
    visits = torch.zeros(3, dtype=F64)
    for states in product(range(3), repeat=horizon):
        weight = float(env.rho[states[0]])
        for s, following in pairwise(states):
            weight *= float(chain[s, following])
        for t, s in enumerate(states):
            visits[s] += discount**t * weight
    assert_close(env.visitation(policy, horizon, discount), visits, rtol=1e-13, atol=0.0)


def test_visitation_weighs_the_rewards() -> None:
    env = make("GridWorld-v0", "cpu", F64)
    policy = streams([3]).uniform(2 * 100, dtype=F64).view(2, 25, 4).mul(3).softmax(-1)
    visits = env.visitation(policy, 30, 0.95)
    assert visits.shape == (2, 25)
    assert_close((visits[..., None] * policy * env.r).sum((-2, -1)), env.exact_return(policy, 30, 0.95))
    assert_close(visits.sum(-1), torch.full((2,), (1 - 0.95**30) / 0.05, dtype=F64))
    assert env.visitation(policy.float(), 30, 0.95).dtype == F64


@systems
def test_over_a_long_horizon_the_riccati_gain_is_optimal(system: str) -> None:
    """Discounting is absorbed by sqrt(discount) A and B; 0.95^700 = 3e-16 of the cost is left after the horizon."""
    env, discount, sigma = LQR.create(CPU, F64, **SYSTEMS[system]), 0.95, 0.3
    A, B, Q, R = (matrix.numpy() for matrix in (env.A, env.B, env.Q, env.R))
    P = solve_discrete_are(discount**0.5 * A, discount**0.5 * B, Q, R)
    later = discount / (1 - discount) * (env.noise_std**2 * P.trace() + sigma**2 * (B.T @ P @ B).trace())
    cost = P.trace() + later + sigma**2 / (1 - discount) * R.trace()
    assert env.optimal_return(700, discount, sigma) == pytest.approx(-cost, rel=1e-9)


@pytest.mark.parametrize("horizon", [1, 4, 30])
@systems
def test_no_gain_is_better(system: str, horizon: int) -> None:
    """Not those nearby, not those that are best with fewer steps left, nor one that changes over time."""
    env, discount, sigma = LQR.create(CPU, F64, **SYSTEMS[system]), 0.9, 0.2
    optimum = env.optimal_return(horizon, discount, sigma)
    gains = env._riccati_gains(horizon, discount)
    assert float(env.exact_return(gains, horizon, discount, sigma).max()) <= optimum + 1e-12
    size = gains[0].numel()
    for scale in (1e-3, 0.1, 1.0):
        others = gains[-1] + scale * streams([1]).normal(500 * size, dtype=F64).view(500, *gains[0].shape)
        assert float(env.exact_return(others, horizon, discount, sigma).max()) <= optimum + 1e-12
    cost, P = 0.0, torch.zeros_like(env.A)
    for K in gains:
        cost = sigma**2 * float(env.R.trace() + discount * (env.B.mT @ P @ env.B).trace()) + discount * (
            cost + env.noise_std**2 * float(P.trace())
        )
        closed = env.A - env.B @ K
        P = env.Q + K.mT @ env.R @ K + discount * closed.mT @ P @ closed
    assert optimum <= -(cost + float(P.trace())) + 1e-12


@systems
def test_the_gradient_vanishes_at_the_best_gain(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env, seen = LQR.create(CPU, F64, **SYSTEMS[system]), []
    exact = LQR.exact_return
    monkeypatch.setattr(LQR, "exact_return", lambda self, K, *rest: seen.append(K.detach()) or exact(self, K, *rest))
    optimum = env.optimal_return(12, 0.95, 0.1)
    K = seen[-1].requires_grad_()
    value = exact(env, K, 12, 0.95, 0.1)
    (gradient,) = torch.autograd.grad(value, K)
    assert value.item() == optimum
    assert float(gradient.abs().max()) < 1e-6 * abs(optimum)


@systems
def test_second_moments_follow_the_linear_recursion(system: str) -> None:
    """vec S_{t+1} = (M x M) vec S_t + vec W, solved by powers of one matrix."""
    env, horizon, discount = LQR.create(CPU, F64, **SYSTEMS[system]), 9, 0.9
    n, m = env.B.shape
    K = 0.3 * streams([2]).normal(2 * m * n, dtype=F64).view(2, m, n)
    sigma = torch.tensor([0.0, 0.7], dtype=F64)
    found = env.second_moment(K, horizon, discount, sigma)
    assert found.shape == (2, n, n)
    eye = torch.eye(n, dtype=F64)
    for k, s, one in zip(K, sigma, found, strict=True):
        closed = env.A - env.B @ k
        step = torch.zeros(n * n + 1, n * n + 1, dtype=F64)
        step[:-1, :-1], step[-1, -1] = torch.kron(closed, closed), 1.0
        step[:-1, -1] = (s**2 * env.B @ env.B.mT + env.noise_std**2 * eye).flatten()
        start = torch.cat((eye.flatten(), torch.ones(1, dtype=F64)))
        moments = [discount**t * (torch.linalg.matrix_power(step, t) @ start)[:-1] for t in range(horizon)]
        assert_close(one.flatten(), sum(moments), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"), [({"horizon": 0}, "horizon = 0"), ({"discount": 1.5}, "discount = 1.5")]
)
def test_bad_questions_are_refused(change: dict, message: str) -> None:
    mdp, lqr = TabularMDP.random(3, 2, 0), LQR.create(CPU, F64)
    question = {"horizon": 5, "discount": 0.9} | change
    for call in (
        lambda: mdp.optimal_return(**question),
        lambda: mdp.visitation(torch.full((3, 2), 0.5), **question),
        lambda: lqr.optimal_return(**question),
        lambda: lqr.second_moment(torch.zeros(3, 3), **question),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=r"policy has shape \(2, 2\)"):
        mdp.visitation(torch.full((2, 2), 0.5), 5, 0.9)
    with pytest.raises(ValueError, match="sigma = -1"):
        lqr.optimal_return(5, 0.9, -1.0)
