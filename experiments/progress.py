"""Progress with an estimate of the rest: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from experiments.loop import Progress

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(label: str) -> Iterator[Progress]:
    """A callback that shows how far `label` is."""
    console = Console(stderr=True)
    if console.is_terminal:
        with RichProgress(
            TextColumn("{task.fields[label]:<14}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}"),
            console=console,
        ) as bar:
            task = bar.add_task("", total=1.0, label=label, message="")
            yield lambda done, message: bar.update(task, completed=done, message=message)
        return
    yield _Lines(label)


class _Lines:
    def __init__(self, label: str) -> None:
        self.label, self.started = label, time.perf_counter()
        self.shown = self.started
        self.finished = False
        self.first: tuple[float, float] | None = None
        print(f"{label}: started", file=sys.stderr, flush=True)

    def __call__(self, done: float, message: str) -> None:
        now = time.perf_counter()
        if self.finished or (now - self.shown < SECONDS_BETWEEN_LINES and done < 1.0):
            return
        self.finished = done >= 1.0
        self.shown = now
        # A resumed run begins part of the way; only what this process did says how fast it is.
        self.first = self.first or (done, now)
        gained, spent = done - self.first[0], now - self.first[1]
        left = f", about {spent / gained * (1 - done):.0f} s left" if gained > 0 and done < 1 else ""
        print(
            f"{self.label}: {done:4.0%} after {now - self.started:.0f} s{left}, {message}", file=sys.stderr, flush=True
        )
