"""The CPU backend: one numba kernel for environment, policy, sampling and the whole time loop.

Policies outside, time inside, one episode after the other: state, weights and activations stay in the first-level
cache, and an episode costs as many steps as it has. Draws come from the same counters as in the plain rollout, so both
follow the same episodes up to rounding. Compiled once per environment and precision, then cached on disk.
"""

import math
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba.extending import register_jitable
from torch import Tensor

from envs.core import Env
from envs.fused.dynamics import DYNAMICS, Dynamics
from envs.heads import Categorical, Gaussian, Greedy, Head
from envs.policies import Network
from envs.random import MASK, MULTIPLIERS, ROUNDS, WEYL, Purpose, Stream

CATEGORICAL, GAUSSIAN, ARGMAX, MEAN = range(4)
LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


class Episodes(NamedTuple):
    """What the kernel wrote. The last four hold trajectories where they were asked for, 0 after their end."""

    total: Tensor
    """[R, K, E] discounted return"""
    lengths: Tensor
    """[R, K, E] int64"""
    terminated: Tensor
    """[R, K, E] bool, at the last step"""
    last_obs: Tensor
    """[R, K, E, O]"""
    obs: Tensor
    """[R, K, E, T, O]"""
    action: Tensor
    """[R, K, E, T] or [R, K, E, T, A]"""
    log_prob: Tensor
    """[R, K, E, T]"""
    reward: Tensor
    """[R, K, E, T]"""


def supports(env: Env, policy: Network) -> bool:
    """Whether there is a kernel for this pair."""
    return env.device.type == "cpu" and type(env) in DYNAMICS and type(policy.head) in (Categorical, Gaussian, Greedy)


@torch.no_grad()
def simulate(
    env: Env,
    policy: Network,
    params: Tensor,
    episodes: int,
    stream: Stream,
    discount: float,
    common: bool,
    point_lanes: int,
    store: bool,
) -> Episodes:
    """E episodes at every point of params [R, K, d]."""
    shape = (*params.shape[:2], episodes)
    steps = (*shape, env.spec.horizon) if store else (0, 0, 0, 0)
    dtype, size = params.dtype, policy.head.size
    discrete = isinstance(policy.head, Categorical) or (isinstance(policy.head, Greedy) and policy.head.discrete)
    out = Episodes(
        torch.zeros(shape, dtype=dtype),
        torch.zeros(shape, dtype=torch.int64),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(*shape, env.spec.observation_size, dtype=dtype),
        torch.empty(*steps, env.spec.observation_size, dtype=dtype),
        torch.empty(steps, dtype=torch.int64) if discrete else torch.empty(*steps, size, dtype=dtype),
        torch.empty(steps, dtype=dtype),
        torch.empty(steps, dtype=dtype),
    )
    integers, reals = (out.action, torch.zeros(0, 0, 0, 0, 0, dtype=dtype)) if discrete else (
        torch.zeros(0, 0, 0, 0, dtype=torch.int64), out.action,
    )  # fmt: skip
    counter = torch.as_tensor(stream.counter).expand(shape[0])
    sizes = np.array([env.spec.observation_size, *policy.hidden, size])
    _kernel(DYNAMICS[type(env)])(
        _inputs_first(policy, params), sizes, policy.bias, _head_kind(policy.head), policy.head.draws,
        stream.seeds.numpy(), np.ascontiguousarray(counter.numpy()),
        stream.fold(Purpose.RESET).path, stream.fold(Purpose.ACTION).path, env.spec.reset_draws,
        0 if common else point_lanes, env.spec.horizon, float(discount), store,
        *(part.numpy() for part in (*out[:5], integers, reals, *out[6:])),
    )  # fmt: skip
    return out


def _head_kind(head: Head) -> int:
    if isinstance(head, Greedy):
        return ARGMAX if head.discrete else MEAN
    return CATEGORICAL if isinstance(head, Categorical) else GAUSSIAN


def _inputs_first(policy: Network, params: Tensor) -> Any:
    """The parameters [R, K, d] with every weight matrix laid out [in, out], so that the inner loop is over outputs."""
    weights = policy.unpack(params)
    parts = []
    for weight, bias in weights.layers:
        parts += [weight.flatten(1)] + ([] if bias is None else [bias[:, 0]])
    return torch.cat([*parts, weights.extra[:, 0]], -1).view(params.shape).numpy()


@register_jitable
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, words: Any) -> None:
    """`envs.random.philox` for one counter, into words [4]."""
    mask, shift = np.uint64(MASK), np.uint64(32)
    for i in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        round_key0 = (k0 + np.uint64(i) * np.uint64(WEYL[0])) & mask
        round_key1 = (k1 + np.uint64(i) * np.uint64(WEYL[1])) & mask
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ round_key0, p1 & mask, (p0 >> shift) ^ c3 ^ round_key1, p0 & mask
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


@register_jitable
def _draw(start: int, lane: int, counter: int, path: int, seed: Any, words: Any, block: int, out: Any) -> int:
    """Uniforms start .. start + out.size of a sequence; `words` holds block `block`. Returns the block held now."""
    for i in range(out.size):
        needed = (start + i) // 4
        if needed != block:
            block = needed
            low, high = np.uint64(seed) & np.uint64(MASK), np.uint64(seed) >> np.uint64(32)
            _philox(np.uint64(block), np.uint64(lane), np.uint64(counter), np.uint64(path), low, high, words)
        out[i] = (np.float64(words[(start + i) % 4] >> np.uint64(9)) + 0.5) * 2.0**-23
    return block


@register_jitable
def _forward(row: Any, sizes: Any, bias: bool, x: Any, y: Any) -> int:
    """Run the network on x in place, with y as scratch; returns where the free parameters begin in `row`."""
    at = 0
    for layer in range(sizes.size - 1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        first_bias = at + fan_in * fan_out
        for o in range(fan_out):
            y[o] = row[first_bias + o] if bias else row.dtype.type(0.0)
        for i in range(fan_in):
            value = x[i] if layer == 0 else math.tanh(x[i])
            for o in range(fan_out):
                y[o] += row[at + i * fan_out + o] * value
        at = first_bias + (fan_out if bias else 0)
        for o in range(fan_out):
            x[o] = y[o]
    return at


@register_jitable
def _categorical(logits: Any, n: int, uniform: float) -> tuple[int, float]:
    """Action and log-probability, as `envs.heads.Categorical.sample`."""
    top = logits[0]
    for i in range(1, n):
        top = max(top, logits[i])
    total = 0.0
    for i in range(n):
        total += math.exp(logits[i] - top)
    action, cumulative = 0, 0.0
    for i in range(n - 1):
        cumulative += math.exp(logits[i] - top) / total
        if uniform > cumulative:
            action = i + 1
    return action, logits[action] - top - math.log(total)


@register_jitable
def _normal(uniform: Any, i: int) -> float:
    """Normal i of the pairs in `uniform`, as `envs.random.box_muller`."""
    pair = i - i % 2
    radius, angle = math.sqrt(-2.0 * math.log(uniform[pair])), 2.0 * math.pi * uniform[pair + 1]
    return radius * (math.cos(angle) if i % 2 == 0 else math.sin(angle))


def _sources() -> int:
    """Checksum of the files that kernels are built from."""
    modules = {Stream.__module__, Dynamics.__module__, *(env.__module__ for env in DYNAMICS)}
    return zlib.crc32(b"".join(Path(str(sys.modules[name].__file__)).read_bytes() for name in sorted(modules)))


@cache
def _kernel(dynamics: Dynamics) -> Callable[..., None]:
    state_size, reset, step, observe = dynamics
    sources = _sources()

    @numba.njit(parallel=True, cache=True, nogil=True)
    def kernel(  # type: ignore[no-untyped-def]
        params, sizes, bias, head, draws, seeds, counters, reset_path, action_path, reset_draws,
        point_lanes, horizon, discount, store,
        total, lengths, terminated, last_obs, obs_out, integers, reals, log_probs, rewards,
    ):  # fmt: skip
        sources  # noqa: B018  # numba's disk cache watches this file and the closure, not the files behind it
        runs, points, episodes = total.shape
        for b in numba.prange(runs * points):
            r, k = b // points, b % points
            row, n = params[r, k], sizes[-1]
            state = np.empty(state_size, row.dtype)
            x, y = np.empty(sizes.max(), row.dtype), np.empty(sizes.max(), row.dtype)
            obs, real = np.empty(sizes[0], row.dtype), np.empty(n, row.dtype)
            words, start = np.empty(4, np.uint64), np.empty(reset_draws, row.dtype)
            noise = np.empty(draws + draws % 2 if head == GAUSSIAN else draws, row.dtype)
            for e in range(episodes):
                lane = k * point_lanes + e
                _draw(0, lane, counters[r], reset_path, seeds[r], words, -1, start)
                reset(state, start)
                observe(state, obs)
                block, weight, length = -1, 1.0, 0
                for t in range(horizon):
                    for i in range(obs.size):
                        x[i] = obs[i]
                    free = _forward(row, sizes, bias, x, y)
                    action, log_prob = 0, 0.0
                    if head == CATEGORICAL:
                        block = _draw(t, lane, counters[r], action_path, seeds[r], words, block, noise)
                        action, log_prob = _categorical(x, n, noise[0])
                    elif head == GAUSSIAN:
                        # Normal i of the sequence comes from the pair of uniforms that begins at i - i % 2.
                        first = t * n - (t * n) % 2
                        block = _draw(first, lane, counters[r], action_path, seeds[r], words, block, noise)
                        for i in range(n):
                            z = _normal(noise, t * n - first + i)
                            real[i] = x[i] + math.exp(row[free + i]) * z
                            log_prob -= 0.5 * z * z + row[free + i] + LOG_SQRT_TWO_PI
                    elif head == ARGMAX:
                        for i in range(1, n):
                            if x[i] > x[action]:
                                action = i
                    else:
                        for i in range(n):
                            real[i] = x[i]
                    if store:
                        obs_out[r, k, e, t] = obs
                        log_probs[r, k, e, t] = log_prob
                        if head in (CATEGORICAL, ARGMAX):
                            integers[r, k, e, t] = action
                        else:
                            reals[r, k, e, t] = real
                    reward, done = step(state, action, real)
                    observe(state, obs)
                    if store:
                        rewards[r, k, e, t] = reward
                    total[r, k, e] += weight * reward
                    weight *= discount
                    length += 1
                    if done:
                        terminated[r, k, e] = True
                        break
                lengths[r, k, e] = length
                if store:
                    obs_out[r, k, e, length:] = 0.0
                    log_probs[r, k, e, length:] = 0.0
                    rewards[r, k, e, length:] = 0.0
                    if head in (CATEGORICAL, ARGMAX):
                        integers[r, k, e, length:] = 0
                    else:
                        reals[r, k, e, length:] = 0.0
                last_obs[r, k, e] = obs

    return kernel
