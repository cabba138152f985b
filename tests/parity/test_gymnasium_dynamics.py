"""The classic control environments against gymnasium's own, step for step.

Gymnasium plays whole episodes, through its own time limit; each of its steps is then repeated from its state (teacher
forcing), and where errors do not grow chaotically also whole episodes from their first state (open loop).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.core import Discrete, Env
from envs.registry import make

Policy = Callable[[np.ndarray, np.random.Generator], float]


@dataclass(frozen=True)
class Case:
    """One environment: how it is played and how closely it must agree."""

    policies: dict[Policy, int]
    """Policy (state, generator) -> action, and the number of episodes it plays."""
    ends: frozenset[str]
    """How these episodes end."""
    state: float
    """Largest error of a state after one float64 step."""
    reward: float
    single: float
    """Largest error of an observation after one float32 step."""
    single_reward: float
    open_loop: float | None = None
    """Largest error of a state in a whole float64 episode; None where it grows chaotically."""


BOTH = frozenset({"terminated", "truncated"})

CASES = {
    # The same operations in the same order on the same bits: no error at all. It needs torch and NumPy to round sine
    # and cosine alike, which they do on x86 with AVX2 and AVX-512; a failure by 1e-16 on another machine is that.
    "CartPole-v1": Case(
        policies={
            lambda s, g: g.integers(2): 30,
            lambda s, g: float(0.02 * s[0] + 0.06 * s[1] + s[2] + 0.25 * s[3] > 0): 4,
        },
        ends=BOTH,
        state=0.0,
        reward=0.0,
        single=5e-7,
        single_reward=0.0,
        open_loop=0.0,
    ),
    # Powers and cosines differ in the last bit now and then, which a Runge-Kutta step passes on: 2e-15 seen. In float32
    # 1e-6 seen, half an ulp at the speeds that occur.
    "Acrobot-v1": Case(
        policies={lambda s, g: g.integers(3): 2, lambda s, g: 1 + np.sign(s[3]): 6},
        ends=BOTH,
        state=1e-12,
        reward=0.0,
        single=2e-6,
        single_reward=0.0,
    ),
    # The torque is rounded to float32 as NumPy 2 does, else the state would be off by 1e-8. NumPy's float32 power is
    # not always the correctly rounded square: an ulp of the effort, at most 0.004, is 4.7e-10. In float32 half an ulp
    # of an unwrapped angle of 20 to 60 rad is 1 to 2e-6, and the cost has slopes up to 2 pi.
    "Pendulum-v1": Case(
        policies={
            lambda s, g: g.uniform(-3, 3): 5,
            lambda s, g: 3 * np.sign(s[1]) if np.cos(s[0]) < 0.7 else -10 * np.sin(s[0]) - 2 * s[1]: 5,
        },
        ends=frozenset({"truncated"}),
        state=1e-12,
        reward=5e-10,
        single=5e-6,
        single_reward=5e-5,
    ),
    # One cosine, scaled by 0.0025: the last bit of positions of order 1, and no growth along an episode.
    "MountainCar-v0": Case(
        policies={lambda s, g: g.integers(3): 4, lambda s, g: 2 if s[1] >= 0 else 0: 10},
        ends=BOTH,
        state=1e-15,
        reward=0.0,
        single=5e-7,
        single_reward=0.0,
        open_loop=1e-12,
    ),
    # Gymnasium keeps the state in float32, this repository in its own precision: half a float32 ulp of a position of
    # order 1 is 6e-8, in float32 another one for the sum. In a whole episode the roundings add up to 1.2e-5 or less.
    # In float32 half an ulp of the reward, 100, is 4e-6.
    "MountainCarContinuous-v0": Case(
        policies={lambda s, g: g.uniform(-1.5, 1.5): 2, lambda s, g: 1.2 if s[1] >= 0 else -1.2: 10},
        ends=BOTH,
        state=1.2e-7,
        reward=1e-12,
        single=5e-7,
        single_reward=1e-5,
        open_loop=5e-5,
    ),
}


@dataclass(frozen=True)
class Steps:
    """N steps of gymnasium, float64 unless it gives something else."""

    state: Tensor
    action: Tensor
    next_state: Tensor
    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    count: Tensor
    """Steps taken in the episode, this one included."""


def step(env: gymnasium.Env, action: float, count: int) -> list[np.ndarray]:
    """Step gymnasium's environment and return the row of `Steps`."""
    state = np.array(env.unwrapped.state, dtype=np.float64)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    taken = np.int64(action) if discrete else np.array([action], dtype=np.float32)
    observation, reward, terminated, truncated, _ = env.step(taken)
    following = np.array(env.unwrapped.state, dtype=np.float64)
    row = (state, taken, following, observation, np.float64(reward), terminated, truncated, count)
    return [np.asarray(part) for part in row]


def stack(rows: list[list[np.ndarray]]) -> Steps:
    return Steps(*(torch.as_tensor(np.stack(part)) for part in zip(*rows, strict=True)))


@lru_cache
def episodes(id: str) -> list[Steps]:
    """The case's episodes as gymnasium plays them."""
    env = gymnasium.make(id)
    generator = np.random.default_rng(0)
    played = []
    for policy, number in CASES[id].policies.items():
        for _ in range(number):
            env.reset(seed=len(played))
            rows = [step(env, policy(np.array(env.unwrapped.state), generator), 1)]
            while not (rows[-1][5] or rows[-1][6]):
                rows.append(step(env, policy(np.array(env.unwrapped.state), generator), len(rows) + 1))
            played.append(stack(rows))
    env.close()
    return played


@lru_cache
def anywhere(id: str) -> Steps:
    """Single steps from states all over the state space, walls, clipped speeds and wrapped angles included."""
    bounds = {
        "CartPole-v1": [2.5, 3.0, 0.22, 3.0],
        "Acrobot-v1": [np.pi, np.pi, 4 * np.pi, 9 * np.pi],
        "Pendulum-v1": [20.0, 8.0],
        "MountainCar-v0": [1.2, 0.07],
        "MountainCarContinuous-v0": [1.2, 0.07],
    }[id]
    env = gymnasium.make(id)
    generator = np.random.default_rng(1)
    rows = []
    for _ in range(1000):
        env.reset()
        env.unwrapped.state = np.clip(
            generator.uniform(-1, 1, len(bounds)) * bounds, None, 0.6 if "Car" in id else None
        )
        env.action_space.seed(int(generator.integers(2**31)))
        sample = env.action_space.sample()
        rows.append(step(env, float(np.asarray(sample).item()), 1))
    env.close()
    return stack(rows)


def joined(parts: list[Steps]) -> Steps:
    """The steps of all parts along one axis."""
    return Steps(*(torch.cat([getattr(part, name) for part in parts]) for name in Steps.__dataclass_fields__))


def to_state(env: Env, rows: Tensor) -> tuple:
    """The environment's state from gymnasium's rows [..., n]."""
    blank = env.initial(torch.full((env.spec.reset_draws,), 0.5, dtype=env.dtype))
    return type(blank)(*rows.to(env.dtype).unbind(-1))


def act(env: Env, action: Tensor) -> Tensor:
    return action if isinstance(env.spec.action, Discrete) else action.to(env.dtype)


@pytest.mark.parametrize("id", CASES)
def test_float64_steps_are_gymnasiums(id: str) -> None:
    case, env, steps = CASES[id], make(id, "cpu", torch.float64), joined([*episodes(id), anywhere(id)])
    state, reward, terminated = env.transition(to_state(env, steps.state), act(env, steps.action), None)
    assert_close(torch.stack(state, -1), steps.next_state, rtol=0.0, atol=case.state)
    assert_close(reward, steps.reward, rtol=0.0, atol=case.reward)
    assert torch.equal(terminated, steps.terminated)
    assert torch.equal(steps.count == env.spec.horizon, steps.truncated)
    assert env.truncated(state) is None
    # Gymnasium rounds what it shows to float32: the same number up to one ulp, 1.2e-7 of it.
    observation = env.observe(to_state(env, steps.next_state)).float()
    assert_close(observation, steps.observation, rtol=1.2e-7 if case.state else 0.0, atol=1e-12 if case.state else 0.0)


@pytest.mark.parametrize("id", CASES)
def test_the_episodes_end_in_every_way_they_can(id: str) -> None:
    """Else the comparison would say little about the ends."""
    reached = {name for name in BOTH for part in episodes(id) if bool(getattr(part, name)[-1])}
    assert reached == CASES[id].ends


@pytest.mark.parametrize("id", [id for id, case in CASES.items() if case.open_loop is not None])
def test_float64_episodes_are_gymnasiums(id: str) -> None:
    case, env, played = CASES[id], make(id, "cpu", torch.float64), episodes(id)
    state = to_state(env, torch.stack([part.state[0] for part in played]))
    for t in range(max(len(part.count) for part in played)):
        last = [min(t, len(part.count) - 1) for part in played]
        action = torch.stack([part.action[i] for part, i in zip(played, last, strict=True)])
        state, _, terminated = env.transition(state, act(env, action), None)
        for e, (part, i) in enumerate(zip(played, last, strict=True)):
            if i == t:
                row = torch.stack(state, -1)[e]
                assert_close(row, part.next_state[t], rtol=0.0, atol=case.open_loop)
                assert bool(terminated[e]) == bool(part.terminated[t])


@pytest.mark.parametrize("id", CASES)
def test_float32_steps_are_close_to_gymnasiums(id: str) -> None:
    """On what episodes visit: from Acrobot's fastest corners one step magnifies a rounding a thousandfold."""
    case, env, steps = CASES[id], make(id, "cpu", torch.float32), joined(episodes(id))
    state, reward, terminated = env.transition(to_state(env, steps.state), act(env, steps.action), None)
    assert all(part.dtype == torch.float32 for part in (*state, reward))
    # Rounding may move a state over a threshold; in these fixed steps it never does.
    assert torch.equal(terminated, steps.terminated)
    assert_close(reward.double(), steps.reward, rtol=0.0, atol=case.single_reward)
    assert_close(env.observe(state), steps.observation, rtol=0.0, atol=case.single)


def test_acrobot_starts_on_float32_numbers_as_gymnasium_does() -> None:
    env = make("Acrobot-v1", "cpu", torch.float64)
    uniform = torch.linspace(0.01, 0.99, 400, dtype=torch.float64).view(100, 4)
    start = torch.stack(env.initial(uniform), -1)
    assert torch.equal(start, start.float().double())
    assert_close(start, uniform * 0.2 - 0.1, rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("id", CASES)
def test_a_step_does_not_depend_on_the_batch(id: str, dtype: torch.dtype) -> None:
    """Bit for bit: alone, in a row of 30 and in a [2, 3, 5] block (vectorised loops have remainders)."""
    env, steps = make(id, "cpu", dtype), anywhere(id)
    rows, actions = steps.state[:30], act(env, steps.action[:30])
    state, reward, terminated = env.transition(to_state(env, rows), actions, None)
    flat = (*state, reward, terminated, env.observe(state))
    block_actions = actions.view(2, 3, 5, *actions.shape[1:])
    state, reward, terminated = env.transition(to_state(env, rows.view(2, 3, 5, -1)), block_actions, None)
    for part, whole in zip((*state, reward, terminated, env.observe(state)), flat, strict=True):
        assert torch.equal(part.flatten(0, 2), whole)
    for i in range(30):
        state, reward, terminated = env.transition(to_state(env, rows[i]), actions[i], None)
        for part, whole in zip((*state, reward, terminated, env.observe(state)), flat, strict=True):
            assert torch.equal(part, whole[i])
