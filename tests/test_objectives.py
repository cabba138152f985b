"""Synthetic objectives: the declared optimum, the formulas, shift and rotation, and what they refuse."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import rosen
from torch import Tensor
from torch.testing import assert_close

from envs.core import Cost, Evaluation
from envs.random import Stream, streams
from envs.registry import UnknownIdError
from zeroth_order import OBJECTIVES, Objective, RandomSearch, Values
from zeroth_order.objectives import SYNTHETIC, Rastrigin, Sphere, Synthetic
from zeroth_order.objectives.synthetic import random_rotation

DIM = 6
NOT_DIFFERENTIABLE = {"ackley"}


def variants(make: type[Synthetic]) -> list[Synthetic]:
    shift = torch.linspace(-1.0, 2.0, DIM, dtype=torch.float64)
    return [make(DIM), make(DIM, 0.7), make(DIM, None, 3), make(DIM, shift, 3)]


OBJECTS = [objective for make in SYNTHETIC.values() for objective in variants(make)]


@pytest.fixture(
    params=OBJECTS, ids=lambda objective: f"{objective.id}-{objective.shift is not None}-{objective.rotation}"
)
def objective(request: pytest.FixtureRequest) -> Synthetic:
    return request.param


def uniform_in_box(objective: Synthetic, count: int) -> Tensor:
    low, high = objective.bounds
    return low + (high - low) * streams([0]).spread(torch.arange(count)).uniform(objective.dim, dtype=torch.float64)


def test_optimum_is_attained_and_unbeaten(objective: Synthetic) -> None:
    x, value = objective.optimum
    low, high = objective.bounds
    assert ((x >= low) & (x <= high)).all()
    assert abs(objective(x).item() - value) <= 1e-9
    assert (objective(uniform_in_box(objective, 1000)) > value).all()
    nearby = x + 1e-2 * streams([1]).spread(torch.arange(1000)).normal(DIM, dtype=torch.float64)
    assert (objective(nearby) > value).all()


def test_gradient_vanishes_at_the_optimum_only(objective: Synthetic) -> None:
    def gradient(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(objective(x), x)[0]

    if objective.id not in NOT_DIFFERENTIABLE:
        assert gradient(objective.optimum[0]).abs().max() < 1e-9
    assert gradient(objective.optimum[0] + 0.03).abs().max() > 1e-6


def test_shift_and_rotation_move_the_function_and_nothing_else(objective: Synthetic) -> None:
    plain, shift = type(objective)(DIM), objective.optimum[0]
    z = uniform_in_box(objective, 50)
    rotation = torch.eye(DIM, dtype=torch.float64) if objective.rotation is None else random_rotation(DIM, 3)
    assert_close(objective(shift + z @ rotation), plain(plain.optimum[0] + z), rtol=1e-9, atol=1e-9)


def test_rotations_are_orthogonal_and_seeded() -> None:
    rotation = random_rotation(8, 1)
    assert_close(rotation @ rotation.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(rotation, random_rotation(8, 1))
    assert (rotation - random_rotation(8, 2)).abs().max() > 0.1
    corners = torch.stack([random_rotation(3, seed)[0, 0] for seed in range(20)])
    assert corners.min() < 0 < corners.max()  # QR alone gives this entry one sign
    x = uniform_in_box(Sphere(8), 10)
    assert_close(Sphere(8, rotation=1)(x), Sphere(8)(x))


def ackley(x: list[float]) -> float:
    d = len(x)
    radius, ripple = math.sqrt(sum(v * v for v in x) / d), sum(math.cos(2 * math.pi * v) for v in x) / d
    return -20 * math.exp(-0.2 * radius) - math.exp(ripple) + 20 + math.e


def griewank(x: list[float]) -> float:
    product = math.prod(math.cos(v / math.sqrt(i)) for i, v in enumerate(x, start=1))
    return 1 + sum(v * v for v in x) / 4000 - product


def levy(x: list[float]) -> float:
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    end = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + end


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sphere", lambda x: sum(v * v for v in x)),
        ("ackley", ackley),
        ("rastrigin", lambda x: 10 * len(x) + sum(v * v - 10 * math.cos(2 * math.pi * v) for v in x)),
        ("rosenbrock", rosen),
        ("griewank", griewank),
        ("levy", levy),
    ],
)
def test_formulas(name: str, formula: Callable[[list[float]], float]) -> None:
    objective = SYNTHETIC[name](5)
    x = uniform_in_box(objective, 20)[0]
    assert_close(objective(x), torch.tensor([formula(row.tolist()) for row in x], dtype=torch.float64))


def test_ripples_of_another_amplitude() -> None:
    x = uniform_in_box(Rastrigin(5), 20)[0]
    ripples = Rastrigin(5)(x) - Sphere(5)(x)
    assert_close(Rastrigin(5, amplitude=2.5)(x), Sphere(5)(x) + ripples / 4)


def test_evaluation_charges_one_query_a_point(objective: Synthetic) -> None:
    stream = streams([0, 1])
    points = torch.rand(2, 7, DIM, generator=torch.Generator().manual_seed(0))
    evaluation = objective.evaluate(points, stream)
    assert evaluation.values.shape == (2, 7)
    assert evaluation.values.dtype == torch.float32
    assert evaluation.cost.queries.tolist() == [7, 7]
    assert evaluation.cost.queries.dtype == torch.int64
    assert all(not amount.any() for name, amount in evaluation.cost._asdict().items() if name != "queries")
    assert torch.equal(evaluation.values[1:, 2:3], objective.evaluate(points[1:, 2:3], stream).values)


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(2, DIM),
        torch.zeros(2, 3, DIM + 1),
        torch.zeros(2, 3, DIM, dtype=torch.int64),
    ],
)
def test_bad_points_are_refused(points: Tensor) -> None:
    with pytest.raises(ValueError, match=r"points .*'sphere'"):
        Sphere(DIM).evaluate(points, streams([0, 1]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_point_that_is_not_finite_fails_alone_and_is_charged(bad: float) -> None:
    points = torch.zeros(2, 3, DIM)
    points[0, 1, 0] = bad
    evaluation = Sphere(DIM).evaluate(points, streams([0, 1]))
    assert torch.isfinite(evaluation.values).tolist() == [[True, False, True], [True, True, True]]
    assert evaluation.cost.queries.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sphere(0), "dim = 0"),
        (lambda: SYNTHETIC["rosenbrock"](1), "dim = 1"),
        (lambda: Sphere(3, 6.0), r"shift = 6\.0"),
        (lambda: Sphere(3, float("nan")), "shift = nan"),
        (lambda: Sphere(3, torch.zeros(2)), "shift has shape"),
        (lambda: Sphere(3, rotation=-1), "rotation = -1"),
        (lambda: Rastrigin(3, amplitude=-1.0), r"amplitude = -1\.0"),
    ],
)
def test_bad_fields_are_refused(make: Callable[[], Synthetic], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_ids_are_named() -> None:
    with pytest.raises(UnknownIdError, match=r"unknown objective 'spere'; known: .*sphere"):
        OBJECTIVES["spere"]


class Absolute(Objective):
    """An objective of somebody else's: no bounds, no optimum, and it fails at negative sums."""

    id, summary, source, dim = "absolute", "sum of absolute values", "none", 2

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        self.check_points(points)
        values = torch.where(points.sum(-1) < 0, torch.nan, points.abs().sum(-1))
        return Evaluation(values, Cost.each(len(points), queries=points.shape[1]), {})


def test_an_objective_outside_the_registry_works() -> None:
    objective, algorithm, stream = Absolute(), RandomSearch(points=500, spread=2.0), streams([0])
    assert objective.bounds is None
    assert objective.optimum is None
    state = algorithm.init(torch.full((1, 2), 5.0), stream)
    points, state = algorithm.ask(state, stream)
    state, _ = algorithm.tell(state, points, Values(objective.evaluate(points, stream).values))
    assert torch.equal(state.best_value, algorithm.recommend(state).abs().sum(-1))
    assert state.best_value < 5
