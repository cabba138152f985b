"""Who takes part in the arena, and how a contender is run on many tasks with equal budgets.

    AskTell    ours: all tasks are the runs of one batch; peers that can be batched are given the same face
    Caller     peers that call the function by themselves: one task after the other

A run that stops by itself is started again, from a new start and with nothing kept, until its budget is used. In a
batch those that have stopped wait until all have: schedules that run with the iterations begin anew for all together.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from envs.random import Purpose
from experiments.arena.recorder import Ended, Found, Recorder
from experiments.arena.tasks import SEEDS, Task, run_streams, starts
from experiments.loop import Progress
from experiments.statistics import Floats
from zeroth_order import Optimizer, Values

SIGMA0 = 2.0
"""Standard deviation of the first samples around the start, for everybody."""
LENGTHS = ("sigma0", "spread")
"""Fields of optimizers that are such a standard deviation."""


class Contender(ABC):
    """An optimizer with all its settings."""

    @abstractmethod
    def run(self, tasks: Sequence[Task], budget: int, progress: Progress) -> Found:
        """Minimise all tasks, of one dimension, with at most `budget` queries each."""


class Batch(ABC):
    """n runs under way."""

    @abstractmethod
    def ask(self) -> Floats:
        """Points [n, K, d]."""

    @abstractmethod
    def tell(self, values: Floats) -> NDArray[np.bool_]:
        """Learn from values [n, K], NaN for points that were not evaluated; returns which runs have stopped, [n]."""


Begin: TypeAlias = Callable[[Sequence[Task], int], Batch]
"""A batch for the tasks, started for the given time."""


@dataclass(frozen=True)
class AskTell(Contender):
    """Runs in batches."""

    begin: Begin
    at_once: int = 1_000
    """Largest number of runs in a batch, >= 1."""

    def run(self, tasks: Sequence[Task], budget: int, progress: Progress) -> Found:
        """Batch after batch, each restarted until all its budgets are used."""
        recorder = Recorder(tasks, budget)
        for first in range(0, len(tasks), self.at_once):
            rows = np.arange(first, min(first + self.at_once, len(tasks)))
            restart = 0
            while len(rows):
                self._once(recorder, rows, restart, progress)
                rows = rows[recorder.running[rows]]
                recorder.found.restarts[rows] += 1
                restart += 1
        return recorder.found

    def _once(self, recorder: Recorder, rows: NDArray[np.int64], restart: int, progress: Progress) -> None:
        """From a start until every run has stopped."""
        batch = self.begin([recorder.tasks[row] for row in rows], restart)
        going = np.ones(len(rows), dtype=bool)
        while going.any():
            points = batch.ask()
            values = np.full(points.shape[:2], np.nan)
            for i in np.flatnonzero(going):
                values[i] = recorder.evaluate(int(rows[i]), points[i])
            going &= ~batch.tell(values) & recorder.running[rows]
            progress(recorder.done, "")


@dataclass(frozen=True)
class Caller(Contender):
    """Runs one after the other."""

    minimise: Callable[[Callable[[Floats], Floats], Floats, int], object]
    """(function [K, d] -> [K], start [d], seed): one run until it stops by itself."""

    def run(self, tasks: Sequence[Task], budget: int, progress: Progress) -> Found:
        """Task after task, each restarted until its budget is used."""
        recorder = Recorder(tasks, budget)
        for row in range(len(tasks)):
            self._all_starts(recorder, row)
            progress(recorder.done, "")
        return recorder.found

    def _all_starts(self, recorder: Recorder, row: int) -> None:
        task = recorder.tasks[row]
        for restart in range(recorder.budget):
            recorder.found.restarts[row] = restart
            start, seed = starts([task], restart)[0], task.seed + SEEDS * restart
            try:
                self.minimise(lambda points: recorder.call(row, points), start, seed)
            except Ended:
                return


class Ours(Batch):
    """An optimizer of this library; a run whose points are not finite has stopped."""

    def __init__(self, optimizer: Optimizer, tasks: Sequence[Task], restart: int) -> None:
        self.optimizer = optimizer
        root = run_streams(tasks, restart)
        x0 = torch.from_numpy(starts(tasks, restart))
        self.state: Any = optimizer.init(x0, root.fold(Purpose.INITIAL).fold(Purpose.ASK))
        self.asking, self.iteration = root.fold(Purpose.ASK), 0
        self.points = torch.empty(0)

    def ask(self) -> Floats:
        """Points [n, K, d]."""
        self.points, self.state = self.optimizer.ask(self.state, self.asking.at(self.iteration))
        self.iteration += 1
        return self.points.numpy()

    def tell(self, values: Floats) -> NDArray[np.bool_]:
        """Which runs have stopped, [n]."""
        self.state, _ = self.optimizer.tell(self.state, self.points, Values(torch.from_numpy(values)))
        stopped = ~torch.isfinite(self.points).all(-1).all(-1)
        for met in self.optimizer.stop(self.state).values():
            stopped |= met
        return stopped.numpy()


def fitted(optimizer: Any) -> Any:
    """The optimizer with first samples that spread by SIGMA0."""
    named = {field.name for field in fields(optimizer)}
    return replace(optimizer, **{name: SIGMA0 for name in LENGTHS if name in named})


def ours(optimizer: Optimizer, at_once: int = 1_000) -> AskTell:
    """An optimizer of this library."""
    return AskTell(lambda tasks, restart: Ours(optimizer, tasks, restart), at_once)
