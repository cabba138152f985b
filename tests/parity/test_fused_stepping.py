"""Copies stepped in lanes against those stepped as tensors, which are the definition, in all autoreset modes."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from envs.cartpole import CartPole
from envs.copies import CONTINUE, Copies, PlainCopies, Step
from envs.core import Box, Env
from envs.fused.stepping import FusedCopies
from envs.gymnasium import ZopgEnv, ZopgVectorEnv
from envs.registry import ENVS, make

MODES = list(AutoresetMode)
SEEDS = np.array([3, 2**62 - 5, 0, *range(2**33, 2**33 + 18)])
"""Of copies that do not fill their last lanes."""
N, STEPS = len(SEEDS), 44
EVERYONE = np.ones(N, dtype=bool)


def drawn(env: Env) -> list[NDArray]:
    """Actions of all copies for each step: real ones partly beyond the bounds, discrete ones with a bias."""
    generator, action = np.random.default_rng(0), env.spec.action
    if isinstance(action, Box):
        return list(generator.normal(0.0, 2.0, (STEPS, N, action.size)))
    return list(generator.binomial(action.n - 1, np.linspace(0.05, 0.95, N), (STEPS, N)))


def same(one: Step, two: Step) -> None:
    """Equal up to the rounding of some ten steps in float32."""
    done = one.terminated | one.truncated
    assert_array_equal(one.terminated, two.terminated)
    assert_array_equal(one.truncated, two.truncated)
    assert_allclose(one.rewards, two.rewards, rtol=1e-5, atol=1e-5)
    assert_allclose(one.observations, two.observations, rtol=1e-4, atol=1e-5)
    if one.finals is not None and two.finals is not None:
        assert_allclose(one.finals[done], two.finals[done], rtol=1e-4, atol=1e-5)
    assert (one.finals is None) == (two.finals is None)
    assert [part.dtype for part in one[:4]] == [part.dtype for part in two[:4]]


def begin(fused: Copies, plain: Copies, mask: NDArray[np.bool_], seeds: NDArray[np.int64]) -> None:
    """And compare what is observed."""
    assert_allclose(fused.begin(mask, seeds), plain.begin(mask, seeds), rtol=1e-4, atol=1e-5)
    assert_array_equal(fused.over, plain.over)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", ENVS)
def test_the_same_episodes(env_id: str, mode: AutoresetMode) -> None:
    """Copies that finish, some that are begun by hand in between, under their next seed or a given one."""
    env = make(env_id, "cpu", torch.float32)
    limit = 18 if env_id == "CartPole-v1" else 11
    fused, plain = (kind(env, N, limit, mode) for kind in (FusedCopies, PlainCopies))
    begin(fused, plain, EVERYONE, SEEDS)
    finished = np.zeros((2, N), int)
    for t, actions in enumerate(drawn(env)):
        step = fused.step(actions)
        same(step, plain.step(actions))
        assert_array_equal(fused.over, plain.over)
        finished += step.terminated, step.truncated
        by_hand = fused.over if mode is AutoresetMode.DISABLED else np.arange(N) % 7 == t
        if by_hand.any():
            begin(fused, plain, by_hand, np.where(np.arange(N) % 2, CONTINUE, SEEDS + t))
    assert finished.sum(0).min() >= 1
    assert finished.sum() >= 2 * N
    assert (finished[0].sum() > N) == (env_id == "CartPole-v1")
    assert finished[1].sum() > 5


def test_who_is_stepped_by_the_kernel() -> None:
    class Other(CartPole):
        """Its methods are not those of the kernel."""

    for dtype, kind in ((torch.float32, FusedCopies), (torch.float64, PlainCopies)):
        for env_id in ENVS:
            env = make(env_id, "cpu", dtype)
            assert type(ZopgEnv(env).copies) is type(ZopgVectorEnv(env, 2).copies) is kind
    env = make("CartPole-v1", "cpu")
    assert type(ZopgEnv(Other(env.spec, env.device, env.dtype)).copies) is PlainCopies


def test_a_copy_is_the_same_alone_and_among_others() -> None:
    env = make("CartPole-v1", "cpu")
    together, alone = (FusedCopies(env, n, 500, AutoresetMode.NEXT_STEP) for n in (N, 1))
    assert_array_equal(together.begin(EVERYONE, SEEDS)[[20]], alone.begin(EVERYONE[:1], SEEDS[[20]]))
    for actions in drawn(env):
        for whole, part in zip(together.step(actions)[:4], alone.step(actions[[20]])[:4], strict=True):
            assert_array_equal(whole[[20]], part)


@pytest.mark.parametrize(("env_id", "bad"), [("CartPole-v1", 2), ("CartPole-v1", -1), ("Pendulum-v1", np.nan)])
@pytest.mark.parametrize("kind", [FusedCopies, PlainCopies])
def test_no_copy_is_stepped_where_one_action_is_refused(kind: type[Copies], env_id: str, bad: float) -> None:
    env = make(env_id, "cpu")
    copies, untouched = (kind(env, N, 500, AutoresetMode.NEXT_STEP) for _ in range(2))
    for each in (copies, untouched):
        each.begin(EVERYONE, SEEDS)
    actions = drawn(env)[0]
    for i in (0, N - 1):
        refused = actions.copy()
        refused[i] = bad
        with pytest.raises(ValueError, match="actions = "):
            copies.step(refused)
    assert_array_equal(copies.step(actions).observations, untouched.step(actions).observations)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_integers_of_any_kind_and_arrays_that_are_not_contiguous(dtype: type) -> None:
    env = make("CartPole-v1", "cpu")
    one, two = (FusedCopies(env, N, 500, AutoresetMode.NEXT_STEP) for _ in range(2))
    one.begin(EVERYONE, SEEDS)
    two.begin(EVERYONE, SEEDS)
    for actions in drawn(env)[:5]:
        strided: NDArray = np.repeat(actions.astype(dtype), 2)[::2]
        assert_array_equal(one.step(actions.tolist()).observations, two.step(strided).observations)
