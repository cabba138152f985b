"""What the Triton kernel covers, how its programs are laid out, and its launch."""

import math
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from envs.core import Env
from envs.fused.core import ARGMAX, CATEGORICAL, Episodes, head_kind
from envs.fused.triton.dynamics import DYNAMICS
from envs.fused.triton.kernel import simulate_kernel
from envs.heads import Categorical, Gaussian, Greedy
from envs.policies import Network
from envs.random import Purpose, Stream

NARROWEST, WIDEST = 16, 128
"""Units of a hidden layer in the kernel; matrix units take no fewer."""
ON_CHIP = 2 * 64 * 64
"""Weights between hidden layers; in three tf32 products they take 8 bytes each of a GPU's 100 to 227 KB per program."""
FEW, SOME, MANY = 8, 16, 64
"""Episodes: below FEW a program each; else matrix products of SOME or MANY lanes, the least rows of mma and wgmma."""
REGISTERS = 64
"""Of a thread's 255, for the largest tile."""
LANES = 128
"""Episodes of a program at most, where there are no matrix products."""
PRECISIONS = {"highest": "tf32x3", "high": "tf32", "medium": "bf16"}
"""torch's precision of float32 matrix products -> Triton's. Three tf32 products give float32 up to rounding."""


class Layout(NamedTuple):
    """How a policy's episodes are spread over programs."""

    lanes: int
    """B, episodes of one program."""
    warps: int
    width: int
    """Units that every hidden layer is padded to."""
    dot: str
    """How the kernel multiplies matrices: "none" for term by term."""


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return triton.knobs.runtime.interpret


def gap(env: Env, policy: Network) -> str | None:
    """What of this pair the kernel lacks; None where it covers it."""
    if type(env) not in DYNAMICS:
        return f"has no kernel for {env.spec.id}"
    if type(policy.head) not in (Categorical, Gaussian, Greedy):
        return f"has no kernel for the head {policy.head}"
    if any(width > WIDEST for width in policy.hidden):
        return f"has no kernel for hidden = {policy.hidden}: more than {WIDEST} units in a layer"
    weights = (len(policy.hidden) - 1) * _width(policy) ** 2
    if weights > ON_CHIP:
        return f"has no kernel for hidden = {policy.hidden}: {weights} weights between hidden layers, at most {ON_CHIP}"
    return None


def layout(policy: Network, episodes: int, dtype: torch.dtype) -> Layout:
    """Many lanes and matrix units where a policy has many episodes; else a program, and all its threads, for each.

    By what the compiler can keep in registers, and not yet tuned on a GPU.
    """
    width, several = _width(policy), len(policy.hidden) > 1
    if not several:
        lanes = min(triton.next_power_of_2(episodes), LANES)
        return Layout(lanes, _warps(lanes * (width if policy.hidden else REGISTERS), dtype), width, "none")
    if episodes < FEW or dtype == torch.float64:
        return Layout(1, _warps(width * width, dtype), width, "none")
    precision = PRECISIONS[torch.get_float32_matmul_precision()]
    return Layout(SOME if episodes <= SOME else MANY, 4, width, precision)


def _width(policy: Network) -> int:
    return max(triton.next_power_of_2(units) for units in (NARROWEST, *policy.hidden))


def _warps(tile: int, dtype: torch.dtype) -> int:
    """Of 32 threads, so that each has REGISTERS of the tile's numbers."""
    return min(max(tile * dtype.itemsize // (4 * 32 * REGISTERS), 1), 8)


def constants(env: Env, policy: Network, store: bool) -> dict[str, Any]:
    """What the kernel is compiled for, apart from its layout."""
    reset, step, observe = DYNAMICS[type(env)]
    head = policy.head
    return {
        "RESET": reset, "STEP": step, "OBSERVE": observe, "OBS": env.spec.observation_size,
        "HIDDEN": policy.hidden, "DEPTH": len(policy.hidden), "OUTPUTS": head.size, "BIAS": policy.bias,
        "DIM": policy.dim + len(head.constants), "HEAD": head_kind(head), "DRAWS": head.draws, "STORE": store,
    }  # fmt: skip


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
    """As `envs.fused.cpu.simulate`, on the device of params [R, K, d]. The host does not wait for it."""
    runs, points, _ = params.shape
    dtype, obs_size, shape = params.dtype, env.spec.observation_size, (runs, points, episodes)
    steps = env.spec.horizon if store else 0
    discrete = head_kind(policy.head) in (CATEGORICAL, ARGMAX)

    def zeros(*size: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.zeros(size, dtype=kind, device=params.device)

    total, lengths = zeros(*shape), zeros(*shape, kind=torch.int64)
    terminated, last_obs = zeros(*shape, kind=torch.bool), zeros(*shape, obs_size)
    obs, action = zeros(steps, obs_size, *shape), zeros(steps, *shape, kind=torch.int64 if discrete else dtype)
    log_prob, reward = zeros(steps, *shape), zeros(steps, *shape)
    lanes, warps, width, dot = layout(policy, episodes, dtype)
    simulate_kernel[(runs * points * math.ceil(episodes / lanes),)](
        policy.with_constants(params.detach()).contiguous(), stream.seeds, _counters(stream),
        stream.fold(Purpose.RESET).path, stream.fold(Purpose.ACTION).path,
        points, episodes, 0 if common else point_lanes, env.spec.horizon, zeros() + discount,
        total, lengths, terminated, last_obs, obs, action, log_prob, reward,
        **constants(env, policy, store), WIDTH=width, DOT=dot, B=lanes, num_warps=warps, enable_fp_fusion=True,
    )  # fmt: skip
    action = _time_last(action) if discrete else _time_last(action)[..., None]
    obs = obs.permute(2, 3, 4, 0, 1).contiguous()
    return Episodes(total, lengths, terminated, last_obs, obs, action, _time_last(log_prob), _time_last(reward))


def _counters(stream: Stream) -> Tensor:
    """[R], without making the host wait for a copy."""
    if isinstance(stream.counter, Tensor):
        return stream.counter.expand(stream.seeds.shape).contiguous()
    return torch.full_like(stream.seeds, stream.counter)


def _time_last(stored: Tensor) -> Tensor:
    """[R, K, E, T] of what the kernel stored as [T, R, K, E]."""
    return stored.movedim(0, -1).contiguous()
