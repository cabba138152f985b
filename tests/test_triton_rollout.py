"""The Triton backend against the plain rollout, which is the definition.

On a GPU the kernels are compiled; elsewhere Triton's interpreter runs the same source on the CPU, at small sizes, as an
operation there costs 0.1 ms whatever its lanes. In float64 both backends play the same episodes up to rounding.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor
from torch.testing import assert_close

from envs.copies import PlainCopies
from envs.core import Discrete, Env
from envs.heads import Gaussian
from envs.policies import MLP, Linear, Network
from envs.random import Purpose, Stream, box_muller, streams
from envs.registry import ENVS, make
from envs.rollout import POINT_LANES, Trajectory, backend_for, returns, rollout

triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

from envs.fused.triton import launch  # noqa: E402
from envs.fused.triton.draws import normal_pair, philox, uniform  # noqa: E402
from envs.fused.triton.dynamics import DYNAMICS  # noqa: E402
from envs.fused.triton.random_play import play_randomly  # noqa: E402

F32, F64 = torch.float32, torch.float64
HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
IDS = [id for id in ENVS if ENVS[id] in DYNAMICS]


@triton.jit
def draw_kernel(seeds, counters, lanes, path, words, uniforms, normals, B: tl.constexpr):
    at = tl.arange(0, B)
    w0, w1, w2, w3 = philox(7, tl.load(lanes + at).to(tl.uint64), tl.load(counters), path, tl.load(seeds))
    tl.store(words + at * 4, w0.to(tl.int64))
    tl.store(words + at * 4 + 1, w1.to(tl.int64))
    tl.store(words + at * 4 + 2, w2.to(tl.int64))
    tl.store(words + at * 4 + 3, w3.to(tl.int64))
    first, second = uniform(w0, tl.float64), uniform(w1, tl.float64)
    tl.store(uniforms + at, first)
    z0, z1 = normal_pair(first, second)
    tl.store(normals + at * 2, z0)
    tl.store(normals + at * 2 + 1, z1)


@pytest.mark.parametrize("path", [0x356, 0xFFFFFFFE])
def test_words_are_those_of_the_stream(path: int) -> None:
    """Bit for bit, at the corners of the counters: also for lanes of more than 4,096 points, which pass 32 bits."""
    lanes = torch.cat((torch.arange(8), 2**32 - 1 - torch.arange(4), torch.arange(4094, 4098) * POINT_LANES)).to(DEVICE)
    stream = Stream(torch.tensor([2**62 + 2**31 + 5]), lanes, torch.tensor([2**32 - 3]), path)
    stream = Stream(*(part.to(DEVICE) for part in stream[:3]), path)
    words = torch.zeros(16, 4, dtype=torch.int64, device=DEVICE)
    uniforms, normals = torch.zeros(16, dtype=F64, device=DEVICE), torch.zeros(16, 2, dtype=F64, device=DEVICE)
    draw_kernel[(1,)](stream.seeds, stream.counter, lanes, path, words, uniforms, normals, B=16)
    assert torch.equal(words, stream.words(4, start=28)[0])
    assert torch.equal(uniforms, stream.uniform(1, 28, F64)[0, :, 0])
    assert_close(normals, box_muller(stream.uniform(2, 28, F64))[0], rtol=1e-12, atol=1e-12)


@triton.jit
def load_all(at, SIZE: tl.constexpr, N: tl.constexpr):
    values = ()
    for i in tl.static_range(SIZE):
        values += (tl.load(at + i * N + tl.arange(0, N)),)
    return values


@triton.jit
def step_kernel(
    states, actions, next_states, rewards, over, observations,
    STEP: tl.constexpr, OBSERVE: tl.constexpr, SIZE: tl.constexpr, OBS: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    lane = tl.arange(0, N)
    state, reward, terminated = STEP(load_all(states, SIZE, N), tl.load(actions + lane))
    tl.store(rewards + lane, reward)
    tl.store(over + lane, terminated)
    obs = OBSERVE(state)
    for i in tl.static_range(SIZE):
        tl.store(next_states + i * N + lane, state[i])
    for i in tl.static_range(OBS):
        tl.store(observations + i * N + lane, obs[i])


SCALES = {
    "CartPole-v1": (2.5, 3.0, 0.22, 3.0),
    "Acrobot-v1": (3.2, 3.2, 13.0, 29.0),
    "Pendulum-v1": (80.0, 9.0),
    "MountainCar-v0": (0.95, 0.08),
    "MountainCarContinuous-v0": (0.95, 0.08),
}
"""Half widths of the states from which one step is compared: past every limit of the environment."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-12), (F32, 1e-4)])
@pytest.mark.parametrize("id", IDS)
def test_one_step_is_that_of_the_environment(id: str, dtype: torch.dtype, tolerance: float) -> None:
    """From 512 states, in float32 relative to their size; flags may differ where a state is within rounding of a limit,
    which in float64 none is."""
    env, n, dynamics = make(id, DEVICE, dtype), 512, DYNAMICS[ENVS[id]]
    size = len(SCALES[id])
    draws = streams([0], DEVICE).spread(torch.arange(n, device=DEVICE)).uniform(size + 1, dtype=dtype)[0]
    states = ((2 * draws[:, :size] - 1) * draws.new_tensor(SCALES[id])).T.contiguous()
    if id.startswith("Mountain"):
        states[0] -= 0.3  # the middle of the valley
    discrete = isinstance(env.spec.action, Discrete)
    actions = (draws[:, -1] * env.spec.action.n).long() if discrete else 6 * draws[:, -1] - 3
    expected, reward, terminated = env.transition(
        type(env.reset((n,), streams([0], DEVICE)))(*states), actions if discrete else actions[:, None], None
    )
    found, observed = torch.empty_like(states), states.new_empty(env.spec.observation_size, n)
    rewards, over = torch.empty_like(states[0]), torch.empty(n, dtype=torch.bool, device=DEVICE)
    actions = actions.int() if discrete else actions
    step_kernel[(1,)](
        states, actions, found, rewards, over, observed,
        STEP=dynamics.step, OBSERVE=dynamics.observe, SIZE=size, OBS=env.spec.observation_size, N=n,
    )  # fmt: skip
    assert_close(found, torch.stack(tuple(expected)), rtol=tolerance, atol=tolerance)
    assert_close(observed.T, env.observe(expected), rtol=tolerance, atol=tolerance)
    assert int((over != terminated).sum()) <= (0 if dtype == F64 else 1)
    assert_close(rewards[over == terminated], reward[over == terminated], rtol=tolerance, atol=tolerance)
    assert terminated.any() or id == "Pendulum-v1"
    assert not terminated.all()


def random_params(policy: Network, runs: int, points: int, dtype: torch.dtype, scale: float = 0.5) -> Tensor:
    return scale * streams(range(runs), DEVICE).spread(torch.arange(points, device=DEVICE)).normal(policy.dim, 0, dtype)


def compare(env: Env, policy: Network, params: Tensor, episodes: int, common: bool, tolerance: float) -> Trajectory:
    """Rollouts of a later iteration, which differs from run to run, through both backends; the kernel's."""
    counters = torch.arange(len(params), device=DEVICE) + 3
    stream = streams(range(len(params)), DEVICE).fold(Purpose.TRAIN).at(counters)
    found, plain = (rollout(env, policy, params, episodes, stream, common, name) for name in ("triton", "plain"))
    for name, one, other in zip(Trajectory._fields[:-1], found, plain, strict=False):
        assert one.is_contiguous()
        if one.is_floating_point():
            assert_close(one, other, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")
        else:
            assert torch.equal(one, other), name
    for one, other in zip(found.cost, plain.cost, strict=True):
        assert torch.equal(one, other)
    return found


@pytest.mark.parametrize(("runs", "episodes", "common"), [(2, 3, False), (1, 5, True)])
def test_runs_points_and_blocks_of_lanes(
    monkeypatch: pytest.MonkeyPatch, runs: int, episodes: int, common: bool
) -> None:
    """2 points each, their episodes in blocks of 4 of which the last is not full."""
    monkeypatch.setattr(launch, "LANES", 4)
    env = make("CartPole-v1", DEVICE, F64, horizon=3)
    policy = Linear(env.spec)
    found = compare(env, policy, random_params(policy, runs, 2, F64), episodes, common, 1e-9)
    assert torch.equal(found.obs[:, 0, :, 0], found.obs[:, 1, :, 0]) == common


def test_episodes_of_all_lengths() -> None:
    """Some end early, some are cut, at a horizon that is no multiple of the four steps of a Philox block."""
    env = make("CartPole-v1", DEVICE, F64, horizon=18)
    policy = Linear(env.spec)
    found = compare(env, policy, random_params(policy, 1, 1, F64), 128, False, 1e-9)
    assert len(found.mask.sum(-1).unique()) > 8
    assert found.terminated.any()
    assert found.truncated[..., -1].any()


def test_a_program_stops_when_all_its_episodes_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cart that is always pushed one way falls within 12 steps of 500; the interpreter would take a minute for all.

    The discounted sum of its rewards is a geometric one.
    """
    env = make("CartPole-v1", DEVICE, F64)
    policy = Linear(env.spec).greedy()
    params = torch.zeros(1, 1, policy.dim, dtype=F64, device=DEVICE)
    params[..., -1] = 1.0
    found = returns(env, policy, params, 8, streams([0], DEVICE), 0.9, backend="triton")
    expected = returns(env, policy, params, 8, streams([0], DEVICE), 0.9, backend="plain")
    assert torch.equal(found.lengths, expected.lengths)
    assert int(found.lengths.max()) <= 12
    assert_close(found.episodes, (1 - 0.9 ** found.lengths.to(F64)) / 0.1, rtol=1e-12, atol=0.0)
    assert_close(found.values, expected.values, rtol=1e-12, atol=0.0)
    assert torch.equal(found.cost.env_steps, expected.cost.env_steps)


def test_real_actions() -> None:
    """Over one normal's block of draws and into the next."""
    env = make("Pendulum-v1", DEVICE, F64, horizon=7)
    policy = MLP(env.spec, (5,))
    found = compare(env, policy, random_params(policy, 1, 1, F64), 6, False, 1e-9)
    assert found.action.unique().numel() == 42


def test_a_standard_deviation_that_is_not_learned() -> None:
    env = make("MountainCarContinuous-v0", DEVICE, F64, horizon=3)
    policy = Linear(env.spec, head=Gaussian(1, -2.0, learn_std=False), bias=False)
    compare(env, policy, random_params(policy, 1, 2, F64), 4, False, 1e-9)


@pytest.mark.parametrize(("id", "greedy"), [("MountainCar-v0", True), ("Acrobot-v1", False), ("Pendulum-v1", True)])
def test_the_other_environments(id: str, greedy: bool) -> None:
    env = make(id, DEVICE, F64, horizon=3)
    policy = Linear(env.spec)
    params = random_params(policy, 1, 1, F64)
    found = compare(env, policy.greedy() if greedy else policy, params, 16, False, 1e-9)
    assert greedy == (not found.log_prob.any())


@pytest.mark.parametrize(("bias", "episodes", "dtype"), [(True, 1, F64), (False, 1, F32), (True, 8, F32)])
def test_layers_of_any_width(bias: bool, episodes: int, dtype: torch.dtype) -> None:
    """Padded to powers of two; an episode a program, and matrix products of several."""
    env = make("CartPole-v1", DEVICE, dtype, horizon=5)
    policy = MLP(env.spec, (20, 3), bias=bias)
    chosen = launch.layout(policy, episodes, dtype)
    assert (chosen.width, chosen.dot) == (32, "none" if episodes == 1 else "tf32x3")
    compare(env, policy, random_params(policy, 1, 1, dtype), episodes, False, 1e-9 if dtype == F64 else 5e-6)


def test_a_failed_policy_is_seen_to_have_failed() -> None:
    """Not-a-number parameters give such returns, and not the reward of some clipped action."""
    env = make("Pendulum-v1", DEVICE, F64, horizon=2)
    policy = Linear(env.spec)
    params = torch.full((1, 1, policy.dim), torch.nan, dtype=F64, device=DEVICE)
    assert returns(env, policy, params, 2, streams([0], DEVICE), backend="triton").episodes.isnan().all()


def test_the_backend_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto: Triton on a GPU where it has a kernel, never in the interpreter."""
    on_gpu = ENVS["CartPole-v1"].create(torch.device("cuda"), F32)
    on_cpu = make("CartPole-v1", "cpu")
    policy = MLP(on_cpu.spec, (64, 64))
    assert backend_for(on_gpu, policy) == "triton"
    assert backend_for(on_gpu, policy, "plain") == "plain"
    assert backend_for(on_cpu, policy) == "fused"
    assert backend_for(on_gpu, MLP(on_cpu.spec, (256,))) == "plain"
    lqr = ENVS["LQR-v0"].create(torch.device("cuda"), F32) if HAS_GPU else make("LQR-v0", "cpu")
    with pytest.raises(ValueError, match="'triton' has no kernel for LQR-v0"):
        backend_for(lqr, Linear(lqr.spec), "triton")
    with pytest.raises(ValueError, match=r"'triton' has no kernel for hidden = \(64, 64, 64, 64\): 12288 weights"):
        backend_for(on_gpu, MLP(on_cpu.spec, (64,) * 4), "triton")
    with pytest.raises(ValueError, match="'fused' has no kernel for CartPole-v1 on cuda"):
        backend_for(on_gpu, policy, "fused")
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    with pytest.raises(ValueError, match=r"'triton' needs a CUDA device.*is on cpu"):
        backend_for(on_cpu, policy, "triton")
    monkeypatch.setattr("envs.fused.triton.find_spec", lambda name: None)
    assert backend_for(on_gpu, policy) == "plain"
    with pytest.raises(
        ValueError, match=r"'triton' needs Triton, which is not installed: pip install 'zopg\[triton\]'"
    ):
        backend_for(on_gpu, policy, "triton")


@pytest.mark.parametrize(("id", "horizon"), [("CartPole-v1", 9), ("Pendulum-v1", 3)])
def test_random_actions_are_those_of_copies_with_autoreset(id: str, horizon: int) -> None:
    """Sums, finished episodes and last observations of copies that are stepped and begun anew one by one."""
    env, seeds, steps = make(id, DEVICE, F64, horizon=horizon), torch.arange(40, 56, device=DEVICE), 12
    found = play_randomly(env, seeds, steps)
    copies = PlainCopies(env, len(seeds), horizon, AutoresetMode.SAME_STEP)
    copies.begin(np.ones(len(seeds), dtype=bool), seeds.cpu().numpy())
    uniforms = Stream(seeds, torch.zeros((), dtype=torch.int64, device=DEVICE)).fold(Purpose.ACTION).uniform(steps)
    total = torch.zeros(len(seeds), dtype=F64, device=DEVICE)
    for u in uniforms.T:
        action = (2 * u).long() if isinstance(env.spec.action, Discrete) else (4 * u.to(F64) - 2)[:, None]
        total += torch.from_numpy(copies.step(action.cpu()).rewards).to(DEVICE)
    assert_close(found.reward, total, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.episodes, copies.episodes)
    assert_close(found.obs, env.observe(copies.state), rtol=1e-12, atol=1e-12)


def test_random_actions_of_what_has_no_kernel_or_in_odd_steps() -> None:
    with pytest.raises(ValueError, match="no kernel for GridWorld-v0"):
        play_randomly(make("GridWorld-v0", "cpu"), torch.arange(2), 4)
    with pytest.raises(ValueError, match="steps = 6 is not a positive multiple of 4"):
        play_randomly(make("CartPole-v1", "cpu"), torch.arange(2), 6)


COMPILE = """
import triton, envs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from envs.fused.triton import launch
from envs.fused.triton.kernel import simulate_kernel
from envs.fused.triton.random_play import LANES, play_kernel

def compiles(kernel, constants, kinds):
    types = {name: "constexpr" if name in constants else kinds.get(name, "*fp32") for name in kernel.arg_names}
    source, options = ASTSource(fn=kernel, signature=types, constexprs=constants), dict(enable_fp_fusion=True)
    return len(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]) > 0

KINDS = dict(seeds="*i64", counters="*i64", lengths_out="*i64", terminated_out="*i1") | dict.fromkeys(
    ("reset_path", "action_path", "points", "episodes", "point_lanes", "horizon"), "i32"
)
env = envs.make("MountainCarContinuous-v0", device="cpu")
constants = launch.constants(env, envs.MLP(env.spec, (16, 16)), store=True) | dict(WIDTH=16, DOT="tf32x3", B=16)
print(compiles(simulate_kernel, constants, KINDS))
constants = {name: constants[name] for name in ("RESET", "STEP", "OBSERVE", "OBS")} | dict(ACTIONS=0, B=LANES)
kinds = dict(seeds="*i64", episodes_out="*i64", low="fp32", high="fp32") | dict.fromkeys(
    ("copies", "steps", "horizon", "reset_path", "action_path"), "i32"
)
print(compiles(play_kernel, constants, kinds))
"""


def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """Which needs none: the interpreter takes what the compiler would refuse. For compute capability 9.0."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
@pytest.mark.parametrize(("precision", "same"), [("highest", 0.98), ("high", 0.5), ("medium", 0.3)])
def test_episodes_on_a_gpu(precision: str, same: float) -> None:
    """Lengths agree with the plain rollout in float32 for most episodes, fewer where products are coarser, and means
    within three standard errors, paired episodes being closer than independent ones."""
    env = make("CartPole-v1", "cuda")
    policy = MLP(env.spec, (64, 64))
    stream = streams(range(4), "cuda")
    params = policy.init(stream)[:, None]
    plain = returns(env, policy, params, 1024, stream, backend="plain")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        found = returns(env, policy, params, 1024, stream, backend="triton")
    finally:
        torch.set_float32_matmul_precision(before)
    assert (found.lengths == plain.lengths).double().mean() >= same
    error = plain.episodes.std(-1)[:, 0] / 1024**0.5
    assert ((found.values - plain.values)[:, 0].abs() < 3 * error).all()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
def test_the_host_does_not_wait_for_the_kernel() -> None:
    env = make("CartPole-v1", "cuda")
    policy, stream = MLP(env.spec, (64, 64)), streams([0], "cuda")
    params = policy.init(stream)[:, None]
    compiled = rollout(env, policy, params, 64, stream, backend="triton")
    mode = torch.cuda.get_sync_debug_mode()
    try:
        torch.cuda.set_sync_debug_mode("error")
        found = rollout(env, policy, params, 64, stream, backend="triton")
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert torch.equal(found.reward, compiled.reward)
