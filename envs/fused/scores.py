"""Sums of scores and of their derivatives on the CPU: one numba kernel for all runs, points, episodes and steps.

With s_t = grad log pi(a_t | s_t), the kernel gives, by the chain rule through the tanh network and without storing
activations,

    c_t = <s_t, u>                                    directional derivatives, Pearlmutter's R-operator forwards
    sum_t w_t s_t + a_t (grad^2 log pi_t) u           the R-operator backwards (Pearlmutter 1994)

What automatic differentiation does in the plain path is the definition; a test holds the two together. Sums run in
float64 over the steps of one run and point in order, so they do not depend on what else is in the batch.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import register_jitable
from torch import Tensor

from envs.heads import Categorical, Gaussian
from envs.policies import Network

LARGEST = 500
"""Parameters beyond which automatic differentiation is faster, because it multiplies matrices."""


def supports(policy: Network, params: Tensor) -> bool:
    """Whether the kernel covers this policy, here, and pays."""
    small = policy.dim <= LARGEST
    return small and params.device.type == "cpu" and type(policy.head) in (Categorical, Gaussian)


def directional(policy: Network, params: Tensor, u: Tensor, obs: Tensor, action: Tensor, lengths: Tensor) -> Tensor:
    """<s_t, u> for params and u [R, K, d], [R, K, E, T]; 0 after the end of each episode of `lengths` [R, K, E]."""
    out = torch.zeros(obs.shape[:-1], dtype=params.dtype)
    none = torch.zeros((0,) * 4, dtype=params.dtype)
    direction, unused = _beside_constants(policy, u), torch.zeros((0,) * 3, dtype=torch.float64)
    _run(policy, params, direction, obs, action, lengths, none, none, out, unused)
    return out


def score_sum(
    policy: Network,
    params: Tensor,
    u: Tensor | None,
    obs: Tensor,
    action: Tensor,
    lengths: Tensor,
    w: Tensor,
    a: Tensor,
) -> Tensor:
    """Sum over episodes and steps of w_t s_t + a_t (grad^2 log pi_t) u, [R, K, d]; without u only the first part.

    `w` and `a` are [R, K, E, T].
    """
    out = _beside_constants(policy, torch.zeros(params.shape, dtype=torch.float64))
    direction = torch.zeros((0,) * 3, dtype=params.dtype) if u is None else _beside_constants(policy, u)
    none = torch.zeros((0,) * 4, dtype=params.dtype)
    _run(policy, params, direction, obs, action, lengths, w, a, none, out)
    return out[..., : policy.dim].to(params.dtype)


def _beside_constants(policy: Network, vector: Tensor) -> Tensor:
    """A direction or sum [..., d] with zeros where the parameters are followed by the head's constants."""
    return torch.nn.functional.pad(vector, (0, len(policy.head.constants)))


def _run(
    policy: Network, params: Tensor, u: Tensor, obs: Tensor, action: Tensor, lengths: Tensor,
    w: Tensor, a: Tensor, c: Tensor, total: Tensor,
) -> None:  # fmt: skip
    discrete = isinstance(policy.head, Categorical)
    integers = action if discrete else torch.zeros((0,) * 4, dtype=torch.int64)
    reals = torch.zeros((0,) * 5, dtype=params.dtype) if discrete else action
    sizes = np.array([policy.spec.observation_size, *policy.hidden, policy.head.size])
    arrays = (policy.with_constants(params), u, obs, integers, reals, lengths, w, a, c, total)
    _kernel(sizes, policy.bias, discrete, *(part.detach().contiguous().numpy() for part in arrays))


@register_jitable
def _offset(sizes: Any, bias: bool, layer: int) -> int:
    """Where a layer's weights [out, in] begin in the flat vector; its biases follow."""
    at = 0
    for i in range(layer):
        at += sizes[i + 1] * (sizes[i] + (1 if bias else 0))
    return at


@register_jitable
def _forward(row: Any, direction: Any, second: bool, sizes: Any, bias: bool, h: Any, rh: Any) -> None:
    """Activations h[l] of every layer, the outputs in the last row; and, if `second`, their derivatives along u, rh."""
    last = sizes.size - 1
    for layer in range(last):
        fan_in, fan_out, at = sizes[layer], sizes[layer + 1], _offset(sizes, bias, layer)
        for o in range(fan_out):
            z = row[at + fan_in * fan_out + o] if bias else row.dtype.type(0)
            for i in range(fan_in):
                z += row[at + o * fan_in + i] * h[layer, i]
            h[layer + 1, o] = z if layer == last - 1 else math.tanh(z)
            if second:
                rz = direction[at + fan_in * fan_out + o] if bias else row.dtype.type(0)
                for i in range(fan_in):
                    rz += direction[at + o * fan_in + i] * h[layer, i] + row[at + o * fan_in + i] * rh[layer, i]
                slope = 1.0 if layer == last - 1 else 1.0 - h[layer + 1, o] * h[layer + 1, o]
                rh[layer + 1, o] = slope * rz


@register_jitable
def _head(
    discrete: bool, out: Any, rout: Any, log_std: Any, rlog_std: Any, second: bool,
    action: int, real: Any, g: Any, rg: Any, free: Any, rfree: Any,
) -> None:  # fmt: skip
    """Derivatives of log pi: g by the outputs, free by the free parameters; rg and rfree their derivatives along u."""
    if discrete:
        top, total, mean = out[0], 0.0, 0.0
        for i in range(g.size):
            top = max(top, out[i])
        for i in range(g.size):
            g[i] = math.exp(out[i] - top)
            total += g[i]
        for i in range(g.size):
            g[i] /= total
            if second:
                mean += g[i] * rout[i]
        for i in range(g.size):
            if second:
                rg[i] = -g[i] * (rout[i] - mean)
            g[i] = (1.0 if i == action else 0.0) - g[i]
        return
    for i in range(g.size):
        precision, error = math.exp(-2.0 * log_std[i]), real[i] - out[i]
        g[i], free[i] = error * precision, error * error * precision - 1.0
        if second:
            rg[i] = -(rout[i] + 2.0 * rlog_std[i] * error) * precision
            rfree[i] = -2.0 * error * precision * (rout[i] + rlog_std[i] * error)


@register_jitable
def _backward(
    row: Any, direction: Any, second: bool, sizes: Any, bias: bool, h: Any, rh: Any, rho: Any, delta: Any, total: Any
) -> None:
    """Add to `total` what rho (by weight w, and along u) and delta (by weight a) at the outputs contribute."""
    for layer in range(sizes.size - 2, -1, -1):
        fan_in, fan_out, at = sizes[layer], sizes[layer + 1], _offset(sizes, bias, layer)
        for o in range(fan_out):
            for i in range(fan_in):
                part = rho[layer + 1, o] * h[layer, i]
                if second:
                    part += delta[layer + 1, o] * rh[layer, i]
                total[at + o * fan_in + i] += part
            if bias:
                total[at + fan_in * fan_out + o] += rho[layer + 1, o]
        if layer == 0:
            return
        for i in range(fan_in):
            back, back_delta = 0.0, 0.0
            for o in range(fan_out):
                weight = row[at + o * fan_in + i]
                back += weight * rho[layer + 1, o]
                if second:
                    back += direction[at + o * fan_in + i] * delta[layer + 1, o]
                    back_delta += weight * delta[layer + 1, o]
            slope = 1.0 - h[layer, i] * h[layer, i]
            rho[layer, i] = slope * back
            if second:
                rho[layer, i] -= 2.0 * h[layer, i] * rh[layer, i] * back_delta
                delta[layer, i] = slope * back_delta


@numba.njit(parallel=True, cache=True, nogil=True)
def _kernel(sizes, bias, discrete, params, u, obs, integers, reals, lengths, w, a, c, total):  # type: ignore[no-untyped-def]
    """Fill c where it has room, else add up `total`; second derivatives where there is a direction u."""
    runs, points, episodes = lengths.shape
    directions_only, second = c.size > 0, u.size > 0
    n, depth = sizes[-1], sizes.size
    first_free = _offset(sizes, bias, depth - 1)
    for b in numba.prange(runs * points):
        r, k = b // points, b % points
        row = params[r, k]
        direction = u[r, k] if second else row
        h, rh = np.zeros((depth, sizes.max()), row.dtype), np.zeros((depth, sizes.max()), row.dtype)
        rho, delta = np.zeros((depth, sizes.max())), np.zeros((depth, sizes.max()))
        g, rg, free, rfree = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
        real = np.zeros(n, row.dtype)
        for e in range(episodes):
            for t in range(lengths[r, k, e]):
                for i in range(sizes[0]):
                    h[0, i] = obs[r, k, e, t, i]
                _forward(row, direction, second, sizes, bias, h, rh)
                action = 0
                if discrete:
                    action = integers[r, k, e, t]
                else:
                    real = reals[r, k, e, t]
                _head(
                    discrete, h[depth - 1], rh[depth - 1], row[first_free:], direction[first_free:], second,
                    action, real, g, rg, free, rfree,
                )  # fmt: skip
                if directions_only:
                    slope = 0.0
                    for i in range(n):
                        slope += g[i] * rh[depth - 1, i]
                        if not discrete:
                            slope += free[i] * direction[first_free + i]
                    c[r, k, e, t] = slope
                    continue
                weight, other = w[r, k, e, t], a[r, k, e, t]
                for i in range(n):
                    rho[depth - 1, i] = weight * g[i] + (other * rg[i] if second else 0.0)
                    delta[depth - 1, i] = other * g[i]
                    if not discrete:
                        total[r, k, first_free + i] += weight * free[i] + (other * rfree[i] if second else 0.0)
                _backward(row, direction, second, sizes, bias, h, rh, rho, delta, total[r, k])
