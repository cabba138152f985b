"""The kernel of the CPU backend: environment, policy, sampling and the whole time loop for episodes in lanes.

A lane plays one episode after the other; all state stays in the first-level cache for as long as the kernel runs. Draws
come from the same counters as in the plain rollout, so both follow the same episodes up to rounding. Compiled once per
class of environments and precision, then cached on disk.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from envs.fused.choices import categorical, gaussian, largest
from envs.fused.core import ARGMAX, CATEGORICAL, GAUSSIAN, Dynamics
from envs.fused.draws import fill_uniforms, set_sequence, to_normals
from envs.fused.forward import PADDING, forward_episodes, forward_units
from envs.fused.lanes import LANES, any_of, compiled, convert, row, set_row, where
from envs.fused.launch import sources
from envs.fused.packing import pack, packed_size
from envs.fused.trajectories import write


@compiled
def _outputs(
    weights: Any,
    row_of: Any,
    sizes: Any,
    obs: Any,
    h: Any,
    units: Any,
    outputs: Any,
    side_by_side: bool,
    alive: Any,
) -> None:
    """The network's outputs [n, LANES] for the observations obs [O, LANES] of the episodes that are alive."""
    if side_by_side:
        for i in range(sizes[0]):
            set_row(h, i, row(obs, i))
        half = forward_episodes(weights[0], sizes, h)
        for i in range(outputs.shape[0]):
            set_row(outputs, i, row(h, half * h.shape[1] + i))
        return
    for lane in range(LANES):
        if alive[0, lane] == 0:
            continue
        for i in range(sizes[0]):
            units[0, i] = obs[i, lane]
        half = forward_units(weights[row_of[lane]], sizes, units)
        for i in range(outputs.shape[0]):
            outputs[i, lane] = units[half, i]


@cache
def kernel_of(dynamics: Dynamics) -> Callable[..., None]:
    """The kernel for a class of environments."""
    _, reset, step, observe, _ = dynamics
    checksum = sources()

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def kernel(  # type: ignore[no-untyped-def]
        first_task, stride, tasks, span, block, side_by_side,
        params, sizes, bias, head, draws, first_free, seeds, counters, reset_path, action_path, transition_path,
        state_size, reset_draws, transition_draws, tables, points, episodes, point_lanes, horizon, discount, store,
        totals, lengths, ends, last_obs, stored, blocks_of,
    ):  # fmt: skip
        checksum  # noqa: B018
        real, n, observed = params.dtype, sizes[-1], sizes[0]
        actions, place = 1 if head in (CATEGORICAL, ARGMAX) else n, np.zeros(LANES, np.int64)
        record, turned = np.zeros((stored.shape[2], LANES), real), np.empty((LANES, stored.shape[2]), real)
        state, fresh = np.empty((state_size, LANES), real), np.empty((state_size, LANES), real)
        obs, outputs, odds = np.empty((observed, LANES), real), np.zeros((n, LANES), real), np.empty((n, LANES), real)
        # A row for each lane where they may differ in their policy, else one.
        weights = np.empty((LANES if span > episodes else 1, packed_size(sizes)), real)
        row_of = np.zeros(LANES, np.int64)
        h, units = np.zeros((2, sizes.max() + PADDING, LANES), real), np.zeros((2, sizes.max() + PADDING), real)
        start, noise = np.empty(((reset_draws + 3) // 4 * 4, LANES), real), np.empty((4 * draws, LANES), real)
        chance, action = np.empty((4 * transition_draws, LANES), real), np.empty((n, LANES), real)
        log_std, std = np.zeros((n, LANES), real), np.zeros((n, LANES), real)
        reward, log_prob = np.zeros((1, LANES), real), np.zeros((1, LANES), real)
        total, weight = np.zeros((1, LANES)), np.zeros((1, LANES))
        alive, time = np.zeros((1, LANES), np.int32), np.zeros((1, LANES), np.int32)
        new, over = np.zeros((1, LANES), np.int32), np.zeros((1, LANES), np.int32)
        sequences, blocks, zero = (
            np.zeros((4, LANES), np.uint64),
            np.zeros((1, LANES), np.uint64),
            np.zeros((1, LANES), np.uint64),
        )
        episode = np.zeros(LANES, np.int64)
        per_span = (span + block - 1) // block
        for task in range(first_task, tasks, stride):
            following = task // per_span * span + task % per_span * block
            end = min(following + block, (task // per_span + 1) * span)
            active, first, free_block = 0, True, following * blocks_of.shape[1]
            if span == episodes:
                pack(params[following // episodes], sizes, bias, weights[0])
            while True:
                started = first
                for i in range(LANES):
                    new[0, i] = 1 if first else 0
                    if alive[0, i] == 0 and following < end:
                        k, e = following // episodes, following % episodes
                        r = k // points
                        set_sequence(sequences, i, seeds[r], k % points * point_lanes + e, counters[r])
                        episode[i], following, active = following, following + 1, active + 1
                        alive[0, i], time[0, i], total[0, i], weight[0, i], new[0, i] = 1, 0, 0.0, 1.0, 1
                        if span > episodes:
                            row_of[i] = i
                            pack(params[k], sizes, bias, weights[i])
                        if head == GAUSSIAN:
                            for j in range(n):
                                log_std[j, i] = params[k, first_free + j]
                                std[j, i] = math.exp(log_std[j, i])
                        started = True
                first = False
                if active == 0:
                    break
                if started:
                    fill_uniforms(zero, reset_path, sequences, start)
                    reset(fresh, start, tables)
                    for k in range(state_size):
                        set_row(state, k, where(row(new, 0) == 1, row(fresh, k), row(state, k)))
                    observe(state, obs)
                if draws > 0:
                    set_row(blocks, 0, convert(row(time, 0) >> 2, np.uint64) * draws)
                    fill_uniforms(blocks, action_path, sequences, noise)
                    if head == GAUSSIAN:
                        to_normals(noise)
                if transition_draws > 0:
                    set_row(blocks, 0, convert(row(time, 0) >> 2, np.uint64) * transition_draws)
                    fill_uniforms(blocks, transition_path, sequences, chance)
                for j in range(4):
                    _outputs(weights, row_of, sizes, obs, h, units, outputs, active >= side_by_side, alive)
                    if head == CATEGORICAL:
                        chosen, density = categorical(outputs, odds, row(noise, j), store)
                        set_row(action, 0, chosen)
                        set_row(log_prob, 0, density)
                    elif head == GAUSSIAN:
                        set_row(log_prob, 0, gaussian(outputs, log_std, std, noise[j * n : (j + 1) * n], action))
                    elif head == ARGMAX:
                        set_row(action, 0, largest(outputs))
                    else:
                        for k in range(n):
                            set_row(action, k, row(outputs, k))
                    if store:
                        for k in range(observed):
                            set_row(record, k, row(obs, k))
                        set_row(record, observed, row(log_prob, 0))
                        for k in range(actions):
                            set_row(record, observed + 2 + k, row(action, k))
                    worth, terminated = step(
                        state, action, chance[j * transition_draws : (j + 1) * transition_draws], tables
                    )
                    set_row(reward, 0, worth)
                    observe(state, obs)
                    if store:
                        set_row(record, observed + 1, row(reward, 0))
                        free_block = write(record, turned, alive, time, episode, place, free_block, stored, blocks_of)
                    going = row(alive, 0) == 1
                    gain = row(weight, 0) * convert(row(reward, 0), np.float64)
                    set_row(total, 0, where(going, row(total, 0) + gain, row(total, 0)))
                    set_row(weight, 0, row(weight, 0) * discount)
                    set_row(time, 0, row(time, 0) + 1)
                    set_row(over, 0, where(terminated, 1, 0 * row(time, 0)))
                    done = ((row(over, 0) == 1) | (row(time, 0) >= horizon)) & (row(alive, 0) == 1)
                    if any_of(done):
                        for i in range(LANES):
                            if alive[0, i] == 1 and (over[0, i] == 1 or time[0, i] >= horizon):
                                e = episode[i]
                                totals[e], lengths[e], ends[e] = total[0, i], time[0, i], over[0, i] == 1
                                for k in range(observed):
                                    last_obs[e, k] = obs[k, i]
                                alive[0, i], active = 0, active - 1

    return kernel
