"""The fused gradient and Hessian-vector kernel equals automatic differentiation in float64, to rounding."""

import pytest
import torch
from torch.testing import assert_close

import envs
import rl
from envs.fused import scores
from envs.random import Purpose
from envs.rollout import rollout

ESTIMATORS = {
    "paper": rl.Estimator(4),
    "causal": rl.Estimator(4, rl.time_baseline, rl.causal),
    "linear": rl.Estimator(4, rl.linear_baseline, rl.paper),
}
CASES = [
    ("CartPole-v1", (8,), True),
    ("CartPole-v1", (), False),
    ("CartPole-v1", (5, 7), True),
    ("Pendulum-v1", (6,), True),
    ("Pendulum-v1", (3, 4), False),
    ("RandomMDP-v0", (), False),
    ("GridWorld-v0", (), False),
    ("LQR-v0", (), False),
]


def both(env_id: str, hidden: tuple[int, ...], bias: bool, estimator: rl.Estimator, dtype=torch.float64):
    """The plain and the fused oracle of the same trajectories at 3 runs x 2 points, and a direction."""
    # Longer episodes of LQR-v0 diverge so far that action - mean, and so the score, is nothing but rounding.
    env = envs.make(env_id, device="cpu", dtype=dtype, horizon=10 if env_id == "LQR-v0" else 70)
    policy = envs.MLP(env.spec, hidden, bias=bias)
    stream = envs.streams([0, 1, 2])
    noise = stream.spread(torch.arange(2)).normal(policy.dim, dtype=dtype)
    params = policy.init(stream.fold(Purpose.INITIAL), dtype)[:, None] + 0.3 * noise
    trajectory = rollout(env, policy, params, estimator.episodes, stream)
    oracles = [
        rl.TrajectoryOracle.of(policy, params, trajectory, 0.98, estimator, backend) for backend in ("plain", "fused")
    ]
    return *oracles, stream.fold(Purpose.ASK).spread(torch.arange(2)).normal(policy.dim, dtype=dtype)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("env_id", "hidden", "bias"), CASES)
def test_fused_derivatives_equal_autograd(env_id: str, hidden: tuple[int, ...], bias: bool, name: str):
    plain, fused, u = both(env_id, hidden, bias, ESTIMATORS[name])
    assert_close(fused.gradient(), plain.gradient(), rtol=1e-10, atol=1e-11)
    scale = float(plain.hvp(u).abs().max())
    assert scale > 0
    assert_close(fused.hvp(u), plain.hvp(u), rtol=1e-10, atol=1e-12 * scale)
    assert [int(cost.hvps.sum()) for cost in fused.charged] == [3 * 2 * 4]


def test_one_point_of_the_fused_oracle_is_that_point():
    plain, fused, u = both("CartPole-v1", (8,), True, ESTIMATORS["causal"])
    assert_close(fused.at_point(1).gradient(), plain.gradient()[:, 1:], rtol=1e-10, atol=1e-11)
    assert_close(fused.at_point(1).hvp(u[:, 1:]), plain.hvp(u)[:, 1:], rtol=1e-10, atol=1e-9)


def test_large_networks_are_left_to_automatic_differentiation():
    spec, params = envs.make("Pendulum-v1", device="cpu").spec, torch.zeros(1)
    assert scores.supports(envs.MLP(spec, (32, 32)), params)
    assert not scores.supports(envs.MLP(spec, (64, 64)), params)


def test_float32_is_close_to_float64():
    _, exact, u = both("CartPole-v1", (8,), True, ESTIMATORS["causal"])
    _, fused, u32 = both("CartPole-v1", (8,), True, ESTIMATORS["causal"], torch.float32)
    # The same draws, so the same episodes unless a uniform falls within rounding of a probability.
    assert torch.equal(exact.trajectory.mask, fused.trajectory.mask)
    assert_close(
        fused.gradient().double(), exact.gradient(), rtol=1e-3, atol=1e-3 * float(exact.gradient().abs().max())
    )
    assert_close(fused.hvp(u32).double(), exact.hvp(u), rtol=1e-3, atol=1e-3 * float(exact.hvp(u).abs().max()))
