"""Suites whose unit is an environment step: steps per second, beside the machine's ceilings."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure

from experiments.benchmarks.ceilings import Ceilings, measure_ceilings
from experiments.benchmarks.pages import number, write_suite
from experiments.benchmarks.sides import Libraries, Measured, Plan, as_data, medians

Floor: TypeAlias = Callable[[str, Any], float]
"""(side, size) -> the fewest seconds that a step of it can take on one core"""


def rates_suite(
    suite: str,
    plan: Plan,
    repeats: int,
    out: Path | None,
    report: Callable[[dict[str, Measured], Ceilings], str],
    figure: Callable[[dict[str, Measured]], Figure],
) -> None:
    """Measure the plan and the machine's ceilings, `repeats` times; report. Raises ValueError unless repeats >= 1."""
    found, ceilings = plan.measure(suite, repeats), measure_ceilings(repeats)
    data = as_data(found) | {"ceilings": ceilings._asdict()}
    write_suite(suite, out, data, report(found, ceilings), figure(found), plan.libraries)


def rates_tables(labels: Sequence[str], measured: Measured, libraries: Libraries, floor: Floor) -> str:
    """Per processor second, with the share of the floor that is reached, and per wall second."""
    clocks = ("processor", "wall")
    return "\n\n".join(_table(clock, labels, measured, libraries, floor) for clock in clocks)


def _table(clock: str, labels: Sequence[str], measured: Measured, libraries: Libraries, floor: Floor) -> str:
    shares = clock == "processor"
    found = measured.processor if shares else measured.wall
    columns = [part for label in labels for part in (label, "× best peer", *["of the floor"] * shares)]
    lines = [f"| steps per {clock} second | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    rows = [medians(seconds) for seconds in found]
    for side in found[0]:
        if side in measured.absent:
            lines.append(f"| {side} | {measured.absent[side]} |" + " |" * (len(columns) - 1))
            continue
        if all(math.isnan(times[side]) for times in rows):  # it has nothing of the kind
            continue
        cells = []
        for times, size in zip(rows, measured.sizes, strict=True):
            peer = best_peer(times, libraries)
            cells += [number(1 / times[side], ".2g"), number(peer / times[side], ".3g")]
            cells += [number(floor(side, size) / times[side], ".2g")] * shares
        lines.append(f"| {side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def best_peer(times: dict[str, float], libraries: Libraries) -> float:
    """The fewest seconds of the sides that need a library; NaN where none was measured."""
    return min((time for side, time in times.items() if side in libraries and not math.isnan(time)), default=math.nan)
