"""A tanh network and its head with derivatives, for n <= LANES steps at once, in float64.

`h` and `rh` [depth, width, LANES] hold activations and their derivatives along a direction u (Pearlmutter's R-operator,
1994), layer by layer. Every inner loop is over lanes and without branches, so it compiles to vector instructions.
"""

from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from envs.fused.elementary import exp_negative, tanh

LANES = 32
"""Steps at a time: activations of small networks stay in the first-level cache."""


@register_jitable
def offset(sizes: Any, bias: bool, layer: int) -> int:
    """Where a layer's weights [out, in] begin in the flat vector; its biases follow."""
    at = 0
    for i in range(layer):
        at += sizes[i + 1] * (sizes[i] + (1 if bias else 0))
    return at


@register_jitable
def _fill(x: Any, value: float, n: int) -> None:
    for s in range(n):
        x[s] = value


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add_products(row: Any, at: int, step: int, x: Any, number: int, n: int, z: Any) -> None:
    """z += sum_i row[at + i step] x[i] over i < number; four terms at a time save loads and stores of z."""
    whole = number - number % 4
    for i in range(0, whole, 4):
        j = at + i * step
        w0, w1, w2, w3 = row[j], row[j + step], row[j + 2 * step], row[j + 3 * step]
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for s in range(n):
            z[s] += w0 * x0[s] + w1 * x1[s] + w2 * x2[s] + w3 * x3[s]
    for i in range(whole, number):
        w, xi = row[at + i * step], x[i]
        for s in range(n):
            z[s] += w * xi[s]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def add_sums(x: Any, y: Any, number: int, n: int, total: Any, at: int) -> None:
    """total[at + i] += sum over the lanes of x y[i], i < number."""
    whole = number - number % 4
    for i in range(0, whole, 4):
        y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for s in range(n):
            t0 += x[s] * y0[s]
            t1 += x[s] * y1[s]
            t2 += x[s] * y2[s]
            t3 += x[s] * y3[s]
        total[at + i] += t0
        total[at + i + 1] += t1
        total[at + i + 2] += t2
        total[at + i + 3] += t3
    for i in range(whole, number):
        yi, t = y[i], 0.0
        for s in range(n):
            t += x[s] * yi[s]
        total[at + i] += t


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def forward(row: Any, u: Any, second: bool, sizes: Any, bias: bool, n: int, h: Any, rh: Any) -> None:
    """Activations of every layer from those in h[0], the outputs in the last; and, if `second`, rh along u."""
    last = sizes.size - 1
    for layer in range(last):
        fan_in, fan_out, at = sizes[layer], sizes[layer + 1], offset(sizes, bias, layer)
        for o in range(fan_out):
            first, first_bias = at + o * fan_in, at + fan_in * fan_out + o
            z, rz = h[layer + 1, o], rh[layer + 1, o]
            _fill(z, row[first_bias] if bias else 0.0, n)
            _add_products(row, first, 1, h[layer], fan_in, n, z)
            if layer < last - 1:
                for s in range(n):
                    z[s] = tanh(z[s])
            if second:
                _fill(rz, u[first_bias] if bias else 0.0, n)
                _add_products(u, first, 1, h[layer], fan_in, n, rz)
                if layer > 0:
                    _add_products(row, first, 1, rh[layer], fan_in, n, rz)
                if layer < last - 1:
                    for s in range(n):
                        rz[s] *= 1.0 - z[s] * z[s]


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def categorical(
    out: Any, rout: Any, second: bool, action: Any, n: int, g: Any, rg: Any, top: Any, total: Any, mean: Any
) -> None:
    """Derivatives g of log pi by the outputs [n actions, LANES], and rg of g along u, at `action` [LANES]."""
    for s in range(n):
        top[s], total[s], mean[s] = out[0, s], 0.0, 0.0
    for i in range(1, len(g)):
        for s in range(n):
            top[s] = max(top[s], out[i, s])
    for i in range(len(g)):
        for s in range(n):
            g[i, s] = exp_negative(out[i, s] - top[s])
            total[s] += g[i, s]
    for i in range(len(g)):
        for s in range(n):
            g[i, s] /= total[s]
    if second:
        for i in range(len(g)):
            for s in range(n):
                mean[s] += g[i, s] * rout[i, s]
        for i in range(len(g)):
            for s in range(n):
                rg[i, s] = g[i, s] * (mean[s] - rout[i, s])
    for i in range(len(g)):
        for s in range(n):
            g[i, s] = (1.0 if action[s] == i else 0.0) - g[i, s]


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def gaussian(
    out: Any, rout: Any, log_std: Any, rlog_std: Any, second: bool, action: Any, n: int,
    g: Any, rg: Any, free: Any, rfree: Any,
) -> None:  # fmt: skip
    """The same for means, and `free` and rfree by the log standard deviations [A], at `action` [A, LANES]."""
    for i in range(len(g)):
        precision, along = np.exp(-2.0 * log_std[i]), rlog_std[i]
        for s in range(n):
            error = action[i, s] - out[i, s]
            g[i, s], free[i, s] = error * precision, error * error * precision - 1.0
        if second:
            for s in range(n):
                error, slope = action[i, s] - out[i, s], rout[i, s]
                rg[i, s] = -(slope + 2.0 * along * error) * precision
                rfree[i, s] = -2.0 * error * precision * (slope + along * error)


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def backward(
    row: Any, u: Any, second: bool, sizes: Any, bias: bool, n: int, h: Any, rh: Any, rho: Any, delta: Any, total: Any
) -> None:
    """Add to `total` what rho (by weight w, and along u) and delta (by weight a) at the outputs contribute."""
    for layer in range(sizes.size - 2, -1, -1):
        fan_in, fan_out, at = sizes[layer], sizes[layer + 1], offset(sizes, bias, layer)
        for o in range(fan_out):
            r, d = rho[layer + 1, o], delta[layer + 1, o]
            add_sums(r, h[layer], fan_in, n, total, at + o * fan_in)
            if second and layer > 0:
                add_sums(d, rh[layer], fan_in, n, total, at + o * fan_in)
            if bias:
                total[at + fan_in * fan_out + o] += _sum(r, n)
        if layer == 0:
            return
        for i in range(fan_in):
            x, rx, back, back_delta = h[layer, i], rh[layer, i], rho[layer, i], delta[layer, i]
            _fill(back, 0.0, n)
            _add_products(row, at + i, fan_in, rho[layer + 1], fan_out, n, back)
            if second:
                _fill(back_delta, 0.0, n)
                _add_products(u, at + i, fan_in, delta[layer + 1], fan_out, n, back)
                _add_products(row, at + i, fan_in, delta[layer + 1], fan_out, n, back_delta)
                for s in range(n):
                    slope = 1.0 - x[s] * x[s]
                    back[s] = slope * back[s] - 2.0 * x[s] * rx[s] * back_delta[s]
                    back_delta[s] *= slope
            else:
                for s in range(n):
                    back[s] *= 1.0 - x[s] * x[s]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _sum(x: Any, n: int) -> float:
    total = 0.0
    for s in range(n):
        total += x[s]
    return total
