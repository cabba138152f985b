"""Directions of the importance-weighted agents in the mean, by enumeration of every batch of small processes.

For any past, E[d_t | past] = grad f(theta_t) + keep (d - grad f(theta')): what is carried over stays unbiased.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import pytest
from enumeration import DISCOUNT, Instance, direction, enumerate_batches, oracle, other_point
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.rollout import Trajectory
from rl import PAGEPG, SRVRPG, STORMPG, SVRPG, Estimator, PolicyGradient, TrajectoryOracle, no_baseline, time_baseline
from rl.baselines import Baseline
from rl.n_pg_igt import State
from rl.page_pg import State as PageState
from rl.svrpg import State as SnapshotState

Past = Callable[..., NamedTuple]
AGENTS = [
    pytest.param(STORMPG(alpha=Schedule(0.3)), State, 0.7, id="storm-pg"),
    pytest.param(PAGEPG(), partial(PageState, coin=False), 1.0, id="page-pg"),
    pytest.param(SVRPG(), SnapshotState, 1.0, id="svrpg"),
    pytest.param(SRVRPG(), State, 1.0, id="srvr-pg"),
]
"""With their states (iterate, the point referred to, the direction carried over, t) and the share that is kept."""


def past(case: Instance, kind: Past, runs: int) -> Any:
    """At t = 1: theta, the point that it refers to, and some direction that is not the gradient there."""
    parts = [part.expand(runs, -1) for part in (case.theta, other_point(case), direction(case, seed=5))]
    return kind(*parts, t=1)


def expected(case: Instance, keep: float) -> Tensor:
    there = replace(case, theta=other_point(case)).gradient()
    assert float((there - case.gradient()).norm()) > 1e-2
    return case.gradient() + keep * (direction(case, seed=5) - there)


@pytest.mark.parametrize(("agent", "kind", "keep"), AGENTS)
@pytest.mark.parametrize(("baseline", "episodes"), [(no_baseline, 1), (no_baseline, 2), (time_baseline, 2)])
def test_the_direction_is_unbiased(
    case: Instance, baseline: Baseline, episodes: int, agent: PolicyGradient, kind: Past, keep: float
) -> None:
    batch, probabilities = enumerate_batches(case, episodes)
    state = past(case, kind, len(batch.mask))
    _, metrics = agent.tell(state, state.theta[:, None], oracle(case, batch, Estimator(episodes, baseline)))
    assert_close(probabilities @ metrics["direction"], expected(case, keep), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize(("agent", "kind", "keep"), AGENTS)
def test_so_it_is_with_copies_of_the_point(case: Instance, agent: PolicyGradient, kind: Past, keep: float) -> None:
    """Two points of one episode each, with a baseline that needs both."""
    batch, probabilities = enumerate_batches(case, 2)
    apart = Trajectory._make((*(part.transpose(1, 2) for part in batch[:-1]), batch.cost))
    state = past(case, kind, len(batch.mask))
    points = state.theta[:, None].expand(-1, 2, -1)
    feedback = TrajectoryOracle.of(case.policy, points, apart, DISCOUNT, Estimator(2, time_baseline))
    _, metrics = agent.tell(state, points, feedback)
    assert_close(probabilities @ metrics["direction"], expected(case, keep), rtol=0.0, atol=1e-8)


class Unweighted(TrajectoryOracle):
    """Takes the trajectories of the iterate for those of the other point."""

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return super().gradient() if at is None else TrajectoryOracle.gradient(replace(self, params=at))


@pytest.mark.parametrize(("agent", "kind", "keep"), AGENTS)
def test_without_weights_it_is_biased(case: Instance, agent: PolicyGradient, kind: Past, keep: float) -> None:
    """So the tests above can fail: by more than 10 % of the difference of the two gradients."""
    batch, probabilities = enumerate_batches(case, 1)
    state = past(case, kind, len(batch.mask))
    asked = oracle(case, batch, Estimator())
    feedback = Unweighted(**{field.name: getattr(asked, field.name) for field in fields(asked)})
    _, metrics = agent.tell(state, state.theta[:, None], feedback)
    error = probabilities @ metrics["direction"] - expected(case, keep)
    there = replace(case, theta=other_point(case)).gradient()
    assert float(error.norm()) > 0.1 * keep * float((there - case.gradient()).norm())


def test_the_effective_sample_size_falls_with_the_distance(case: Instance) -> None:
    """From that of two episodes at no distance."""
    batch, probabilities = enumerate_batches(case, 2)
    sizes = []
    for distance in (0.0, 0.5, 2.0):
        at = case.theta + distance * direction(case, seed=7)
        state = past(case, State, len(batch.mask))._replace(theta_prev=at.expand(len(batch.mask), -1))
        _, metrics = SRVRPG().tell(state, state.theta[:, None], oracle(case, batch, Estimator(2)))
        sizes.append(float(probabilities @ metrics["effective_sample_size"]))
    assert sizes[0] == pytest.approx(2.0)
    assert sizes[0] > sizes[1] > sizes[2] > 1.0
