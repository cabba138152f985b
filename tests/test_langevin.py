"""Langevin dynamics and gradient descent: a step by hand, the stationary law, failures, and what they cost."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import envs
from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from experiments import ObjectiveProblem, PolicyProblem, run
from zeroth_order import GradientDescent, GrandCanyon, Langevin, Sphere, Values
from zeroth_order.cbo import LogCooling
from zeroth_order.langevin import PUBLISHED, Descent

F64 = torch.float64


def told(algorithm: Descent, x: Tensor, gradient: Tensor, stream: Stream, value: float = 1.0, steps: int = 1) -> Tensor:
    """The iterate [R, d] after steps with the same gradient."""
    state = algorithm.init(x, stream)
    for t in range(steps):
        points, state = algorithm.ask(state, stream.at(t))
        assert torch.equal(points, algorithm.recommend(state)[:, None])
        state, _ = algorithm.tell(state, points, Values(torch.full((len(x), 1), value), gradient[:, None]))
    return algorithm.recommend(state)


def test_gradient_descent_by_hand() -> None:
    x, gradient = torch.tensor([[1.0, 2.0]], dtype=F64), torch.tensor([[3.0, -4.0]], dtype=F64)
    found = told(GradientDescent(Schedule(0.1, 1.0)), x, gradient, streams([0]), steps=3)
    assert_close(found, x - 0.1 * (1 + 2 / 3 + 2 / 4) * gradient)


def test_langevin_by_hand() -> None:
    """sigma_t = 10 / log(t + 2), times the root of the step and the normals of the iteration."""
    x, gradient, stream = torch.ones(2, 3, dtype=F64), torch.full((2, 3), 2.0, dtype=F64), streams([4, 7])
    expected = x
    for t in range(3):
        xi = stream.at(t).spread(torch.arange(1)).normal(3, dtype=F64)[:, 0]
        expected = expected - 0.01 * gradient + 10 / math.log(t + 2) * 0.1 * xi
    assert_close(told(Langevin(Schedule(0.01), PUBLISHED), x, gradient, stream, steps=3), expected)


def test_stationary_variance_on_a_quadratic() -> None:
    """sigma^2 / (h (2 - gamma h)), h = 2, per coordinate, where it starts and after 30 steps that forget the start.

    8,000 normal numbers: their variance is within 5 % but for 3 standard deviations, error rate 0.2 % (seeds fixed).
    """
    gamma, sigma, problem = 0.3, 0.7, ObjectiveProblem(Sphere(dim=8))
    algorithm, root = Langevin(Schedule(gamma), Schedule(sigma)), streams(list(range(1000)))
    variance = sigma**2 / (2 * (2 - 2 * gamma))
    x0 = variance**0.5 * root.fold(Purpose.INSTANCE).normal(8, dtype=F64)
    state = algorithm.init(x0, root)
    for t in range(30):
        points, state = algorithm.ask(state, root.at(t))
        state, _ = algorithm.tell(state, points, problem.answer(algorithm, points, root.at(t)).feedback)
    found = algorithm.recommend(state)
    assert abs(float(found.var()) / variance - 1) < 0.05
    assert abs(float((found * x0).mean()) / variance) < 0.05


@pytest.mark.parametrize("algorithm", [GradientDescent(), Langevin()])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_failed_gradient_or_value_is_no_step(algorithm: Descent, bad: float) -> None:
    x, stream = torch.ones(2, 3, dtype=F64), streams([0, 1])
    gradient = torch.ones(2, 3, dtype=F64)
    gradient[0, 1] = bad
    found = told(algorithm, x, gradient, stream)
    assert torch.equal(found[0], x[0])
    assert (found[1] != x[1]).all()
    assert torch.equal(told(algorithm, x, torch.ones(2, 3, dtype=F64), stream, value=bad), x)


def test_a_step_costs_a_value_and_a_gradient() -> None:
    result = run(Langevin(sigma=LogCooling(0.1)), ObjectiveProblem(GrandCanyon()), seeds=2, budget=41, evaluations=2)
    assert result.spent.queries.tolist() == [40, 40]


def test_policies_answer_with_values_alone() -> None:
    env = envs.make("RandomMDP-v0", device="cpu", horizon=4)
    with pytest.raises(ValueError, match="langevin wants gradients"):
        run(Langevin(), PolicyProblem(env, envs.Linear(env.spec)), seeds=2, budget=100)
