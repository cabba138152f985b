"""What is minimised in the arena: BBOB's functions, and our own with a shift, a rotation and BBOB's box.

Everything lives in [-5, 5]^d. An instance is a repetition: another optimum, and where there is one another rotation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from envs.random import Purpose, Stream, streams
from experiments.statistics import Floats
from zeroth_order.objectives import SYNTHETIC
from zeroth_order.objectives.bbob import GROUPS, Function, cocoex_problem

START = 4.0
"""Runs start uniformly in [-START, START]^d, and there our own functions have their optima."""
BOX = 5.0
SEEDS = 1_000_000
"""Restarts of a run have seeds this far apart."""


class Task(NamedTuple):
    """A function on an instance, for one run."""

    name: str
    group: str
    instance: int
    dim: int
    function: Function
    minimum: float
    """f_opt."""
    seed: int
    """Of the run, below SEEDS."""


def tasks(testbed: str, dim: int, functions: Sequence[int], instances: Sequence[int]) -> list[Task]:
    """Every function (all of them where none is named) on every instance. Raises ValueError for an unknown name."""
    if testbed not in TESTBEDS:
        raise ValueError(f"testbed = {testbed!r} is not one of {', '.join(TESTBEDS)}")
    make, known = TESTBEDS[testbed]
    unknown = [number for number in functions if not 1 <= number <= known]
    if unknown:
        raise ValueError(f"functions has {unknown[0]}; {testbed} has 1 to {known}")
    numbers = functions or range(1, known + 1)
    return [make(number, dim, instance) for number in numbers for instance in instances]


def run_streams(runs: Sequence[Task], restart: int) -> Stream:
    """Of the runs when they are started for the `restart`-th time; the same for every contender."""
    return streams([task.seed + SEEDS * restart for task in runs])


def starts(runs: Sequence[Task], restart: int) -> Floats:
    """Where the runs start for the `restart`-th time, [n, d]."""
    uniform = run_streams(runs, restart).fold(Purpose.INITIAL).uniform(runs[0].dim, dtype=torch.float64)
    return (START * (2 * uniform - 1)).numpy()


def bbob_task(number: int, dim: int, instance: int) -> Task:
    """A function of BBOB."""
    problem = cocoex_problem(number, dim, instance)
    (group,) = (name for name, members in GROUPS.items() if number in members)
    return Task(f"f{number}", group, instance, dim, problem, float(problem.best_value()), _seed(number, instance))


def synthetic_task(number: int, dim: int, instance: int) -> Task:
    """A function of `zeroth_order.objectives`, its usual box scaled to ours, shifted and rotated by the instance."""
    kind = list(SYNTHETIC.values())[number - 1]
    low, high = kind.box
    scale, middle = (high - low) / (2 * BOX), (high + low) / 2
    seed = _seed(number, instance)
    draw = streams([seed]).fold(Purpose.INSTANCE).uniform(dim, dtype=torch.float64)[0]
    objective = kind(dim=dim, shift=middle + scale * START * (2 * draw - 1), rotation=seed)

    def function(points: np.ndarray) -> np.ndarray:
        return objective(middle + scale * torch.from_numpy(points)).numpy()

    return Task(kind.id, "synthetic", instance, dim, function, 0.0, seed)


def _seed(number: int, instance: int) -> int:
    return 10_000 * number + instance


TESTBEDS = {"bbob": (bbob_task, 24), "synthetic": (synthetic_task, len(SYNTHETIC))}
"""Name -> (maker of a task, how many functions it has)."""
