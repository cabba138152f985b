"""Kernels for triangular factors A [R, d, d] of covariance matrices on a CPU: A z, A^-1 y, and A after an update.

Eager torch goes through all matrices once for each operation, and has to fill them up with zeros so that a run has the
same bits alone and among others. Here a run's matrices stay in the cache, and sums have an order. The plain path, that
of `Cholesky` on other devices, is the definition; a test holds the two together.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from envs.fused.launch import launch
from envs.fused.normals import empty

SEVERAL_THREADS = 20_000_000
"""Multiplications of an update of all runs, some milliseconds, from which it pays to wake other threads."""


def covers(factor: Tensor) -> bool:
    """Whether the kernels cover a factor of this place and type."""
    return factor.device.type == "cpu" and factor.dtype in (torch.float32, torch.float64)


def color(factor: Tensor, z: Tensor) -> Tensor:
    """A z_k of z [R, n, d]."""
    y = empty(z.shape, z.dtype)
    _color(*_arrays(factor, z, y))
    return y


def whiten(factor: Tensor, y: Tensor) -> Tensor:
    """A^-1 y of y [R, d]."""
    z = y.clone(memory_format=torch.contiguous_format)
    _whiten(*_arrays(factor, z))
    return z


def adapted(factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
    """A L, where L L^T = decay I + sum over k of w_k z_k z_k^T: z [R, n, d], weights [R, n], decay [R]."""
    result = empty(factor.shape, factor.dtype)
    several = sum(z.shape[1:]) * factor.numel() >= SEVERAL_THREADS
    launch(_adapt_runs, "covariance factors", len(z), several, *_arrays(factor, z, weights, decay, result))
    return result


def _arrays(*parts: Tensor) -> list[np.ndarray]:
    return [part.contiguous().numpy() for part in parts]


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add_products(rows: Any, a: Any, b: Any, triangular: bool) -> None:
    """rows [m, d] += a [m, n] b [n, d]; `triangular`: a is. Whole rows of b are faster than parts of them."""
    dim = rows.shape[1]
    for i in range(len(rows)):
        row, factors = rows[i], a[i]
        for k in range(i + 1 if triangular else len(b)):
            other, factor = b[k], factors[k]
            for j in range(dim):
                row[j] += factor * other[j]


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _cholesky(S: Any) -> None:
    """L^T in place of S = L L^T."""
    dim = len(S)
    for i in range(dim):
        row = S[i]
        for k in range(i):
            other, factor = S[k], S[k, i]
            for j in range(dim):
                row[j] -= factor * other[j]
        row[:i] = 0.0
        scale = 1 / math.sqrt(row[i])
        for j in range(dim):
            row[j] *= scale


@numba.njit(cache=True, error_model="numpy")
def _color(factor, z, y):  # type: ignore[no-untyped-def]
    for r in range(len(z)):
        y[r] = 0.0
        _add_products(y[r], z[r], factor[r].T.copy(), False)


@numba.njit(cache=True, error_model="numpy")
def _whiten(factor, z):  # type: ignore[no-untyped-def]
    for r in range(len(z)):
        for i in range(z.shape[1]):
            for j in range(i):
                z[r, i] -= factor[r, i, j] * z[r, j]
            z[r, i] /= factor[r, i, i]


@numba.njit(cache=True, error_model="numpy")
def _adapt(factor: Any, z: Any, weights: Any, decay: float, result: Any) -> None:
    """Of one run."""
    S = np.diag(np.full(z.shape[1], decay))
    _add_products(S, (weights * z.T).copy(), z, False)
    _cholesky(S)
    result[:] = 0.0
    _add_products(result, factor, S.T.copy(), True)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _adapt_runs(first, stride, runs, factor, z, weights, decay, result):  # type: ignore[no-untyped-def]
    """Every `stride`-th run."""
    for r in range(first, runs, stride):
        _adapt(factor[r], z[r], weights[r], decay[r], result[r])
