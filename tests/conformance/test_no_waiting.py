"""A whole iteration of the loop, evaluations included, without the host reading a number: on a GPU it would wait.

Shown on the "meta" device, whose tensors have shapes and no numbers: whoever reads one (`.item()`, `bool`, `nonzero`,
a copy to the host, a branch on a value) gets an error, and the loop does there what it does on a GPU.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import envs
import experiments.loop
import rl
import zeroth_order
from envs.algorithm import Algorithm
from envs.random import Stream
from experiments.federated import FederatedProblem
from experiments.loop import _Loop
from experiments.problems import ObjectiveProblem, PolicyProblem, Problem
from rl import PolicyGradient
from zeroth_order import FZooS, PyCMA, RandomSearch
from zeroth_order.federated import FederatedOptimizer, FederatedQuadratic
from zeroth_order.federated.random_features import RandomFeatures
from zeroth_order.objectives import Sphere

META = torch.device("meta")
ALGORITHMS: dict[str, Algorithm] = {
    name: make()
    for registry in (rl.ALGORITHMS, zeroth_order.ALGORITHMS)
    for name, make in registry.items()
    if make is not PyCMA and issubclass(make, PolicyGradient | zeroth_order.Optimizer)
} | {
    "anpg": rl.ANPG(inner=2),
    "npg-hm": rl.NPGHM(inner=2),
    "npg": rl.NPG(iterations=2),
    "fzoos": FZooS(steps=2, history=20, features=RandomFeatures(20), closing=3, closing_candidates=5),
}
"""All but those of other libraries, which compute on the host."""


def seeds_without_numbers(seeds: Sequence[int], device: Any = "cpu") -> Stream:
    """In place of `envs.streams`, which checks that seeds are positive, once, before the first iteration."""
    return Stream(torch.arange(len(seeds), device=device), torch.zeros((), dtype=torch.int64, device=device))


def problem_for(algorithm: Algorithm) -> Problem:
    """One on META that the algorithm can work on."""
    if isinstance(algorithm, FederatedOptimizer):
        return FederatedProblem(FederatedQuadratic(dim=3), place=META)
    if not isinstance(algorithm, PolicyGradient):
        return ObjectiveProblem(Sphere(dim=3), place=META)
    env = envs.ENVS["CartPole-v1"].create(META, torch.float32)
    env = replace(env, spec=replace(env.spec, horizon=2))
    return PolicyProblem(env, envs.MLP(env.spec, (2,)), 0.99, rl.Estimator(2, rl.time_baseline))


def iterate(algorithm: Algorithm, problem: Problem, monkeypatch: pytest.MonkeyPatch, iterations: int = 2) -> None:
    """The loop's iterations of three runs."""
    monkeypatch.setattr(experiments.loop, "streams", seeds_without_numbers)
    monkeypatch.setattr(experiments.loop, "_configuration", lambda *_: {})
    loop = _Loop(algorithm, problem, [0, 1, 2], 10_000, 4, None, False)
    with torch.no_grad():
        for _ in range(iterations):
            loop._iterate()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_iteration_does_not_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iterate(ALGORITHMS[name], problem_for(ALGORITHMS[name]), monkeypatch)


@pytest.mark.parametrize("id", [id for id in envs.ENVS if id != "LQR-v0"])  # which checks its matrices when it is made
def test_an_environment_does_not_wait(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = envs.ENVS[id].create(META, torch.float32)
    env = replace(env, spec=replace(env.spec, horizon=2))
    problem = PolicyProblem(env, envs.MLP(env.spec, (2,)), 0.99, rl.Estimator(2))
    iterate(rl.REINFORCE(), problem, monkeypatch, 1)


class Reading(RandomSearch):
    """Looks at a value."""

    def tell(self, state: Any, points: Tensor, feedback: Any) -> tuple[Any, Any]:
        if bool(feedback.values.sum() > 0):
            return super().tell(state, points, feedback)
        return super().tell(state, points, feedback)


def test_who_waits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="meta tensors"):
        iterate(Reading(), problem_for(Reading()), monkeypatch)
