"""What a problem answers, and what it costs.

Feedback is `zeroth_order.core.Values` for optimizers and an `rl.core.Oracle` for agents. The loop may evaluate only
some of the R runs; `Answer.spread_feedback` then makes their feedback that of all.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from envs.core import Cost
from envs.random import Stream
from rl.core import Oracle
from rl.moments import Moments
from zeroth_order.core import Objective, Values


@dataclass(frozen=True)
class SpreadOracle:
    """The oracle of some runs seen as one of all R: derivatives of the others are 0."""

    inner: Oracle
    rows: Tensor
    runs: int

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """[R, K, d], at the asked points or at `at` [R, K, d]."""
        return self._spread(self.inner.gradient(None if at is None else at[self.rows]))

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u [R, K, d]."""
        return self._spread(self.inner.hvp(u[self.rows]))

    def fisher_vp(self, v: Tensor) -> Tensor:
        """Fisher information times v [R, K, d]."""
        return self._spread(self.inner.fisher_vp(v[self.rows]))

    def log_weights(self, at: Tensor) -> Tensor:
        """Log importance weights at `at` [R, K, d], [R, K, E]."""
        return self._spread(self.inner.log_weights(at[self.rows]))

    def observed(self) -> Moments:
        """Of each run's observations; of nothing for the others."""
        return Moments._make(self._spread(part) for part in self.inner.observed())

    def at_point(self, k: int, copies: int = 1) -> "SpreadOracle":
        """The oracle at point k alone."""
        return SpreadOracle(self.inner.at_point(k, copies), self.rows, self.runs)

    def _spread(self, part: Tensor) -> Tensor:
        return spread(part, self.rows, self.runs, 0.0)


def spread(part: Tensor, rows: Tensor, runs: int, rest: float) -> Tensor:
    """What is known of the runs `rows` [n], ascending, as a tensor of all R, with `rest` elsewhere."""
    if len(rows) == runs:
        return part
    whole = part.new_full((runs, *part.shape[1:]), rest)
    return whole.index_copy(0, rows, part)


@dataclass(frozen=True)
class Answer:
    """Feedback at the asked points, and its price."""

    feedback: Any
    """What `Algorithm.tell` takes."""
    cost: Cost
    failed: Tensor
    """[R] int64, evaluations (episodes, or values) that came back non-finite."""
    charged: list[Cost] = field(default_factory=list)
    """Products that the algorithm asked the feedback for, known after `tell`."""
    by_purpose: dict[str, Tensor] = field(default_factory=dict)
    """purpose -> [R] queries of a federated algorithm."""

    def total(self) -> Cost:
        """Everything this iteration cost."""
        total = self.cost
        for cost in self.charged:
            total = total.plus(cost)
        return total

    def spread_feedback(self, rows: Tensor, runs: int) -> Any:
        """The feedback of the runs `rows` [n] as that of all R: the others have failed values, or derivatives of 0."""
        if isinstance(self.feedback, Values):
            values, gradients = self.feedback
            known = None if gradients is None else spread(gradients, rows, runs, 0.0)
            return Values(spread(values, rows, runs, torch.nan), known)
        return SpreadOracle(self.feedback, rows, runs)


@dataclass(frozen=True)
class ExactOracle:
    """Exact derivatives of an objective by automatic differentiation; the `rl.Oracle` of a noise-free problem."""

    objective: Objective
    points: Tensor
    stream: Stream
    charged: list[Cost]

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """[R, K, d], at the asked points or at `at` [R, K, d]; one query a point."""
        return self._gradient(self.points if at is None else at, create_graph=False)[0].detach()

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u [R, K, d]; one query and one product a point."""
        gradient, points = self._gradient(self.points, create_graph=True, hvps=self.points.shape[1])
        with torch.enable_grad():
            (product,) = torch.autograd.grad((gradient * u).sum(), points)
        return product

    def fisher_vp(self, v: Tensor) -> Tensor:
        """Raises TypeError: an objective has no policy."""
        raise TypeError("an objective has no policy and so no Fisher information")

    def log_weights(self, at: Tensor) -> Tensor:
        """0: nothing is sampled, so nothing has to be weighted; [R, K, 1]."""
        return at.new_zeros(*at.shape[:-1], 1)

    def observed(self) -> Moments:
        """Raises TypeError: an objective is not observed."""
        raise TypeError("an objective has no observations")

    def at_point(self, k: int, copies: int = 1) -> "ExactOracle":
        """The oracle at point k alone, [R, 1, d]; copies of it are evaluated once."""
        return ExactOracle(self.objective, self.points[:, k : k + 1], self.stream, self.charged)

    def _gradient(self, at: Tensor, create_graph: bool, hvps: int = 0) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            points = at.detach().requires_grad_()
            evaluation = self.objective.evaluate(points, self.stream)
            (gradient,) = torch.autograd.grad(evaluation.values.sum(), points, create_graph=create_graph)
        self.charged.append(evaluation.cost._replace(hvps=evaluation.cost.hvps + hvps))
        return gradient, points
