"""What the arena found, as tables for people and for other programs, and the page.

shares.csv      share of targets reached, for each contender and dimension
ert.csv         expected running time to some targets, for each contender, dimension and function
arena.md        the page: both in short, and the figures
dimensions.png  groups.png
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.arena.figures import Curve, ecdf_figure
from experiments.arena.recorder import Found
from experiments.arena.runtimes import distribution, expected_running_time, of_rows, reached_share, target_index
from experiments.arena.tasks import Task, tasks
from experiments.plots import save
from experiments.provenance import today
from experiments.record import write_atomically, write_csv
from experiments.statistics import Estimate

PRECISIONS = (1e1, 1e0, 1e-1, 1e-2, 1e-4, 1e-8)
"""Of the targets in ert.csv."""
SHOWN = (1e-1, 1e-8)
"""Of those on the page."""
POINTS = 120
"""Of a curve."""


@dataclass(frozen=True)
class Arena:
    """Everything that decides the outcome."""

    testbed: str
    dims: tuple[int, ...]
    functions: tuple[int, ...]
    instances: int
    """Of each function, from the first on."""
    budget: int
    """Queries per dimension."""
    contenders: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("instances", "budget"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= 1")

    def tasks(self, dim: int) -> list[Task]:
        """All runs in a dimension, function by function."""
        return tasks(self.testbed, dim, self.functions, range(1, self.instances + 1))

    @property
    def names(self) -> list[str]:
        """Of the functions."""
        return list(dict.fromkeys(task.name for task in self.tasks(self.dims[0])))


class Outcome(NamedTuple):
    """What a contender did in a dimension."""

    contender: str
    dim: int
    found: Found
    wall_s: float


class Times(NamedTuple):
    """Expected running times of a contender in a dimension, see `running_times`."""

    outcome: Outcome
    ert: Estimate


class Finished(NamedTuple):
    """What the report is made of."""

    arena: Arena
    outcomes: list[Outcome]
    missing: list[str]


def write_report(finished: Finished, out: Path) -> list[Path]:
    """Write tables, figures and the page into `out`; returns their paths."""
    times = [Times(outcome, running_times(finished.arena, outcome)) for outcome in finished.outcomes]
    write_csv(out / "shares.csv", shares_rows(finished))
    write_csv(out / "ert.csv", ert_rows(finished.arena, times))
    drawn = save(by_dimension(finished), out / "dimensions") + save(by_group(finished), out / "groups")
    write_atomically(out / "arena.md", lambda temporary: temporary.write_text(page(finished, times)))
    return [out / "arena.md", out / "shares.csv", out / "ert.csv", *drawn]


def running_times(arena: Arena, outcome: Outcome) -> Estimate:
    """ERT of each function to each of PRECISIONS, [functions, precisions]; the runs of a function are its instances."""
    targets = [target_index(precision) for precision in PRECISIONS]
    hits = outcome.found.hits[:, targets].reshape(-1, arena.instances, len(targets)).swapaxes(0, 1)
    queries = outcome.found.queries.reshape(-1, arena.instances, 1).swapaxes(0, 1)
    return expected_running_time(hits, queries)


def shares_rows(finished: Finished) -> list[list[Any]]:
    """Share of (run, target) pairs at the end of the budget and at a tenth of it, functions solved, restarts, speed."""
    rows: list[list[Any]] = [
        ["contender", "dim", "share", "low", "high", "share at a tenth", "runs solved", "runs", "restarts per run",
         "us per query"]
    ]  # fmt: skip
    budget = finished.arena.budget
    for outcome in finished.outcomes:
        names, found = [task.name for task in finished.arena.tasks(outcome.dim)], outcome.found
        share = reached_share(found, names, outcome.dim, budget)
        early = reached_share(found, names, outcome.dim, budget / 10).value
        solved = int((found.hits[:, -1] >= 0).sum())
        speed = 1e6 * outcome.wall_s / found.queries.sum()
        rows.append(
            [outcome.contender, outcome.dim, *(float(part) for part in share), float(early), solved, len(names),
             float(found.restarts.mean()), speed]
        )  # fmt: skip
    return rows


def ert_rows(arena: Arena, times: Sequence[Times]) -> list[list[Any]]:
    """Expected running times in queries, with 95 % intervals."""
    rows: list[list[Any]] = [["contender", "dim", "function", "precision", "ert", "low", "high"]]
    for (name, dim, _, _), ert in times:
        for i, function in enumerate(arena.names):
            for j, precision in enumerate(PRECISIONS):
                rows.append([name, dim, function, precision, *(float(part[i, j]) for part in ert)])
    return rows


def shares_table(finished: Finished) -> str:
    """Share of targets reached at the end of the budget, in Markdown: contenders by dimensions, the best bold."""
    dims = finished.arena.dims
    cells: dict[str, dict[int, Estimate]] = {}
    for outcome in finished.outcomes:
        names = [task.name for task in finished.arena.tasks(outcome.dim)]
        share = reached_share(outcome.found, names, outcome.dim, finished.arena.budget)
        cells.setdefault(outcome.contender, {})[outcome.dim] = share
    best = {dim: max(float(row[dim].value) for row in cells.values()) for dim in dims}
    order = sorted(cells, key=lambda name: -float(np.mean([share.value for share in cells[name].values()])))
    lines = [f"| contender | {' | '.join(f'd = {dim}' for dim in dims)} |", "|---|" + "---:|" * len(dims)]
    for name in order:
        row = [_bold(_interval(share), float(share.value) == best[dim]) for dim, share in cells[name].items()]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def ert_table(arena: Arena, times: Sequence[Times], dim: int, precision: float) -> str:
    """log10(ERT / d) in Markdown: contenders by functions, the best of each function bold, "-" where never reached."""
    column = PRECISIONS.index(precision)
    here = {outcome.contender: ert.value[:, column] / dim for outcome, ert in times if outcome.dim == dim}
    best = np.min(list(here.values()), axis=0)
    lines = [f"| contender | {' | '.join(arena.names)} |", "|---|" + "---:|" * len(arena.names)]
    for name in sorted(here, key=lambda name: (-int(np.isfinite(here[name]).sum()), name)):
        cells = [
            _bold(f"{np.log10(time):.1f}", time == least) if np.isfinite(time) else "-"
            for time, least in zip(here[name], best, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_dimension(finished: Finished) -> Any:
    """A panel for each dimension, all functions."""
    panels = []
    for dim in finished.arena.dims:
        here = [outcome for outcome in finished.outcomes if outcome.dim == dim]
        panels.append((f"d = {dim}", [_curve(finished, outcome, range(len(outcome.found.hits))) for outcome in here]))
    return ecdf_figure(panels, _title(finished.arena), finished.arena.budget)


def by_group(finished: Finished) -> Any:
    """A panel for each group of functions, in the largest dimension."""
    dim = max(finished.arena.dims)
    here = [outcome for outcome in finished.outcomes if outcome.dim == dim]
    groups = [task.group for task in finished.arena.tasks(dim)]
    panels = []
    for group in dict.fromkeys(groups):
        members = [row for row, name in enumerate(groups) if name == group]
        panels.append((group, [_curve(finished, outcome, members) for outcome in here]))
    return ecdf_figure(panels, f"{_title(finished.arena)}, d = {dim}", finished.arena.budget)


def page(finished: Finished, times: Sequence[Times]) -> str:
    """The page."""
    arena, dim = finished.arena, max(finished.arena.dims)
    missing = f" Not installed: {', '.join(finished.missing)}." if finished.missing else ""
    tables = "\n\n".join(
        f"log10(ERT / d) to f_opt + {precision:g} at d = {dim}; bold: the best of a function.\n\n"
        f"{ert_table(arena, times, dim, precision)}"
        for precision in SHOWN
    )
    return (
        f"# Arena, {today()}\n\n`zopg bench --suite arena`: {_title(arena)}, {arena.budget:,} queries per dimension "
        f"and run.{missing}\n\nShare of the targets f_opt + 10^2 ... 10^-8 reached within the budget, and its 95 % "
        f"interval:\n\n{shares_table(finished)}\n\n![Runtime distributions by dimension](dimensions.png)\n\n"
        f"![Runtime distributions by group](groups.png)\n\n{tables}\n"
    )


def _title(arena: Arena) -> str:
    return f"{arena.testbed}: {len(arena.names)} functions, {arena.instances} instances each"


def _curve(finished: Finished, outcome: Outcome, rows: Sequence[int]) -> Curve:
    grid = np.logspace(0, np.log10(finished.arena.budget), POINTS)
    return Curve(outcome.contender, grid, distribution(of_rows(outcome.found, rows), outcome.dim, grid))


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _interval(share: Estimate) -> str:
    return f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}]"
