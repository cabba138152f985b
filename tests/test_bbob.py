"""The BBOB functions through COCO: optima, instances, the sphere in closed form, and what is refused."""

import builtins
from typing import Any

import pytest
import torch

from envs.random import Purpose, streams
from experiments.loop import run
from experiments.objective_problem import ObjectiveProblem
from rl import NHARPG
from zeroth_order import BBOB, CBO
from zeroth_order.objectives import bbob

pytest.importorskip("cocoex")


def uniform_points(runs: int, count: int, dim: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    lanes = torch.arange(count)
    return 8 * streams(list(range(runs))).fold(Purpose.INSTANCE).spread(lanes).uniform(dim, dtype=dtype) - 4


@pytest.mark.parametrize("function", range(1, 25))
def test_the_optimum_has_the_optimal_value_and_is_in_the_box(function: int) -> None:
    for dim in (2, 10):
        for instance in (1, 4):
            objective = BBOB(dim, function, (instance,))
            assert objective.optimum is not None
            place, value = objective.optimum
            low, high = objective.bounds
            assert ((place >= low) & (place <= high)).all()
            found = objective.evaluate(place[None, None], streams([0])).values
            assert float(found) == pytest.approx(value, abs=1e-11 * max(1.0, abs(value)))
            others = objective.evaluate(uniform_points(1, 100, dim), streams([0])).values
            assert (others > value).all()


def test_the_first_function_is_the_sphere() -> None:
    objective = BBOB(5, 1, (3,))
    assert objective.optimum is not None
    place, value = objective.optimum
    points = uniform_points(2, 7, 5)
    evaluation = objective.evaluate(points, streams([0, 1]))
    torch.testing.assert_close(evaluation.values, ((points - place) ** 2).sum(-1) + value, rtol=1e-13, atol=0)
    assert evaluation.cost.queries.tolist() == [7, 7]
    assert evaluation.cost.env_steps.tolist() == [0, 0]


def test_the_seed_of_a_run_chooses_its_instance() -> None:
    """And not its place among the runs: the loop evaluates the runs that go on."""
    together = BBOB(5, 8, (1, 2, 3))
    points = uniform_points(1, 4, 5).expand(3, -1, -1)
    values = together.evaluate(points, streams([0, 4, 8])).values
    for row, instance in zip(values, (1, 2, 3), strict=True):
        assert torch.equal(row, BBOB(5, 8, (instance,)).evaluate(points[:1], streams([5])).values[0])
    assert len({float(row[0]) for row in values}) == 3
    assert torch.equal(together.evaluate(points[:1], streams([8])).values[0], values[2])
    assert together.optimum is None


def test_precision_and_failed_points() -> None:
    points = uniform_points(1, 3, 3, torch.float32)
    values = BBOB(3, 2).evaluate(points, streams([0])).values
    assert values.dtype == torch.float32
    double = BBOB(3, 2).evaluate(points.double(), streams([0])).values
    assert torch.equal(values, double.float())
    broken = points.clone()
    broken[0, 1, 2] = torch.nan
    again = BBOB(3, 2).evaluate(broken, streams([0])).values[0]
    assert not torch.isfinite(again[1])
    assert torch.equal(again[::2], values[0, ::2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"function": 0}, r"^function = 0 is not in \[1, 24\]"),
        ({"function": 25}, r"^function = 25 is not in \[1, 24\]"),
        ({"instances": (1, 0)}, r"^instance = 0 is not in \[1, inf\]"),
        ({"instances": ()}, "^instances is empty"),
        ({"dim": 7}, "^dim = 7 of 'bbob' is not one of 2, 3, 5, 10, 20, 40"),
    ],
)
def test_what_the_benchmark_has_not_is_refused(fields: dict[str, Any], message: str) -> None:
    """COCO itself would end the process."""
    with pytest.raises(ValueError, match=message):
        BBOB(**fields)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without_cocoex(name: str, *rest: Any) -> Any:
        if name == "cocoex":
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_cocoex)
    with pytest.raises(ValueError, match=r"^bbob needs COCO's package coco-experiment: pip install 'zopg\[bench\]'"):
        bbob.cocoex_problem(1, 2, 1)


def test_optimizers_run_on_it_and_agents_are_refused() -> None:
    problem = ObjectiveProblem(BBOB(3, 1))
    result = run(CBO(particles=10, spread=2.0), problem, seeds=2, budget=1000, evaluations=2)
    scores = result.curves.to_pylist()
    first, last = ([row["value"] for row in scores if row["queries"] == at] for at in (0, 1000))
    assert problem.threshold is not None
    assert all(problem.threshold - 2 < b and a < b for a, b in zip(first, last, strict=False))
    with pytest.raises(ValueError, match="n-harpg wants gradients, bbob answers with values only"):
        run(NHARPG(), problem, seeds=1, budget=100)
