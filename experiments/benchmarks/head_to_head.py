"""A suite against one peer: head to head at one size, and how the cost of a unit grows around a size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks.pages import CAPTION, bands, circumstances, not_measured, number
from experiments.benchmarks.sides import Axis, Libraries, Measured, Plan, medians
from experiments.plots import panels_figure
from experiments.provenance import today

MAIN = "main"
"""The axis that has one size."""


@dataclass(frozen=True)
class HeadToHead:
    """What is measured, and the words of its page."""

    name: str
    """As in `zopg bench --suite <name>`."""
    title: str
    module: str
    """Of the suite; has `Size` and `make_step`."""
    unit: str
    """What is timed."""
    costs: str
    """How they should grow."""
    peer: str
    """One of `sides` and of `growing`."""
    libraries: Libraries
    main: Any
    """Size of the comparison."""
    sides: Sequence[str]
    """Who is compared."""
    base: Any
    """Size around which the others lie."""
    growth: Mapping[str, Sequence[Any]]
    """What is varied -> sizes."""
    growing: Sequence[str]
    """Whose growth is measured."""

    @property
    def stem(self) -> str:
        """Of the names of module and files."""
        return self.name.replace("-", "_")

    def measure(self, repeats: int) -> dict[str, Measured]:
        """MAIN and each axis of the growth -> what was found. Raises ValueError unless repeats >= 1."""
        growth = {axis: Axis(self.growing, sizes) for axis, sizes in self.growth.items()}
        plan = Plan(self.module, self.libraries, {MAIN: Axis(self.sides, [self.main])} | growth)
        return plan.measure(self.name, repeats)

    def page(self, found: Mapping[str, Measured]) -> str:
        """Tables of the comparison and of the growth."""
        tables = "\n\n".join(growth_table(axis, found[axis]) for axis in self.growth)
        return (
            f"# {self.title} suite, {today()}\n\n`zopg bench --suite {self.name}`: medians; see "
            f"`experiments/benchmarks/{self.stem}.py`. {circumstances()}\n{not_measured(found[MAIN])}\n"
            f"A {self.unit} at {written(self.main)}:\n\n{comparison_table(found[MAIN], self.peer)}\n\n"
            f"Processor milliseconds of a {self.unit} around {written(self.base)}. {self.costs}\n\n{tables}\n\n"
            f"![Cost of a {self.unit}]({self.stem}.png)\n"
        )

    def figure(self, found: Mapping[str, Measured]) -> Figure:
        """Processor seconds against what is varied, in logarithmic axes."""
        panels = [
            (f"processor seconds of a {self.unit}, {axis} varies", bands(axis, found[axis])) for axis in self.growth
        ]
        return panels_figure(panels, f"{written(self.base)}, one of them varied", ", ".join(self.growth), CAPTION)


def written(size: Any) -> str:
    """Names and numbers of a size."""
    return f"{', '.join(size._fields)} = {', '.join(map(str, size))}"


def comparison_table(measured: Measured, peer: str) -> str:
    """Seconds of every side at the first size, and how often they go into those of the peer, which is one of them."""
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


def growth_table(axis: str, measured: Measured) -> str:
    """Processor milliseconds of each side against one number of the sizes, and the exponent of the last three."""
    numbers = [getattr(size, axis) for size in measured.sizes]
    lines = [
        f"| side | {' | '.join(f'{axis} = {count:,}' for count in numbers)} | exponent |",
        "|---|" + "---:|" * (len(numbers) + 1),
    ]
    for side in measured.processor[0]:
        times = [1e3 * medians(seconds)[side] for seconds in measured.processor]
        last = np.log(times[-3:])
        slope = np.polyfit(np.log(numbers[-3:]), last, 1)[0] if np.isfinite(last).all() else math.nan
        lines.append(f"| {side} | {' | '.join(number(time, '.2f') for time in times)} | {number(slope, '.2f')} |")
    return "\n".join(lines)
