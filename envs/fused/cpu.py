"""The CPU backend: episodes dealt out in tasks to the kernel that plays them. See README.md."""

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from envs.core import Discrete, Env
from envs.fused.core import head_kind
from envs.fused.dynamics import DYNAMICS
from envs.fused.kernel import kernel_of
from envs.fused.lanes import LANES
from envs.fused.launch import launch
from envs.fused.trajectories import STEPS, Played, record_width
from envs.heads import Categorical, Gaussian, Greedy
from envs.policies import Network
from envs.random import Purpose, Stream

SHARED = 3 * 2**17
"""Bytes of policies, one in each lane, that the second-level cache has room for."""
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
    widths = policy.widths
    units = sum(60 + n_in * -(-n_out // LANES) for n_in, n_out in widths)
    together = sum(150 + n_out * (n_in + LANES) for n_in, n_out in widths)
    parameters = sum(n_out * (n_in + 1) for n_in, n_out in widths)
    mixed = policies > 1 and episodes < LANES // 4 and LANES * parameters * 4 <= SHARED
    span = policies * episodes if mixed else episodes
    cores = numba.config.NUMBA_NUM_THREADS
    block = span if policies * episodes // span >= cores else -(-span // cores)
    return Layout(span, max(block, LANES), LANES + 1 if mixed else min(1 + together // units, LANES))


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
) -> Played:
    """E episodes at every point of params [R, K, d]."""
    spec, head, (runs, points, dim) = env.spec, policy.head, params.shape
    policies, size, observed, horizon = runs * points, head.size, spec.observation_size, spec.horizon
    count, real = policies * episodes, np.float32 if params.dtype == torch.float32 else np.float64
    width = record_width(observed, 1 if isinstance(spec.action, Discrete) else size)
    blocks = -(-horizon // STEPS) if store else 0
    total, lengths, terminated = np.empty(count, real), np.empty(count, np.int64), np.empty(count, np.bool_)
    last_obs, blocks_of = np.empty((count, observed), real), np.empty((count, blocks), np.int64)
    stored = np.empty((count * blocks, STEPS, width), real)
    dynamics, plan = DYNAMICS[type(env)], layout(policy, policies, episodes)
    launch(
        kernel_of(dynamics), f"{type(env).__name__} in {params.dtype}",
        count // plan.span * -(-plan.span // plan.block), count * horizon * dim > SEVERAL_CORES,
        *plan, np.ascontiguousarray(policy.with_constants(params.detach()).numpy()).reshape(policies, -1),
        np.array([observed, *policy.hidden, size]), policy.bias, head_kind(head), head.draws,
        dim - head.extra, stream.seeds.numpy(), np.full(runs, stream.counter),
        *(stream.fold(purpose).path for purpose in (Purpose.RESET, Purpose.ACTION, Purpose.TRANSITION)),
        dynamics.rows(spec), spec.reset_draws, spec.transition_draws,
        tuple(table.contiguous().numpy() for table in dynamics.tables(env)),
        points, episodes, 0 if common else point_lanes, horizon, float(discount), store,
        total, lengths, terminated, last_obs, stored, blocks_of,
    )  # fmt: skip
    parts = (total, lengths, terminated, last_obs)
    found = [torch.from_numpy(part).view(runs, points, episodes, *part.shape[1:]) for part in parts]
    return Played(found[0], found[1], found[2], found[3], stored, blocks_of)
