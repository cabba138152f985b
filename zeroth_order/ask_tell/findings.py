"""What a search has found and spent, run by run."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zeroth_order.core import failed_to_inf, succeeded


class Recommendation(NamedTuple):
    """The algorithm's own answer (CBO's consensus, CMA-ES's mean), and what is known about it."""

    x: Any
    """[d], in the box."""
    fun: float
    """Mean of the values that `confirm` was told; NaN where there are none."""
    stderr: float
    """Standard error of that mean; NaN unless there are two values."""
    evaluations: int
    """Values that `confirm` was told and that were numbers."""


class Best(NamedTuple):
    """The answer, and how it was found."""

    x: Any
    """[d] the best point evaluated, or the recommendation once it is confirmed; the start if every query failed."""
    fun: float
    """f(x), or the mean of what was found at x; inf if every query failed."""
    queries: int
    """Calls of f."""
    failures: int
    """Those among them that returned NaN or an infinite value."""
    stop: dict[str, float | bool]
    """Why it ended: budget, target, non-finite (points), or the algorithm's own reasons; empty while it goes on."""
    iterations: int
    """Generations that the algorithm was told."""
    recommendation: Recommendation


class Findings:
    """The best points, the counts and the reasons to stop of R runs."""

    def __init__(self, x0: Tensor) -> None:
        self.best = x0.clone()
        """[R, d]"""
        self.fun = torch.full(x0.shape[:1], torch.inf, dtype=torch.float64, device=x0.device)
        """[R] the least mean value, float64."""
        self.queries = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
        self.failures = torch.zeros_like(self.queries)
        self.iterations = torch.zeros_like(self.queries)
        self.forget_confirmed()
        self.reasons: list[dict[str, float | bool]] = [{} for _ in x0]

    def charge(self, active: Tensor, values: Tensor) -> None:
        """Count values [R, n] for the runs `active` [R] bool."""
        self.queries += active * values.shape[1]
        self.failures += active * (~succeeded(values)).sum(1)

    def compare(self, active: Tensor, points: Tensor, values: Tensor) -> None:
        """Keep the best of what there is and the points [R, k, d] with values [R, k] of the runs `active`."""
        value, k = failed_to_inf(values).min(1)
        better = active & (value < self.fun)
        candidate = points.take_along_dim(k[:, None, None], 1)[:, 0]
        self.best = torch.where(better[:, None], candidate, self.best)
        self.fun = torch.where(better, value, self.fun)

    def stop(self, where: Tensor, reason: str, values: Sequence[float | bool] | None = None) -> None:
        """Note a reason of the runs `where` [R] bool, with its values [R] or True."""
        for r in where.nonzero()[:, 0].tolist():
            self.reasons[r][reason] = True if values is None else values[r]

    def forget_confirmed(self) -> None:
        """Another recommendation: nothing is known about it."""
        self.confirmed = self.fun.new_zeros(len(self.fun), 0)
        """[R, n] values at the recommendation."""

    @property
    def going(self) -> Tensor:
        """[R] bool, the runs that have no reason to stop."""
        return torch.tensor([not reasons for reasons in self.reasons], device=self.fun.device)

    def result(self, r: int, recommended: Tensor, show: Callable[[Tensor], Any]) -> Best:
        """The result of run r; `show` makes of tensors what people see."""
        told = self.confirmed[r][succeeded(self.confirmed[r])]
        count = len(told)
        mean = float(told.mean()) if count else math.nan
        stderr = float(told.std()) / math.sqrt(count) if count > 1 else math.nan
        answer = Recommendation(show(recommended), mean, stderr, count)
        x, fun = (answer.x, answer.fun) if count else (show(self.best[r]), float(self.fun[r]))
        counts = (int(self.queries[r]), int(self.failures[r]), dict(self.reasons[r]), int(self.iterations[r]))
        return Best(x, fun, *counts, answer)

    def pack(self) -> dict[str, Tensor]:
        """The tensors."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Tensor)}

    def unpack(self, parts: dict[str, Tensor], reasons: list[dict[str, float | bool]]) -> None:
        """Continue from packed tensors."""
        vars(self).update(parts)
        self.reasons = reasons
