"""Runs of several algorithms at once, one per thread; when one of them fails, or on an interrupt, the others stop too.

Threads do because kernels and tensor operations release the interpreter's lock. No run draws from a global generator,
so results are the same however many go on at once; only their wall-clock seconds are not.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from envs.algorithm import Algorithm
from experiments.loop import Progress
from experiments.problems import Problem
from rl.sb3 import External

Found = TypeVar("Found")


class _AbandonedError(Exception):
    """Raised in a run that is to stop, where it reports its progress: what it has found is in its record by then."""


def number_of_jobs(jobs: int | None, members: Sequence[tuple[Algorithm, Problem]]) -> int:
    """How many of the algorithms run at once; None: as many as there are cores, and one on a GPU, which they share.

    Raises ValueError for fewer than one, and for several where they would disturb each other.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs = {jobs} must be >= 1")
    obstacle = next((text for member in members if (text := _obstacle(*member))), None)
    if jobs is None:
        on_cpu = all(problem.device.type == "cpu" for _, problem in members)
        return min(os.cpu_count() or 1, len(members)) if on_cpu and obstacle is None else 1
    if jobs > 1 and obstacle is not None:
        raise ValueError(f"jobs = {jobs} must be 1: {obstacle}")
    return jobs


def _obstacle(algorithm: Algorithm, problem: Problem) -> str | None:
    """What several at once would share."""
    if isinstance(algorithm, External):
        return f"{algorithm.id} draws from torch's global generator"
    return None if problem.thread_safe else f"algorithms share the simulators of {problem.name}"


def side_by_side(calls: Sequence[Callable[[Callable[[Progress], Progress]], Found]], jobs: int) -> list[Found]:
    """What the calls return, at most `jobs` of them at once.

    Each is given a function that it passes its progress callback through. Where one raises, the others stop at their
    next report and the exception is raised.
    """
    if jobs == 1:
        return [call(lambda progress: progress) for call in calls]
    abandoned = threading.Event()

    def watched(progress: Progress) -> Progress:
        def report(done: float, message: str) -> None:
            _stop_if(abandoned)
            progress(done, message)

        return report

    def one(call: Callable[[Callable[[Progress], Progress]], Found]) -> Found:
        _stop_if(abandoned)
        try:
            return call(watched)
        except BaseException:
            abandoned.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, call) for call in calls]
        try:
            wait(futures)
        except BaseException:
            abandoned.set()
            raise
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _AbandonedError):
            raise error
    return [future.result() for future in futures]


def _stop_if(abandoned: threading.Event) -> None:
    if abandoned.is_set():
        raise _AbandonedError
