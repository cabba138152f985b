"""The 24 noiseless functions of BBOB, by COCO's own code.

Hansen, Finck, Ros, Auger, "Real-parameter black-box optimization benchmarking 2009: noiseless functions definitions"
(INRIA RR-6829, 2009); Hansen, Auger, Ros, Mersmann, Tusar, Brockhoff, "COCO: a platform for comparing continuous
optimizers in a black-box setting" (Optimization Methods and Software 36, 2021). An instance is a function with another
optimum, other rotations and another minimum; BBOB takes instances for repetitions.

A batch of points costs one call into C for each run, in float64 on the CPU; there is no loop over points in Python.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.core import Cost, Evaluation
from envs.random import Stream
from zeroth_order.core import Bounds, Objective, Optimum

Function: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Values [n] at points [n, d], both float64."""

DIMENSIONS = (2, 3, 5, 10, 20, 40)
"""The benchmark's."""
GROUPS: dict[str, range] = {
    "separable": range(1, 6),
    "moderate conditioning": range(6, 10),
    "ill-conditioned": range(10, 15),
    "multi-modal": range(15, 20),
    "weakly structured": range(20, 25),
}
"""The benchmark's groups of functions."""


def cocoex_problem(function: int, dim: int, instance: int) -> Any:
    """COCO's problem: called with [n, d] it answers [n]; `best_value()` and `best_parameter()` are its optimum.

    Raises ValueError for a function, a dimension or an instance that the benchmark has not, and, naming the extra,
    where COCO is not installed.
    """
    # COCO ends the process on numbers that it does not know.
    check_range("function", function, 1, 24)
    check_range("instance", instance, 1)
    if dim not in DIMENSIONS:
        raise ValueError(f"dim = {dim} of 'bbob' is not one of {', '.join(map(str, DIMENSIONS))}")
    try:
        from cocoex import BareProblem
    except ImportError as error:
        raise ValueError("bbob needs COCO's package coco-experiment: pip install 'zopg[bench]'") from error
    return BareProblem("bbob", function, dim, instance)


@dataclass(frozen=True)
class BBOB(Objective):
    """One of the functions; runs may see different instances of it."""

    id = "bbob"
    summary = "a function of COCO's BBOB, 1 to 24 (needs the extra bench)"
    source = "Hansen, Finck, Ros, Auger, INRIA RR-6829 (2009)"
    differentiable = False

    dim: int = 10
    """Dimension d, one of `DIMENSIONS`."""
    function: int = 1
    """Number of the function, 1 to 24."""
    instances: tuple[int, ...] = (1,)
    """Numbers >= 1: a run with seed s sees instance number s modulo their count of this list."""

    def __post_init__(self) -> None:
        if not self.instances:
            raise ValueError("instances is empty; at least one is needed")
        _ = self.problems

    @cached_property
    def problems(self) -> list[Any]:
        """COCO's problem for each instance."""
        return [cocoex_problem(self.function, self.dim, instance) for instance in self.instances]

    @property
    def bounds(self) -> Bounds:
        """[-5, 5]^d, which has all optima in it."""
        return torch.full((self.dim,), -5.0, dtype=torch.float64), torch.full((self.dim,), 5.0, dtype=torch.float64)

    @property
    def optimum(self) -> Optimum | None:
        """As COCO tells it; None where runs see different instances."""
        if len(self.instances) > 1:
            return None
        (problem,) = self.problems
        return torch.tensor(problem.best_parameter(), dtype=torch.float64), float(problem.best_value())

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        """Values at `points` [R, K, d]; the seed of a run, `stream.seeds` [R], says which instance it sees."""
        self.check_points(points)
        places = points.detach().to("cpu", torch.float64).contiguous().numpy()
        which = (stream.seeds % len(self.instances)).tolist()
        values = np.stack([self.problems[i](rows) for i, rows in zip(which, places, strict=True)])
        return Evaluation(
            torch.as_tensor(values).to(points), Cost.each(len(points), points.device, queries=points.shape[1]), {}
        )
