"""Random search: keep the best of Gaussian points around the start.

Anderson, "Recent advances in finding best operating conditions" (JASA 1953); Brooks, "A discussion of random methods
for seeking maxima" (Operations Research 1958). The baseline that every other optimizer has to beat.

    1  x_k  ~  N(x_0, spread^2 I),  k = 1 .. K
    2  x_best <- the best of x_best and the x_k

Deviations: the cited searches draw uniformly from a box; an optimizer here is given a start and no box.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, along_runs, check_range
from envs.random import Stream
from zeroth_order.core import Invariance, Optimizer, failed_to_inf


class RandomSearchState(NamedTuple):
    """The start, and the best so far."""

    start: Tensor
    """[R, d] x_0."""
    best: Tensor
    """[R, d] x_best; x_0 until a query succeeds."""
    best_value: Tensor
    """[R]; +inf until a query succeeds."""


@dataclass(frozen=True)
class RandomSearch(Optimizer):
    """Configuration; see the module."""

    id = "random-search"
    summary = "the best of Gaussian points around the start"
    paper = "Brooks, A discussion of random methods for seeking maxima, Operations Research 6 (1958)"

    points: int = 10
    """K >= 1, points per ask."""
    spread: Numeric = 1.0
    """Standard deviation around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("points", self.points, low=1)
        check_range("spread", self.spread, low=0.0, open_low=True)

    def init(self, x0: Tensor, stream: Stream) -> RandomSearchState:
        """State at x0 [R, d]."""
        return RandomSearchState(x0, x0, x0.new_full(x0.shape[:1], torch.inf))

    def ask(self, state: RandomSearchState, stream: Stream) -> tuple[Tensor, RandomSearchState]:
        """Points [R, K, d] around the start."""
        lanes = torch.arange(self.points, device=state.start.device)
        normals = stream.spread(lanes).normal(state.start.shape[-1], dtype=state.start.dtype)
        return state.start[:, None] + along_runs(self.spread, normals) * normals, state  # l.1

    def tell(self, state: RandomSearchState, points: Tensor, feedback: Any) -> tuple[RandomSearchState, Metrics]:
        """The better of the best so far and the best point; metrics: best_value (+inf before a success)."""
        value, index = failed_to_inf(feedback.values).min(-1)
        candidate = torch.take_along_dim(points, index[:, None, None], dim=1)[:, 0]
        better = value < state.best_value
        best = torch.where(better[:, None], candidate, state.best)  # l.2
        best_value = torch.where(better, value, state.best_value)
        return state._replace(best=best, best_value=best_value), {"best_value": best_value}

    def recommend(self, state: RandomSearchState) -> Tensor:
        """x_best, [R, d]."""
        return state.best

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations and whatever keeps the order of values."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, Invariance.MONOTONE})
