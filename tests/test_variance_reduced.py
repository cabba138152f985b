"""STORM-PG, PAGE-PG, SVRPG and SRVR-PG: update rules by hand and on exact oracles, batches and counts, weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc
import pytest
import torch
from oracles import F64, Quadratic, noisy, random_quadratic, trace, transport_error
from torch import Tensor
from torch.testing import assert_close

import envs
from envs.algorithm import Schedule
from envs.random import Purpose, streams
from envs.rollout import rollout
from experiments import PolicyProblem, run
from rl import PAGEPG, REINFORCE, SRVRPG, STORMPG, SVRPG, Estimator, PolicyGradient, TrajectoryOracle, time_baseline
from rl.importance import weight_metrics

AGENTS = (STORMPG, PAGEPG, SVRPG, SRVRPG)


def page_with(coins: list[bool], **settings: float) -> PAGEPG:
    """PAGE-PG with p = 1/2 and the first seed whose coins c_1, c_2, ... fall like this."""
    tried = (PAGEPG(probability=0.5, coin_seed=seed, **settings) for seed in range(1000))
    return next(agent for agent in tried if [agent.toss(t + 1) for t in range(len(coins))] == coins)


@dataclass(frozen=True)
class Paired:
    """Answers with given gradients at the iterate and at the other point, and remembers where that is."""

    here: Tensor
    """[R, d]"""
    there: Tensor
    """[R, d]"""
    weights: Tensor
    """[R, 1, E]"""
    others: list[Tensor]

    def gradient(self, at: Tensor | None = None) -> Tensor:
        if at is None:
            return self.here[:, None]
        self.others.append(at)
        return self.there[:, None]

    def log_weights(self, at: Tensor) -> Tensor:
        return self.weights.log()

    def at_point(self, k: int, copies: int = 1) -> "Paired":
        return self


@pytest.mark.parametrize(
    ("agent", "directions", "referred"),
    [
        (STORMPG(Schedule(0.1), Schedule(0.25)), [(1, 2), (2, 0.75), (0, 2.0625), (5, 6 + 0.75 * 1.0625)], [0, 1, 2]),
        (SVRPG(Schedule(0.1), epoch=3), [(1, 2), (2, 1), (-1, 3), (5, 6)], [0, 0]),
        (SRVRPG(Schedule(0.1), epoch=3), [(1, 2), (2, 1), (0, 2), (5, 6)], [0, 1]),
        (page_with([False, False, True], gamma=Schedule(0.1)), [(1, 2), (2, 1), (0, 2), (5, 6)], [0, 1]),
    ],
)
def test_four_steps_by_hand(agent: PolicyGradient, directions: list[tuple], referred: list[int]) -> None:
    """From theta = 0; `referred` are the iterates at which the second gradients are taken."""
    here = torch.tensor([[1, 2], [2, 0], [0, 3], [5, 6]], dtype=F64)
    there = torch.tensor([[9, 9], [1, 1], [2, 2], [0, 1]], dtype=F64)
    others: list[Tensor] = []
    weights = torch.tensor([[[0.5, 1.5, 0.5, 0.5]]], dtype=F64)
    found = trace(
        agent,
        torch.zeros(1, 2, dtype=F64),
        lambda points, t: Paired(here[t : t + 1], there[t : t + 1], weights, others),
        4,
    )
    expected = torch.tensor(directions, dtype=F64)
    assert_close(torch.cat([metrics["direction"] for metrics in found.metrics]), expected, rtol=1e-14, atol=1e-14)
    thetas = torch.cat([state.theta for state in found.states])
    assert_close(thetas[1:], -0.1 * expected.cumsum(0), rtol=1e-14, atol=1e-14)
    assert_close(torch.cat(others)[:, 0], thetas[referred], rtol=0.0, atol=0.0)
    assert_close(found.metrics[2]["gradient_norm"], torch.tensor([3.0], dtype=F64))
    assert_close(found.metrics[2]["effective_sample_size"], torch.tensor([3.0], dtype=F64))  # 3^2 / 3
    assert_close(found.metrics[2]["largest_weight"], torch.tensor([1.5], dtype=F64))


TRANSPORTED = [
    STORMPG(Schedule(0.02), Schedule(0.3)),
    STORMPG(Schedule(0.02), Schedule(1.0, 0.5)),
    PAGEPG(Schedule(0.02), probability=0.1),
    SVRPG(Schedule(0.02), epoch=7),
    SRVRPG(Schedule(0.02), epoch=7),
]


@pytest.mark.parametrize("agent", TRANSPORTED)
def test_without_noise_the_direction_is_the_gradient(agent: PolicyGradient) -> None:
    assert transport_error(agent) < 1e-12


class WrongPoint(Quadratic):
    """Gives the gradient of the asked point wherever it is wanted."""

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return super().gradient()


@pytest.mark.parametrize("agent", TRANSPORTED)
def test_with_the_second_gradient_at_the_wrong_point_it_is_not(agent: PolicyGradient) -> None:
    assert transport_error(agent, WrongPoint) > 1e-3


@pytest.mark.parametrize(
    "agent",
    [
        STORMPG(Schedule(0.2, 0.5), alpha=Schedule(1.0)),
        PAGEPG(Schedule(0.2, 0.5), probability=1.0),
        SVRPG(Schedule(0.2, 0.5), epoch=1),
        SRVRPG(Schedule(0.2, 0.5), epoch=1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_without_memory_all_of_them_are_reinforce(agent: PolicyGradient, dtype: torch.dtype) -> None:
    """Bit for bit; but for STORM-PG with large batches all the way."""
    x0 = random_quadratic()[1].to(dtype)
    reference = trace(REINFORCE(gamma=Schedule(0.2, 0.5)), x0, noisy, 30)
    found = trace(agent, x0, noisy, 30)
    for one, other in zip(found.states, reference.states, strict=True):
        assert torch.equal(one.theta, other.theta)
    assert {points.shape[1] for points in found.points[1:]} == {5 if isinstance(agent, STORMPG) else 25}
    assert not torch.equal(reference.states[-1].theta, x0)


SIZES = [
    (STORMPG(batch=6, minibatch=2), [6, 2, 2, 2, 2]),
    (page_with([False, True, False, False], batch=6, minibatch=2), [6, 2, 6, 2, 2]),
    (SVRPG(batch=6, minibatch=2, epoch=3), [6, 2, 2, 6, 2]),
    (SRVRPG(batch=6, minibatch=2, epoch=3), [6, 2, 2, 6, 2]),
]
"""Agents and the points they ask for in five iterations."""


@pytest.mark.parametrize(("agent", "sizes"), SIZES)
def test_batches_are_copies_of_the_iterate(agent: PolicyGradient, sizes: list[int]) -> None:
    found = trace(agent, random_quadratic()[1], noisy, 5)
    assert [points.shape[1] for points in found.points] == sizes
    for points, state in zip(found.points, found.states[:-1], strict=True):
        assert torch.equal(points, state.theta[:, None].expand_as(points))


THREE = Estimator(3, time_baseline)


def tabular(estimator: Estimator) -> PolicyProblem:
    """Every episode has 8 steps."""
    env = envs.make("RandomMDP-v0", "cpu", F64, horizon=8)
    return PolicyProblem(env, envs.Linear(env.spec, bias=False), estimator=estimator)


@pytest.mark.parametrize(("agent", "sizes"), SIZES)
def test_the_ledger_counts_every_trajectory(agent: PolicyGradient, sizes: list[int]) -> None:
    """Three a point. Five iterations are admitted by the budget that they spend, and not by one step less."""
    budget = 8 * 3 * sum(sizes)
    whole = run(agent, tabular(THREE), seeds=2, budget=budget, evaluations=1)
    assert whole.iterations == 5
    assert whole.spent.episodes.tolist() == [3 * sum(sizes)] * 2
    assert whole.spent.env_steps.tolist() == [budget] * 2
    assert whole.spent.hvps.tolist() == [0, 0]
    short = run(agent, tabular(THREE), seeds=2, budget=budget - 1, evaluations=1)
    assert short.spent.episodes.tolist() == [3 * sum(sizes[:-1])] * 2
    assert short.stopped == ["budget"] * 2


@pytest.mark.parametrize("agent", [agent for agent, _ in SIZES])
def test_a_budget_below_the_first_batch_is_refused(agent: PolicyGradient) -> None:
    message = rf"^budget = 143 is less than the 144 env_steps that one iteration of {agent.id} can take$"
    with pytest.raises(ValueError, match=message):
        run(agent, tabular(THREE), seeds=2, budget=143)


@pytest.mark.parametrize("make", AGENTS)
def test_the_trajectories_of_all_copies_are_averaged(make: type[SRVRPG]) -> None:
    """The first direction is the mean over the batch, and its weights are all 1."""
    problem, agent, root = tabular(Estimator(2)), make(batch=6), streams([3, 4])
    state = agent.init(problem.init(root), root)
    points, state = agent.ask(state, root)
    trajectory = rollout(problem.env, problem.policy, points, 2, root.fold(Purpose.TRAIN))
    oracle = TrajectoryOracle.of(problem.policy, points, trajectory, problem.discount, problem.estimator)
    _, metrics = agent.tell(state, points, oracle)
    assert_close(metrics["direction"], oracle.gradient().mean(1), rtol=1e-12, atol=1e-14)
    assert_close(metrics["effective_sample_size"], torch.full((2,), 12.0, dtype=F64))
    assert_close(metrics["largest_weight"], torch.ones(2, dtype=F64))


@pytest.mark.parametrize("make", AGENTS)
def test_weights_are_recorded_and_they_fall_short_of_the_batch(make: type[SRVRPG]) -> None:
    """After steps as large as these, an iteration of 4 trajectories is worth between 1 and 4."""
    agent = make(gamma=Schedule(2.0), batch=4, minibatch=4)
    curves = run(agent, tabular(Estimator()), seeds=4, budget=8 * 4 * 2, evaluations=2).curves.sort_by("env_steps")
    sizes, largest = (
        curves.filter(pc.field("name") == f"train/{name}")["value"].to_numpy()
        for name in ("effective_sample_size", "largest_weight")
    )
    assert sizes[:4] == pytest.approx(4.0)
    assert largest[:4] == pytest.approx(1.0)
    assert ((sizes[4:] >= 1.0) & (sizes[4:] < 3.99)).all()
    assert (largest[4:] > 1.01).any()


def test_the_coin_is_fair_and_another_seed_is_another_coin() -> None:
    """400 tosses of each with p = 1/4: share and joint share within five standard errors, rate 2e-6 in all."""
    coins = [PAGEPG(probability=0.25, coin_seed=seed) for seed in (0, 1)]
    tosses = torch.tensor([[coin.toss(t) for coin in coins] for t in range(1, 401)])
    share, both = tosses.double().mean(0), float(tosses.all(1).double().mean())
    assert bool(((share - 0.25).abs() < 5 * (0.25 * 0.75 / 400) ** 0.5).all())
    assert abs(both - 0.0625) < 5 * (0.0625 * 0.9375 / 400) ** 0.5


def test_the_first_batch_is_large_whatever_the_coin() -> None:
    assert all(PAGEPG(probability=1e-9, coin_seed=seed).toss(0) for seed in range(5))


def test_a_failed_estimate_does_not_touch_other_runs() -> None:
    x0 = random_quadratic()[1]
    failed = torch.tensor([True, False, False, False, False])[:, None]
    for make in AGENTS:
        healthy = trace(make(), x0, noisy, 5).states[-1].theta
        mixed = trace(make(), x0, lambda p, t: type(noisy(p, t))(noisy(p, t).answer.masked_fill(failed, torch.nan)), 5)
        assert torch.equal(healthy[1:], mixed.states[-1].theta[1:])
        assert mixed.states[-1].theta[0].isnan().all()


INF = math.inf


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(
    ("log_weights", "size", "largest"),
    [
        ([[0.0, 0.0, 0.0, 0.0]], 4.0, 1.0),
        ([[0.0, 0.0], [0.0, 0.0]], 4.0, 1.0),  # pooled over the points
        ([[math.log(3.0), 0.0, 0.0]], 25 / 11, 3.0),
        ([[math.log(3.0), 0.0, 0.0, -INF]], 25 / 11, 3.0),  # one failed
        ([[-2e4, -2e4, -INF]], 2.0, 0.0),  # each would vanish
        ([[2e4, 0.0]], 1.0, None),  # the first would overflow
        ([[-INF, -INF]], 0.0, 0.0),  # all failed
    ],
)
def test_weights_in_closed_form(
    log_weights: list[list[float]], size: float, largest: float | None, dtype: torch.dtype
) -> None:
    found = weight_metrics(torch.tensor([log_weights, log_weights], dtype=dtype))
    finite = torch.finfo(dtype).max if largest is None else largest
    assert_close(found["effective_sample_size"], torch.full((2,), size, dtype=dtype), rtol=1e-6, atol=0.0)
    assert_close(found["largest_weight"], torch.full((2,), finite, dtype=dtype), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: STORMPG(gamma=Schedule(0.0)), r"gamma\.scale = 0\.0 is not in \(0, inf\]"),
        (lambda: STORMPG(alpha=Schedule(1.5)), r"alpha\.scale = 1\.5 is not in \(0, 1\]"),
        (lambda: STORMPG(batch=0), r"batch = 0 is not in \[1, inf\]"),
        (lambda: STORMPG(minibatch=0), r"minibatch = 0 is not in \[1, inf\]"),
        (lambda: PAGEPG(gamma=Schedule(-1.0)), r"gamma\.scale = -1\.0"),
        (lambda: PAGEPG(probability=0.0), r"probability = 0\.0 is not in \(0, 1\]"),
        (lambda: PAGEPG(probability=1.1), r"probability = 1\.1 is not in \(0, 1\]"),
        (lambda: PAGEPG(probability=torch.tensor([0.1, 0.5])), r"probability = \[0\.1.*\] must be one number"),
        (lambda: PAGEPG(batch=-1), r"batch = -1"),
        (lambda: PAGEPG(minibatch=0), r"minibatch = 0"),
        (lambda: PAGEPG(coin_seed=-1), r"coin_seed = -1 is not in \[0, inf\]"),
        (lambda: SVRPG(gamma=Schedule(math.nan)), r"gamma\.scale = nan"),
        (lambda: SVRPG(batch=0), r"batch = 0"),
        (lambda: SVRPG(minibatch=0), r"minibatch = 0"),
        (lambda: SVRPG(epoch=0), r"epoch = 0 is not in \[1, inf\]"),
        (lambda: SRVRPG(gamma=Schedule(math.inf)), r"gamma\.scale = inf"),
        (lambda: SRVRPG(batch=0), r"batch = 0"),
        (lambda: SRVRPG(minibatch=0), r"minibatch = 0"),
        (lambda: SRVRPG(epoch=0), r"epoch = 0"),
    ],
)
def test_bad_configurations_are_refused(make: Callable[[], PolicyGradient], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
