"""A Gaussian policy whose standard deviation is not learned is the learned one without those coordinates."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import envs
import rl
from envs.heads import Gaussian, Greedy
from envs.random import Purpose
from envs.rollout import Backend, rollout

LOG_STD = -0.7
ENV = envs.make("Pendulum-v1", device="cpu", dtype=torch.float64, horizon=30)
FIXED = envs.MLP(ENV.spec, (4,), head=Gaussian(1, LOG_STD, learn_std=False))
LEARNED = envs.MLP(ENV.spec, (4,), head=Gaussian(1, LOG_STD))
STREAM = envs.streams([3, 5])


def oracle(policy: envs.MLP, backend: Backend) -> tuple[rl.TrajectoryOracle, Tensor]:
    """The oracle at 2 runs x 1 point and a direction, both without change of the standard deviation."""
    noise = [STREAM.fold(purpose).normal(FIXED.dim, dtype=torch.float64) for purpose in (Purpose.INITIAL, Purpose.ASK)]
    params, u = (torch.nn.functional.pad(part, (0, policy.dim - FIXED.dim))[:, None] for part in noise)
    params[..., FIXED.dim :] = LOG_STD
    trajectory = rollout(ENV, policy, params, 3, STREAM, backend=backend)
    return rl.TrajectoryOracle.of(policy, params, trajectory, 0.9, rl.Estimator(3, rl.time_baseline), backend), u


def test_the_standard_deviation_is_no_parameter() -> None:
    assert (FIXED.dim, LEARNED.dim) == (4 * 4 + 5, 4 * 4 + 6)
    assert FIXED.init(STREAM).shape == (2, FIXED.dim)
    assert torch.equal(FIXED.unpack(FIXED.init(STREAM)).extra, torch.full((2, 1, 1), LOG_STD))
    assert Gaussian(1, learn_std=False).greedy() == Greedy(1, discrete=False)


@pytest.mark.parametrize("backend", ["plain", "fused"])
def test_same_episodes_and_derivatives(backend: Backend) -> None:
    fixed, u = oracle(FIXED, backend)
    learned, padded = oracle(LEARNED, backend)
    assert_close(fixed.trajectory.action, learned.trajectory.action, rtol=0.0, atol=0.0)
    assert_close(fixed.trajectory.log_prob, learned.trajectory.log_prob, rtol=1e-12, atol=1e-12)
    for ours, theirs in (
        (fixed.gradient(), learned.gradient()),
        (fixed.hvp(u), learned.hvp(padded)),
        (fixed.fisher_vp(u), learned.fisher_vp(padded)),
        (fixed.gradient(fixed.params + 0.1 * u), learned.gradient(learned.params + 0.1 * padded)),
    ):
        assert_close(ours, theirs[..., : FIXED.dim], rtol=1e-10, atol=1e-10)


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    params = FIXED.init(STREAM)[0]
    envs.save_policy(tmp_path / "policy", FIXED, params)
    policy, loaded = envs.load_policy(tmp_path / "policy")
    assert policy.head == FIXED.head
    assert torch.equal(loaded, params)
