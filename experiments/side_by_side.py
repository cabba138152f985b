"""Runs of several algorithms at once, one per thread; when one of them fails, or on an interrupt, the others stop too.

Threads do because kernels and tensor operations release the interpreter's lock. No run draws from a global generator,
so results are the same however many go on at once; only their wall-clock seconds are not.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from envs.algorithm import Algorithm
from experiments.loop import Progress
from rl.sb3 import External

Found = TypeVar("Found")


class _AbandonedError(Exception):
    """Raised in a run that is to stop, where it reports its progress: what it has found is in its record by then."""


def number_of_jobs(jobs: int | None, algorithms: Sequence[Algorithm], device: torch.device) -> int:
    """How many algorithms run at once; None: as many as there are cores, and one on a GPU, which they would share.

    Raises ValueError for fewer than one, and for several where an algorithm uses torch's global generator.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs = {jobs} must be >= 1")
    external = [algorithm.id for algorithm in algorithms if isinstance(algorithm, External)]
    if jobs is None:
        cores = 1 if external or device.type != "cpu" else os.cpu_count() or 1
        return min(cores, len(algorithms))
    if jobs > 1 and external:
        raise ValueError(f"jobs = {jobs} must be 1: {external[0]} draws from torch's global generator")
    return jobs


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
            if abandoned.is_set():
                raise _AbandonedError
            progress(done, message)

        return report

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(call, watched) for call in calls]
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
        except BaseException:
            abandoned.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]
