"""An iteration never looks at a tensor's numbers: it runs on the meta device, where there are none.

On a GPU every look would wait for all that was launched before. What looks once per restart or on purpose is listed.
The loop does on meta what it does on a GPU; that no seed is negative is looked at once, before its iterations.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_optimizers import CASES
from torch import Tensor

import envs
import experiments.loop
import rl
from envs.algorithm import Algorithm
from envs.random import Stream
from experiments.federated import FederatedProblem
from experiments.loop import Loop
from experiments.policy_problem import PolicyProblem
from experiments.problems import Problem
from rl import PolicyGradient
from zeroth_order import CBO, FedZO, Optimizer, PyCMA, Values
from zeroth_order.federated import FederatedQuadratic

META = torch.device("meta")
ON_THE_HOST = (PyCMA,)
"""Optimizers that compute on the CPU by what they are."""
RESTARTED = {"cma-es, ipop", "sep-cma-es, bipop"}
"""Their `tell` looks which runs have a whole generation, as populations differ in size."""
FEW: dict[str, Algorithm] = {"anpg": rl.ANPG(inner=2), "npg-hm": rl.NPGHM(inner=2), "npg": rl.NPG(iterations=2)}
"""Agents whose inner iterations would take most of the time."""
AGENTS = {name: make() for name, make in rl.ALGORITHMS.items() if issubclass(make, PolicyGradient)} | FEW


def on_meta(count: int) -> Stream:
    """A root stream of which no number exists."""
    seeds = torch.empty(count, dtype=torch.int64, device=META)
    return Stream(seeds, torch.empty((), dtype=torch.int64, device=META))


def problem_on_meta(id: str) -> Problem:
    """A policy in an environment, for two steps."""
    env = envs.ENVS[id].create(META, torch.float32)
    env = replace(env, spec=replace(env.spec, horizon=2))
    return PolicyProblem(env, envs.MLP(env.spec, (2,)), 0.99, rl.Estimator(2, rl.time_baseline))


def iterate(algorithm: Algorithm, problem: Problem, monkeypatch: pytest.MonkeyPatch, iterations: int = 2) -> None:
    """Iterations of the loop, evaluations included."""

    def root(seeds: Sequence[int], device: Any = "cpu") -> Stream:
        return on_meta(len(seeds))

    monkeypatch.setattr(experiments.loop, "streams", root)
    monkeypatch.setattr(experiments.loop, "configuration_of", lambda *_: {})
    loop = Loop(algorithm, problem, [0, 1, 2], 10_000, 4, None, False)
    with torch.no_grad():
        for _ in range(iterations):
            loop.iterate()
    assert loop.iteration == iterations
    assert problem.device == loop.algorithm.recommend(loop.state).device == META


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if name not in RESTARTED and not isinstance(case, ON_THE_HOST)]
)
def test_an_iteration_looks_at_no_number(name: str) -> None:
    algorithm: Optimizer = CASES[name]
    root = on_meta(3)
    state = algorithm.init(torch.empty(3, 5, device="meta"), root)
    for t in range(3):
        points, state = algorithm.ask(state, root.at(t))
        values = torch.empty(points.shape[:2], device="meta")
        gradients = torch.empty(points.shape, device="meta") if algorithm.wants_gradients else None
        state, metrics = algorithm.tell(state, points, Values(values, gradients))
        told: dict[str, Tensor] = {**metrics, **algorithm.stop(state), "recommended": algorithm.recommend(state)}
        assert all(found.device.type == "meta" for found in told.values())


@pytest.mark.parametrize("name", AGENTS)
def test_the_loop_looks_at_no_number_of_an_agent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iterate(AGENTS[name], problem_on_meta("CartPole-v1"), monkeypatch)


def test_nor_of_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    iterate(CBO(particles=3), problem_on_meta("CartPole-v1"), monkeypatch)


def test_nor_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    iterate(FedZO(steps=2, number=3), FederatedProblem(FederatedQuadratic(dim=3), place=META), monkeypatch, 5)


@pytest.mark.parametrize("id", [id for id in envs.ENVS if id != "LQR-v0"])  # which checks its matrices when it is made
def test_nor_of_an_environment(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iterate(rl.REINFORCE(), problem_on_meta(id), monkeypatch, 1)


class Looking(CBO):
    """Looks at the values."""

    def tell(self, state: Any, points: Tensor, feedback: Any) -> tuple[Any, Any]:
        assert bool(feedback.values.isfinite().all())
        return super().tell(state, points, feedback)


def test_a_look_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="meta tensors"):
        iterate(Looking(particles=3), problem_on_meta("CartPole-v1"), monkeypatch)
