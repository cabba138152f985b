"""Normalised observations: the deployed policy, the oracle's chain rule, frozen statistics, resume and batches."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from oracles import Quadratic, random_quadratic
from torch.func import hessian
from torch.testing import assert_close

import envs
from envs import Schedule
from envs.policies import Network
from envs.random import Purpose
from envs.rollout import BLOCK, Trajectory, rollout
from experiments import PolicyProblem, loop, run
from experiments.normalisation import FLOOR, MappedOracle, NormalisedAgent, ParameterMap
from experiments.objective_problem import ObjectiveProblem
from rl import NHARPG, NPGIGT, REINFORCE, STORMPG, Estimator, TrajectoryOracle, causal, time_baseline
from rl.moments import Moments
from zeroth_order import CBO, Sphere

F64 = torch.float64
POLICIES = {"mlp": ("CartPole-v1", (5, 4)), "linear": ("CartPole-v1", ()), "gaussian": ("Pendulum-v1", (6,))}
AGENTS = {
    "n-pg-igt": NPGIGT(gamma=Schedule(0.2, 0.5), eta=Schedule(1.0, 0.8, 0.1)),
    "n-harpg": NHARPG(gamma=Schedule(0.2, 0.5), eta=Schedule(1.0, 1.0, 0.2)),
    "storm-pg": STORMPG(batch=5, minibatch=2),
}


def policy_of(name: str, dtype: torch.dtype = F64, horizon: int = 40) -> tuple[envs.Env, Network]:
    id, hidden = POLICIES[name]
    env = envs.make(id, device="cpu", dtype=dtype, horizon=horizon)
    return env, envs.MLP(env.spec, hidden)


def numbers(size: int, purpose: int = 0, runs: int = 3) -> torch.Tensor:
    """Standard normals [R, size]."""
    return envs.streams(range(runs)).fold(Purpose.INSTANCE).at(purpose).normal(size, dtype=F64)


def some_map(policy: Network, runs: int = 3) -> ParameterMap:
    size = policy.spec.observation_size
    seen = Moments(torch.full((runs, 1), 7.0, dtype=F64), numbers(size, 1, runs), 7 * numbers(size, 2, runs).exp())
    return ParameterMap.of(seen, policy, F64)


def sampled_oracle(name: str) -> tuple[Network, ParameterMap, torch.Tensor, TrajectoryOracle]:
    """A policy, a map, parameters [R, K, d] of the agent, and the oracle where they are deployed."""
    env, policy = policy_of(name)
    mapping, theta = some_map(policy), 0.3 * numbers(2 * policy.dim, 3).view(3, 2, -1)
    deployed = mapping.deploy(theta)
    trajectory = rollout(env, policy, deployed, 4, envs.streams(range(3)))
    estimator = Estimator(4, time_baseline, hvp=causal)
    return policy, mapping, theta, TrajectoryOracle.of(policy, deployed, trajectory, 0.97, estimator)


@pytest.mark.parametrize("name", POLICIES)
def test_the_deployed_policy_is_the_policy_on_normalised_observations(name: str) -> None:
    _, policy = policy_of(name)
    mapping, theta = some_map(policy), numbers(2 * policy.dim, 3).view(3, 2, -1)
    obs = numbers(2 * 9 * policy.spec.observation_size, 4).view(3, 2, 9, -1)
    normalised = (obs - mapping.mean) / mapping.scale
    expected = policy.forward(policy.unpack(theta), normalised)
    assert_close(policy.forward(policy.unpack(mapping.deploy(theta)), obs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_transpose_is_the_adjoint(name: str) -> None:
    _, policy = policy_of(name)
    mapping = some_map(policy)
    v, g = (numbers(2 * policy.dim, i).view(3, 2, -1) for i in (3, 4))
    left, right = (mapping.deploy(v) * g).sum(-1), (v * mapping.transpose(g)).sum(-1)
    assert_close(left, right, rtol=1e-12, atol=1e-12)


def surrogates(policy: Network, mapping: ParameterMap, oracle: TrajectoryOracle, r: int, k: int):
    """Functions of the agent's theta [d] at (r, k): per-step log-probabilities on normalised observations [E, T]."""
    trajectory = oracle.trajectory
    obs = (trajectory.obs[r, k] - mapping.mean[r, 0]) / mapping.scale[r, 0]
    action = trajectory.action[r, k]

    def log_prob(theta: torch.Tensor) -> torch.Tensor:
        flat = policy.log_prob(theta, obs.flatten(0, 1), action.flatten(0, 1))
        return torch.where(trajectory.mask[r, k], flat.view(trajectory.mask[r, k].shape), 0.0)

    return log_prob


@pytest.mark.parametrize("name", POLICIES)
def test_gradient_product_and_fisher_are_those_of_the_composition(name: str) -> None:
    policy, mapping, theta, oracle = sampled_oracle(name)
    mapped, u = MappedOracle(oracle, mapping), numbers(2 * policy.dim, 5).view(3, 2, -1)
    found = mapped.gradient(), mapped.hvp(u), mapped.fisher_vp(u)
    advantage, powers = oracle._advantage(), 0.97 ** torch.arange(oracle.trajectory.mask.shape[-1], dtype=F64)
    for r, k in ((0, 0), (2, 1)):
        log_prob, a = surrogates(policy, mapping, oracle, r, k), advantage[r, k]
        scores = torch.func.jacrev(log_prob)(theta[r, k])
        c = scores @ u[r, k]
        w = causal(a, c, oracle.trajectory.mask[r, k])
        curvature = hessian(lambda x, log_prob=log_prob, a=a: (a * log_prob(x)).sum())(theta[r, k]) @ u[r, k]
        expected = (
            -torch.einsum("et,etd->d", a, scores) / 4,
            -(torch.einsum("et,etd->d", w, scores) + curvature) / 4,
            torch.einsum("et,etd->d", powers * c, scores) / 4,
        )
        for one, reference in zip(found, expected, strict=True):
            assert_close(one[r, k], reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", POLICIES)
def test_importance_weights_are_those_of_the_composition(name: str) -> None:
    policy, mapping, theta, oracle = sampled_oracle(name)
    mapped, there = MappedOracle(oracle, mapping), theta + 0.01 * numbers(2 * policy.dim, 6).view(3, 2, -1)
    log_prob = surrogates(policy, mapping, oracle, 1, 1)
    ratio = (log_prob(there[1, 1]) - log_prob(theta[1, 1])).sum(-1)
    assert_close(mapped.log_weights(there)[1, 1], ratio, rtol=1e-9, atol=1e-9)
    # Along the segment from theta, the importance-weighted gradient starts with the Hessian-vector product.
    u, h = numbers(2 * policy.dim, 5).view(3, 2, -1), 1e-5
    slope = (mapped.gradient(at=theta + h * u) - mapped.gradient(at=theta - h * u)) / (2 * h)
    assert_close(slope, mapped.hvp(u), rtol=1e-4, atol=1e-4)
    assert_close(mapped.at_point(1).gradient(at=there[:, 1:]), mapped.gradient(at=there)[:, 1:], rtol=1e-12, atol=1e-12)


def observations(lengths: torch.Tensor, size: int = 3) -> Trajectory:
    """A trajectory of episodes of these lengths [R, K, E] with observations of mean 5, 0 outside the mask."""
    steps = int(lengths.max() + BLOCK - 1) // BLOCK * BLOCK
    mask = torch.arange(steps) < lengths[..., None]
    obs = 5 + numbers(lengths[0].numel() * steps * size, runs=len(lengths)).view(*mask.shape, size)
    return Trajectory._make((obs * mask[..., None], *[mask] * 5, mask, mask, mask))


def test_moments_are_those_of_everything_seen() -> None:
    first, second = (observations(torch.tensor([[[3, 40]], [[1, 65]], [[0, 0]]]) * n) for n in (1, 2))
    both = Moments.of(first).plus(Moments.of(second))
    for r in (0, 1):
        seen = torch.cat([part.obs[r][part.mask[r]] for part in (first, second)])
        assert both.number[r] == len(seen)
        assert_close(both.mean[r], seen.mean(0), rtol=1e-13, atol=1e-13)
        assert_close(both.std[r], seen.std(0, correction=0), rtol=1e-13, atol=1e-13)
    nothing = Moments.none(3, 3, torch.device("cpu"))
    assert all(torch.equal(a[2], b[2]) for a, b in zip(both, nothing, strict=True))
    for sums in (nothing.plus(both), both.plus(nothing)):
        assert all(torch.equal(a, b) for a, b in zip(sums, both, strict=True))


def test_nothing_seen_is_the_identity_and_what_hardly_moved_is_not_blown_up() -> None:
    _, policy = policy_of("mlp")
    theta = numbers(policy.dim)[:, None]
    mapping = ParameterMap.of(Moments.none(3, 4, torch.device("cpu")), policy, F64)
    assert torch.equal(mapping.deploy(theta), theta)
    assert torch.equal(mapping.transpose(theta), theta)
    one = torch.ones(3, 1, dtype=F64)
    still = ParameterMap.of(Moments(one, one.expand(3, 4), 0 * one.expand(3, 4)), policy, F64)
    assert (still.scale == FLOOR).all()


@dataclass(frozen=True)
class Spy(REINFORCE):
    """Asks for two points, and puts aside what it was told of them."""

    asked: list = field(default_factory=list, repr=False)
    told: list = field(default_factory=list, repr=False)

    def ask(self, state, stream):
        points = torch.stack((state.theta, state.theta + 1), 1)
        self.asked.append(points)
        return points, state

    def tell(self, state, points, feedback):
        self.told.append((points, feedback.map, feedback.inner.inner.params))
        return super().tell(state, points[:, :1], feedback.at_point(0))


def test_all_points_of_an_iteration_share_statistics_that_are_updated_after_it() -> None:
    env, policy = policy_of("mlp")
    spy = Spy()
    problem = PolicyProblem(env, policy, estimator=Estimator(2), normalise=True, evaluation_episodes=2)
    result = run(spy, problem, seeds=3, budget=1500, evaluations=1)
    asked = spy.asked[1:]  # the first is the check before any work
    assert len(spy.told) > 4
    assert torch.equal(spy.told[0][1].scale, torch.ones(3, 1, 1, 4, dtype=F64))
    for before, (points, mapping, params), (_, later, _) in zip(asked[:4], spy.told[:4], spy.told[1:5], strict=True):
        assert torch.equal(points, before)
        assert_close(mapping.deploy(before), params, rtol=0, atol=0)
        assert not torch.equal(mapping.scale, later.scale)
    assert result.iterations >= len(spy.told)


def test_statistics_are_of_the_training_observations_alone() -> None:
    env, policy = policy_of("mlp")
    problem = PolicyProblem(env, policy, estimator=Estimator(3), normalise=True, evaluation_episodes=2)
    few, many = (run(AGENTS["n-pg-igt"], problem, seeds=3, budget=1500, evaluations=n) for n in (1, 9))
    assert torch.equal(few.parameters, many.parameters)

    looped = loop.Loop(AGENTS["n-pg-igt"], problem, [0, 1, 2], 1500, 1, None, False)
    seen = Moments.none(3, 4, torch.device("cpu"))
    for i in range(3):
        points, _ = looped.algorithm.ask(looped.state, looped._stream(Purpose.ASK))
        seen = seen.plus(Moments.of(rollout(env, policy, points, 3, looped._stream(Purpose.TRAIN).at(i))))
        with torch.no_grad():
            looped.iterate()
        for part, expected in zip(looped.state.seen, seen, strict=True):
            assert torch.equal(part, expected)
        assert torch.equal(looped.ledger.position, seen.number[:, 0].long())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", AGENTS)
def test_a_run_is_the_same_alone_and_among_others(name: str, dtype: torch.dtype) -> None:
    env, policy = policy_of("mlp", dtype)
    problem = PolicyProblem(
        env, policy, estimator=Estimator(3, time_baseline, hvp=causal), normalise=True, evaluation_episodes=2
    )
    together = run(AGENTS[name], problem, seeds=[4, 1, 7, 0, 9], budget=2500, evaluations=3)
    assert len({float(p.norm()) for p in together.parameters}) == 5
    for r, seed in enumerate([4, 1]):
        alone = run(AGENTS[name], problem, seeds=[seed], budget=2500, evaluations=3)
        assert torch.equal(alone.parameters[0], together.parameters[r])
        mine = together.curves.filter(together.curves["run"].to_numpy() == r).drop(["run", "wall_s"])
        assert mine.equals(alone.curves.drop(["run", "wall_s"]))


@pytest.mark.parametrize("name", AGENTS)
def test_an_interrupted_run_continues_exactly(name: str, tmp_path, monkeypatch) -> None:
    env, policy = policy_of("gaussian", horizon=20)
    problem = PolicyProblem(env, policy, estimator=Estimator(2, hvp=causal), normalise=True, evaluation_episodes=2)
    monkeypatch.setattr(loop, "FLUSH_SECONDS", -1.0)

    def go(out, resume: bool, stop_after: int):
        calls = iter(range(stop_after))

        def progress(done: float, message: str) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        return run(AGENTS[name], problem, 3, 2000, evaluations=6, out=out, resume=resume, progress=progress)

    whole = go(None, False, 10_000)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, False, 1)
    resumed = go(tmp_path, True, 10_000)
    assert torch.equal(resumed.parameters, whole.parameters)
    assert resumed.curves.drop(["wall_s"]).equals(whole.curves.drop(["wall_s"]))


def test_a_stopped_run_keeps_its_statistics() -> None:
    _, policy = policy_of("mlp")
    agent = NormalisedAgent(NPGIGT(), policy)
    stream = envs.streams([0, 1])
    old = agent.init(numbers(policy.dim, runs=2), stream)
    seen = Moments.of(observations(torch.full((2, 1, 2), 9), 4))
    new = old._replace(seen=seen, agent=old.agent._replace(theta=old.agent.theta + 1, t=3))
    kept = agent.keep(torch.tensor([True, False]), new, old)
    for part, after, before in zip(kept.seen, seen, old.seen, strict=True):
        assert torch.equal(part, torch.stack((after[0], before[1])))
    assert torch.equal(kept.agent.theta, torch.stack((new.agent.theta[0], old.agent.theta[1])))
    assert kept.agent.t == 3


@dataclass(frozen=True)
class Unseen(Quadratic):
    """An exact oracle in raw coordinates; nothing is observed, so that statistics stay."""

    def observed(self) -> Moments:
        return Moments.none(len(self.points), 4, torch.device("cpu"))


@pytest.mark.parametrize("name", AGENTS)
def test_transport_stays_exact_on_a_quadratic(name: str) -> None:
    """With frozen statistics, d_t is the gradient of theta -> f(M theta) at the iterate, exactly."""
    _, policy = policy_of("linear")
    A, x0 = random_quadratic(policy.dim, runs=3)
    agent = NormalisedAgent(AGENTS[name], policy)
    stream = envs.streams(range(3)).fold(Purpose.ASK)
    frozen = Moments(torch.full((3, 1), 7.0, dtype=F64), numbers(4, 1), 7 * numbers(4, 2).exp())
    state = agent.init(x0, stream)._replace(seen=frozen)
    mapping = ParameterMap.of(frozen, policy, F64)
    for t in range(30):
        theta = state.agent.theta
        points, state = agent.ask(state, stream.at(t))
        state, metrics = agent.tell(state, points, Unseen(A, points))
        exact = mapping.transpose(mapping.deploy(theta[:, None]) @ A)[:, 0]
        assert_close(metrics["direction"], exact, rtol=1e-10, atol=1e-10)


def test_the_recorded_policy_is_the_deployed_one() -> None:
    """The last parameters, rolled out as they are, get the last score."""
    env, policy = policy_of("mlp")
    problem = PolicyProblem(env, policy, estimator=Estimator(3), normalise=True, evaluation_episodes=5)
    result = run(AGENTS["n-pg-igt"], problem, seeds=2, budget=2000, evaluations=4)
    scores = problem.score(result.parameters, envs.streams([0, 1]).fold(Purpose.EVALUATE).at(4))["return"]
    last = result.curves.filter(result.curves["name"].to_numpy(zero_copy_only=False) == "eval/return").to_pydict()
    for r in (0, 1):
        assert [v for run_, v in zip(last["run"], last["value"], strict=True) if run_ == r][-1] == float(scores[r])
    plain = run(AGENTS["n-pg-igt"], replace(problem, normalise=False), seeds=2, budget=2000, evaluations=4)
    assert not torch.equal(plain.parameters, result.parameters)


def test_what_cannot_be_normalised_is_refused() -> None:
    env, policy = policy_of("mlp")
    problem = PolicyProblem(env, policy, normalise=True)
    with pytest.raises(ValueError, match="normalise = True is for policy gradient agents, cbo is none"):
        run(CBO(), problem, seeds=2, budget=10_000)
    with pytest.raises(ValueError, match="normalise = True needs a policy with biases"):
        PolicyProblem(env, envs.Linear(env.spec, bias=False), normalise=True)
    same = ObjectiveProblem(Sphere(dim=2))
    assert same.answered_by(Estimator(), 1, None, normalise=True) == same
