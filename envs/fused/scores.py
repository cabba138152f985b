"""Sums of scores and of their derivatives on the CPU: one numba kernel for all runs, points, episodes and steps.

With s_t = grad log pi(a_t | s_t), the kernel gives, by the chain rule through the tanh network and without storing
activations,

    c_t = <s_t, u>                                    directional derivatives, Pearlmutter's R-operator forwards
    sum_t w_t s_t + a_t (grad^2 log pi_t) u           the R-operator backwards (Pearlmutter 1994)

What automatic differentiation does in the plain path is the definition; a test holds the two together. The steps of an
episode lie in SIMD lanes. All is computed in float64, and sums run over the steps of one run and point in order, so
they do not depend on what else is in the batch.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from envs.fused.derivatives import LANES, add_sums, backward, categorical, forward, gaussian, offset
from envs.heads import Categorical, Gaussian
from envs.policies import Network

VECTOR = 16
"""Lanes are filled up to a multiple of this, with repetitions of an episode's last step that have weight 0."""
LARGEST = 4_000
"""Parameters beyond which automatic differentiation has faster gradients, because it multiplies matrices."""


def supports(policy: Network, params: Tensor) -> bool:
    """Whether the kernel covers this policy, here, and pays."""
    small = policy.dim <= LARGEST
    return small and params.device.type == "cpu" and type(policy.head) in (Categorical, Gaussian)


def directional(policy: Network, params: Tensor, u: Tensor, obs: Tensor, action: Tensor, lengths: Tensor) -> Tensor:
    """<s_t, u> for params and u [R, K, d], [R, K, E, T]; 0 after the end of each episode of `lengths` [R, K, E]."""
    out, none = torch.zeros(obs.shape[:-1], dtype=torch.float64), torch.zeros(*lengths.shape, 0)
    _run(policy, params, u, obs, action, lengths, none, none, out, torch.zeros(*lengths.shape[:2], 0))
    return out.to(params.dtype)


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
    _run(policy, params, u, obs, action, lengths, w, a, torch.zeros(*lengths.shape, 0), out)
    return out[..., : policy.dim].to(params.dtype)


def _beside_constants(policy: Network, vector: Tensor) -> Tensor:
    """A direction or sum [..., d] with zeros where the parameters are followed by the head's constants."""
    return torch.nn.functional.pad(vector, (0, len(policy.head.constants)))


def _run(
    policy: Network, params: Tensor, u: Tensor | None, obs: Tensor, action: Tensor, lengths: Tensor,
    w: Tensor, a: Tensor, c: Tensor, total: Tensor,
) -> None:  # fmt: skip
    discrete = isinstance(policy.head, Categorical)
    integers = action if discrete else torch.zeros(*lengths.shape, 0, dtype=torch.int64)
    reals = torch.zeros(*lengths.shape, 0, 0) if discrete else action
    sizes = np.array([policy.spec.observation_size, *policy.hidden, policy.head.size])
    rows = policy.with_constants(params)
    directions = rows if u is None else _beside_constants(policy, u)
    indices = (part.contiguous().numpy() for part in (integers, lengths))
    # One type for both precisions, so that there is one kernel to compile.
    numbers = (part.detach().double().contiguous().numpy() for part in (rows, directions, obs, reals, w, a, c, total))
    _kernel(sizes, policy.bias, discrete, u is not None, *indices, *numbers)


@numba.njit(cache=True, error_model="numpy")
def _load(first: int, length: int, obs: Any, integers: Any, reals: Any, h: Any, integer: Any, real: Any) -> int:
    """Put steps `first` and following of an episode into lanes; returns how many lanes to compute."""
    n = min(LANES, -(-(length - first) // VECTOR) * VECTOR)
    for s in range(n):
        t = min(first + s, length - 1)
        for i in range(obs.shape[1]):
            h[0, i, s] = obs[t, i]
        if len(integers):
            integer[s] = integers[t]
        else:
            for i in range(reals.shape[1]):
                real[i, s] = reals[t, i]
    return n


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _point(sizes, bias, discrete, second, integers, lengths, row, u, obs, reals, w, a, c, total):  # type: ignore[no-untyped-def]
    """The kernel at one point, arguments without the axes R and K."""
    depth, width, outputs = sizes.size, sizes.max(), sizes[-1]
    h, rh = np.empty((depth, width, LANES)), np.empty((depth, width, LANES))
    rho, delta = np.empty((depth, width, LANES)), np.empty((depth, width, LANES))
    g, rg = np.empty((outputs, LANES)), np.empty((outputs, LANES))
    free, rfree = np.empty((outputs, LANES)), np.empty((outputs, LANES))
    integer, real, weight, other = (
        np.empty(LANES, np.int64),
        np.empty((outputs, LANES)),
        np.empty(LANES),
        np.empty(LANES),
    )
    first_free = offset(sizes, bias, depth - 1)
    for e in range(len(lengths)):
        for first in range(0, lengths[e], LANES):
            n = _load(first, lengths[e], obs[e], integers[e], reals[e], h, integer, real)
            forward(row, u, second, sizes, bias, n, h, rh)
            out, rout = h[depth - 1], rh[depth - 1]
            if discrete:
                categorical(out, rout, second, integer, n, g, rg, weight, other, rho[depth - 1, 0])
            else:
                gaussian(out, rout, row[first_free:], u[first_free:], second, real, n, g, rg, free, rfree)
            steps = min(n, lengths[e] - first)
            if c.size:
                for s in range(steps):
                    slope = 0.0
                    for i in range(outputs):
                        slope += g[i, s] * rout[i, s]
                        if not discrete:
                            slope += free[i, s] * u[first_free + i]
                    c[e, first + s] = slope
                continue
            for s in range(n):
                weight[s] = w[e, first + s] if s < steps else 0.0
                other[s] = a[e, first + s] if s < steps else 0.0
            for i in range(outputs):
                for s in range(n):
                    rho[depth - 1, i, s] = weight[s] * g[i, s]
                    delta[depth - 1, i, s] = other[s] * g[i, s]
                if second:
                    for s in range(n):
                        rho[depth - 1, i, s] += other[s] * rg[i, s]
            if not discrete:
                add_sums(weight, free, outputs, n, total, first_free)
                if second:
                    add_sums(other, rfree, outputs, n, total, first_free)
            backward(row, u, second, sizes, bias, n, h, rh, rho, delta, total)


@numba.njit(parallel=True, cache=True, nogil=True)
def _kernel(sizes, bias, discrete, second, integers, lengths, params, u, obs, reals, w, a, c, total):  # type: ignore[no-untyped-def]
    """Fill c where it has room, else add up `total`; second derivatives along u if `second`."""
    runs, points, _ = lengths.shape
    for b in numba.prange(runs * points):
        r, k = b // points, b % points
        _point(
            sizes, bias, discrete, second, integers[r, k], lengths[r, k], params[r, k], u[r, k], obs[r, k], reals[r, k],
            w[r, k], a[r, k], c[r, k], total[r, k],
        )  # fmt: skip
