"""How suites time a step of several sides: each in a process of its own, in turn, and medians over the repeats."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from experiments.benchmarks.training import child
from experiments.plots import CurveBand, panels_figure

Seconds: TypeAlias = dict[str, list[float]]
"""Side -> seconds of a step, one for each repeat."""

LEAST_SECONDS, LEAST_STEPS = 0.3, 5
CAPTION = "Line: median of {runs}. Band: the fastest and the slowest."


def print_seconds(steps: Iterable[Callable[[], None]]) -> None:
    """Print JSON: `seconds_per_step` of each."""
    print(json.dumps({"found": [seconds_per_step(step) for step in steps]}))


def seconds_per_step(step: Callable[[], None]) -> dict[str, float]:
    """Median wall and processor seconds of the calls of `step`, two of which are not counted."""
    for _ in range(2):
        step()
    wall: list[float] = []
    processor: list[float] = []
    while sum(wall) < LEAST_SECONDS or len(wall) < LEAST_STEPS:
        started, used = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return {"wall": statistics.median(wall), "processor": statistics.median(processor)}


def in_turn(code: str, sides: Sequence[str], sizes: Sequence[Any], repeats: int) -> list[tuple[Seconds, Seconds]]:
    """For each size the wall and the processor seconds of a step of every side.

    `code` is what a process runs, with a side and the numbers of all sizes as its arguments; it prints `print_seconds`.
    """
    seconds: list[tuple[Seconds, Seconds]] = [
        ({side: [] for side in sides}, {side: [] for side in sides}) for _ in sizes
    ]
    numbers = [str(number) for size in sizes for number in size]
    for _ in range(repeats):
        for side in sides:
            for (wall, processor), found in zip(seconds, child(code, side, *numbers)["found"], strict=True):
                wall[side].append(found["wall"])
                processor[side].append(found["processor"])
    return seconds


def head_to_head(wall: Seconds, processor: Seconds, peer: str) -> str:
    """The table of a comparison with a peer, which is one of the sides."""
    lines = [
        f"| side | wall s per step | {peer} / side | processor s per step | {peer} / side |",
        "|---|---:|---:|---:|---:|",
    ]
    for side in wall:
        times = [statistics.median(seconds[side]) for seconds in (wall, processor)]
        theirs = [statistics.median(seconds[peer]) for seconds in (wall, processor)]
        cells = " | ".join(f"{time:.4f} | {other / time:.1f}" for time, other in zip(times, theirs, strict=True))
        lines.append(f"| {side} | {cells} |")
    return "\n".join(lines)


def growth_table(axis: str, sizes: Sequence[Any], found: Sequence[Seconds]) -> str:
    """Milliseconds of a step of each side against one axis of the sizes, and the exponent of the last three of them."""
    numbers = [getattr(size, axis) for size in sizes]
    lines = [
        f"| side | {' | '.join(f'{axis} = {number}' for number in numbers)} | exponent |",
        "|---|" + "---:|" * (len(numbers) + 1),
    ]
    for side in found[0]:
        medians = [statistics.median(seconds[side]) for seconds in found]
        exponent = np.polyfit(np.log(numbers[-3:]), np.log(medians[-3:]), 1)[0]
        lines.append(f"| {side} | {' | '.join(f'{1e3 * time:.2f}' for time in medians)} | {exponent:.2f} |")
    return "\n".join(lines)


def growth_figure(growth: Mapping[str, Sequence[Any]], found: dict[str, list[Seconds]], title: str) -> Any:
    """Processor seconds of a step against each axis of `growth`, in logarithmic axes."""
    panels = []
    for axis, seconds in found.items():
        x = np.array([getattr(size, axis) for size in growth[axis]], dtype=float)
        bands = []
        for side in seconds[0]:
            times = np.array([of_size[side] for of_size in seconds])
            bands.append(CurveBand(side, x, np.median(times, 1), times.min(1), times.max(1), times.shape[1]))
        panels.append((f"processor seconds of a step, {axis} varies", bands))
    return panels_figure(panels, title, ", ".join(growth), CAPTION)
