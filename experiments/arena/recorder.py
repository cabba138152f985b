"""Who evaluates and counts in the arena: every query in the order in which it was asked, for everybody alike.

A run is one function on one instance. Its targets are f_opt + 10^2 ... f_opt + 10^-8, as in COCO; what is recorded is
the number of queries at which each was first reached. A run ends when its last target is reached or its budget is
used, in the middle of a generation if need be, and never takes a query more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.arena.tasks import Task
from experiments.statistics import Counts, Floats

TARGETS: Floats = np.logspace(2, -8, 51)
"""Distances from f_opt, descending."""


class Found(NamedTuple):
    """What a contender reached on n tasks."""

    hits: Counts
    """[n, targets] queries at which each target was first reached, -1 where it was not."""
    queries: Counts
    """[n] until the last target was reached, or else the whole budget."""
    restarts: Counts
    """[n] starts after the first that the arena made; what an optimizer does inside is its own."""


class Ended(Exception):  # noqa: N818
    """Raised inside a peer that calls the function by itself: its run is over."""


class Recorder:
    """n runs, each with its function and the same budget in queries."""

    def __init__(self, tasks: Sequence[Task], budget: int) -> None:
        if budget < 1:
            raise ValueError(f"budget = {budget} must be >= 1")
        self.tasks, self.budget = tasks, budget
        runs = len(tasks)
        zeros = np.zeros(runs, dtype=np.int64)
        self.found = Found(np.full((runs, len(TARGETS)), -1), zeros, zeros.copy())

    @property
    def running(self) -> NDArray[np.bool_]:
        """[n] runs that still have a target to reach and queries to do it with."""
        return (self.found.hits[:, -1] < 0) & (self.found.queries < self.budget)

    @property
    def done(self) -> float:
        """Fraction of the work."""
        return float(np.where(self.running, self.found.queries / self.budget, 1.0).mean())

    def evaluate(self, run: int, points: Floats) -> Floats:
        """Values [K] of the run's function at points [K, d]; NaN for those that came after its end."""
        task, found = self.tasks[run], self.found
        values = np.full(len(points), np.nan)
        asked = min(len(points), self.budget - int(found.queries[run])) if self.running[run] else 0
        if asked == 0:
            return values
        values[:asked] = task.function(np.array(points[:asked], dtype=np.float64, order="C"))
        distance = np.where(np.isfinite(values[:asked]), values[:asked] - task.minimum, np.inf)
        used = self._note(run, np.minimum.accumulate(distance))
        values[used:] = np.nan
        return values

    def call(self, run: int, points: Floats) -> Floats:
        """`evaluate` for a peer that does not stop by itself: raises Ended once the run is over."""
        values = self.evaluate(run, points)
        if not self.running[run]:
            raise Ended
        return values

    def _note(self, run: int, best: Floats) -> int:
        """Count the queries whose running minima are `best` [K]; returns how many belong to the run."""
        found, before = self.found, int(self.found.queries[run])
        waiting = found.hits[run] < 0
        # -best ascends, so the first query at a target or below it is found by bisection.
        first = np.searchsorted(-best, -TARGETS[waiting]) + 1
        found.hits[run, waiting] = np.where(first <= len(best), before + first, -1)
        last = int(found.hits[run, -1])
        used = len(best) if last < 0 else last - before
        found.queries[run] = before + used
        return used
