"""What kernels on a CPU stored, cut to the longest episode, with 0 after the end of each."""

import numba
import numpy as np
import torch
from torch import Tensor

from envs.fused.core import Episodes


def cut(found: Episodes, steps: int, horizon: int) -> tuple[Tensor, ...]:
    """Obs, action, log_prob, reward, terminated, truncated and mask of the first `steps` time steps, [R, K, E, T, ...].

    Where the kernel wrote nothing, and after `steps`, memory is not touched: fresh memory is slow.
    """
    lengths, shape = found.lengths.flatten().numpy(), (*found.lengths.shape, steps)
    parts = []
    for part in (found.obs, found.action, found.log_prob, found.reward):
        kept = np.empty((*shape, *part.shape[4:]), part.numpy().dtype)
        _keep(*(array.view(np.uint32).reshape(len(lengths), -1) for array in (part.numpy(), kept)), lengths, steps)
        parts.append(torch.from_numpy(kept))
    flags = np.empty((3, len(lengths), steps), np.bool_)
    _mark(lengths, found.terminated.flatten().numpy(), horizon, flags)
    return (*parts, *torch.from_numpy(flags).view(3, *shape))


def means(total: Tensor) -> Tensor:
    """[R, K] of the finite numbers of total [R, K, E]; NaN where there is none."""
    runs, points, episodes = total.shape
    total_of = total.numpy().reshape(-1, episodes)
    found = np.empty((runs, points), total_of.dtype)
    _average(total_of, found.reshape(-1))
    return torch.from_numpy(found)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(total, found):  # type: ignore[no-untyped-def]
    for n in range(len(total)):
        number, count = 0.0, 0
        for each in total[n]:
            if np.isfinite(each):
                number, count = number + each, count + 1
        found[n] = number / count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _keep(source, kept, lengths, steps):  # type: ignore[no-untyped-def]
    """Words of the episodes [N, ...], as long as they are."""
    width = kept.shape[1] // steps
    for n in range(len(lengths)):
        end = lengths[n] * width
        kept[n, :end] = source[n, :end]
        kept[n, end:] = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark(lengths, ends, horizon, flags):  # type: ignore[no-untyped-def]
    """Terminated, truncated and mask [3, N, T]."""
    flags[:2] = False
    for n in range(len(lengths)):
        last = lengths[n] - 1
        flags[0, n, last], flags[1, n, last] = ends[n], lengths[n] == horizon
        for t in range(flags.shape[2]):
            flags[2, n, t] = t <= last
