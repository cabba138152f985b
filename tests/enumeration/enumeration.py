"""Small processes whose every trajectory is enumerated: an expectation is a finite sum.

Everything is float64; f = -J.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import torch
from torch import Tensor

from envs.core import Cost
from envs.policies import Linear
from envs.random import Purpose, streams
from envs.rollout import Backend, Trajectory
from envs.tabular import TabularMDP
from rl import Estimator, TrajectoryOracle

DISCOUNT = 0.9


@dataclass(frozen=True)
class Instance:
    """A process, a horizon and the point at which everything is differentiated."""

    mdp: TabularMDP
    horizon: int
    theta: Tensor
    """[d]"""
    absorbing: int | None = None
    """State without rewards that is never left; its trajectories are cut on entry, as terminated ones."""

    @property
    def policy(self) -> Linear:
        return Linear(self.mdp.spec, bias=False)

    def probabilities(self, theta: Tensor) -> Tensor:
        """pi(a | s), [S, A], written without the library's policies."""
        states, actions = self.mdp.r.shape
        return torch.softmax(theta.view(actions, states).T, -1)

    def objective(self, theta: Tensor) -> Tensor:
        """f = -J."""
        return -self.mdp.exact_return(self.probabilities(theta), self.horizon, DISCOUNT)

    def gradient(self) -> Tensor:
        return torch.autograd.functional.jacobian(self.objective, self.theta)

    def hessian(self) -> Tensor:
        return torch.autograd.functional.hessian(self.objective, self.theta)


def instance(states: int, horizon: int, seed: int) -> Instance:
    drawn = TabularMDP.random(states, 2, seed, dtype=torch.float64)
    mdp = TabularMDP.of(drawn.P, 10 * drawn.r, drawn.rho, dtype=torch.float64)
    theta = streams([seed]).fold(Purpose.INITIAL).normal(2 * states, dtype=torch.float64)[0]
    return Instance(mdp, horizon, theta)


def with_an_end(seed: int) -> Instance:
    """Three states, of which the last one ends the episode."""
    whole = instance(3, 3, seed)
    P, r, rho = whole.mdp.P.clone(), whole.mdp.r.clone(), torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64)
    P[2], r[2] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), 0.0
    return replace(whole, mdp=TabularMDP.of(P, r, rho, dtype=torch.float64), absorbing=2)


INSTANCES = {
    "2 states, 2 steps": instance(2, 2, seed=1),
    "2 states, 3 steps": instance(2, 3, seed=2),
    "3 states, 3 steps": instance(3, 3, seed=3),
    "3 states, one of them the end": with_an_end(seed=4),
}


def paths(case: Instance) -> tuple[list[list[tuple[int, int]]], list[float]]:
    """Every trajectory [(s, a), ...] and its probability."""
    mdp, pi = case.mdp, case.probabilities(case.theta)
    states, actions = mdp.r.shape
    growing = [([], s, float(mdp.rho[s])) for s in range(states)]
    finished = []
    for _ in range(case.horizon):
        finished += [part for part in growing if part[1] == case.absorbing]
        growing = [
            ([*steps, (s, a)], following, probability * float(pi[s, a] * mdp.P[s, a, following]))
            for steps, s, probability in growing
            for a, following in product(range(actions), range(states))
            if s != case.absorbing
        ]
    # The state after the last step is summed over: nothing depends on it.
    total: dict[tuple[tuple[int, int], ...], float] = {}
    for steps, _, probability in finished + growing:
        if probability:
            total[tuple(steps)] = total.get(tuple(steps), 0.0) + probability
    return [list(steps) for steps in total], list(total.values())


@cache
def enumerate_batches(case: Instance, episodes: int) -> tuple[Trajectory, Tensor]:
    """All batches of E trajectories as runs of one point, [P^E, 1, E, T], and their probabilities [P^E]."""
    steps, weights = paths(case)
    time = case.horizon
    s, a = torch.zeros(len(steps), time, dtype=torch.int64), torch.zeros(len(steps), time, dtype=torch.int64)
    lengths = torch.tensor([len(path) for path in steps])
    for i, path in enumerate(steps):
        for t, (state, action) in enumerate(path):
            s[i, t], a[i, t] = state, action
    mask = torch.arange(time) < lengths[:, None]
    obs = torch.nn.functional.one_hot(s, len(case.mdp.r)).double() * mask[..., None]
    reward = case.mdp.r[s, a] * mask
    last = torch.arange(time) == lengths[:, None] - 1
    index = torch.tensor(list(product(range(len(steps)), repeat=episodes)))
    parts = (obs, a, torch.zeros_like(reward), reward, last & (lengths < time)[:, None], last & mask[:, -1:], mask)
    batch = Trajectory(*(part[index][:, None] for part in parts), obs[index][:, None, :, 0], Cost.zeros(len(index)))
    return batch, torch.tensor(weights, dtype=torch.float64)[index].prod(-1)


def oracle(case: Instance, batch: Trajectory, estimator: Estimator, backend: Backend = "auto") -> TrajectoryOracle:
    params = case.theta.expand(len(batch.mask), 1, -1)
    return TrajectoryOracle.of(case.policy, params, batch, DISCOUNT, estimator, backend)


def mean(samples: Tensor, probabilities: Tensor) -> Tensor:
    """E of samples [P, 1, d]."""
    return probabilities @ samples[:, 0]


def direction(case: Instance, seed: int = 0) -> Tensor:
    return streams([seed]).fold(Purpose.ASK).normal(len(case.theta), dtype=torch.float64)[0]


def other_point(case: Instance) -> Tensor:
    """theta', far enough from theta that the weights matter."""
    return case.theta + 0.5 * direction(case, seed=7)
