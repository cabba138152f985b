"""The fused gradient and Hessian-vector kernel equals automatic differentiation in float64, to rounding."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import envs
import rl
from envs.fused import scores
from envs.random import Purpose
from envs.rollout import Trajectory, rollout

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
    assert scores.supports(envs.MLP(spec, (256, 256)), params)
    assert not scores.supports(envs.MLP(spec, (512, 512)), params)


def in_float64(oracle: rl.TrajectoryOracle) -> rl.TrajectoryOracle:
    """The plain oracle of the same numbers."""
    parts = [
        part.double() if torch.is_tensor(part) and part.is_floating_point() else part for part in oracle.trajectory
    ]
    return replace(oracle, params=oracle.params.double(), trajectory=Trajectory._make(parts), backend="plain")


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("env_id", "hidden", "bias"), [case for case in CASES if case[0] in ("CartPole-v1", "Pendulum-v1")]
)
def test_float32_is_close_to_float64(env_id: str, hidden: tuple[int, ...], bias: bool, name: str):
    """Within 1e-5 of the largest entry, given the same trajectories: sampling noise is thousands of times larger."""
    _, fused, u = both(env_id, hidden, bias, ESTIMATORS[name], torch.float32)
    exact = in_float64(fused)
    for found, expected in ((fused.gradient(), exact.gradient()), (fused.hvp(u), exact.hvp(u.double()))):
        assert found.dtype == torch.float32
        assert_close(found.double(), expected, rtol=0.0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_point_has_the_same_bits_alone(dtype: torch.dtype):
    """Beside other runs and points, and however far episodes are padded."""
    _, fused, u = both("CartPole-v1", (5, 7), True, ESTIMATORS["paper"], dtype)
    obs, action, lengths = fused._steps
    w = torch.where(fused.trajectory.mask, torch.randn(obs.shape[:-1], generator=torch.Generator().manual_seed(0)), 0.0)
    w = w.to(dtype)
    together = scores.score_sum(fused.policy, fused.params, u, obs, action, lengths, w=w, a=2 * w)
    slopes = scores.directional(fused.policy, fused.params, u, obs, action, lengths)
    one, longest = (slice(1, 2), slice(1, 2)), int(lengths[1, 1].max())
    short = (*one, slice(None), slice(0, longest))
    alone = fused.policy, fused.params[one], u[one], obs[short], action[short], lengths[one]
    assert torch.equal(scores.score_sum(*alone, w=w[short], a=2 * w[short]), together[one])
    assert torch.equal(scores.directional(*alone), slopes[short])
    assert not slopes[~fused.trajectory.mask].any()
