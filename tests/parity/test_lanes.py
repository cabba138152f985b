"""Lanes: elementary functions against NumPy's in long double, and the two ways through a network against each other."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
import torch

from envs.cartpole import CartPoleState
from envs.core import Env
from envs.fused import cpu, functions, trajectories
from envs.fused.forward import PADDING, forward_episodes, forward_units
from envs.fused.lanes import LANES, load, row, set_row, store
from envs.fused.packing import pack, packed_size
from envs.policies import MLP, Network
from envs.random import streams
from envs.registry import make
from envs.rollout import returns, rollout


@numba.njit(error_model="numpy")
def evaluate(x, y):  # type: ignore[no-untyped-def]
    """Exp, log, tanh, cosine and sine of x [n, LANES] into y [5, n, LANES]."""
    for i in range(0, x.size, LANES):
        lanes = load(x, i)
        cos, sin = functions.cos_sin(lanes)
        store(y, i, functions.exp(lanes))
        store(y, x.size + i, functions.log(lanes))
        store(y, 2 * x.size + i, functions.tanh(lanes))
        store(y, 3 * x.size + i, cos)
        store(y, 4 * x.size + i, sin)


FUNCTIONS: list[tuple[int, Callable[..., Any], float, float, float]] = [
    (0, np.exp, -80.0, 80.0, 2.0),
    (1, np.log, 1e-30, 1e30, 4.0),
    (1, np.log, 0.9, 1.1, 4.0),
    (2, np.tanh, -50.0, 50.0, 5.0),
    (2, np.tanh, -1e-3, 1e-3, 5.0),
    (3, np.cos, -1.0, 1.0, 3.0),
    (4, np.sin, -1.0, 1.0, 3.0),
]
"""Row, definition, range, units in the last place."""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("index", "definition", "low", "high", "units"), FUNCTIONS)
def test_elementary_functions(
    index: int, definition: Callable[..., Any], low: float, high: float, units: float, dtype: type
) -> None:
    x = np.linspace(low, high, 2000 * LANES).astype(dtype)
    y = np.empty((5, x.size), dtype)
    evaluate(x, y)
    expected = definition(x.astype(np.longdouble))
    assert float((np.abs(y[index] - expected) / np.spacing(np.abs(expected).astype(dtype))).max()) <= units


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 6e3), (np.float64, 1e6)])
def test_large_angles(dtype: type, largest: float) -> None:
    """To the precision of numbers around 1."""
    x = np.linspace(-largest, largest, 2000 * LANES).astype(dtype)
    y = np.empty((5, x.size), dtype)
    evaluate(x, y)
    for found, definition in ((y[3], np.cos), (y[4], np.sin)):
        assert np.abs(found - definition(x.astype(np.longdouble))).max() <= np.finfo(dtype).eps


def test_what_is_not_a_number_stays_that() -> None:
    y = np.zeros((5, LANES), np.float32)
    evaluate(np.full(LANES, np.nan, np.float32), y)
    assert np.isnan(y[[0, 2, 3, 4]]).all()


@numba.njit(error_model="numpy")
def both_ways(params, sizes, bias, obs, side_by_side, alone):  # type: ignore[no-untyped-def]
    weights = np.full(packed_size(sizes), np.nan, params.dtype)
    pack(params, sizes, bias, weights)
    h, units = (
        np.zeros((2, sizes.max() + PADDING, LANES), params.dtype),
        np.zeros((2, sizes.max() + PADDING), params.dtype),
    )
    for i in range(sizes[0]):
        store(h, i * LANES, load(obs, i * LANES))
    half = forward_episodes(weights, sizes, h)
    for i in range(sizes[-1]):
        set_row(side_by_side, i, row(h, half * h.shape[1] + i))
    for lane in range(LANES):
        for i in range(sizes[0]):
            units[0, i] = obs[i, lane]
        half = forward_units(weights, sizes, units)
        for i in range(sizes[-1]):
            alone[i, lane] = units[half, i]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (8,), (17,), (64, 64), (3, 33, 16, 50), (80, 32), (130,)])
def test_networks_are_the_same_bits_in_lanes_of_episodes_and_of_units(
    hidden: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    """And those of torch, to rounding."""
    policy = MLP(make("MountainCar-v0", "cpu").spec, hidden, bias=bias)
    params = 0.4 * streams([0]).normal(policy.dim, dtype=dtype)
    obs = streams([1]).normal(2 * LANES, dtype=dtype).view(2, LANES)
    found = np.zeros((2, 3, LANES), params.numpy().dtype)
    both_ways(params[0].numpy(), np.array([2, *hidden, 3]), bias, obs.numpy(), found[0], found[1])
    assert np.array_equal(found[0], found[1])
    expected = policy.forward(policy.unpack(params), obs.T[None])[0].T
    torch.testing.assert_close(torch.from_numpy(found[0]), expected)


def cartpole(hidden: tuple[int, ...], runs: int, points: int) -> tuple[Env, Network, torch.Tensor]:
    env = make("CartPole-v1", "cpu", torch.float32)
    policy = MLP(env.spec, hidden)
    return env, policy, 0.5 * streams(range(runs)).spread(torch.arange(points)).normal(policy.dim)


@pytest.mark.parametrize("hidden", [(8,), (32, 32)])
@pytest.mark.parametrize("episodes", [1, 3, 20, 100])
def test_an_episode_is_the_same_in_any_lane(hidden: tuple[int, ...], episodes: int) -> None:
    """Bit for bit in float32: alone, beside others of its policy, and where lanes are of different policies."""
    env, policy, params = cartpole(hidden, 2, 5)
    many = returns(env, policy, params, episodes, streams([0, 1]), 0.99)
    first = returns(env, policy, params[:, :2], 1, streams([0, 1]), 0.99)
    assert torch.equal(many.episodes[:, :2, :1], first.episodes)
    assert torch.equal(many.lengths[:, :2, :1], first.lengths)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    env, policy, params = cartpole((8,), 3, 2)
    one = rollout(env, policy, params, 40, streams([0, 1, 2]))
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", cores)
    for module in (cpu, trajectories):
        monkeypatch.setattr(module, "SEVERAL_CORES", 0)
    other = rollout(env, policy, params, 40, streams([0, 1, 2]))
    assert all(torch.equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_leave_out_what_failed(dtype: torch.dtype) -> None:
    nan, inf = float("nan"), float("inf")
    total = torch.tensor([[[1.0, nan, 4.0], [inf, -inf, nan]], [[-2.0, 3.0, 5.0], [nan, 7.0, inf]]], dtype=dtype)
    expected = torch.tensor([[2.5, nan], [2.0, 7.0]], dtype=dtype)
    torch.testing.assert_close(trajectories.means(total), expected, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("size", [3, 30, 100])
def test_trajectories_hold_every_step_of_every_episode(size: int) -> None:
    """Observations follow from each other by the dynamics, whatever block of memory they were in."""
    env, policy, params = cartpole((8,), 2, 3)
    found = rollout(env, policy, params, size, streams([4, 5]))
    steps = found.mask.sum(-1)
    assert int(steps.max()) > trajectories.STEPS
    state, _, terminated = env.transition(CartPoleState(*found.obs.unbind(-1)), found.action, None)
    inside = found.mask[..., 1:, None]
    torch.testing.assert_close(env.observe(state)[..., :-1, :] * inside, found.obs[..., 1:, :] * inside)
    assert torch.equal(terminated & found.mask, found.terminated)
    last = env.observe(state).gather(3, (steps - 1)[..., None, None].expand(*steps.shape, 1, 4))[..., 0, :]
    torch.testing.assert_close(last, found.last_obs)
