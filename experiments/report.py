"""From records to what people read: the summary table and the figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from experiments.ledger import BUDGET
from experiments.loop import Result
from experiments.plots import CurveBand, comparison_figure, survival_band
from experiments.problems import Problem
from experiments.record import write_csv
from experiments.statistics import Estimate, Floats, carry_forward, median_time, stratified_bootstrap

COMMUNICATION = ("queries", "uplink_floats", "downlink_floats")
"""What a federated algorithm costs: fields of a row."""


class Row(NamedTuple):
    """One algorithm in the summary."""

    algorithm: str
    final: Estimate
    """Interquartile mean of the last score with its 95 % interval."""
    cost_to_threshold: Estimate | None
    """Median with its 95 % interval; None where the problem has no threshold."""
    reached: int
    seeds: int
    wall_s: float
    cost_per_second: float
    stopped: str
    """Why runs stopped other than at the budget, and how many."""
    queries: float = 0.0
    """Mean over the runs, as of the floats."""
    uplink_floats: float = 0.0
    """Sent by clients to their server."""
    downlink_floats: float = 0.0
    """Sent by the server to its clients."""


class Outcome(NamedTuple):
    """One algorithm's result with what its curve needs."""

    algorithm: str
    result: Result
    budget: int


def score_curves(curves: pa.Table, name: str, axis: str, positions: Sequence[int]) -> Floats:
    """Scores `eval/<name>`; see `measure_curves`."""
    return measure_curves(curves, f"eval/{name}", axis, positions)


def measure_curves(curves: pa.Table, name: str, axis: str, positions: Sequence[int]) -> Floats:
    """What is called `name`, of each run on common positions of `axis`, [R, G], last value carried forward.

    NaN before a run's first value, everywhere for a run that has none.
    """
    rows = curves.filter(pc.equal(curves["name"], name))
    run, at, value = (rows[column].to_numpy() for column in ("run", axis, "value"))
    scores = []
    for r in np.unique(curves["run"].to_numpy()):
        mine = np.flatnonzero(run == r)
        mine = mine[np.argsort(at[mine], kind="stable")]
        seen = carry_forward(positions, at[mine], value[mine]) if len(mine) else np.full(len(positions), np.nan)
        scores.append(seen)
    return np.array(scores)


def finite_runs(scores: Floats) -> Floats:
    """The runs [n, G] that have a score at every position; one that failed before its first has none to give."""
    return scores[np.isfinite(scores).all(axis=1)]


def summarise(outcome: Outcome, problem: Problem) -> Row:
    """The row of one algorithm."""
    result, budget = outcome.result, outcome.budget
    scores = finite_runs(score_curves(result.curves, problem.score_name, problem.unit, [budget]))
    final = Estimate(*[np.asarray(np.nan)] * 3) if len(scores) == 0 else stratified_bootstrap([scores[:, 0]])
    times, reached = times_to_threshold(outcome)
    spent = int(getattr(result.spent, problem.unit).sum())
    others = [reason for reason in result.stopped if reason != BUDGET]
    counts = {reason: others.count(reason) for reason in dict.fromkeys(others)}
    return Row(
        outcome.algorithm,
        final,
        None if problem.threshold is None else median_time(times, reached),
        int(reached.sum()),
        len(result.stopped),
        result.wall_s,
        spent / max(result.wall_s, 1e-9),
        ", ".join(f"{count} {reason}" for reason, count in counts.items()),
        *(float(getattr(result.spent, name).double().mean()) for name in COMMUNICATION),
    )


def times_to_threshold(outcome: Outcome) -> tuple[Floats, np.ndarray]:
    """Cost at which each run was first seen at the threshold, and whether it was; censored at the budget."""
    hits = outcome.result.hits.cpu().numpy()
    reached = hits >= 0
    return np.where(reached, hits, outcome.budget).astype(np.float64), reached


def figure(outcomes: Sequence[Outcome], problem: Problem, title: str, positions: int = 40) -> Figure | None:
    """Curves of all algorithms, and the share of their runs that reached the threshold; None without any score."""
    bands, survivals = [], []
    for outcome in outcomes:
        grid = np.linspace(0, outcome.budget, positions + 1).astype(int)
        scores = finite_runs(score_curves(outcome.result.curves, problem.score_name, problem.unit, grid.tolist()))
        if len(scores) == 0:
            continue
        estimate = stratified_bootstrap([scores])
        bands.append(CurveBand(outcome.algorithm, grid.astype(float), *estimate, len(scores)))
        survivals.append(survival_band(outcome.algorithm, *times_to_threshold(outcome), outcome.budget))
    if not bands:
        return None
    unit = {"env_steps": "environment steps", "queries": "queries"}[problem.unit]
    return comparison_figure(
        bands, survivals, title, f"{unit} per seed", problem.score_name, problem.threshold, "linear", "linear"
    )


def columns(problem: Problem, federated: bool = False) -> list[str]:
    """Headers of the summary; `federated` adds what clients and server did."""
    return [
        "algorithm",
        f"final {problem.score_name}",
        f"{_steps(problem)} to threshold",
        "seeds there",
        "wall s",
        f"{_steps(problem)} / s",
        *(name.replace("_", " ") for name in COMMUNICATION if federated),
        "stopped early",
    ]


def _steps(problem: Problem) -> str:
    return {"env_steps": "env steps", "queries": "queries"}[problem.unit]


def cells(row: Row, federated: bool = False) -> list[str]:
    """A row as text, under `columns`."""
    return [
        row.algorithm,
        interval(row.final, "{:.4g}"),
        "no threshold" if row.cost_to_threshold is None else interval(row.cost_to_threshold, "{:,.0f}"),
        "" if row.cost_to_threshold is None else f"{row.reached} / {row.seeds}",
        f"{row.wall_s:.1f}",
        f"{row.cost_per_second:,.0f}",
        *(f"{getattr(row, name):,.0f}" for name in COMMUNICATION if federated),
        row.stopped,
    ]


def interval(estimate: Estimate, form: str) -> str:
    """value [low, high] as text."""
    value, low, high = (
        form.format(float(number)) if np.isfinite(number) else ("never" if np.isinf(number) else "none")
        for number in estimate
    )
    return f"{value} [{low}, {high}]"


def table(rows: Sequence[Row], problem: Problem) -> Table:
    """The summary for a terminal."""
    drawn = Table(
        title=f"{problem.name}, {rows[0].seeds} seeds",
        caption=f"final {problem.score_name}: interquartile mean [95 % interval]; "
        + ("no threshold" if problem.threshold is None else f"threshold {problem.threshold:g}: median [95 % interval]"),
    )
    federated = any(row.uplink_floats or row.downlink_floats for row in rows)
    headers = columns(problem, federated)
    for header in headers:
        drawn.add_column(header, justify="left" if header in (headers[0], headers[-1]) else "right")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in cells(row, federated)))
    return drawn


def write_summary(path: Path, rows: Sequence[Row]) -> None:
    """The summary as CSV with plain numbers; inf means never, an empty field not applicable. Atomic."""
    lines: list[list[Any]] = [
        ["algorithm", "final", "final_low", "final_high", "cost_to_threshold", "cost_low", "cost_high",
         "reached", "seeds", "wall_s", "cost_per_second", "stopped_early", *COMMUNICATION]
    ]  # fmt: skip
    for row in rows:
        cost = ["", "", ""] if row.cost_to_threshold is None else [float(part) for part in row.cost_to_threshold]
        final = [float(part) for part in row.final]
        timing = [row.wall_s, row.cost_per_second]
        sent = [getattr(row, name) for name in COMMUNICATION]
        lines.append([row.algorithm, *final, *cost, row.reached, row.seeds, *timing, row.stopped, *sent])
    write_csv(path, lines)
