"""What every registered environment keeps to."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from envs.core import Box, Env
from envs.random import Purpose, Stream, streams
from envs.registry import ENVS, UnknownIdError, make, select_device

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no GPU")])]
DTYPES = [torch.float32, torch.float64]
ids = pytest.mark.parametrize("id", ENVS)


def random_action(env: Env, stream: Stream) -> Tensor:
    """Uniform actions for every run and lane; beyond a bounded box by half, and normal in an unbounded one."""
    action = env.spec.action
    if not isinstance(action, Box):
        return (stream.uniform(1)[..., 0] * action.n).floor().long()
    if math.isinf(action.high[0]):
        return stream.normal(action.size, dtype=env.dtype)
    high = torch.tensor(action.high, dtype=env.dtype, device=env.device)
    return (stream.uniform(action.size, dtype=env.dtype) * 3.0 - 1.5) * high


def transition_uniform(env: Env, stream: Stream) -> Tensor | None:
    draws = env.spec.transition_draws
    return stream.fold(Purpose.TRANSITION).uniform(draws, dtype=env.dtype) if draws else None


def walk(env: Env, stream: Stream, shape: tuple[int, ...], steps: int) -> list[tuple[Tensor, ...]]:
    """State parts, observation, reward and terminated of every step of a random policy, without resets."""
    state = env.reset(shape, stream.fold(Purpose.RESET))
    rows = []
    for t in range(steps):
        action = random_action(env, stream.fold(Purpose.ACTION).at(t))
        state, reward, terminated = env.transition(state, action, transition_uniform(env, stream.at(t)))
        rows.append((*state, env.observe(state), reward, terminated))
    return rows


@ids
def test_the_spec_describes_the_registered_environment(id: str) -> None:
    spec = make(id, "cpu").spec
    assert spec.id == id
    assert spec.summary
    assert spec.source
    assert len(spec.observation_low) == len(spec.observation_high) == spec.observation_size > 0
    assert all(low < high for low, high in zip(spec.observation_low, spec.observation_high, strict=True))
    assert spec.horizon >= 1
    assert spec.reset_draws >= 1
    assert spec.transition_draws >= 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@ids
def test_300_random_steps_are_finite_and_keep_shape_dtype_and_device(id: str, dtype: torch.dtype, device: str) -> None:
    env = make(id, device, dtype)
    shape = (2, 3, 4)
    stream = streams([0, 1], device).spread(torch.arange(12, device=device).view(3, 4))
    for *state, observation, reward, terminated in walk(env, stream, shape, 300):
        assert all(part.shape[:3] == shape for part in state)
        assert observation.shape == (*shape, env.spec.observation_size)
        assert reward.shape == terminated.shape == shape
        assert observation.dtype == reward.dtype == dtype
        assert terminated.dtype == torch.bool
        parts = (*state, observation, reward)
        assert all(part.device.type == device for part in (*parts, terminated))
        assert all(bool(torch.isfinite(part).all()) for part in parts)


@ids
def test_observations_stay_within_the_declared_bounds(id: str) -> None:
    """Until the episode ends; CartPole's declared bounds are twice where it ends."""
    env = make(id, "cpu", torch.float64)
    low, high = torch.tensor(env.spec.observation_low), torch.tensor(env.spec.observation_high)
    ended = torch.zeros(1, 64, dtype=torch.bool)
    for row in walk(env, streams([0]).spread(torch.arange(64)), (1, 64), 300):
        observation, terminated = row[-3], row[-1]
        assert bool((((observation >= low - 1e-6) & (observation <= high + 1e-6)).all(-1) | ended).all())
        ended |= terminated


@pytest.mark.parametrize("dtype", DTYPES)
@ids
def test_a_run_goes_the_same_way_alone_and_among_64(id: str, dtype: torch.dtype) -> None:
    """Bit for bit, its reset and 20 random steps; a start depends on (seed, lane) alone."""
    env = make(id, "cpu", dtype)
    seeds, lanes = torch.arange(64), torch.arange(3)
    together = walk(env, streams(seeds).spread(lanes), (64, 3), 20)
    for r in (0, 17, 63):
        alone = walk(env, streams(seeds[r : r + 1]).spread(lanes), (1, 3), 20)
        lane = walk(env, streams(seeds[r : r + 1]).spread(lanes[2:]), (1, 1), 20)
        for whole, one, last in zip(together, alone, lane, strict=True):
            assert all(torch.equal(a[r : r + 1], b) for a, b in zip(whole, one, strict=True))
            assert all(torch.equal(a[:, 2:], b) for a, b in zip(one, last, strict=True))


@ids
def test_resets_broadcast_the_lanes(id: str) -> None:
    """Points of one run that share lanes start alike: common random numbers."""
    env = make(id, "cpu")
    stream = streams([0, 1]).spread(torch.arange(4))
    shared = stream.spread(torch.arange(4)[None])
    for part, alone in zip(env.reset((2, 3, 4), shared), env.reset((2, 4), stream), strict=True):
        assert torch.equal(part, alone[:, None].expand_as(part))


# What the start distributions are documented to be: the bounds of each part of the state.
START = {
    "CartPole-v1": [(-0.05, 0.05)] * 4,
    "Acrobot-v1": [(-0.1, 0.1)] * 4,
    "Pendulum-v1": [(-math.pi, math.pi), (-1.0, 1.0)],
    "MountainCar-v0": [(-0.6, -0.4), (0.0, 0.0)],
    "MountainCarContinuous-v0": [(-0.6, -0.4), (0.0, 0.0)],
}


@pytest.mark.parametrize("id", START)
def test_starts_are_uniform_between_the_documented_bounds(id: str) -> None:
    """2000 starts: inside, and within 1 % of the width of both ends (missed by chance: 0.99^2000 = 2e-9 per end)."""
    env = make(id, "cpu")
    state = env.reset((1, 2000), streams([0]).spread(torch.arange(2000)))
    for part, (low, high) in zip(state, START[id], strict=True):
        margin = 1e-6 + 0.01 * (high - low)
        assert low - 1e-6 <= float(part.min()) <= low + margin
        assert high - margin <= float(part.max()) <= high + 1e-6
        # Standard error of the mean of a uniform: width / sqrt(12 * 2000); five of them, rate 6e-7.
        assert abs(float(part.mean()) - (low + high) / 2) <= 1e-6 + 5 * (high - low) / 24_000**0.5


def test_lqr_starts_are_standard_normal() -> None:
    """4000 starts of 3 numbers: mean and second moment within five standard errors, rate 1e-5 in all."""
    x = make("LQR-v0", "cpu").reset((1, 4000), streams([0]).spread(torch.arange(4000))).x[0].double()
    assert float(x.mean(0).abs().max()) < 5 / 4000**0.5
    moment = x.T @ x / 4000
    assert float((moment - torch.eye(3)).abs().max()) < 5 * (2 / 4000) ** 0.5


def test_random_mdp_starts_follow_rho() -> None:
    """4000 starts: each frequency within five standard errors of its probability, rate 3e-6 in all."""
    env = make("RandomMDP-v0", "cpu")
    frequency = env.observe(env.reset((1, 4000), streams([0]).spread(torch.arange(4000)))).mean((0, 1))
    assert bool(((frequency - env.rho).abs() < 5 * (env.rho * (1 - env.rho) / 4000).sqrt()).all())


@ids
def test_a_start_needs_all_its_draws_and_no_more(id: str) -> None:
    """Every declared uniform but the padding of a pair matters, and a reset hands over exactly as many."""
    env = make(id, "cpu", torch.float64)
    draws = env.spec.reset_draws
    base = torch.full((draws,), 0.3, dtype=torch.float64)
    varied = base.repeat(draws, 1)
    varied[range(draws), range(draws)] = 0.9
    reference = env.observe(env.initial(base))
    changed = (env.observe(env.initial(varied)) != reference).any(-1)
    assert bool(changed.all())
    by_hand = env.initial(streams([3]).uniform(draws, dtype=torch.float64))
    for part, expected in zip(env.reset((1,), streams([3])), by_hand, strict=True):
        assert torch.equal(part, expected)


@ids
def test_only_random_dynamics_take_draws(id: str) -> None:
    """Without draws the step works on None; with them, another uniform leads elsewhere for some of 64 states."""
    env = make(id, "cpu")
    stream = streams([0]).spread(torch.arange(64))
    state, action = env.reset((1, 64), stream), random_action(env, stream.fold(Purpose.ACTION))
    if env.spec.transition_draws == 0:
        env.transition(state, action, None)
        return
    first, second = (env.transition(state, action, transition_uniform(env, stream.at(i)))[0] for i in (0, 1))
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_lqr_without_noise_takes_no_draws() -> None:
    env = make("LQR-v0", "cpu", noise_std=0.0)
    assert env.spec.transition_draws == 0
    state = env.reset((1,), streams([0]))
    (following,) = env.transition(state, torch.zeros(1, 3), None)[0]
    assert torch.allclose(following, state.x @ env.A.T)


@ids
def test_unknown_options_are_refused_by_name(id: str) -> None:
    with pytest.raises(ValueError, match=rf"{id} has no option nonsense; allowed: "):
        make(id, "cpu", nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        ENVS[id].create(torch.device("cpu"), torch.float32, nonsense=1)


def test_options_reach_the_environment_and_are_listed_in_the_error() -> None:
    env = make("RandomMDP-v0", "cpu", states=7, actions=4, seed=3)
    assert (env.spec.observation_size, env.spec.action.n) == (7, 4)
    with pytest.raises(ValueError, match="allowed: states, actions, seed"):
        make("RandomMDP-v0", "cpu", size=7)


@ids
def test_horizon_replaces_the_time_limit_alone(id: str) -> None:
    env, shorter = make(id, "cpu"), make(id, "cpu", horizon=7)
    assert shorter.spec.horizon == 7
    assert type(shorter) is type(env)
    assert replace(shorter.spec, horizon=env.spec.horizon) == env.spec


@pytest.mark.parametrize("horizon", [0, -3, 2.5])
def test_bad_horizons_are_refused(horizon: float) -> None:
    with pytest.raises(ValueError, match=f"horizon = {horizon}"):
        make("CartPole-v1", "cpu", horizon=horizon)


def test_other_bad_requests_are_refused() -> None:
    with pytest.raises(UnknownIdError, match=r"unknown environment 'CartPole'; known: CartPole-v1"):
        make("CartPole", "cpu")
    with pytest.raises(ValueError, match=r"dtype = torch\.float16"):
        make("CartPole-v1", "cpu", torch.float16)
    with pytest.raises(ValueError, match="device = 'tpu'"):
        make("CartPole-v1", "tpu")


def test_the_device_is_the_gpu_where_there_is_one() -> None:
    assert select_device("auto").type == ("cuda" if HAS_GPU else "cpu")
    assert select_device("cpu").type == "cpu"
    if not HAS_GPU:
        with pytest.raises(ValueError, match="device = 'cuda'"):
            select_device("cuda")
