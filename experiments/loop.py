"""The one loop: ask, evaluate, tell, recommend, for agents and optimizers alike.

    points   <- algorithm.ask
    runs that an iteration could take over the budget stop here
    feedback <- problem.answer(points)                       charged to the ledger
    state    <- algorithm.tell                               kept as it was for runs that have stopped
    iterates that pass a recording position are put aside and scored later, on episodes of their own

A run is a pure function of (algorithm, problem, seed, budget): evaluation draws from another stream, and how often the
loop looks at the clock changes nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import torch
from torch import Tensor

from envs.algorithm import Algorithm, Metrics, Request
from envs.core import Cost
from envs.files import load_state, save_state
from envs.random import Purpose, Stream, streams
from experiments.answers import Answer, spread
from experiments.asked import Evaluations, check_run, configuration_of, positions_of
from experiments.describe import short_hash
from experiments.ledger import NON_FINITE, Ledger
from experiments.problems import Problem
from experiments.provenance import provenance
from experiments.record import AXES, Record, write_curves, write_json
from rl.sb3 import External

FLUSH_SECONDS = 2.0
"""A killed run loses at most the iterations since the last flush."""

Progress: TypeAlias = Callable[[float, str], None]
"""(fraction done, message)"""


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    label: str
    """`<algorithm>-<hash of the configuration>`."""
    curves: pa.Table
    """Tidy: run, seed, env_steps, queries, episodes, hvps, wall_s, name, value."""
    parameters: Tensor
    """[R, d], the last iterate of each run."""
    spent: Cost
    failures: Tensor
    """[R] evaluations that came back non-finite."""
    hits: Tensor
    """[R] first evaluated position at the threshold, -1 where it was not reached or there is none."""
    stopped: list[str]
    """Why each run stopped."""
    wall_s: float
    """Seconds of this process spent in the loop, those before a resume included."""
    iterations: int
    by_purpose: dict[str, Tensor] = field(default_factory=dict)
    """purpose -> [R] queries of a federated algorithm, empty for others."""


def run(
    algorithm: Algorithm,
    problem: Problem,
    seeds: int | Sequence[int] = 32,
    budget: int = 200_000,
    seed: int = 0,
    evaluations: Evaluations = 40,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cuda_graphs: bool = False,
) -> Result:
    """Run an algorithm on a problem for all seeds at once.

    `seeds` is their number, counted from `seed`, or the seeds themselves; `budget` is environment steps (or queries)
    per seed; the iterate is scored at `evaluations` + 1 equal positions of it, or at those given. With `out`, the
    record is kept in `<out>/<label>/`, and `resume` continues it. `cuda_graphs` launches an iteration as a whole, see
    `experiments.cuda_graphs`. Raises ValueError for bad input, before any work.
    """
    numbers = list(range(seed, seed + seeds)) if isinstance(seeds, int) else list(seeds)
    check_run(algorithm, problem, numbers, budget, evaluations, cuda_graphs)
    kind: type[Loop] = Loop
    if isinstance(algorithm, External):
        from experiments.external import SeedBySeed  # heavy, and it builds on this module

        kind = SeedBySeed
    loop = kind(algorithm, problem, numbers, budget, evaluations, out, resume, cuda_graphs)
    return loop.run(progress or (lambda *_: None))


def _finite(x: Tensor) -> Tensor:
    """[R], of x [R, ...]; the largest size first, as `isfinite` of every number takes many times as long."""
    return torch.isfinite(x.abs().flatten(1).amax(-1))


def _as_number(part: Tensor | int | float) -> Tensor | int | float:
    """Numbers that all runs share are tensors [] while iterations are replayed."""
    return part.item() if isinstance(part, Tensor) and part.dim() == 0 else part


class Loop:
    """One algorithm on one problem, for all seeds: `run` with its parts in the open."""

    def __init__(
        self,
        algorithm: Algorithm,
        problem: Problem,
        seeds: list[int],
        budget: int,
        evaluations: Evaluations,
        out: Path | None,
        resume: bool,
        cuda_graphs: bool = False,
    ) -> None:
        self.algorithm, self.problem, self.cuda_graphs = problem.adapted(algorithm), problem, cuda_graphs
        self.root = streams(seeds, problem.device)
        targets = () if problem.threshold is None else (problem.threshold,)
        self.ledger = Ledger(len(seeds), problem.unit, budget, targets, problem.device)
        self.record = Record(seeds, positions_of(evaluations, budget), problem.dim, problem.device)
        initial = self.root.fold(Purpose.INITIAL)
        self.state = self.algorithm.init(problem.init(initial), initial.fold(Purpose.ASK))
        self.iteration, self.wall = 0, 0.0
        self.configuration = configuration_of(algorithm, problem, seeds, budget, evaluations)
        self.label = f"{algorithm.id}-{short_hash(self.configuration)}"
        self.folder = None if out is None else out / self.label
        if self.folder is not None:
            self._open(self.folder, resume)

    def _open(self, folder: Path, resume: bool) -> None:
        state = folder / "state.safetensors"
        if state.exists() and resume:
            self._restore(state)
        elif folder.exists() and not resume:
            raise ValueError(f"out = {folder} exists already; resume it, or name another folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", self.configuration)
            write_json(
                folder / "provenance.json",
                provenance()
                | {"seeds": self.configuration["seeds"], "backend": self.problem.backend}
                | {"cuda_graphs": self.cuda_graphs},
            )

    def run(self, progress: Progress) -> Result:
        """Iterate until every run has stopped."""
        # Reading a flag is free on a CPU and makes the host wait on a GPU, where a few idle iterations cost less.
        unchecked = 1 if self.problem.device.type == "cpu" else 16
        iterate = self._replayed() if self.cuda_graphs else self.iterate
        started = flushed = time.perf_counter() - self.wall
        with torch.no_grad():
            while bool(self.ledger.active.any()):
                for _ in range(unchecked):
                    iterate()
                    self.wall = time.perf_counter() - started
                if time.perf_counter() - flushed > FLUSH_SECONDS:
                    self._flush(progress)
                    self.wall = time.perf_counter() - started
                    flushed = time.perf_counter()
            self._capture_last()
            self._flush(progress)
        self.wall = time.perf_counter() - started
        hits = self.ledger.hits()[:, 0] if self.ledger.targets else torch.full_like(self.ledger.failures, -1)
        return Result(
            self.label,
            self.record.table(),
            self.algorithm.recommend(self.state),
            self.ledger.spent,
            self.ledger.failures,
            hits,
            self.ledger.why(),
            self.wall,
            int(self.iteration),
            self.ledger.by_purpose,
        )

    def _replayed(self) -> Callable[[], None]:
        from experiments.cuda_graphs import Replayed  # it builds on this module

        return Replayed(self)

    def _stream(self, purpose: Purpose) -> Any:
        return self.root.fold(purpose).at(self.iteration)

    def iterate(self) -> None:
        """One iteration of all runs."""
        algorithm, ledger = self.algorithm, self.ledger
        iterate = algorithm.recommend(self.state)
        points, asked = algorithm.ask(self.state, self._stream(Purpose.ASK))
        ledger.admit(self.problem.worst_case(algorithm, points.shape[1]))
        finite = _finite(points)
        ledger.stop(~finite, NON_FINITE)
        active = ledger.active
        points = torch.where(finite[:, None, None], points, 0.0)
        if active.device.type == "cpu" and not bool(active.any()):
            return

        rows = self._rows(active)
        stream = self._stream(Purpose.TRAIN)
        answer = self._answer(points[rows], stream._replace(seeds=stream.seeds[rows]), algorithm.request(asked), rows)
        told, metrics = algorithm.tell(asked, points, answer.spread_feedback(rows, len(points)))
        before, paid = ledger.spent, ledger.communication()
        failed = spread(answer.failed, rows, len(points), 0)
        by_purpose = {purpose: spread(part, rows, len(points), 0) for purpose, part in answer.by_purpose.items()}
        ledger.charge(answer.total().spread(rows, len(points)), failed, by_purpose)
        self._capture(iterate, before, metrics | paid)

        reached = algorithm.recommend(told)
        sound = _finite(reached)
        ledger.stop(~sound, NON_FINITE)
        ended = self.problem.ended(reached, self._stream(Purpose.EVALUATE))
        for reason, where in (ended | algorithm.stop(told)).items():
            ledger.stop(where, reason)
        self.state = algorithm.keep(active & sound, told, self.state)
        self.iteration = self.iteration + 1  # not in place: a state may hold on to its stream, and so to the number

    def _answer(self, points: Tensor, stream: Stream, request: Request | None, rows: Tensor) -> Answer:
        if request is None:
            return self.problem.answer(self.algorithm, points, stream)
        clients, purposes, uplink, downlink = request
        return self.problem.answer_of_clients(
            points, stream, Request(clients[rows], purposes, uplink[rows], downlink[rows])
        )

    def _rows(self, active: Tensor) -> Tensor:
        """The runs that are worth evaluating: the active ones, where counting them does not make the host wait."""
        return (
            active.nonzero()[:, 0] if active.device.type == "cpu" else torch.arange(len(active), device=active.device)
        )

    def _capture(self, iterate: Tensor, before: Cost, metrics: Metrics) -> None:
        """Put aside the iterates from before this iteration, where it passed a position."""
        positions = self.record.positions
        start, end = getattr(before, self.ledger.unit)[:, None], self.ledger.position[:, None]
        crossed = (start <= positions) & (positions < end)
        if crossed.device.type == "cpu" and not bool(crossed.any()):
            return
        measures = {f"train/{name}": value for name, value in self.problem.measure(iterate, metrics).items()}
        self.record.capture(crossed, iterate, before, self.wall, measures)

    def _capture_last(self) -> None:
        """The last iterate answers every position that is left."""
        last = torch.zeros(len(self.root.seeds), len(self.record.positions), dtype=torch.bool)
        last[:, -1] = True
        iterate = self.algorithm.recommend(self.state)
        self.record.capture(last.to(iterate.device), iterate, self.ledger.spent, self.wall, {})

    def _flush(self, progress: Progress) -> None:
        """Score what waits, write the record, show the progress."""
        runs, slots, params = self.record.unscored()
        for start in range(0, len(runs), self.problem.scored_at_once):
            part = slice(start, start + self.problem.scored_at_once)
            self._score(runs[part], slots[part], params[part])
        self._save()
        done = float((self.ledger.position / self.ledger.budget).clamp(max=1).where(self.ledger.active, 1.0).mean())
        progress(done, f"{int(self.ledger.position.sum()):,} {self.ledger.unit.replace('_', ' ')}")

    def _score(self, runs: Tensor, slots: Tensor, params: Tensor) -> None:
        stream = self.root._replace(seeds=self.root.seeds[runs]).fold(Purpose.EVALUATE).at(slots)
        scores = self.problem.score(params, stream)
        self.record.score(runs, slots, {f"eval/{name}": value for name, value in scores.items()})
        spent = self.record.spent[AXES.index(self.ledger.unit), runs, slots]
        self.ledger.reached(runs, spent, scores[self.problem.score_name])

    def _save(self) -> None:
        if self.folder is None:
            return
        parts = {f"algorithm/{key}": _as_number(part) for key, part in self.algorithm.pack(self.state).items()}
        parts |= {f"ledger/{key}": part for key, part in self.ledger.pack().items()}
        parts |= {f"record/{key}": part for key, part in self.record.pack().items()}
        parts |= {"iteration": int(self.iteration), "wall": self.wall}
        save_state(self.folder / "state.safetensors", parts, {"reasons": self.ledger.reasons})
        write_curves(self.folder / "curves.parquet", self.record.table())

    def _restore(self, path: Path) -> None:
        parts, extra = load_state(path, self.problem.device)

        def under(prefix: str) -> dict[str, Any]:
            return {key.removeprefix(prefix): part for key, part in parts.items() if key.startswith(prefix)}

        self.state = self.algorithm.unpack(self.state, under("algorithm/"))
        self.ledger.unpack(under("ledger/"), extra["reasons"])
        self.record.unpack(under("record/"))
        self.iteration, self.wall = parts["iteration"], parts["wall"]
