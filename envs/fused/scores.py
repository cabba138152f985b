"""Sums of scores and of their derivatives on the CPU: one numba kernel for all runs, points, episodes and steps.

With s_t = grad log pi(a_t | s_t), the kernel gives, by the chain rule through the tanh network and without storing
activations,

    c_t = <s_t, u>                                    directional derivatives, Pearlmutter's R-operator forwards
    sum_t w_t s_t + a_t (grad^2 log pi_t) u           the R-operator backwards (Pearlmutter 1994)

What automatic differentiation does in the plain path is the definition; a test holds the two together. The steps of a
run and point lie in SIMD lanes, one episode after the other. All is computed in the precision of the parameters but the
sum over steps, which is float64 from block to block; it runs over the steps of one run and point in order, so it does
not depend on what else is in the batch.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from envs.fused.core import Array
from envs.fused.derivatives import add_gradients, backward, categorical, forward, gaussian, weights_before
from envs.fused.lanes import LANES, compiled, load, store
from envs.fused.launch import launch, sources
from envs.heads import Categorical, Gaussian
from envs.policies import Network

LARGEST = 70_000
"""Parameters up to which the kernel was found to be at least as fast as automatic differentiation."""
NO_INTEGERS = np.empty(0, np.int64)
BLOCKS = 8
"""Times LANES steps together: enough for few sums over lanes, and few enough for activations to stay in a cache."""
SEVERAL_CORES = 10**7
"""Multiplications, a few milliseconds, from which it pays to wake other threads."""


def supports(policy: Network, params: Tensor) -> bool:
    """Whether the kernel covers this policy, here, and pays."""
    small = policy.dim <= LARGEST
    return small and params.device.type == "cpu" and type(policy.head) in (Categorical, Gaussian)


def directional(policy: Network, params: Tensor, u: Tensor, obs: Tensor, action: Tensor, lengths: Tensor) -> Tensor:
    """<s_t, u> for params and u [R, K, d], [R, K, E, T]; 0 after the end of each episode of `lengths` [R, K, E]."""
    out = params.new_zeros(obs.shape[:-1])
    _run(policy, params, u, obs, action, lengths, None, None, out, None)
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
    constants = len(policy.head.constants)
    out = params.new_empty((*params.shape[:-1], policy.dim + constants))
    _run(policy, params, u, obs, action, lengths, w, a, None, out)
    return out[..., : policy.dim] if constants else out


def _run(
    policy: Network, params: Tensor, u: Tensor | None, obs: Tensor, action: Tensor, lengths: Tensor,
    w: Tensor | None, a: Tensor | None, c: Tensor | None, total: Tensor | None,
) -> None:  # fmt: skip
    """Write c or `total`, whichever is given."""
    runs, points, episodes = lengths.shape
    discrete, constants = isinstance(policy.head, Categorical), len(policy.head.constants)
    sizes = np.array([policy.spec.observation_size, *policy.hidden, policy.head.size])
    rows, steps, dim = policy.with_constants(params.detach()), obs.shape[3], params.shape[-1]
    if u is not None and constants:
        u = torch.nn.functional.pad(u, (0, constants))  # they do not move
    none, reals = np.empty(0, rows.numpy().dtype), (rows, u, obs, None if discrete else action, w, a, c, total)
    launch(
        _kernel(), f"scores in {params.dtype}", runs * points, lengths.numel() * steps * dim > SEVERAL_CORES,
        sizes, policy.bias, discrete, u is not None, c is not None, dim + constants, episodes, steps, _flat(lengths),
        _flat(action) if discrete else NO_INTEGERS, *(none if part is None else _flat(part) for part in reals),
    )  # fmt: skip


def _flat(part: Tensor) -> Array:
    return part.contiguous().numpy().reshape(-1)


@compiled
def _place(lengths: Any, last: int, e: int, t: int, steps: int, at: Any, to: int) -> tuple[int, int, int]:
    """Which steps the next LANES are, into at[to:], from step t of episode e on; the step that follows, their number.

    Lanes after the last step of episode `last` - 1 repeat it.
    """
    n = 0
    for i in range(LANES):
        while e < last and t >= lengths[e]:
            e, t = e + 1, 0
        if e < last:
            at[to + i], n, t = e * steps + t, n + 1, t + 1
        elif n > 0:
            at[to + i] = at[to + n - 1]
    return e, t, n


@compiled
def _gather(source: Any, at: Any, first: int, width: int, rows: Any, to: int) -> None:
    """Numbers [N, width] of the steps in at[first:], as rows [width, LANES] that begin at entry `to`."""
    for i in range(LANES):
        start, row = at[np.uint64(first + i)] * width, to + i
        for k in range(width):
            rows[np.uint64(row + k * LANES)] = source[np.uint64(start + k)]


@cache
def _kernel() -> Callable[..., None]:
    checksum = sources()

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def kernel(  # type: ignore[no-untyped-def]
        first_task, stride, tasks, sizes, bias, discrete, second, only_slopes, dim, episodes, steps, lengths, integers,
        params, u, obs, reals, w, a, c, total,
    ):  # fmt: skip
        """Of a run and point each: c if `only_slopes`, else `total`; second derivatives along u if `second`."""
        checksum  # noqa: B018
        real, n, observed = obs.dtype, sizes[-1], sizes[0]
        extra = 0 if discrete else n
        size = (sizes.sum() + extra) * LANES
        free = weights_before(sizes, bias, sizes.size - 1)
        # Two units at a time are read, so a row follows the last one.
        h, rh = np.zeros(BLOCKS * size + LANES, real), np.zeros(BLOCKS * size + LANES, real)
        rho, delta = np.zeros(BLOCKS * size + LANES, real), np.zeros(BLOCKS * size + LANES, real)
        actions, slopes = np.zeros(BLOCKS * n * LANES, real), np.zeros(LANES, real)
        weight, other = np.zeros(BLOCKS * LANES, real), np.zeros(BLOCKS * LANES, real)
        at, filled, sums = np.zeros(BLOCKS * LANES, np.int64), np.zeros(BLOCKS, np.int64), np.zeros(dim)
        for task in range(first_task, tasks, stride):
            e, t, last, start = task * episodes, 0, (task + 1) * episodes, task * dim
            sums[:] = 0.0
            while True:
                blocks = 0
                while blocks < BLOCKS:
                    to = blocks * LANES
                    e, t, filled[blocks] = _place(lengths, last, e, t, steps, at, to)
                    if filled[blocks] == 0:
                        break
                    _gather(obs, at, to, observed, h, blocks * size)
                    if discrete:
                        _gather(integers, at, to, 1, actions, to)
                    else:
                        _gather(reals, at, to, n, actions, to * n)
                    if not only_slopes:
                        _gather(w, at, to, 1, weight, to)
                        _gather(a, at, to, 1, other, to)
                        for i in range(to + filled[blocks], to + LANES):
                            weight[i], other[i] = 0.0, 0.0
                    blocks += 1
                if blocks == 0:
                    break
                outputs = forward(params, u, start, second, sizes, bias, h, rh, size, blocks)
                for b in range(blocks):
                    to, y = b * LANES, outputs + b * size
                    w_t, a_t = load(weight, to), load(other, to)
                    if discrete:
                        slope = categorical(h, rh, second, y, n, load(actions, to), w_t, a_t, rho, delta)
                    else:
                        slope = gaussian(
                            h, rh, second, y, n, params, u, start + free, actions, to * n, w_t, a_t, rho, delta
                        )
                    if only_slopes:
                        store(slopes, 0, slope)
                        for i in range(filled[b]):
                            c[at[to + i]] = slopes[i]
                if not only_slopes:
                    backward(params, u, start, second, sizes, bias, h, rh, rho, delta, size, blocks)
                    add_gradients(sums, second, sizes, bias, extra, h, rh, rho, delta, size, blocks)
            if not only_slopes:
                for i in range(dim):
                    total[start + i] = sums[i]

    return kernel
