"""The clock of the suites, inside the process of one side."""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Step: TypeAlias = Callable[[], int]
"""What is timed; it returns how much was done: environment steps taken, or 1."""

LEAST_SECONDS, LEAST_STEPS = 0.3, 5


def measure(make_step: Callable[[str, Any], Step | None], size: Callable[..., Any], side: str, sizes: str) -> None:
    """Print JSON: what `seconds_each` finds for the side at each of the sizes (JSON), null where it has none."""
    print_seconds(make_step(side, size(*numbers)) for numbers in json.loads(sizes))


def print_seconds(steps: Iterable[Step | None]) -> None:
    """Print JSON: `seconds_each` of the steps, null for None."""
    print(json.dumps({"found": [None if step is None else seconds_each(step) for step in steps]}))


def seconds_each(step: Step) -> dict[str, float]:
    """Median wall and processor seconds of a unit of what the calls of `step` do, two of which are not counted."""
    for _ in range(2):
        step()
    wall: list[float] = []
    processor: list[float] = []
    spent = 0.0
    while spent < LEAST_SECONDS or len(wall) < LEAST_STEPS:
        started, used = time.perf_counter(), time.process_time()
        done = step()
        took, worked = time.perf_counter() - started, time.process_time() - used
        spent += took
        wall.append(took / done)
        processor.append(worked / done)
    return {"wall": statistics.median(wall), "processor": statistics.median(processor)}
