"""Random actions at the speed of the environment alone: a lane per copy, autoreset inside the kernel.

The copies are those of the Gymnasium face, `envs.copies.Copies`, in the mode SAME_STEP: copy i begins episode j with
the uniforms of Stream(seed i, lane 0, counter j), and ends it when the dynamics or the time limit do. State, counters
and random stream stay in registers for all steps; nothing is stored but sums.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from envs.core import Env
from envs.fused.core import RandomPlay, check_random_play, random_choices
from envs.fused.triton.draws import four_uniforms
from envs.fused.triton.dynamics import DYNAMICS
from envs.fused.triton.kernel import choose
from envs.random import Purpose

LANES = 128


@triton.jit
def play_kernel(  # type: ignore[no-untyped-def]
    seeds, copies, steps, horizon, reset_path, action_path, low, high, reward_out, episodes_out, obs_out,
    RESET: tl.constexpr, STEP: tl.constexpr, OBSERVE: tl.constexpr, OBS: tl.constexpr, ACTIONS: tl.constexpr,
    B: tl.constexpr,
):  # fmt: skip
    """Actions 0 .. ACTIONS - 1, or uniform in [low, high] where ACTIONS is 0."""
    DTYPE: tl.constexpr = reward_out.dtype.element_ty
    copy = tl.program_id(0) * B + tl.arange(0, B)
    inside = copy < copies
    seed = tl.load(seeds + copy, mask=inside, other=0)
    lane = (seed * 0).to(tl.uint64)
    episode, length = copy * 0, copy * 0
    u0, u1, u2, u3 = four_uniforms(0, lane, episode, reset_path, seed, DTYPE)
    state, total = RESET(u0, u1, u2, u3), u0 * 0.0
    t = 0
    while t < steps:
        n0, n1, n2, n3 = four_uniforms(t // 4, lane, 0, action_path, seed, DTYPE)
        for _ in range(4):
            action = (n0 * ACTIONS).to(tl.int32) if ACTIONS > 0 else low + (high - low) * n0
            state, reward, over = STEP(state, action)
            total += reward
            length += 1
            done = over | (length >= horizon)
            if tl.max(done.to(tl.int32), 0) > 0:
                episode += done.to(tl.int32)
                length = tl.where(done, 0, length)
                u0, u1, u2, u3 = four_uniforms(0, lane, episode, reset_path, seed, DTYPE)
                state = choose(done, RESET(u0, u1, u2, u3), state)
            n0, n1, n2, n3 = n1, n2, n3, n0
        t += 4
    tl.store(reward_out + copy, total, mask=inside)
    tl.store(episodes_out + copy, episode, mask=inside)
    obs = OBSERVE(state)
    for i in tl.static_range(OBS):
        tl.store(obs_out + copy * OBS + i, obs[i], mask=inside)


def play_randomly(env: Env, seeds: Tensor, steps: int) -> RandomPlay:
    """As `envs.fused.random_play.play_randomly`, by this kernel."""
    check_random_play(env, steps, type(env) in DYNAMICS)
    low, high, actions = random_choices(env.spec.action)
    reset, step, observe = DYNAMICS[type(env)]
    reward = torch.empty(len(seeds), dtype=env.dtype, device=env.device)
    episodes, obs = torch.empty_like(seeds), reward.new_empty(len(seeds), env.spec.observation_size)
    play_kernel[(triton.cdiv(len(seeds), LANES),)](
        seeds, len(seeds), steps, env.spec.horizon, int(Purpose.RESET), int(Purpose.ACTION), low, high,
        reward, episodes, obs, RESET=reset, STEP=step, OBSERVE=observe, OBS=env.spec.observation_size,
        ACTIONS=actions, B=LANES, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return RandomPlay(reward, episodes, obs)
