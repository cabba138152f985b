"""Random actions at the speed of the environment alone: a copy per lane, autoreset inside the kernel.

The copies are those of the Gymnasium face, `envs.copies.Copies`, in the mode SAME_STEP: copy i begins episode j with
the uniforms of Stream(seed i, lane 0, counter j), and ends it when the dynamics or the time limit do.
"""

import math
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
import torch
from torch import Tensor

from envs.core import Env
from envs.fused.core import Dynamics, RandomPlay, check_random_play, random_choices
from envs.fused.draws import COUNTER, fill_uniforms, set_sequence
from envs.fused.dynamics import DYNAMICS
from envs.fused.lanes import LANES, any_of, convert, floor, row, set_row, where
from envs.fused.launch import launch, sources
from envs.random import Purpose

SEVERAL_CORES = 10**6
"""Steps, a few milliseconds, from which it pays to wake other threads."""


def play_randomly(env: Env, seeds: Tensor, steps: int) -> RandomPlay:
    """`steps` uniformly random actions in each of N copies with `seeds` [N] int64, on the device of the environment.

    Step t takes uniform t of Stream(seed, lane 0, counter 0) for actions. Raises ValueError where there is no kernel,
    and unless the steps come in fours, the words of a Philox block.
    """
    if env.device.type == "cuda":
        from envs.fused.triton import random_play  # needs Triton

        return random_play.play_randomly(env, seeds, steps)
    spec, count, real = env.spec, len(seeds), np.float32 if env.dtype == torch.float32 else np.float64
    low, high, actions = random_choices(spec.action)
    check_random_play(env, steps, type(env) in DYNAMICS and spec.transition_draws == 0 and math.isfinite(high - low))
    reward, episodes = np.empty(count, real), np.empty(count, np.int64)
    obs, dynamics = np.empty((count, spec.observation_size), real), DYNAMICS[type(env)]
    launch(
        _kernel(dynamics), f"random actions in {type(env).__name__} in {env.dtype}", -(-count // LANES),
        count * steps > SEVERAL_CORES, seeds.contiguous().numpy(), steps, spec.horizon, int(Purpose.RESET),
        int(Purpose.ACTION), dynamics.rows(spec), low, high, actions, reward, episodes, obs,
    )  # fmt: skip
    return RandomPlay(*(torch.from_numpy(part) for part in (reward, episodes, obs)))


@cache
def _kernel(dynamics: Dynamics) -> Callable[..., None]:
    _, reset, step, observe, _ = dynamics
    checksum = sources()

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def kernel(  # type: ignore[no-untyped-def]
        first_task, stride, tasks, seeds, steps, horizon, reset_path, action_path, state_size, low, high, actions,
        rewards, episodes, observations,
    ):  # fmt: skip
        checksum  # noqa: B018
        size, real = observations.shape[1], rewards.dtype
        state, fresh = np.empty((state_size, LANES), real), np.empty((state_size, LANES), real)
        start, noise, chance = np.empty((4, LANES), real), np.empty((4, LANES), real), np.empty((0, LANES), real)
        obs, action, sums = np.empty((size, LANES), real), np.empty((1, LANES), real), np.empty((1, LANES), real)
        acting, starting = np.zeros((4, LANES), np.uint64), np.zeros((4, LANES), np.uint64)
        counts = np.empty((1, LANES), np.int32)
        first_block, blocks = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
        for task in range(first_task, tasks, stride):
            first = task * LANES
            for i in range(LANES):
                seed = seeds[min(first + i, len(seeds) - 1)]
                set_sequence(acting, i, seed, 0, 0)
                set_sequence(starting, i, seed, 0, 0)
            fill_uniforms(first_block, reset_path, starting, start)
            reset(state, start, ())
            # The state that each copy's next episode begins with, drawn for all when one needs a second one.
            set_row(counts, 0, 0)
            length, total = row(counts, 0), 0.0 * row(start, 0)
            used = length + 1
            for t in range(0, steps, 4):
                set_row(blocks, 0, t // 4)
                fill_uniforms(blocks, action_path, acting, noise)
                for j in range(4):
                    u = row(noise, j)
                    set_row(action, 0, floor(u * actions) if actions > 0 else low + (high - low) * u)
                    reward, terminated = step(state, action, chance, ())
                    total, length = total + reward, length + 1
                    done = where(terminated | (length >= horizon), 1, 0 * length)
                    if any_of((done & used) == 1):
                        set_row(starting, COUNTER, row(starting, COUNTER) + convert(used, np.uint64))
                        fill_uniforms(first_block, reset_path, starting, start)
                        reset(fresh, start, ())
                        used = 0 * used
                    over = done == 1
                    for k in range(state_size):
                        set_row(state, k, where(over, row(fresh, k), row(state, k)))
                    length, used = where(over, 0, length), used | done
            observe(state, obs)
            set_row(sums, 0, total)
            set_row(counts, 0, convert(row(starting, COUNTER), np.int32) + used - 1)
            for i in range(min(LANES, len(seeds) - first)):
                rewards[first + i], episodes[first + i], observations[first + i] = sums[0, i], counts[0, i], obs[:, i]

    return kernel
