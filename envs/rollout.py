"""Rollouts: policies [R, K, d] x E episodes, with masks, time limits and accounting in one place.

`rollout` stores trajectories, `returns` only sums rewards. The plain backend steps all lanes together in `_steps`; an
episode that is over keeps being stepped there, but nothing of it is counted, rewarded or stored. It is the definition
of correct; a kernel ("fused" on a CPU, "triton" on a GPU), where there is one, follows the same draws to the same
episodes up to rounding.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from envs.core import Cost, Env, EnvSpec, State
from envs.fused import cpu, trajectories, triton
from envs.fused.core import Episodes
from envs.heads import Head
from envs.policies import Network
from envs.random import Purpose, Stream

BLOCK = 32
"""Time steps drawn and summed at once; a multiple of 4, the words of a Philox block."""
POINT_LANES = 1 << 20
"""Lane of episode e at point k is k * POINT_LANES + e, so more episodes do not change the first ones."""


Chosen: TypeAlias = Literal["plain", "fused", "triton"]
"""Eager torch; the kernel for CPUs; the one for GPUs, which TRITON_INTERPRET=1 runs on a CPU, slowly, for tests."""
Backend: TypeAlias = Literal["auto", "plain", "fused", "triton"]
"""auto: a kernel where there is one for the environment, the policy and the device, else plain."""


class Trajectory(NamedTuple):
    """E episodes at each of K points of R runs. Everything outside the mask is 0.

    T is the longest episode rounded up to a multiple of BLOCK, at most the horizon. It depends on all runs together; so
    that run r alone and among others gives the same bits, sums over time go block by block, where more blocks add 0.
    """

    obs: Tensor
    """[R, K, E, T, O]"""
    action: Tensor
    """[R, K, E, T] int64, or [R, K, E, T, A]"""
    log_prob: Tensor
    """[R, K, E, T]"""
    reward: Tensor
    """[R, K, E, T]"""
    terminated: Tensor
    """[R, K, E, T] bool, at the last step of an episode that the dynamics ended"""
    truncated: Tensor
    """[R, K, E, T] bool, at the last step of an episode that was cut; both flags may be set"""
    mask: Tensor
    """[R, K, E, T] bool, True where a step was taken"""
    last_obs: Tensor
    """[R, K, E, O] after the last step"""
    cost: Cost


class Returns(NamedTuple):
    """What `returns` found."""

    values: Tensor
    """[R, K] mean discounted return over the episodes that did not fail; NaN where all did"""
    episodes: Tensor
    """[R, K, E] discounted return of each; NaN or infinite where an episode failed"""
    lengths: Tensor
    """[R, K, E] int64"""
    cost: Cost


class _Step(NamedTuple):
    obs: Tensor
    action: Tensor
    log_prob: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    next_obs: Tensor


def backend_for(env: Env, policy: Network, backend: Backend = "auto") -> Chosen:
    """The backend that is used. Raises ValueError where a kernel is asked for and there is none, and says why."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend = {backend!r} is not one of {', '.join(map(repr, get_args(Backend)))}")
    if backend == "auto":
        if env.device.type == "cuda":
            return "plain" if triton.obstacle(env, policy) else "triton"
        return "fused" if cpu.supports(env, policy) else "plain"
    if backend == "fused" and not cpu.supports(env, policy):
        raise ValueError(f"backend = 'fused' has no kernel for {env.spec.id} on {env.device.type}")
    if backend == "triton" and (obstacle := triton.obstacle(env, policy)):
        raise ValueError(f"backend = 'triton' {obstacle}")
    return backend


def rollout(
    env: Env,
    policy: Network,
    params: Tensor,
    episodes: int,
    stream: Stream,
    common: bool = False,
    backend: Backend = "auto",
) -> Trajectory:
    """Sample E = `episodes` trajectories at every point of params [R, K, d].

    With `common`, the K points of a run see the same random numbers. Raises ValueError on a bad argument.
    """
    _check(env, policy, params, episodes, stream)
    if (chosen := backend_for(env, policy, backend)) == "fused":
        played = cpu.simulate(env, policy, params, episodes, stream, 1.0, common, POINT_LANES, store=True)
        return _from_fused(played, env.spec)
    if chosen == "triton":
        found = _triton()(env, policy, params, episodes, stream, 1.0, common, POINT_LANES, store=True)
        return _from_triton(found, env.spec.horizon)
    shape, horizon = (*params.shape[:2], episodes), env.spec.horizon
    buffers: list[Tensor] = []
    last_obs = params.new_zeros(*shape, env.spec.observation_size)
    t = 0
    for t, step in enumerate(_steps(env, policy, params, episodes, stream, common)):
        parts = list(step[:-1])
        if not buffers:
            buffers = [part.new_zeros(*shape, horizon, *part.shape[3:]) for part in parts]
        for buffer, part in zip(buffers, parts, strict=True):
            buffer[:, :, :, t] = part
        last_obs = torch.where(step.mask[..., None], step.next_obs, last_obs)
    steps = min(t // BLOCK * BLOCK + BLOCK, horizon)
    whole = _outside_zero([buffer[:, :, :, :steps] for buffer in buffers[:-1]], buffers[-1][:, :, :, :steps])
    return Trajectory._make((*whole, last_obs, _cost(buffers[-1].sum(-1))))


def _outside_zero(parts: list[Tensor], mask: Tensor) -> list[Tensor]:
    """Contiguous parts [R, K, E, T, ...] with 0 outside the mask [R, K, E, T], and the mask."""
    outside = ~mask
    fill = [part.contiguous().masked_fill_(outside if part.dim() == 4 else outside[..., None], 0) for part in parts]
    return [*fill, mask]


def returns(
    env: Env,
    policy: Network,
    params: Tensor,
    episodes: int,
    stream: Stream,
    discount: float = 1.0,
    common: bool = False,
    backend: Backend = "auto",
) -> Returns:
    """Mean discounted return of E = `episodes` episodes at every point of params [R, K, d], without storing them.

    Arguments as for `rollout`.
    """
    _check(env, policy, params, episodes, stream)
    if (chosen := backend_for(env, policy, backend)) == "fused":
        played = cpu.simulate(env, policy, params, episodes, stream, discount, common, POINT_LANES, store=False)
        return Returns(trajectories.means(played.total), played.total, played.lengths, _cost(played.lengths))
    if chosen == "triton":
        found = _triton()(env, policy, params, episodes, stream, discount, common, POINT_LANES, store=False)
        return Returns(_means(found.total), found.total, found.lengths, _cost(found.lengths))
    total = params.new_zeros(*params.shape[:2], episodes)
    lengths = torch.zeros_like(total, dtype=torch.int64)
    for t, step in enumerate(_steps(env, policy, params, episodes, stream, common)):
        total = total + torch.where(step.mask, step.reward, 0.0) * discount**t
        lengths += step.mask
    return Returns(_means(total), total, lengths, _cost(lengths))


def _triton() -> Callable[..., Episodes]:
    from envs.fused.triton.launch import simulate  # needs Triton

    return simulate


def _means(total: Tensor) -> Tensor:
    """Of the finite ones of [R, K, E]."""
    finite = torch.isfinite(total)
    return torch.where(finite, total, 0.0).sum(-1) / finite.sum(-1)


def _from_fused(played: trajectories.Played, spec: EnvSpec) -> Trajectory:
    steps = _longest(played.lengths, spec.horizon)
    parts = trajectories.cut(played, steps, spec)
    return Trajectory._make((*parts, played.last_obs, _cost(played.lengths)))


def _from_triton(found: Episodes, horizon: int) -> Trajectory:
    device, lengths = found.lengths.device, found.lengths[..., None]
    steps = _longest(lengths, horizon) if device.type == "cpu" else horizon  # on a GPU, the host would have to wait
    time = torch.arange(steps, device=device)
    last = time == lengths - 1
    flags = (last & found.terminated[..., None], last & (lengths == horizon), time < lengths)
    stored = (part[:, :, :, :steps].contiguous() for part in (found.obs, found.action, found.log_prob, found.reward))
    return Trajectory._make((*stored, *flags, found.last_obs, _cost(found.lengths)))


def _longest(lengths: Tensor, horizon: int) -> int:
    """T of a trajectory."""
    return min(-(-int(lengths.max()) // BLOCK) * BLOCK, horizon)


@torch.no_grad()
def _steps(env: Env, policy: Network, params: Tensor, episodes: int, stream: Stream, common: bool) -> Iterator[_Step]:
    """The time loop."""
    shape = (*params.shape[:2], episodes)
    stream = stream.spread(_lanes(1 if common else shape[1], episodes, params.device))
    state = env.reset(shape, stream.fold(Purpose.RESET))
    weights = policy.unpack(params)
    obs = env.observe(state)
    alive = torch.ones(shape, dtype=torch.bool, device=params.device)
    never = torch.zeros_like(alive)
    for t in range(env.spec.horizon):
        if t % BLOCK == 0:
            # Reading a flag costs microseconds on a CPU and saves most of the horizon while episodes are short;
            # on a GPU it would make the host wait, so there the loop runs through.
            if t and params.device.type == "cpu" and not alive.any():
                return
            size = min(BLOCK, env.spec.horizon - t)
            noise = _policy_noise(policy.head, stream.fold(Purpose.ACTION), shape, t, size, params.dtype)
            uniform = _transition_noise(env, stream.fold(Purpose.TRANSITION), shape, t, size)
        action, log_prob = policy.sample(weights, obs, noise[t % BLOCK])
        state, reward, terminated = env.transition(state, action, None if uniform is None else uniform[t % BLOCK])
        next_obs = env.observe(state)
        truncated = alive if t + 1 == env.spec.horizon else _own_truncation(env, state, never)
        yield _Step(obs, action, log_prob, reward, terminated & alive, truncated & alive, alive, next_obs)
        alive = alive & ~(terminated | truncated)
        obs = next_obs


def _own_truncation(env: Env, state: State, never: Tensor) -> Tensor:
    truncated = env.truncated(state)
    return never if truncated is None else truncated


def _lanes(points: int, episodes: int, device: torch.device) -> Tensor:
    return torch.arange(points, device=device)[:, None] * POINT_LANES + torch.arange(episodes, device=device)


def _policy_noise(
    head: Head, stream: Stream, shape: tuple[int, ...], start: int, size: int, dtype: torch.dtype
) -> Tensor:
    """Noise of steps start .. start + size, time first: [size, R, K, E, draws]."""
    draws = head.noise(stream, size * head.draws, start * head.draws, dtype)
    return _time_first(draws, shape, size, head.draws)


def _transition_noise(env: Env, stream: Stream, shape: tuple[int, ...], start: int, size: int) -> Tensor | None:
    n = env.spec.transition_draws
    return _time_first(stream.uniform(size * n, start * n, env.dtype), shape, size, n) if n else None


def _time_first(draws: Tensor, shape: tuple[int, ...], size: int, n: int) -> Tensor:
    return draws.unflatten(-1, (size, n)).movedim(-2, 0).contiguous().expand(size, *shape, n)


def _cost(lengths: Tensor) -> Cost:
    _, points, episodes = lengths.shape
    steps = lengths.sum((1, 2))
    none = torch.zeros_like(steps)
    return Cost(torch.full_like(steps, points), torch.full_like(steps, points * episodes), steps, none, none, none)


def _check(env: Env, policy: Network, params: Tensor, episodes: int, stream: Stream) -> None:
    if params.dim() != 3 or params.shape[-1] != policy.dim:
        raise ValueError(f"params has shape {tuple(params.shape)}, expected [R, K, {policy.dim}]")
    if params.shape[0] != len(stream.seeds):
        raise ValueError(f"params has {params.shape[0]} runs, the stream {len(stream.seeds)}")
    if params.dtype != env.dtype:
        raise ValueError(f"params is {params.dtype}, the environment {env.dtype}")
    if not 1 <= episodes <= POINT_LANES:
        raise ValueError(f"episodes = {episodes} is not in [1, {POINT_LANES}]")
    if policy.spec.observation_size != env.spec.observation_size or policy.spec.action != env.spec.action:
        raise ValueError(f"the policy is for {policy.spec.id}, the environment is {env.spec.id}")
