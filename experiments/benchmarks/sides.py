"""Several sides at several sizes: each side in a process of its own, in turn, and what the processes found.

A side is a name that the `make_step` of a module knows. One that needs a library which is not installed is left out
and named; so is a peer whose process fails, with the reason.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from experiments.benchmarks.training import child
from experiments.libraries import Library
from experiments.loop import Progress

Seconds: TypeAlias = dict[str, list[float]]
"""Side -> seconds of a unit, one for each repeat; none where the side was not measured."""
Libraries: TypeAlias = Mapping[str, Library]
"""Side -> the library it needs; ours need none."""

CODE = """import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from {module} import Size, make_step
from experiments.benchmarks.timing import measure
measure(make_step, Size, *sys.argv[1:])"""
"""What a process runs. OpenBLAS reads the variable as it is loaded; with two threads on busy cores, decompositions of
small matrices take a hundred times as long, and who uses it would lose for no fault of its own."""
NOT_INSTALLED = "not installed"


class Measured(NamedTuple):
    """What was found at each size."""

    wall: list[Seconds]
    processor: list[Seconds]
    absent: dict[str, str]
    """Side -> why it was not measured."""

    def part(self, places: Sequence[int]) -> "Measured":
        """Of the sizes at these places."""
        return Measured([self.wall[i] for i in places], [self.processor[i] for i in places], self.absent)


def in_turn(
    module: str,
    sides: Sequence[str],
    sizes: Sequence[Any],
    repeats: int,
    libraries: Libraries,
    progress: Progress = lambda done, message: None,
) -> Measured:
    """Wall and processor seconds of a unit of every side at every size, which are NamedTuples of numbers and names.

    A process runs `make_step(side, size)` of `module` for all sizes. Raises ValueError unless repeats >= 1, and OSError
    where a side fails that needs no library.
    """
    check_repeats(repeats)
    absent = {side: NOT_INSTALLED for side in sides if side in libraries and libraries[side].missing}
    wall: list[Seconds] = [{side: [] for side in sides} for _ in sizes]
    processor: list[Seconds] = [{side: [] for side in sides} for _ in sizes]
    for i, (_, side) in enumerate(product(range(repeats), sides)):
        progress(i / (repeats * len(sides)), side)
        if side in absent:
            continue
        try:
            found = child(CODE.format(module=module), side, json.dumps(sizes))["found"]
        except OSError as error:
            if side not in libraries:
                raise
            absent[side] = f"failed: {error}"
            continue
        for j, each in enumerate(found):
            if each is not None:
                wall[j][side].append(each["wall"])
                processor[j][side].append(each["processor"])
    progress(1.0, "done")
    return Measured(wall, processor, absent)


def growth_in_turn(
    module: str,
    sides: Sequence[str],
    growth: Mapping[str, Sequence[Any]],
    repeats: int,
    libraries: Libraries,
    progress: Progress = lambda done, message: None,
) -> dict[str, Measured]:
    """`in_turn` at the sizes of every axis of `growth`, each of them once: axis -> what was found."""
    flat = list(dict.fromkeys(size for sizes in growth.values() for size in sizes))
    measured = in_turn(module, sides, flat, repeats, libraries, progress)
    return {axis: measured.part([flat.index(size) for size in sizes]) for axis, sizes in growth.items()}


def check_repeats(repeats: int) -> None:
    """Raise ValueError unless repeats >= 1."""
    if repeats < 1:
        raise ValueError(f"repeats = {repeats} must be >= 1")


def median(numbers: Iterable[float]) -> float:
    """NaN of none."""
    numbers = list(numbers)
    return statistics.median(numbers) if numbers else math.nan


def medians(seconds: Seconds) -> dict[str, float]:
    """Side -> median over the repeats."""
    return {side: median(times) for side, times in seconds.items()}
