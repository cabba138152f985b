"""Rollouts against episodes played one at a time, and what their accounting promises.

`test_fused_rollout` holds the fused backend to the plain one on every environment; here both run on CartPole.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import pytest
import torch
from beartype import beartype
from jaxtyping import Bool, Float, Int, jaxtyped
from torch import Tensor
from torch.testing import assert_close

from envs.cartpole import CartPole
from envs.core import Box, Cost, Discrete, Env, EnvSpec
from envs.policies import MLP, Linear, Network
from envs.random import Purpose, Stream, streams
from envs.registry import make
from envs.rollout import BLOCK, POINT_LANES, Backend, Trajectory, backend_for, returns, rollout
from rl import Estimator, TrajectoryOracle, causal, linear_baseline, time_baseline

F32, F64 = torch.float32, torch.float64
BACKENDS: list[Backend] = ["plain", "fused"]
backends = pytest.mark.parametrize("backend", BACKENDS)

FUSE = EnvSpec(
    id="Fuse-v0",
    summary="ends at a random time and is cut at another; everything is NaN afterwards",
    source="this test",
    observation_low=(0.0, 0.0),
    observation_high=(100.0, 1.0),
    action=Discrete(2),
    horizon=9,
    reset_draws=2,
)


class FuseState(NamedTuple):
    t: Tensor
    ends: Tensor
    cut: Tensor


class Fuse(Env):
    """Terminates after the step `ends`, cuts itself short after the step `cut`, both in 1 .. 14; pays t at step t."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        return cls(FUSE, device, dtype)

    def initial(self, uniform: Tensor) -> FuseState:
        ends, cut = (1 + 14 * uniform).floor().unbind(-1)
        return FuseState(torch.zeros_like(ends), ends, cut)

    def transition(self, state: FuseState, action: Tensor, uniform: Tensor | None) -> tuple[FuseState, Tensor, Tensor]:
        state = state._replace(t=state.t + 1)
        return state, torch.where(self.over(state, before=1), torch.nan, state.t), state.t == state.ends

    def over(self, state: FuseState, before: int) -> Tensor:
        """Whether the episode had ended `before` steps ago."""
        return state.t - before >= torch.minimum(state.ends, state.cut)

    def observe(self, state: FuseState) -> Tensor:
        t = torch.where(self.over(state, before=1), torch.nan, state.t)
        return torch.stack((t, torch.full_like(t, 0.5)), -1)

    def truncated(self, state: FuseState) -> Tensor:
        return state.t == state.cut


@dataclass(frozen=True)
class CountingCartPole(CartPole):
    """Counts its transitions."""

    calls: Counter[str] = field(default_factory=Counter)

    def transition(self, state: Any, action: Tensor, uniform: Tensor | None) -> tuple[Any, Tensor, Tensor]:
        self.calls["transition"] += state.x.numel()
        return super().transition(state, action, uniform)


class Episode(NamedTuple):
    """What one episode gave, a list with an entry per step; and the observation after the last."""

    obs: list[Tensor]
    action: list[Tensor]
    log_prob: list[Tensor]
    reward: list[Tensor]
    terminated: list[bool]
    truncated: list[bool]
    last_obs: Tensor


def play(env: Env, policy: Network, params: Tensor, stream: Stream, lane: int) -> Episode:
    """One episode of params [d] in the most obvious way; `stream` is that of its run alone."""
    stream, horizon, n = stream.spread(torch.tensor([[lane]])), env.spec.horizon, env.spec.transition_draws
    noise = policy.head.noise(stream.fold(Purpose.ACTION), horizon * policy.head.draws, 0, env.dtype)
    uniform = stream.fold(Purpose.TRANSITION).uniform(horizon * n, dtype=env.dtype) if n else None
    state = env.reset((1, 1, 1), stream.fold(Purpose.RESET))
    weights = policy.unpack(params[None, None])
    found = Episode([], [], [], [], [], [], torch.empty(0))
    for t in range(horizon):
        obs, draws = env.observe(state), policy.head.draws
        action, log_prob = policy.sample(weights, obs, noise[..., t * draws : (t + 1) * draws])
        step = None if uniform is None else uniform[..., t * n : (t + 1) * n]
        state, reward, terminated = env.transition(state, action, step)
        own = env.truncated(state)
        truncated = t + 1 == horizon or (own is not None and bool(own))
        for values, value in zip(found[:4], (obs, action, log_prob, reward), strict=True):
            values.append(value[0, 0, 0])
        found.terminated.append(bool(terminated))
        found.truncated.append(truncated)
        if terminated or truncated:
            break
    return found._replace(last_obs=env.observe(state)[0, 0, 0])


def random_params(policy: Network, runs: int, points: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    """[R, K, d] float64, the first runs of which do not depend on how many there are."""
    return scale * streams(range(seed, seed + runs)).spread(torch.arange(points)).normal(policy.dim, dtype=F64)


CASES: dict[str, tuple[Env, Network, Backend]] = {}
for _id, _backend, _horizon in [
    ("CartPole-v1", "plain", 100),
    ("CartPole-v1", "fused", 100),
    ("RandomMDP-v0", "plain", 7),
    ("LQR-v0", "plain", 5),
    ("MountainCarContinuous-v0", "plain", 70),
]:
    _env = make(_id, "cpu", F64, horizon=_horizon)
    CASES[f"{_id}, {_backend}"] = (_env, MLP(_env.spec, (4,)), _backend)
CASES["Fuse-v0"] = (Fuse(FUSE, torch.device("cpu"), F64), Linear(FUSE), "plain")
cases = pytest.mark.parametrize(("env", "policy", "backend"), CASES.values(), ids=CASES)


@cases
@pytest.mark.parametrize("common", [False, True])
def test_every_episode_is_the_one_played_alone(env: Env, policy: Network, backend: Backend, common: bool) -> None:
    """All fields of the trajectory, in 2 runs x 2 points x 6 episodes of a later iteration."""
    params, stream = random_params(policy, 2, 2, 0.5), streams([3, 8]).at(5)
    found = rollout(env, policy, params, 6, stream, common, backend)
    longest = 0
    for r, seed in enumerate([3, 8]):
        for k in range(2):
            for e in range(6):
                lane = e if common else k * POINT_LANES + e
                expected = play(env, policy, params[r, k], streams([seed]).at(5), lane)
                steps, at = len(expected.reward), (r, k, e)
                longest = max(longest, steps)
                for part, values in zip(found[:4], expected[:4], strict=True):
                    assert_close(part[at][:steps], torch.stack(values), rtol=1e-9, atol=1e-9)
                assert found.terminated[at][:steps].tolist() == expected.terminated
                assert found.truncated[at][:steps].tolist() == expected.truncated
                assert found.mask[at].tolist() == [t < steps for t in range(found.mask.shape[-1])]
                assert_close(found.last_obs[at], expected.last_obs, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert found.mask.shape[-1] == min(-(-longest // BLOCK) * BLOCK, env.spec.horizon)


@cases
def test_nothing_is_stored_outside_the_mask(env: Env, policy: Network, backend: Backend) -> None:
    found = rollout(env, policy, random_params(policy, 3, 2), 10, streams([0, 1, 2]), backend=backend)
    for part in found[:6]:
        assert not part[~found.mask].any()
        assert torch.isfinite(part).all()
    assert (found.mask[..., :-1] >= found.mask[..., 1:]).all()
    last = found.mask & ~torch.nn.functional.pad(found.mask[..., 1:], (0, 1))
    over = found.terminated | found.truncated
    assert torch.equal(over, last)


@cases
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_returns_are_the_discounted_sums_of_the_rollout(
    env: Env, policy: Network, backend: Backend, discount: float
) -> None:
    params, stream = random_params(policy, 3, 2), streams([0, 1, 2])
    whole = rollout(env, policy, params, 10, stream, backend=backend)
    found = returns(env, policy, params, 10, stream, discount, backend=backend)
    powers = discount ** torch.arange(whole.mask.shape[-1], dtype=F64)
    assert_close(found.episodes, (whole.reward * powers).sum(-1), rtol=1e-12, atol=1e-12)
    assert_close(found.values, found.episodes.mean(-1), rtol=1e-12, atol=1e-12)
    assert torch.equal(found.lengths, whole.mask.sum(-1))
    for one, other in zip(found.cost, whole.cost, strict=True):
        assert torch.equal(one, other)


def test_all_ways_an_episode_can_end() -> None:
    """Lengths and flags by formula: terminated and truncated are both kept when they fall on the same step."""
    env, policy, _ = CASES["Fuse-v0"]
    stream = streams([0])
    found = rollout(env, policy, torch.zeros(1, 1, policy.dim, dtype=F64), 400, stream)
    state = env.reset((1, 1, 400), stream.spread(torch.arange(400)[None]).fold(Purpose.RESET))
    horizon = env.spec.horizon
    lengths = torch.minimum(state.ends, state.cut).clamp(max=horizon).long()
    last = torch.arange(horizon) == lengths[..., None] - 1
    assert torch.equal(found.mask.sum(-1), lengths)
    assert torch.equal(found.terminated, last & (state.ends == lengths)[..., None])
    assert torch.equal(found.truncated, last & ((state.cut == lengths) | (lengths == horizon))[..., None])
    assert_close(found.reward.sum(-1), lengths * (lengths + 1) / 2.0, check_dtype=False)
    assert_close(found.last_obs[..., 0], lengths, check_dtype=False)
    early = lengths < horizon
    terminated, truncated = found.terminated.any(-1), found.truncated.any(-1)
    kinds = {
        (bool(a), bool(b), bool(c)) for a, b, c in zip(early[0, 0], terminated[0, 0], truncated[0, 0], strict=True)
    }
    everything = {
        (True, True, False),
        (True, False, True),
        (True, True, True),
        (False, False, True),
        (False, True, True),
    }
    assert kinds == everything


@backends
def test_a_termination_on_the_last_step_is_also_a_truncation(backend: Backend) -> None:
    """CartPole cut at the length that some episode has anyway."""
    env = make("CartPole-v1", "cpu", F64)
    policy, stream = Linear(env.spec), streams([0])
    params = torch.zeros(1, 1, policy.dim, dtype=F64)
    length = int(returns(env, policy, params, 20, stream, backend=backend).lengths.min())
    found = rollout(make("CartPole-v1", "cpu", F64, horizon=length), policy, params, 20, stream, backend=backend)
    assert found.mask.all()
    assert found.truncated[..., -1].all()
    assert 1 <= int(found.terminated[..., -1].sum()) < 20
    assert not (found.terminated | found.truncated)[..., :-1].any()


@backends
def test_costs_are_what_a_counting_environment_counts(backend: Backend) -> None:
    """Episodes and steps of an environment that plays them one at a time and stops when they are over."""
    env = CountingCartPole.create(torch.device("cpu"), F64)
    policy, seeds = MLP(env.spec, (4,)), [1, 2]
    params = random_params(policy, 2, 2, 0.5)
    found = rollout(make("CartPole-v1", "cpu", F64), policy, params, 3, streams(seeds), backend=backend)
    for r, seed in enumerate(seeds):
        before = env.calls["transition"]
        for k in range(2):
            for e in range(3):
                play(env, policy, params[r, k], streams([seed]), k * POINT_LANES + e)
        assert int(found.cost.env_steps[r]) == env.calls["transition"] - before
    assert found.cost.queries.tolist() == [2, 2]
    assert found.cost.episodes.tolist() == [6, 6]
    assert found.cost.hvps.tolist() == found.cost.uplink_floats.tolist() == [0, 0]


def same(one: Any, other: Any) -> bool:
    """Bit for bit; costs are compared as well."""
    return all(same(a, b) if isinstance(a, Cost) else torch.equal(a, b) for a, b in zip(one, other, strict=True))


@backends
@pytest.mark.parametrize("dtype", [F32, F64])
def test_common_random_numbers(backend: Backend, dtype: torch.dtype) -> None:
    """Equal parameters at three points see equal episodes with them, and different ones without."""
    env = make("CartPole-v1", "cpu", dtype)
    policy = MLP(env.spec, (4,))
    params = random_params(policy, 2, 1).to(dtype).repeat(1, 3, 1)
    shared, separate = (
        rollout(env, policy, params, 4, streams([0, 1]), common, backend)[:-1] for common in (True, False)
    )
    for k in (1, 2):
        assert same([part[:, 0] for part in shared], [part[:, k] for part in shared])
        assert not any(torch.equal(obs[0], obs[k]) for obs in separate[0])
    # The first point's numbers are those that all points share.
    assert same([part[:, 0, :, :BLOCK] for part in shared[:7]], [part[:, 0, :, :BLOCK] for part in separate[:7]])
    one, other = (returns(env, policy, params, 4, streams([0, 1]), 1.0, common, backend) for common in (True, False))
    assert torch.equal(one.values[:, 0], one.values[:, 2])
    assert not torch.equal(other.episodes[:, 0], other.episodes[:, 2])


@backends
@pytest.mark.parametrize("common", [False, True])
def test_more_episodes_or_points_do_not_change_the_first_ones(backend: Backend, common: bool) -> None:
    """In float64, where the last bit of a matrix product may depend on its size but no action does."""
    env = make("CartPole-v1", "cpu", F64)
    policy = MLP(env.spec, (4,))
    params, stream = random_params(policy, 2, 3), streams([0, 1])
    few = returns(env, policy, params[:, :2], 3, stream, 0.9, common, backend)
    many = returns(env, policy, params, 11, stream, 0.9, common, backend)
    assert torch.equal(few.lengths, many.lengths[:, :2, :3])
    assert_close(few.episodes, many.episodes[:, :2, :3], rtol=1e-10, atol=1e-10)
    few, many = (rollout(env, policy, params, e, stream, common, backend) for e in (3, 11))
    steps = few.mask.shape[-1]
    assert torch.equal(few.action, many.action[:, :, :3, :steps])
    assert_close(few.obs, many.obs[:, :, :3, :steps], rtol=1e-9, atol=1e-9)


def test_iterations_and_runs_have_their_own_episodes() -> None:
    env = make("CartPole-v1", "cpu")
    policy = MLP(env.spec, (4,))
    params = random_params(policy, 1, 1).float().repeat(2, 1, 1)
    obs = [rollout(env, policy, params, 2, streams([0, 1]).at(t)).obs[..., 0, :] for t in (0, 1)]
    assert not torch.equal(obs[0], obs[1])
    assert not torch.equal(obs[0][0], obs[0][1])
    per_run = rollout(env, policy, params, 2, streams([0, 1]).at(torch.tensor([0, 1]))).obs[..., 0, :]
    assert torch.equal(per_run, torch.stack((obs[0][0], obs[1][1])))


@pytest.mark.parametrize("hidden", [(), (32, 32)])
@pytest.mark.parametrize(("id", "backend"), [("CartPole-v1", "plain"), ("CartPole-v1", "fused"), ("LQR-v0", "plain")])
def test_a_run_is_the_same_alone_and_among_64(id: str, backend: Backend, hidden: tuple[int, ...]) -> None:
    """Bit for bit in float32: episodes, returns, gradients and Hessian-vector products, with every baseline.

    Some of the 64 survive much longer than others, so that the batch has more time blocks than a run alone.
    """
    env = make(id, "cpu", F32, horizon=80 if id == "CartPole-v1" else 20)
    policy, seeds = MLP(env.spec, hidden), list(range(64))
    params, directions = (random_params(policy, 64, 2, 0.3, seed).float() for seed in (0, 100))

    def everything(rows: list[int]) -> tuple[Trajectory, list[Tensor]]:
        stream, points, u = streams([seeds[r] for r in rows]).at(7), params[rows], directions[rows]
        trajectory = rollout(env, policy, points, 2, stream, backend=backend)
        values = returns(env, policy, points, 2, stream, 0.99, backend=backend)
        estimates = [values.values, values.episodes]
        for estimator in (Estimator(2, time_baseline), Estimator(2, linear_baseline, causal)):
            oracle = TrajectoryOracle.of(policy, points, trajectory, 0.99, estimator, backend)
            estimates += [oracle.gradient(), oracle.hvp(u), oracle.at_point(1).hvp(u[:, 1:])]
        return trajectory, estimates

    together, estimates = everything(seeds)
    blocks = set()
    for r in (0, 21, 63):
        alone, expected = everything([r])
        steps = alone.mask.shape[-1]
        blocks.add(steps)
        assert not together.mask[r, ..., steps:].any()
        cut = [part[r : r + 1, :, :, :steps] for part in together[:7]]
        assert same([*cut, together.last_obs[r : r + 1]], alone[:8])
        assert same([part[r : r + 1] for part in together.cost], alone.cost)
        for batched, single in zip(estimates, expected, strict=True):
            assert torch.equal(batched[r : r + 1], single)
    assert id == "LQR-v0" or min(blocks) < together.mask.shape[-1]


@backends
def test_failed_episodes_are_marked_and_left_out(backend: Backend) -> None:
    """Parameters that are not a number make every return NaN, in their own run alone."""
    env = make("MountainCarContinuous-v0", "cpu", F64, horizon=20)
    policy = Linear(env.spec)
    params = torch.zeros(2, 2, policy.dim, dtype=F64)
    params[1, 1] = torch.nan
    found = returns(env, policy, params, 3, streams([0, 1]), backend=backend)
    assert torch.isfinite(found.values).tolist() == [[True, True], [True, False]]
    assert torch.isfinite(found.episodes[1, 1]).tolist() == [False] * 3


def test_the_mean_is_over_the_episodes_that_did_not_fail() -> None:
    """Fuse pays NaN from the start where an episode is already over: here in about half of them."""

    class Dud(Fuse):
        def initial(self, uniform: Tensor) -> FuseState:
            state = super().initial(uniform)
            return state._replace(ends=torch.where(uniform[..., 1] < 0.5, 0.0, state.ends), cut=state.cut + 100)

    env = Dud(FUSE, torch.device("cpu"), F64)
    policy = Linear(FUSE)
    found = returns(env, policy, torch.zeros(1, 1, policy.dim, dtype=F64), 20, streams([0]))
    good = torch.isfinite(found.episodes)
    assert 0 < int(good.sum()) < 20
    assert_close(found.values[0, 0], found.episodes[good].mean())
    assert int(found.cost.episodes) == 20
    assert int(found.cost.env_steps) == int(found.lengths.sum())


@backends
def test_parameters_that_require_gradients_are_welcome(backend: Backend) -> None:
    env = make("CartPole-v1", "cpu", F64)
    policy = Linear(env.spec)
    params = torch.zeros(1, 1, policy.dim, dtype=F64, requires_grad=True)
    assert not returns(env, policy, params, 2, streams([0]), backend=backend).values.requires_grad
    assert not rollout(env, policy, params, 2, streams([0]), backend=backend).log_prob.requires_grad


@backends
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": torch.zeros(2, 10)}, r"params has shape \(2, 10\), expected \[R, K, 10\]"),
        ({"params": torch.zeros(2, 3, 9)}, r"params has shape \(2, 3, 9\), expected \[R, K, 10\]"),
        ({"params": torch.zeros(3, 1, 10)}, "params has 3 runs, the stream 2"),
        ({"params": torch.zeros(2, 1, 10, dtype=F64)}, r"params is torch\.float64, the environment torch\.float32"),
        ({"episodes": 0}, r"episodes = 0 is not in \[1, 1048576\]"),
        ({"episodes": POINT_LANES + 1}, "episodes = 1048577 is not in"),
        ({"env": make("Acrobot-v1", "cpu")}, "the policy is for CartPole-v1, the environment is Acrobot-v1"),
        ({"backend": "magic"}, "backend = 'magic' is not one of 'auto', 'plain', 'fused'"),
    ],
)
def test_bad_arguments_are_refused(backend: Backend, change: dict[str, Any], message: str) -> None:
    env = make("CartPole-v1", "cpu")
    good = {"env": env, "policy": Linear(env.spec), "params": torch.zeros(2, 1, 10), "episodes": 1}
    for call in (rollout, returns):
        with pytest.raises(ValueError, match=message):
            call(**({**good, "stream": streams([0, 1]), "backend": backend} | change))


def test_the_backend_is_fused_where_there_is_a_kernel() -> None:
    cartpole, fuse = make("CartPole-v1", "cpu"), Fuse.create(torch.device("cpu"), F32)
    assert backend_for(cartpole, MLP(cartpole.spec)) == "fused"
    assert backend_for(cartpole, MLP(cartpole.spec).greedy()) == "fused"
    assert backend_for(cartpole, MLP(cartpole.spec), "plain") == "plain"
    assert backend_for(fuse, MLP(fuse.spec)) == "plain"
    assert backend_for(CountingCartPole.create(torch.device("cpu"), F32), MLP(cartpole.spec)) == "plain"
    with pytest.raises(ValueError, match="backend = 'fused' has no kernel for Fuse-v0 on cpu"):
        backend_for(fuse, MLP(fuse.spec), "fused")


def test_a_horizon_below_a_block_and_one_that_is_not_a_multiple() -> None:
    for horizon in (1, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 3):
        env = make("MountainCar-v0", "cpu", F64, horizon=horizon)
        policy = Linear(env.spec)
        found = rollout(env, policy, torch.zeros(1, 1, policy.dim, dtype=F64), 2, streams([0]), backend="plain")
        assert found.mask.shape[-1] == horizon
        assert found.mask.all()
        assert found.truncated[..., -1].all()
        assert found.cost.env_steps.tolist() == [2 * horizon]


@jaxtyped(typechecker=beartype)
def discrete_rollout(
    env: Env, policy: Network, params: Float[Tensor, "R K d"], episodes: int, stream: Stream, backend: str
) -> tuple[
    Float[Tensor, "R K {episodes} T O"],
    Int[Tensor, "R K {episodes} T"],
    Float[Tensor, "R K {episodes} T"],
    Float[Tensor, "R K {episodes} T"],
    Bool[Tensor, "R K {episodes} T"],
    Bool[Tensor, "R K {episodes} T"],
    Bool[Tensor, "R K {episodes} T"],
    Float[Tensor, "R K {episodes} O"],
]:
    return tuple(rollout(env, policy, params, episodes, stream, backend=backend)[:-1])


@jaxtyped(typechecker=beartype)
def checked_returns(
    env: Env, policy: Network, params: Float[Tensor, "R K d"], episodes: int, stream: Stream, backend: str
) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R K {episodes}"], Int[Tensor, "R K {episodes}"]]:
    return tuple(returns(env, policy, params, episodes, stream, backend=backend)[:-1])


@backends
@pytest.mark.parametrize("dtype", [F32, F64])
def test_shapes_and_types(backend: Backend, dtype: torch.dtype) -> None:
    env = make("CartPole-v1", "cpu", dtype)
    policy = MLP(env.spec, (4,))
    arguments = (env, policy, random_params(policy, 2, 3).to(dtype), 4, streams([0, 1]), backend)
    found = discrete_rollout(*arguments)
    assert [part.dtype for part in found[:4]] == [dtype, torch.int64, dtype, dtype]
    values, episodes, lengths = checked_returns(*arguments)
    assert values.dtype == episodes.dtype == dtype
    assert lengths.dtype == torch.int64


def test_real_actions_keep_their_axis() -> None:
    env = make("LQR-v0", "cpu", F64)
    assert isinstance(env.spec.action, Box)
    policy = Linear(replace(env.spec))
    found = rollout(env, policy, random_params(policy, 2, 1, 0.1), 3, streams([0, 1]))
    assert found.action.shape == (2, 1, 3, env.spec.horizon, env.spec.action.size)
