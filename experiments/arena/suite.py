"""The arena as a benchmark suite: what it is asked for, the runs, and the records they leave.

<out>/records/<contender>-<dimension>-<hash>.json    first hits of every run, written when that contender has ended
<out>/arena.json                                     what was asked for, versions, machine
<out>/ert.csv  shares.csv  arena.md  dimensions.png  groups.png        see `experiments.arena.report`

What is recorded is not run again: the same folder may be continued after an interrupt, or with further contenders.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from experiments.arena.contenders import SIGMA0
from experiments.arena.entries import Entry, default_names, entries
from experiments.arena.peers import PEERS
from experiments.arena.recorder import TARGETS, Found
from experiments.arena.report import Arena, Finished, Outcome, shares_table, write_report
from experiments.arena.tasks import START, Task
from experiments.describe import describe, short_hash
from experiments.libraries import versions
from experiments.loop import Progress
from experiments.progress import show_progress
from experiments.provenance import machine, today
from experiments.record import write_json


@dataclass(frozen=True)
class ArenaFlags:
    """Which functions, dimensions and contenders, with what budget; the short version takes about two minutes."""

    full: bool = False
    """Dimensions 2, 5 and 10 with 1000 queries per dimension, instead of 2 and 5 with 200: about ten minutes."""
    testbed: str = "bbob"
    """bbob (24 functions through COCO), or synthetic (our own)."""
    dims: tuple[int, ...] | None = None
    """Dimensions."""
    functions: tuple[int, ...] = ()
    """Numbers of functions; default: all."""
    budget: int | None = None
    """Queries per dimension and run, for everybody alike."""
    contenders: tuple[str, ...] | None = None
    """Ids of optimizers from `zopg list`, and names of peers; default: all of them."""

    def arena(self, instances: int) -> Arena:
        """Everything filled in."""
        dims, budget = ((2, 5, 10), 1_000) if self.full else ((2, 5), 200)
        return Arena(
            self.testbed,
            self.dims or dims,
            self.functions,
            instances,
            budget if self.budget is None else self.budget,
            self.contenders or tuple(default_names()),
        )


SHORT = ArenaFlags()


def arena_suite(repeats: int, out: Path | None, flags: ArenaFlags = SHORT) -> None:
    """Run the arena on `repeats` instances of each function and report. Raises ValueError for bad input."""
    arena = flags.arena(repeats)
    with show_progress("arena") as progress:
        finished = run_arena(arena, out, progress)
    print(shares_table(finished))
    if finished.missing:
        print(f"not installed: {', '.join(finished.missing)}")
    if out is not None:
        about = {"suite": "arena", "date": today(), "arena": describe(arena), "missing": finished.missing}
        peers = versions(peer.library for peer in PEERS.values())
        write_json(out / "arena.json", about | {"provenance": machine(), "peers": peers})
        print("wrote", *write_report(finished, out))


def run_arena(arena: Arena, out: Path | None, progress: Progress) -> Finished:
    """Run everybody in every dimension, or read what is recorded. Raises ValueError for bad input, before any work."""
    playing, missing = entries(arena.contenders)
    runs = {dim: arena.tasks(dim) for dim in arena.dims}
    whole, done = len(playing) * sum(arena.dims), 0
    outcomes = []
    for dim in arena.dims:
        for entry in playing:
            shown = partial(_show, progress, f"{entry.name}, d = {dim}", done / whole, dim / whole)
            outcomes.append(_recorded(arena, entry, dim, runs[dim], out, shown))
            done += dim
    progress(1.0, "done")
    return Finished(arena, outcomes, missing)


def _show(progress: Progress, label: str, before: float, weight: float, done: float, message: str) -> None:
    progress(min(before + weight * done, 0.9999), label)


def _recorded(
    arena: Arena, entry: Entry, dim: int, runs: Sequence[Task], out: Path | None, progress: Progress
) -> Outcome:
    """Of one contender in one dimension, run unless it is recorded."""
    asked = {
        "contender": entry.name, "settings": entry.settings, "testbed": arena.testbed, "dim": dim,
        "budget": arena.budget * dim, "runs": [[task.name, task.instance, task.seed] for task in runs],
        "start": START, "sigma0": SIGMA0, "targets": TARGETS.tolist(),
    }  # fmt: skip
    name = f"{entry.name.replace(' ', '-')}-{dim}-{short_hash(asked)}.json"
    path = None if out is None else out / "records" / name
    if path is not None and path.exists():
        return _read(path)
    started = time.perf_counter()
    outcome = Outcome(entry.name, dim, entry.make().run(runs, arena.budget * dim, progress), 0.0)
    outcome = outcome._replace(wall_s=time.perf_counter() - started)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {name: part.tolist() for name, part in outcome.found._asdict().items()}
        write_json(path, asked | {"wall_s": outcome.wall_s, "provenance": machine(), "found": parts})
    return outcome


def _read(path: Path) -> Outcome:
    data = json.loads(path.read_text())
    found = Found(**{name: np.array(part) for name, part in data["found"].items()})
    return Outcome(data["contender"], data["dim"], found, data["wall_s"])
