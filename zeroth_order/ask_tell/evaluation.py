"""How f is called: point by point, with many points at once, or in worker processes."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from zeroth_order.ask_tell.start import Form

Workers: TypeAlias = int | Callable[[Callable[[Any], float], Iterable[Any]], Iterable[float]]
"""Processes, -1 for one per core, or a function that maps as the built-in `map` does (a pool's `map`)."""


class Evaluator(NamedTuple):
    """The values of points."""

    values: Callable[[np.ndarray], list[float]]
    """[n, d] -> n numbers."""
    one_by_one: bool
    """Whether nothing is gained by handing it more than one point."""


@dataclass(frozen=True)
class Call:
    """f of points in the form that it is promised; an exception that it raises names the point."""

    f: Callable[[Any], Any]
    form: Form

    def __call__(self, x: np.ndarray) -> float:
        """f of one point [d], a number."""
        with _named(x):
            return float(self.f(self._given(x)))

    def at_once(self, points: np.ndarray) -> list[float]:
        """f of points [n, d]. Raises ValueError unless it returns [n]."""
        with _named(points):
            found = self.f(self._given(points))
            values = self.form.read("the values that f returned", found, torch.float64)
            if values.shape != points.shape[:1]:
                raise ValueError(f"f returned {list(values.shape)} for points {list(points.shape)}: [K] is needed")
        return values.tolist()

    def _given(self, points: np.ndarray) -> Any:
        """A copy, which f may write to."""
        return points.copy() if self.form.numpy else torch.tensor(points, device=self.form.device)


@contextmanager
def evaluator(f: Callable[[Any], Any], vectorized: bool, workers: Workers, form: Form) -> Iterator[Evaluator]:
    """How f is to be called; worker processes live as long as the context.

    Raises ValueError where workers are no number of processes, f cannot be sent to them, or it takes all points anyway.
    """
    call = Call(f, form._replace(several=True))
    if not callable(workers) and (workers == 0 or workers < -1):
        raise ValueError(f"workers = {workers} is not a number >= 1, -1 (one per core) or a function like map")
    if vectorized and workers != 1:
        raise ValueError(f"workers = {workers} with vectorized = True: f is given all points at once")
    if vectorized:
        yield Evaluator(call.at_once, False)
    elif callable(workers):
        yield Evaluator(lambda points: list(workers(call, list(points))), False)
    elif workers == 1:
        yield Evaluator(lambda points: [call(x) for x in points], True)
    else:
        with _processes(call, workers if workers > 0 else os.cpu_count() or 1) as values:
            yield Evaluator(values, False)


@contextmanager
def _processes(call: Call, count: int) -> Iterator[Callable[[np.ndarray], list[float]]]:
    """Processes that are spawned: a fork of one that has computed would inherit threads that do not run."""
    try:
        ForkingPickler.dumps(call)
    except Exception as error:
        raise ValueError(
            f"f = {call.f} cannot be sent to worker processes ({error}): define it with `def` in a module, or leave "
            f"workers = 1"
        ) from error
    with ProcessPoolExecutor(count, get_context("spawn"), _receive, (call,)) as pool:

        def values(points: np.ndarray) -> list[float]:
            try:
                return list(pool.map(_answer, points, chunksize=-(-len(points) // (4 * count))))
            except BrokenProcessPool as error:
                error.add_note(
                    "A worker process ended. Workers import the main module: a script has to start its work under "
                    "`if __name__ == '__main__':`, and f has to be defined in a file."
                )
                raise

        yield values


_received: list[Call] = []
"""In a worker process the one call that it answers."""


def _receive(call: Call) -> None:
    _received.append(call)


def _answer(x: np.ndarray) -> float:
    return _received[0](x)


@contextmanager
def _named(points: np.ndarray) -> Iterator[None]:
    """Exceptions pass through with a note of the points [d] or [n, d], in full precision."""
    try:
        yield
    except Exception as error:
        error.add_note(f"f was called at {np.array_repr(points, precision=17)}")
        raise
