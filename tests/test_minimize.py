"""`minimize`: the answer, the accounting, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest

from zeroth_order import CBO, Optimizer, PyCMA, RandomSearch, minimize

OPTIMIZERS = [CBO(), PyCMA(), RandomSearch(points=7)]


class Recorded:
    """Sum of squares about 1, which keeps what it was asked."""

    def __init__(self, failing: bool = False) -> None:
        self.failing = failing
        self.asked: list[np.ndarray] = []
        self.values: list[float] = []

    def __call__(self, x: np.ndarray) -> float:
        self.asked.append(x)
        value = float(((x - 1) ** 2).sum())
        value = math.nan if self.failing and len(self.asked) % 3 else value
        self.values.append(value)
        return value


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
@pytest.mark.parametrize("budget", [1, 10, 333])
def test_the_budget_is_never_exceeded(algorithm: Optimizer, budget: int) -> None:
    f = Recorded()
    best = minimize(f, bounds=(-5, 5), dim=3, algorithm=algorithm, budget=budget)
    assert best.queries == len(f.asked) == budget
    assert best.stop == {"budget": budget}
    assert best.fun == min(f.values)
    assert np.array_equal(best.x, f.asked[f.values.index(best.fun)])
    assert best.x.shape == (3,)
    assert best.x.dtype == np.float64


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
def test_failures_are_counted_and_never_returned(algorithm: Optimizer) -> None:
    f = Recorded(failing=True)
    best = minimize(f, x0=[0.0, 0.0], algorithm=algorithm, budget=300)
    assert best.failures == sum(map(math.isnan, f.values)) == 200
    assert best.fun == np.nanmin(f.values)


def test_when_everything_fails_the_start_is_returned() -> None:
    best = minimize(lambda x: math.inf, x0=[0.5, 0.25], budget=120)
    assert best.x.tolist() == [0.5, 0.25]
    assert best.fun == math.inf
    assert best.failures == best.queries == 120
    assert minimize(lambda x: -math.inf, x0=[0.5], budget=10).fun == math.inf


def test_solves() -> None:
    best = minimize(Recorded(), bounds=(-5, 5), dim=5, budget=10_000)
    assert best.fun < 0.05
    best = minimize(Recorded(), bounds=(-5, 5), dim=5, algorithm=PyCMA(), budget=10_000)
    assert best.fun < 1e-10
    assert best.queries < 10_000
    assert {"tolfun", "tolfunhist"} & best.stop.keys()


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
def test_points_stay_in_the_box(algorithm: Optimizer) -> None:
    """The minimiser of this function lies outside; the answer is the nearest corner for all but random search."""
    f = Recorded()
    low, high = np.array([-2.0, -1.0]), np.array([0.5, 0.0])
    best = minimize(f, bounds=(low, high), algorithm=algorithm, budget=600)
    assert all((x >= low).all() and (x <= high).all() for x in f.asked)
    assert best.fun == pytest.approx(1.25, abs=0.3 if algorithm.id == "random-search" else 1e-3)


def test_a_target_ends_it_at_once() -> None:
    f = Recorded()
    best = minimize(f, bounds=(-5, 5), dim=2, target=0.1, budget=5_000)
    assert best.fun <= 0.1 < min(f.values[:-1])
    assert best.stop == {"target": best.fun}


def test_the_same_arguments_give_the_same_answer() -> None:
    def solve(seed: int) -> list[float]:
        return minimize(Recorded(), bounds=(-5, 5), dim=3, seed=seed, budget=200).x.tolist()

    assert solve(3) == solve(3) != solve(4)


def test_f_may_write_into_its_argument() -> None:
    def f(x: np.ndarray) -> float:
        value = float((x**2).sum())
        x[:] = 100.0
        return value

    assert np.abs(minimize(f, x0=[1.0, 1.0], budget=500).x).max() < 10


def test_exceptions_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        minimize(lambda x: 1 / 0, x0=[0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "tell nothing"),
        ({"dim": 2}, "x0 or bounds"),
        ({"bounds": (-1, 1)}, "one dimension"),
        ({"bounds": (-1, 1), "dim": 0}, "one dimension"),
        ({"x0": []}, "one dimension"),
        ({"x0": [0.0, 0.0], "dim": 3}, "one dimension"),
        ({"x0": [0.0, 0.0], "bounds": ([-1, -1, -1], 1)}, "one dimension"),
        ({"bounds": ([-1, -1], [1, 1, 1])}, "one dimension"),
        ({"bounds": (1, 1), "dim": 2}, "low has to be < high"),
        ({"bounds": ([0, 2], [1, 1])}, "low has to be < high"),
        ({"bounds": (-math.inf, 1), "dim": 2}, "x0 is needed where a side is open"),
        ({"x0": [0.0, math.nan]}, "x0 = "),
        ({"x0": [[0.0, 1.0]]}, "x0 = "),
        ({"x0": [2.0], "bounds": (-1, 1)}, "does not lie in the bounds"),
        ({"x0": [0.0], "budget": 0}, "budget = 0"),
        ({"x0": [0.0], "seed": -1}, "seed = -1"),
    ],
)
def test_bad_input_is_refused_before_any_query(arguments: dict[str, Any], message: str) -> None:
    def never(x: np.ndarray) -> float:
        raise AssertionError("f was called")

    with pytest.raises(ValueError, match=message):
        minimize(never, **arguments)
