"""The loop for agents that another library trains: seeds one after the other, the same ledger, scores and record.

A seed is trained from its start to its end, with copies of its iterate put aside at the recording positions; then they
are scored as everybody's are. So a seed is also the unit of a resume: finished seeds are kept, the one that a kill
interrupted starts again, to the same curve.
"""

import math
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import torch
from torch import Tensor

from envs.core import Cost
from envs.from_gymnasium import GymnasiumEnv
from envs.heads import Categorical, Gaussian
from envs.policies import MLP
from experiments.answers import spread
from experiments.ledger import BUDGET, NON_FINITE
from experiments.loop import Loop, Progress, Result
from experiments.policy_problem import PolicyProblem
from experiments.problems import Problem
from experiments.stable_baselines import Snapshot, Trained, implementation, train
from rl.sb3 import Actors, External


def check(agent: External, problem: Problem, budget: int) -> None:
    """Raise ValueError where the agent cannot be trained on the problem with this budget."""
    if not isinstance(problem, PolicyProblem):
        raise ValueError(f"{agent.id} needs an environment, {problem.name} is a function")
    policy = problem.policy
    learnable = isinstance(policy.head, Categorical | Gaussian) and not policy.head.constants
    if not isinstance(policy, MLP) or not policy.bias or not learnable:
        raise ValueError(
            f"{agent.id} trains an MLP or Linear policy with biases and a Categorical head or a Gaussian one that "
            f"learns its deviations, not {type(policy).__name__} with bias = {policy.bias}, head = {policy.head}"
        )
    if agent.collection > budget:
        raise ValueError(
            f"budget = {budget} is less than the {agent.collection} env_steps that one collection of {agent.id} takes"
        )
    implementation(agent)


class SeedBySeed(Loop):
    """An iteration is one seed."""

    algorithm: External
    problem: PolicyProblem
    state: Actors

    def run(self, progress: Progress) -> Result:
        """Train the seeds that are not finished yet."""
        self._trained = self._train(progress)
        try:
            return super().run(progress)
        finally:
            self._trained.close()

    def _train(self, progress: Progress) -> Generator[Trained]:
        """The active runs' seeds, in order."""
        seeds = [self.record.seeds[r] for r in self.ledger.active.nonzero()[:, 0].tolist()]
        one = partial(train, self.algorithm, _apart(self.problem), self.ledger.budget, self.record.positions.tolist())
        if self.algorithm.processes == 1:
            yield from (one(seed, lambda steps: self._report(progress, steps)) for seed in seeds)
            return
        # Spawned, because a fork would inherit the threads of torch and numba without what they hold.
        with ProcessPoolExecutor(self.algorithm.processes, mp_context=get_context("spawn")) as pool:
            yield from pool.map(one, seeds)

    def _report(self, progress: Progress, steps: int) -> None:
        """Show how far the seed under way is; finished seeds are reported by the flush."""
        runs = len(self.ledger.active)
        done = runs - int(self.ledger.active.sum()) + steps / self.ledger.budget
        progress(done / runs, f"{int(self.ledger.position.sum()) + steps:,} env steps")

    def iterate(self) -> None:
        """Train the next seed."""
        waiting = self.ledger.active.nonzero()[:, 0]
        if len(waiting):
            self._note(waiting[:1], next(self._trained))
            self.iteration += 1

    def _note(self, row: Tensor, trained: Trained) -> None:
        """Put what one seed left into the row [1] of its run."""
        for snapshot in trained.snapshots:
            self._capture_snapshot(row, snapshot)
        last = trained.snapshots[-1]
        self.state = Actors(self.state.theta.index_copy(0, row, self._theta(last)))
        there = torch.zeros_like(self.ledger.active).index_fill(0, row, True)
        self.ledger.charge(self._cost(row, last), there * trained.failures)
        self.ledger.stop(there, BUDGET if trained.finite else NON_FINITE)

    def _capture_snapshot(self, row: Tensor, snapshot: Snapshot) -> None:
        runs, slots = len(self.record.seeds), len(self.record.positions)
        crossed = torch.zeros(runs, slots, dtype=torch.bool, device=row.device)
        crossed[row, snapshot.slot] = True
        theta = spread(self._theta(snapshot), row, runs, 0.0)
        measures = {
            name: spread(torch.tensor([value], device=row.device), row, runs, math.nan)
            for name, value in snapshot.measures.items()
        }
        self.record.capture(crossed, theta, self._cost(row, snapshot), snapshot.wall_s, measures)

    def _theta(self, snapshot: Snapshot) -> Tensor:
        """[1, d]"""
        return torch.from_numpy(snapshot.theta)[None].to(self.state.theta)

    def _cost(self, row: Tensor, snapshot: Snapshot) -> Cost:
        return Cost.each(1, row.device, **snapshot.spent).spread(row, len(self.record.seeds))

    def _capture_last(self) -> None:
        """Nothing: every seed has left its last iterate."""


def _apart(problem: PolicyProblem) -> PolicyProblem:
    """The problem with an environment that shares nothing with the one that scores, and can be sent to a process."""
    env = problem.env
    if not isinstance(env, GymnasiumEnv):
        return problem
    return replace(problem, env=GymnasiumEnv.create(env.device, env.dtype, env.spec.id, **env.options))
