"""One step of plain CBO on a CPU in one pass over memory: weighted mean, normals, move and distances in one kernel.

It draws the normals where it needs them (`envs.fused.normals`), so what the plain path writes and reads again (normals,
differences, products: about fifteen arrays of R N d numbers) stays in the first-level cache. A run's particles are read
twice, the second time from a cache, and written once. Sums run over the particles of one run in order, so a run is the
same alone and among others. The plain path is the definition; a test holds the two together.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from envs.algorithm import Numeric
from envs.fused.launch import launch
from envs.fused.normals import BLOCKS, SEVERAL_THREADS, empty, keys, normals_of, words_of
from envs.random import MASK, Stream

SMALLEST = 2_000
"""Numbers of a run, particles times dimension, from which the kernel is used: below, eager torch is fast enough and
nothing has to be compiled. It must not depend on the number of runs: a run is the same alone and among others."""


def pays(like: Tensor, count: int) -> bool:
    """Whether the kernel covers `count` particles with the place, type and last axis of `like`, and is worth it."""
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    return known and count * like.shape[-1] >= SMALLEST


def step(
    x: Tensor, before: Tensor, weights: Tensor, p: Numeric, s: Numeric, isotropic: bool, stream: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Euler's step of particles x [R, N, d] with `weights` [R, N]; p = lambda dt and s = sigma sqrt(dt), or [R] each.

    Returns the particles, their consensus [R, d] and their squared distances to it [R, N]. Where the weights of a run
    are NaN its particles stay, and the consensus is `before` [R, d].
    """
    x, moved = x.contiguous(), empty(x.shape, x.dtype)
    consensus = before.double().clone(memory_format=torch.contiguous_format)
    square = torch.empty(x.shape[:2], dtype=torch.float64)
    launch(
        _step_of_runs, "consensus-based optimization", len(x), x.numel() >= SEVERAL_THREADS,
        x.numpy(), weights.double().numpy(), torch.isfinite(weights).all(-1).numpy(), _per_run(p, x), _per_run(s, x),
        isotropic, *keys(stream), consensus.numpy(), moved.numpy(), square.numpy(),
    )  # fmt: skip
    return moved, consensus.to(x.dtype), square.to(x.dtype)


def _per_run(value: Numeric, x: Tensor) -> np.ndarray:
    return torch.as_tensor(value, dtype=torch.float64).expand(len(x)).contiguous().numpy()


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _square(x: Any, centre: Any) -> float:
    """|x - centre|^2."""
    total = 0.0
    for j in range(x.size):
        total += (x[j] - centre[j]) ** 2
    return total


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _move(x: Any, centre: Any, p: float, s: float, distance: float, isotropic: bool, xi: Any, moved: Any) -> bool:
    """Euler's step of some coordinates; whether all of them are finite."""
    finite = True
    for j in range(x.size):
        difference = x[j] - centre[j]
        moved[j] = x[j] - p * difference + s * (distance if isotropic else difference) * xi[j]
        finite &= moved[j] - moved[j] == 0
    return finite


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step_of_runs(  # type: ignore[no-untyped-def]
    first_run, stride, runs, x, weights, alive, p, s, isotropic, seeds, counters, path, consensus, moved, square
):  # fmt: skip
    """Every `stride`-th run."""
    _, count, dim = x.shape
    for r in range(first_run, runs, stride):
        centre = consensus[r]
        if alive[r]:
            centre[:] = 0.0
            for i in range(count):
                for j in range(dim):
                    centre[j] += weights[r, i] * x[r, i, j]
        words, apart, xi = np.empty((4, BLOCKS), np.int32), np.empty((4, BLOCKS)), np.empty(4 * BLOCKS)
        key0, key1 = np.uint64(seeds[r]) & np.uint64(MASK), np.uint64(seeds[r]) >> np.uint64(32)
        for i in range(count):
            square[r, i] = _square(x[r, i], centre)
            distance, finite = math.sqrt(square[r, i]), alive[r]
            for first in range(0, dim, 4 * BLOCKS):
                last = min(first + 4 * BLOCKS, dim)
                number = (last - first + 3) // 4
                words_of(first // 4, number, np.uint64(i), np.uint64(counters[r]), np.uint64(path), key0, key1, words)
                normals_of(number, words, apart, xi)
                part = slice(first, last)
                finite &= _move(x[r, i, part], centre[part], p[r], s[r], distance, isotropic, xi, moved[r, i, part])
            if not finite:
                moved[r, i] = x[r, i]
