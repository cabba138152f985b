"""The CPU backend: episodes dealt out in tasks to the kernel that plays them. See README.md."""

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from envs.core import Discrete, Env
from envs.fused.core import Episodes, head_kind
from envs.fused.dynamics import DYNAMICS
from envs.fused.kernel import kernel_of
from envs.fused.lanes import LANES
from envs.fused.launch import launch
from envs.heads import Categorical, Gaussian, Greedy
from envs.policies import Network
from envs.random import Purpose, Stream

SMALL = 512
"""Parameters of a policy so few that lanes with different policies find all of them in the first-level cache."""
SEVERAL_CORES = 10**7
"""Multiplications, a few milliseconds, from which it pays to wake other threads."""


def supports(env: Env, policy: Network) -> bool:
    """Whether there is a kernel for this pair."""
    return env.device.type == "cpu" and type(env) in DYNAMICS and type(policy.head) in (Categorical, Gaussian, Greedy)


class Layout(NamedTuple):
    """How episodes, in the order of runs and points, are dealt out."""

    span: int
    """Episodes that may lie side by side: those of a policy, or all."""
    block: int
    """At most so many of a span make a task."""
    side_by_side: int
    """Lanes in use from which all of them go through the network together, rather than one after the other."""


def layout(policy: Network, policies: int, episodes: int) -> Layout:
    """Found by measuring; it has no influence on results."""
    units = sum(-(-n_out // (2 * LANES)) * (40 + 5 * n_in) for n_in, n_out in policy.widths)
    together = sum(n_out * (n_in + 16) for n_in, n_out in policy.widths)
    mixed = policies > 1 and episodes < LANES // 4 and policy.dim <= SMALL
    span = policies * episodes if mixed else episodes
    cores = numba.config.NUMBA_NUM_THREADS
    block = span if policies * episodes // span >= cores else -(-span // cores)
    return Layout(span, max(block, LANES), LANES + 1 if mixed else 1 + together // units)


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
    """E episodes at every point of params [R, K, d]; what follows their end in a trajectory is not written."""
    runs, points, dim = params.shape
    count, size, observed = runs * points * episodes, policy.head.size, env.spec.observation_size
    steps, real = count * store, np.float32 if params.dtype == torch.float32 else np.float64
    discrete = isinstance(env.spec.action, Discrete)
    out = (
        np.empty(count, real), np.empty(count, np.int64), np.empty(count, np.bool_), np.empty((count, observed), real),
        np.empty((steps, env.spec.horizon, observed), real),
        np.empty((steps * discrete, env.spec.horizon), np.int64),
        np.empty((steps * (not discrete), env.spec.horizon, size), real),
        np.empty((steps, env.spec.horizon), real), np.empty((steps, env.spec.horizon), real),
    )  # fmt: skip
    counter = torch.as_tensor(stream.counter).expand(runs).contiguous()
    dynamics, plan = DYNAMICS[type(env)], layout(policy, runs * points, episodes)
    launch(
        kernel_of(dynamics), f"{type(env).__name__} in {params.dtype}",
        count // plan.span * -(-plan.span // plan.block), count * env.spec.horizon * dim > SEVERAL_CORES,
        *plan, policy.with_constants(params.detach()).contiguous().view(runs * points, -1).numpy(),
        np.array([observed, *policy.hidden, size]), policy.bias, head_kind(policy.head), policy.head.draws,
        dim - policy.head.extra, stream.seeds.numpy(), counter.numpy(),
        *(stream.fold(purpose).path for purpose in (Purpose.RESET, Purpose.ACTION, Purpose.TRANSITION)),
        dynamics.rows(env.spec), env.spec.reset_draws, env.spec.transition_draws,
        tuple(table.contiguous().numpy() for table in dynamics.tables(env)),
        points, episodes, 0 if common else point_lanes, env.spec.horizon, float(discount), store, *out,
    )  # fmt: skip
    found = [torch.from_numpy(part).view(runs, points, -1, *part.shape[1:]) for part in out]
    return Episodes._make((*found[:5], found[5 if discrete else 6], *found[7:]))
