"""The fused CPU backend against the plain rollout, which is the definition.

Both follow the same draws, so in float64 they play the same episodes up to rounding. Every environment is compiled in
float64, CartPole and those with tables in float32 too; a compilation takes about ten seconds and is kept on disk.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.core import Env
from envs.fused import launch
from envs.fused.dynamics import DYNAMICS
from envs.fused.kernel import kernel_of
from envs.heads import Gaussian, deterministic_head
from envs.policies import MLP, Linear, Network
from envs.random import Purpose, streams
from envs.registry import ENVS, make
from envs.rollout import Trajectory, returns, rollout

F32, F64 = torch.float32, torch.float64
IDS = [id for id in ENVS if ENVS[id] in DYNAMICS]
TOLERANCE = dict.fromkeys(IDS, 1e-9) | {"Acrobot-v1": 1e-3}
"""Acrobot is chaotic: rounding grows by e^10 and more within 200 steps. 40 steps of it are held to 1e-10 below."""
TABLES: list[tuple[str, dict[str, Any]]] = [
    ("RandomMDP-v0", {}),
    ("RandomMDP-v0", {"states": 8, "actions": 2, "seed": 4}),
    ("GridWorld-v0", {}),
    ("GridWorld-v0", {"size": 4, "slip": 0.3}),
    ("LQR-v0", {}),
    ("LQR-v0", {"noise_std": 0.0}),
    ("LQR-v0", {"A": [[0.9, 0.3], [-0.2, 1.05]], "B": [[0.0], [0.5]], "Q": [[1.0, 0.2], [0.2, 0.5]], "R": [[0.3]]}),
]
"""Environments whose instances have numbers of their own, with their options."""
HORIZON = {"MountainCarContinuous-v0": 200, "Acrobot-v1": 200}
ids = pytest.mark.parametrize("id", IDS)


def random_params(policy: Network, runs: int, points: int, scale: float = 0.5, seed: int = 0) -> Tensor:
    return scale * streams(range(seed, seed + runs)).spread(torch.arange(points)).normal(policy.dim, dtype=F64)


def assert_same_episodes(fused: Trajectory, plain: Trajectory, tolerance: float) -> None:
    for name, one, other in zip(Trajectory._fields[:-1], fused, plain, strict=False):
        if one.is_floating_point():
            assert_close(one, other, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")
        else:
            assert torch.equal(one, other), name
    for one, other in zip(fused.cost, plain.cost, strict=True):
        assert torch.equal(one, other)


def compare(env: Env, policy: Network, params: Tensor, common: bool, tolerance: float, episodes: int = 3) -> Trajectory:
    """Rollouts and returns of a later iteration through both backends; the fused rollout."""
    stream = streams(range(len(params))).at(3)
    fused, plain = (rollout(env, policy, params, episodes, stream, common, name) for name in ("fused", "plain"))
    assert_same_episodes(fused, plain, tolerance)
    one, other = (returns(env, policy, params, episodes, stream, 0.97, common, name) for name in ("fused", "plain"))
    assert torch.equal(one.lengths, other.lengths)
    assert_close(one.episodes, other.episodes, rtol=tolerance, atol=tolerance)
    assert_close(one.values, other.values, rtol=tolerance, atol=tolerance)
    assert torch.equal(one.cost.env_steps, other.cost.env_steps)
    return fused


def test_every_dynamics_is_compared() -> None:
    assert {ENVS[id] for id in IDS} == set(DYNAMICS)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("greedy", [False, True])
@ids
def test_whole_episodes_are_the_same(id: str, greedy: bool, common: bool) -> None:
    env = make(id, "cpu", F64, horizon=HORIZON.get(id))
    policy = MLP(env.spec, (8,))
    params = random_params(policy, 3, 2)
    found = compare(env, policy.greedy() if greedy else policy, params, common, TOLERANCE[id])
    assert found.reward.any()
    assert greedy == (not found.log_prob.any())
    first = found.obs[:, :, :, 0]
    assert torch.equal(first[:, 0], first[:, 1]) == common


def test_forty_steps_of_acrobot() -> None:
    env = make("Acrobot-v1", "cpu", F64, horizon=40)
    policy = MLP(env.spec, (8,))
    found = compare(env, policy, random_params(policy, 3, 2), False, 1e-10, episodes=5)
    assert found.truncated[..., -1].all()


def swing_up(env: Env, velocity: int) -> tuple[Network, Tensor]:
    """Push in the direction of observation `velocity`, with full force: it reaches the goal. Parameters [2, 1, d]."""
    policy = Linear(env.spec, head=deterministic_head(env.spec.action), bias=False)
    weight = torch.zeros(policy.head.size, env.spec.observation_size, dtype=F64)
    weight[0, velocity], weight[-1, velocity] = -100.0, 100.0  # one and the same row where there is one output
    return policy, weight.flatten().expand(2, 1, -1)


@pytest.mark.parametrize(
    ("id", "velocity"), [("MountainCar-v0", 1), ("MountainCarContinuous-v0", 1), ("Acrobot-v1", 5)]
)
def test_episodes_that_reach_the_goal(id: str, velocity: int) -> None:
    """Termination, the reward for it, walls and speed limits, which random policies hardly meet."""
    env = make(id, "cpu", F64)
    found = compare(env, *swing_up(env, velocity), False, TOLERANCE[id], episodes=20)
    assert found.terminated.any(-1).double().mean() > 0.9


@ids
def test_a_shorter_horizon_cuts_the_same_episodes(id: str) -> None:
    """At a horizon that is no multiple of a block of draws, and a prefix of the longer rollout."""
    env, shorter = (make(id, "cpu", F64, horizon=horizon) for horizon in (60, 37))
    policy = MLP(env.spec, (8,))
    params = random_params(policy, 2, 2)
    short = compare(shorter, policy, params, False, 1e-9)
    long = rollout(env, policy, params, 3, streams([0, 1]).at(3), backend="fused")
    assert torch.equal(short.reward[..., :37], long.reward[..., :37] * short.mask[..., :37])
    assert torch.equal(short.obs, long.obs[..., : short.obs.shape[-2], :] * short.mask[..., None])
    cut = short.mask.sum(-1) == 37
    assert torch.equal(short.truncated.any(-1), cut)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (16,), (32, 32)])
@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_network_shapes(id: str, hidden: tuple[int, ...], bias: bool) -> None:
    env = make(id, "cpu", F64)
    policy = MLP(env.spec, hidden, bias=bias)
    compare(env, policy, random_params(policy, 2, 2, 0.3), False, 1e-9)


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_deterministic_heads_without_free_parameters(id: str) -> None:
    env = make(id, "cpu", F64)
    policy = Linear(env.spec, head=deterministic_head(env.spec.action))
    compare(env, policy, random_params(policy, 2, 2), False, 1e-9)


def test_a_small_standard_deviation_is_used() -> None:
    env = make("Pendulum-v1", "cpu", F64)
    policy = Linear(env.spec, head=Gaussian(1, log_std=-3.0))
    params = policy.init(streams([0, 1]), F64)[:, None]
    found = compare(env, policy, params, False, 1e-9)
    mean = policy.forward(policy.unpack(params), found.obs.flatten(2, 3)).view_as(found.action)
    assert_close((found.action - mean).std().item(), torch.tensor(-3.0).exp().item(), rtol=0.1, atol=0.0)


def test_counters_and_paths_reach_the_kernel() -> None:
    """Per run as well: iteration t of run r, and nested purposes."""
    env = make("CartPole-v1", "cpu", F64)
    policy = Linear(env.spec)
    params = random_params(policy, 2, 1)
    stream = streams([2**40 + 5, 1]).fold(Purpose.TRAIN).fold(Purpose.EVALUATE).at(torch.tensor([2**31, 7]))
    fused, plain = (rollout(env, policy, params, 3, stream, backend=name) for name in ("fused", "plain"))
    assert_same_episodes(fused, plain, 1e-9)


def test_a_kernel_depends_on_the_files_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba's disk cache by itself does not look at them, and would go on using an older compilation."""
    before = launch.sources()
    read = launch.Path.read_bytes
    for name in (
        "lanes.py",
        "dynamics.py",
        "exact.py",
        "draws.py",
        "random.py",
        "cartpole.py",
        "mountain_car.py",
        "gridworld.py",
    ):
        monkeypatch.setattr(launch.Path, "read_bytes", lambda path, name=name: read(path) + b" " * (path.name == name))
        assert launch.sources() != before
    monkeypatch.undo()
    assert launch.sources() == before
    kernel = kernel_of(DYNAMICS[ENVS["CartPole-v1"]])
    assert before in [cell.cell_contents for cell in kernel.py_func.__closure__]


def test_float32_episodes_are_nearly_all_the_same() -> None:
    """Rounding differs between the backends, so a few actions may; lengths agree in 99 % and means statistically.

    The means are over paired episodes, so three standard errors of one of them are far beyond what rounding does.
    """
    env = make("CartPole-v1", "cpu", F32)
    policy = MLP(env.spec, (32, 32))
    params = policy.init(streams(range(4)))[:, None]
    stream = streams(range(4))
    fused, plain = (returns(env, policy, params, 200, stream, backend=name) for name in ("fused", "plain"))
    assert float((fused.lengths == plain.lengths).double().mean()) >= 0.99
    error = plain.episodes.std(-1)[:, 0] / 200**0.5
    assert ((fused.values - plain.values)[:, 0].abs() < 3 * error).all()
    assert torch.equal(fused.episodes, fused.lengths.float())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("id", "options"), TABLES)
def test_linear_policies_on_the_tables_of_an_instance(id: str, options: dict[str, Any], bias: bool) -> None:
    """States too: a draw inverts the same rounded distribution function, so they are the same at every step."""
    env = make(id, "cpu", F64, **options)
    policy = Linear(env.spec, bias=bias)
    found = compare(env, policy, random_params(policy, 3, 2), False, 1e-9)
    assert found.truncated[..., -1].all()


@pytest.mark.parametrize(("id", "options"), TABLES)
def test_float32_follows_the_tables_of_an_instance(id: str, options: dict[str, Any]) -> None:
    """No uniform of these 32 runs falls within rounding of an action's probability, so all choices are the same."""
    env = make(id, "cpu", F32, horizon=20, **options)
    policy = Linear(env.spec, bias=False)
    compare(env, policy, random_params(policy, 32, 1, 0.3).float(), False, 1e-3 if id == "LQR-v0" else 1e-5)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("id", ["RandomMDP-v0", "GridWorld-v0", "LQR-v0"])
def test_a_run_gives_the_same_bits_alone_and_among_others(id: str, dtype: torch.dtype) -> None:
    env = make(id, "cpu", dtype)
    policy = Linear(env.spec, bias=False)
    params = random_params(policy, 16, 2, 0.1).to(dtype)
    together = rollout(env, policy, params, 3, streams(range(16)).at(5), backend="fused")
    for r in (0, 7, 15):
        alone = rollout(env, policy, params[r : r + 1], 3, streams([r]).at(5), backend="fused")
        assert all(torch.equal(a[r : r + 1], b) for a, b in zip(together[:-1], alone[:-1], strict=True))


def test_instances_of_a_class_share_the_kernel() -> None:
    """Also those of a class that only has other tables; another instance needs no compilation."""
    kernel = kernel_of(DYNAMICS[ENVS["RandomMDP-v0"]])
    assert kernel_of(DYNAMICS[ENVS["GridWorld-v0"]]) is kernel
    envs = [make(id, "cpu", F64, **options) for id, options in TABLES if id != "LQR-v0"]
    compiled = set()
    for env in envs:
        policy = Linear(env.spec, bias=False)
        rollout(env, policy, random_params(policy, 2, 1), 2, streams(range(2)), backend="fused")
        compiled.add(len(kernel.signatures))
    assert len(compiled) == 1
