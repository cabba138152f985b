"""Tables of environment steps per second, for suites whose unit is an environment step."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from experiments.benchmarks.pages import number
from experiments.benchmarks.sides import Libraries, Measured, Seconds, medians

Floor: TypeAlias = Callable[[str, Any], float]
"""(side, size) -> the fewest seconds that a step of it can take on one core"""


def rates_tables(
    labels: Sequence[str], sizes: Sequence[Any], measured: Measured, libraries: Libraries, floor: Floor
) -> str:
    """Per processor second, with the share of the floor that is reached, and per wall second."""
    found = zip(("processor", "wall"), (measured.processor, measured.wall), strict=True)
    tables = [_table(clock, labels, sizes, seconds, measured, libraries, floor) for clock, seconds in found]
    return "\n\n".join(tables)


def _table(
    clock: str,
    labels: Sequence[str],
    sizes: Sequence[Any],
    found: Sequence[Seconds],
    measured: Measured,
    libraries: Libraries,
    floor: Floor,
) -> str:
    shares = clock == "processor"
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
        for times, size in zip(rows, sizes, strict=True):
            peer = best_peer(times, libraries)
            cells += [number(1 / times[side], ".2g"), number(peer / times[side], ".3g")]
            cells += [number(floor(side, size) / times[side], ".2g")] * shares
        lines.append(f"| {side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def best_peer(times: dict[str, float], libraries: Libraries) -> float:
    """The fewest seconds of the sides that need a library; NaN where none was measured."""
    return min((time for side, time in times.items() if side in libraries and not math.isnan(time)), default=math.nan)
