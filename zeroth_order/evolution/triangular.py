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

from envs.fused.normals import empty


def covers(factor: Tensor) -> bool:
    """Whether the kernels cover a factor of this place and type."""
    return factor.device.type == "cpu" and factor.dtype in (torch.float32, torch.float64)


def color(factor: Tensor, z: Tensor) -> Tensor:
    """A z_k of z [R, n, d]."""
    y = empty(z.shape, z.dtype)
    _color(factor.contiguous().numpy(), z.contiguous().numpy(), y.numpy())
    return y


def whiten(factor: Tensor, y: Tensor) -> Tensor:
    """A^-1 y of y [R, d]."""
    z = y.clone(memory_format=torch.contiguous_format)
    _whiten(factor.contiguous().numpy(), z.numpy())
    return z


def adapted(factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
    """A L, where L L^T = decay I + sum over k of w_k z_k z_k^T: z [R, n, d], weights [R, n], decay [R]."""
    result = empty(factor.shape, factor.dtype)
    _adapt(*(part.contiguous().numpy() for part in (factor, z, weights, decay, result)))
    return result


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
        row[i:] /= math.sqrt(row[i])


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _color(factor, z, y):  # type: ignore[no-untyped-def]
    for r in numba.prange(len(z)):
        y[r] = 0.0
        _add_products(y[r], z[r], factor[r].T.copy(), False)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _whiten(factor, z):  # type: ignore[no-untyped-def]
    for r in numba.prange(len(z)):
        for i in range(z.shape[1]):
            for j in range(i):
                z[r, i] -= factor[r, i, j] * z[r, j]
            z[r, i] /= factor[r, i, i]


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _adapt(factor, z, weights, decay, result):  # type: ignore[no-untyped-def]
    for r in numba.prange(len(z)):
        S = np.diag(np.full(z.shape[2], decay[r]))
        _add_products(S, (weights[r] * z[r].T).copy(), z[r], False)
        _cholesky(S)
        result[r] = 0.0
        _add_products(result[r], factor[r], S.T.copy(), True)
