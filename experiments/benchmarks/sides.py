"""Several sides at several sizes: each side in a process of its own, in turn, and what the processes found.

A side is a name that the `make_step` of a module knows. One that needs a library which is not installed is left out
and named; so is a peer whose process fails, with the reason.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from experiments.benchmarks.processes import check_repeats, child
from experiments.benchmarks.timing import Step
from experiments.libraries import Library
from experiments.progress import show_progress

Seconds: TypeAlias = dict[str, list[float]]
"""Side -> seconds of a unit, one for each repeat; none where the side was not measured."""
Libraries: TypeAlias = Mapping[str, Library]
"""Side -> the library it needs; ours need none."""

CODE = """import sys
from {module} import Size, make_step
from experiments.benchmarks.timing import measure
measure(make_step, Size, *sys.argv[1:])"""
"""What a process runs."""
NOT_INSTALLED = "not installed"


class Side(NamedTuple):
    """Who makes environment steps."""

    make_step: Callable[[Any], Step | None]
    """Size -> some steps; None at sizes that it has not, or is not asked"""
    library: Library | None = None
    """None: ours"""
    stores: bool = False
    """Whether observations, rewards and flags of every step can be seen from outside."""


def libraries_of(sides: Mapping[str, Side]) -> dict[str, Library]:
    """Of the sides that need one."""
    return {name: side.library for name, side in sides.items() if side.library is not None}


class Axis(NamedTuple):
    """What varies in one figure or table: sizes, and the sides that are measured at them."""

    sides: Sequence[str]
    sizes: Sequence[Any]
    """NamedTuples of numbers and names."""


Found: TypeAlias = Mapping[tuple[str, Any], list[dict[str, float]]]
"""Side and size -> what its processes found."""


class Measured(NamedTuple):
    """What was found on an axis: at each of its sizes."""

    sizes: Sequence[Any]
    wall: list[Seconds]
    processor: list[Seconds]
    absent: dict[str, str]
    """Side -> why it was not measured."""

    @classmethod
    def of(cls, axis: Axis, found: Found, absent: dict[str, str]) -> "Measured":
        """The part on this axis of all that was found."""
        wall, processor = (
            [
                {side: [seconds[clock] for seconds in found.get((side, size), [])] for side in axis.sides}
                for size in axis.sizes
            ]
            for clock in ("wall", "processor")
        )
        return cls(axis.sizes, wall, processor, {side: why for side, why in absent.items() if side in axis.sides})


@dataclass(frozen=True)
class Plan:
    """What a suite measures."""

    module: str
    """Has `Size` and `make_step(side, size)`."""
    libraries: Libraries
    axes: Mapping[str, Axis]
    """Name -> axis."""

    @property
    def asked(self) -> dict[str, list[Any]]:
        """Side -> its sizes, each of them once."""
        sizes: dict[str, dict[Any, None]] = {}
        for axis in self.axes.values():
            for side in axis.sides:
                sizes.setdefault(side, {}).update(dict.fromkeys(axis.sizes))
        return {side: list(each) for side, each in sizes.items()}

    def measure(self, suite: str, repeats: int) -> dict[str, Measured]:
        """Wall and processor seconds of a unit of every side at each of its sizes: axis -> what was found.

        A process measures a side at all its sizes. Raises ValueError unless repeats >= 1, and OSError where a side
        fails that needs no library.
        """
        check_repeats(repeats)
        asked, found = self.asked, defaultdict(list)
        absent = {side: NOT_INSTALLED for side in asked if side in self.libraries and self.libraries[side].missing}
        with show_progress(suite) as progress:
            for i, (_, side) in enumerate(product(range(repeats), asked)):
                progress(i / (repeats * len(asked)), side)
                if side in absent:
                    continue
                try:
                    seconds = child(CODE.format(module=self.module), side, json.dumps(asked[side]))["found"]
                except OSError as error:
                    if side not in self.libraries:
                        raise
                    absent[side] = f"failed: {error}"
                    continue
                for size, each in zip(asked[side], seconds, strict=True):
                    if each is not None:
                        found[side, size].append(each)
            progress(1.0, "done")
        return {name: Measured.of(axis, found, absent) for name, axis in self.axes.items()}


def as_data(found: Mapping[str, Measured]) -> dict[str, Any]:
    """JSON data: axis -> sizes, and the seconds of every side at each of them."""
    return {
        axis: measured._asdict() | {"sizes": [size._asdict() for size in measured.sizes]}
        for axis, measured in found.items()
    }


def median(numbers: Iterable[float]) -> float:
    """NaN of none."""
    numbers = list(numbers)
    return statistics.median(numbers) if numbers else math.nan


def medians(seconds: Seconds) -> dict[str, float]:
    """Side -> median over the repeats."""
    return {side: median(times) for side, times in seconds.items()}
