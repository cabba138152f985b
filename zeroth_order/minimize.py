"""`minimize`: a derivative-free optimizer on a plain Python function of one point."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from envs.random import Purpose, Stream, streams
from zeroth_order.cbo import CBO
from zeroth_order.core import Bounds, Optimizer, Values

Vector: TypeAlias = float | Sequence[float] | np.ndarray
"""One number for all coordinates, or [dim]."""

DEFAULT = CBO()


class Best(NamedTuple):
    """The best point evaluated, and how it was found."""

    x: np.ndarray
    """[dim] float64; the start if every query failed."""
    fun: float
    """f(x); inf if every query failed."""
    queries: int
    """Calls of f."""
    failures: int
    """Those among them that returned NaN or an infinite value."""
    stop: dict[str, float | bool]
    """Why it ended: budget, target, or the algorithm's own reasons."""


def minimize(
    f: Callable[[np.ndarray], float],
    x0: Vector | None = None,
    bounds: tuple[Vector, Vector] | None = None,
    dim: int | None = None,
    algorithm: Optimizer = DEFAULT,
    budget: int = 10_000,
    seed: int = 0,
    target: float | None = None,
) -> Best:
    """Minimise f, which takes a float64 array [dim] and returns a number; NaN or inf means that the query failed.

    The search starts at `x0` [dim], by default uniform in `bounds` = (low, high); with bounds, points are projected
    into the box before they are evaluated. The algorithm's lengths (CBO's `spread`, CMA-ES's `sigma0`) are in the
    units of x: choose them to fit the box. It ends when f was called `budget` times, a value <= `target` was found, or
    the algorithm stops by itself. An exception raised by f passes through. The same arguments give the same answer.

    Raises ValueError when neither x0 nor bounds are given, the dimension is unknown or contradictory, a number is not
    finite, low >= high, x0 lies outside the bounds, budget < 1, seed < 0 or the algorithm wants gradients.
    """
    if budget < 1:
        raise ValueError(f"budget = {budget} is not >= 1")
    if algorithm.wants_gradients:
        raise ValueError(f"algorithm = {algorithm} wants gradients, and f tells values alone")
    root = streams([seed])
    dimension = _dimension(x0, bounds, dim)
    box = None if bounds is None else _box(bounds, dimension)
    start = _start(x0, box, dimension, root.fold(Purpose.INSTANCE))
    state = algorithm.init(start[None], root.fold(Purpose.INITIAL))
    best = Best(start.numpy().copy(), math.inf, 0, 0, {})
    iteration = 0
    while not best.stop:
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(iteration))
        asked = points[0] if box is None else points[0].clamp(*box)
        best, values = _evaluate(f, asked, best, budget, target)
        if not best.stop:
            state, _ = algorithm.tell(state, points, Values(values[None]))
            best = best._replace(stop={name: True for name, met in algorithm.stop(state).items() if bool(met[0])})
        iteration += 1
    return best


def _evaluate(
    f: Callable[[np.ndarray], float], points: Tensor, best: Best, budget: int, target: float | None
) -> tuple[Best, Tensor]:
    """The best after `points` [K, dim], and the values [K]; ends early, with a reason, at the budget or the target."""
    values = points.new_full(points.shape[:1], torch.nan)
    for k, x in enumerate(points.numpy()):
        value = float(f(x.copy()))
        values[k] = value
        failed = not math.isfinite(value)
        best = best._replace(queries=best.queries + 1, failures=best.failures + failed)
        if not failed and value < best.fun:
            best = best._replace(x=x.copy(), fun=value)
        if target is not None and best.fun <= target:
            return best._replace(stop={"target": best.fun}), values
        if best.queries == budget:
            return best._replace(stop={"budget": budget}), values
    return best, values


def _dimension(x0: Vector | None, bounds: tuple[Vector, Vector] | None, dim: int | None) -> int:
    """The one dimension that dim, x0 and the bounds agree on."""
    low, high = (None, None) if bounds is None else bounds
    vectors = {"x0": x0, "low": low, "high": high}
    given = {name: np.size(vector) for name, vector in vectors.items() if vector is not None and np.ndim(vector) > 0}
    if dim is not None:
        given["dim"] = dim
    if len(set(given.values())) != 1 or min(given.values()) < 1:
        raise ValueError(f"x0, bounds or dim have to tell one dimension >= 1; they tell {given or 'nothing'}")
    return next(iter(given.values()))


def _vector(name: str, value: Vector, dim: int) -> Tensor:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} = {value} is not finite numbers of shape [{dim}]")
    return torch.tensor(array).expand(dim).clone()


def _box(bounds: tuple[Vector, Vector], dim: int) -> Bounds:
    low, high = _vector("low", bounds[0], dim), _vector("high", bounds[1], dim)
    if not bool((low < high).all()):
        raise ValueError(f"bounds = {bounds}: low has to be < high")
    return low, high


def _start(x0: Vector | None, box: Bounds | None, dim: int, stream: Stream) -> Tensor:
    if x0 is None:
        if box is None:
            raise ValueError("minimize needs x0 or bounds")
        low, high = box
        return low + (high - low) * stream.uniform(dim, dtype=torch.float64)[0]
    start = _vector("x0", x0, dim)
    if box is not None and not bool(((start >= box[0]) & (start <= box[1])).all()):
        raise ValueError(f"x0 = {x0} does not lie in the bounds")
    return start
