"""What the CPU kernel wrote, in the form of `envs.rollout`: means of returns, and trajectories.

The kernel does not know how long episodes will be, so it writes them into blocks of STEPS steps, taken one after the
other as they are needed. Memory for the longest possible episodes is set aside, but what is not used is not touched,
and what is used lies so close together that it is still in a cache when `cut` reads it.
"""

import math
from itertools import accumulate
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.core import Discrete, EnvSpec
from envs.fused.lanes import FEW, LANES, compiled, load_few, store
from envs.fused.launch import launch
from envs.fused.shuffles import transpose_few

STEPS = 16
"""Of an episode, side by side in memory."""
SEVERAL_CORES = 10**6
"""Numbers, about a millisecond, from which it pays to wake other threads."""


class Played(NamedTuple):
    """Episodes of the CPU kernel."""

    total: Tensor
    """[R, K, E] discounted return"""
    lengths: Tensor
    """[R, K, E] int64"""
    terminated: Tensor
    """[R, K, E] bool, at the last step"""
    last_obs: Tensor
    """[R, K, E, O]"""
    stored: NDArray[np.floating]
    """[blocks, STEPS, width]: a step's observation, log-probability, reward and action; none where not asked for"""
    blocks: NDArray[np.int64]
    """[R K E, ceil(T / STEPS)], where the steps of an episode lie"""


def means(total: Tensor) -> Tensor:
    """[R, K] of the finite numbers of total [R, K, E]; NaN where there is none."""
    episodes = total.numpy()
    found = np.empty(episodes.shape[:2], episodes.dtype)
    _average(episodes, found)
    return torch.from_numpy(found)


def cut(played: Played, steps: int, spec: EnvSpec) -> tuple[Tensor, ...]:
    """Obs, action, log_prob, reward, terminated, truncated and mask of the first `steps` time steps, [R, K, E, T, ...].

    0 after the end of an episode.
    """
    count, real, horizon = played.lengths.numel(), played.stored.dtype, spec.horizon
    discrete, observed = isinstance(spec.action, Discrete), spec.observation_size
    actions = 1 if isinstance(spec.action, Discrete) else spec.action.size
    action, obs, log_prob, reward, flags = _carve(
        ((count, steps, actions), np.dtype(np.int64) if discrete else real),
        ((count, steps, observed), real), ((count, steps), real), ((count, steps), real),
        ((3, count, steps), np.dtype(np.bool_)),
    )  # fmt: skip
    launch(
        _spread, f"trajectories in {real}", count, obs.size > SEVERAL_CORES, played.stored, played.blocks,
        played.lengths.numpy().reshape(-1), played.terminated.numpy().reshape(-1), horizon,
        obs, action, log_prob, reward, flags,
    )  # fmt: skip
    parts = obs, action.reshape(count, steps) if discrete else action, log_prob, reward, *flags
    shape = played.lengths.shape
    return tuple(torch.from_numpy(part.reshape(*shape, *part.shape[1:])) for part in parts)


def _carve(*arrays: tuple[tuple[int, ...], np.dtype[Any]]) -> list[NDArray[Any]]:
    """Arrays of these shapes and types, wide types first, in one piece of memory.

    In pieces, the allocator would give it back to the system and fetch it again at every call, page by page.
    """
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in arrays]
    ends = list(accumulate(sizes))
    memory = np.empty(ends[-1], np.uint8)
    return [
        memory[end - size : end].view(dtype).reshape(shape)
        for (shape, dtype), size, end in zip(arrays, sizes, ends, strict=True)
    ]


def record_width(observed: int, actions: int) -> int:
    """Numbers of a stored step: observation, log-probability, reward, action, and what is needed to fill FEW lanes."""
    return -(-(observed + 2 + actions) // FEW) * FEW


@compiled
def write(
    record: Any,
    turned: Any,
    alive: Any,
    time: Any,
    episode: Any,
    place: Any,
    free_block: int,
    stored: Any,
    blocks: Any,
) -> int:
    """A step of the lanes that are alive, from record [width, LANES] into memory; the first block that is still free.

    `place` is the block of each lane; `turned` [LANES, width] is scratch.
    """
    width = record.shape[0]
    for k in range(0, width, FEW):
        for i in range(0, LANES, FEW):
            transpose_few(record, k * LANES + i, LANES, turned, i * width + k, width)
    for i in range(LANES):
        if alive[0, i] == 1:
            t = time[0, i]
            if t % STEPS == 0:
                blocks[episode[i], t // STEPS] = place[i] = free_block
                free_block += 1
            at = (place[i] * STEPS + t % STEPS) * width
            for k in range(0, width, FEW):
                store(stored, at + k, load_few(turned, i * width + k))
    return free_block


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(total, found):  # type: ignore[no-untyped-def]
    runs, points, episodes = total.shape
    for r in range(runs):
        for k in range(points):
            sum_of, count = 0.0, 0
            for e in range(episodes):
                if np.isfinite(total[r, k, e]):
                    sum_of, count = sum_of + total[r, k, e], count + 1
            found[r, k] = sum_of / count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spread(  # type: ignore[no-untyped-def]
    first, stride, episodes, stored, blocks, lengths, ends, horizon, obs, action, log_prob, reward, flags
):
    """Every `stride`-th episode from its blocks into arrays [N, T, ...]; flags are terminated, truncated and mask."""
    observed, actions = obs.shape[2], action.shape[2]
    for n in range(first, episodes, stride):
        end = lengths[n]
        for t in range(end):
            block, s = blocks[n, t // STEPS], t % STEPS
            for k in range(observed):
                obs[n, t, k] = stored[block, s, k]
            log_prob[n, t], reward[n, t] = stored[block, s, observed], stored[block, s, observed + 1]
            for k in range(actions):
                action[n, t, k] = stored[block, s, observed + 2 + k]
        obs[n, end:], action[n, end:], log_prob[n, end:], reward[n, end:] = 0.0, 0, 0.0, 0.0
        flags[:2, n], flags[2, n, :end], flags[2, n, end:] = False, True, False
        flags[0, n, end - 1], flags[1, n, end - 1] = ends[n], end == horizon
