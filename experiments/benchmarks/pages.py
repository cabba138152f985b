"""Tables, figures and files of what `sides.in_turn` found."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from envs.files import write_atomically
from experiments.benchmarks.sides import Libraries, Measured, Seconds, medians
from experiments.libraries import versions
from experiments.plots import CurveBand, panels_figure, save
from experiments.provenance import machine, today
from experiments.record import write_json

CAPTION = "Line: median of {runs}. Band: the fastest and the slowest."


def head_to_head(measured: Measured, peer: str) -> str:
    """The table of a comparison with a peer, which is one of the sides, at the first size."""
    lines = [
        f"| side | wall s per step | {peer} / side | processor s per step | {peer} / side |",
        "|---|---:|---:|---:|---:|",
    ]
    wall, processor = (medians(seconds[0]) for seconds in (measured.wall, measured.processor))
    for side in wall:
        cells = " | ".join(
            f"{number(times[side], '.4f')} | {number(times[peer] / times[side], '.1f')}" for times in (wall, processor)
        )
        lines.append(f"| {side} | {cells} |")
    return "\n".join(lines)


def growth_table(axis: str, sizes: Sequence[Any], found: Sequence[Seconds]) -> str:
    """Milliseconds of a step of each side against one axis of the sizes, and the exponent of the last three of them."""
    numbers = [getattr(size, axis) for size in sizes]
    lines = [
        f"| side | {' | '.join(f'{axis} = {count:,}' for count in numbers)} | exponent |",
        "|---|" + "---:|" * (len(numbers) + 1),
    ]
    for side in found[0]:
        times = [1e3 * medians(seconds)[side] for seconds in found]
        last = np.log(times[-3:])
        slope = np.polyfit(np.log(numbers[-3:]), last, 1)[0] if np.isfinite(last).all() else math.nan
        lines.append(f"| {side} | {' | '.join(number(time, '.2f') for time in times)} | {number(slope, '.2f')} |")
    return "\n".join(lines)


def number(value: float, form: str) -> str:
    """The number, or a dash for one that was not measured."""
    return "–" if math.isnan(value) else format(value, form)


def not_measured(measured: Measured) -> str:
    """A sentence for each side that is absent, or nothing."""
    return "".join(f"{side}: {reason}.\n" for side, reason in measured.absent.items())


def bands(axis: str, sizes: Sequence[Any], found: Sequence[Seconds], absent: Iterable[str] = ()) -> list[CurveBand]:
    """Seconds of each side against one axis of the sizes; the label of an absent side says so."""
    x = np.array([getattr(size, axis) for size in sizes], dtype=float)
    repeats = max(len(times) for of_size in found for times in of_size.values())
    curves = []
    for side in found[0]:
        low, centre, high = np.array([spread(of_size[side]) for of_size in found]).T
        label = f"{side} (not measured)" if side in absent else side
        curves.append(CurveBand(label, x, centre, low, high, repeats))
    return curves


def spread(times: Sequence[float]) -> tuple[float, float, float]:
    """Least, median and largest; NaN of none."""
    return (min(times), float(np.median(times)), max(times)) if times else (math.nan,) * 3


def growth_figure(growth: Mapping[str, Sequence[Any]], found: Mapping[str, Measured], title: str) -> Figure:
    """Processor seconds of a step against each axis of `growth`, in logarithmic axes."""
    panels = [
        (f"processor seconds of a step, {axis} varies", bands(axis, growth[axis], one.processor, one.absent))
        for axis, one in found.items()
    ]
    return panels_figure(panels, title, ", ".join(growth), CAPTION)


def circumstances() -> str:
    """Of the machine, for a page."""
    return (
        f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran on average:\nwhere others take the "
        "second core, wall seconds are as many as processor seconds and not half of them."
    )


def as_data(sizes: Sequence[Any], measured: Measured) -> dict[str, Any]:
    """JSON data: for each size the seconds of every side."""
    return {
        "sizes": [size._asdict() for size in sizes], "wall": measured.wall, "processor": measured.processor,
        "absent": measured.absent,
    }  # fmt: skip


def write_suite(
    name: str, out: Path | None, data: dict[str, Any], page: str, figure: Figure, libraries: Libraries
) -> None:
    """Print the page and, with `out`, write it there with data and figure: <name>.json, .md, .png and .pdf."""
    print(page)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    about = {"suite": name, "date": today(), "provenance": machine(), "peers": versions(libraries.values())}
    write_json(out / f"{name}.json", about | data)
    write_atomically(out / f"{name}.md", lambda temporary: temporary.write_text(page))
    print("wrote", out / f"{name}.json", out / f"{name}.md", *save(figure, out / name))
