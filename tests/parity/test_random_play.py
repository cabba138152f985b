"""Random actions in lanes against copies that are stepped and begun anew one by one, which is the definition."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.testing import assert_close

from envs.copies import PlainCopies
from envs.core import Discrete
from envs.fused.random_play import RandomPlay, play_randomly
from envs.random import Purpose, Stream
from envs.registry import make

F32, F64 = torch.float32, torch.float64
# With actions drawn at random, no episode of Acrobot or the mountain cars is over before the horizon.
CASES = [
    ("CartPole-v1", 500, 120),
    ("CartPole-v1", 9, 60),
    ("Pendulum-v1", 7, 40),
    ("MountainCar-v0", 11, 40),
    ("MountainCarContinuous-v0", 1, 12),
    ("Acrobot-v1", 20, 44),
]


def play(id: str, horizon: int, seeds: torch.Tensor, steps: int, dtype: torch.dtype) -> RandomPlay:
    env = make(id, "cpu", dtype, horizon=horizon)
    copies, action = PlainCopies(env, len(seeds), horizon, AutoresetMode.SAME_STEP), env.spec.action
    copies.begin(np.ones(len(seeds), dtype=bool), seeds.numpy())
    uniforms = Stream(seeds, torch.zeros((), dtype=torch.int64)).fold(Purpose.ACTION).uniform(steps)
    total = torch.zeros(len(seeds), dtype=dtype)
    for u in uniforms.T:
        if isinstance(action, Discrete):
            step = copies.step((action.n * u).long())
        else:
            step = copies.step((action.low[0] + (action.high[0] - action.low[0]) * u[:, None]).to(dtype))
        total += torch.from_numpy(step.rewards)
    return RandomPlay(total, copies.episodes, env.observe(copies.state))


@pytest.mark.parametrize(("id", "horizon", "steps"), CASES)
def test_the_same_copies(id: str, horizon: int, steps: int) -> None:
    """Seeds of more than 32 bits, and copies that do not fill their last lanes."""
    seeds = torch.cat((torch.arange(40, 75), 2**62 - torch.arange(3)))
    found = play_randomly(make(id, "cpu", F64, horizon=horizon), seeds, steps)
    expected = play(id, horizon, seeds, steps, F64)
    assert torch.equal(found.episodes, expected.episodes)
    assert_close(found.reward, expected.reward, rtol=1e-9, atol=1e-9)
    assert_close(found.obs, expected.obs, rtol=1e-9, atol=1e-9)
    assert int(found.episodes.min()) >= 1


def test_float32_is_the_same_up_to_rounding() -> None:
    """All episodes of these 100 copies have the same length in both precisions."""
    seeds = torch.arange(100)
    found = play_randomly(make("CartPole-v1", "cpu", F32), seeds, 80)
    expected = play("CartPole-v1", 500, seeds, 80, F32)
    assert torch.equal(found.episodes, expected.episodes)
    assert_close(found.obs, expected.obs, rtol=1e-3, atol=1e-4)
    assert found.obs.dtype == found.reward.dtype == F32


def test_a_copy_is_the_same_alone_and_among_others_and_on_any_core() -> None:
    """Enough steps that all cores take part."""
    env = make("CartPole-v1", "cpu", F32)
    together = play_randomly(env, torch.arange(600), 2000)
    alone = play_randomly(env, torch.tensor([77, 599]), 2000)
    assert all(torch.equal(a[[77, 599]], b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("id", ["GridWorld-v0", "LQR-v0"])
def test_what_has_no_random_actions_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match=f"no kernel for {id}"):
        play_randomly(make(id, "cpu"), torch.arange(2), 4)


@pytest.mark.parametrize("steps", [0, 6, -4])
def test_odd_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps = {steps} is not a positive multiple of 4"):
        play_randomly(make("CartPole-v1", "cpu"), torch.arange(2), steps)
