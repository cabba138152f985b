"""Parts of pages and figures of what the sides took, and the files of a suite."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from envs.files import write_atomically
from experiments.benchmarks.sides import Libraries, Measured
from experiments.libraries import versions
from experiments.plots import CurveBand, save
from experiments.provenance import machine, today
from experiments.record import write_json

CAPTION = "Line: median of {runs}. Band: the fastest and the slowest."


def number(value: float, form: str) -> str:
    """The number, or a dash for one that was not measured."""
    return "–" if math.isnan(value) else format(value, form)


def not_measured(measured: Measured) -> str:
    """A sentence for each side that is absent, or nothing."""
    return "".join(f"{side}: {reason}.\n" for side, reason in measured.absent.items())


def bands(axis: str, measured: Measured) -> list[CurveBand]:
    """Processor seconds of each side against one number of the sizes; the label of an absent side says so."""
    x = np.array([getattr(size, axis) for size in measured.sizes], dtype=float)
    repeats = max(len(times) for of_size in measured.processor for times in of_size.values())
    curves = []
    for side in measured.processor[0]:
        low, centre, high = np.array([spread(of_size[side]) for of_size in measured.processor]).T
        label = f"{side} (not measured)" if side in measured.absent else side
        curves.append(CurveBand(label, x, centre, low, high, repeats))
    return curves


def spread(times: Sequence[float]) -> tuple[float, float, float]:
    """Least, median and largest; NaN of none."""
    return (min(times), float(np.median(times)), max(times)) if times else (math.nan,) * 3


def circumstances() -> str:
    """Of the machine, for a page."""
    return (
        f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran on average:\nwhere others take the "
        "second core, wall seconds are as many as processor seconds and not half of them."
    )


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
