"""ZoAR: zeroth-order optimization with an averaged baseline and query reuse.

Qiu, Xie, Yan, Yang, Shu, "Zeroth-order optimization is secretly single-step policy optimization" (arXiv 2506.14460,
2025). A forward difference is the REINFORCE estimator of a Gaussian policy N(x, mu^2 I) with f(x) as its baseline, so
what lowers the variance of policy gradients can be used: a mean as the baseline, and samples of earlier iterations.

    1  u_k ~ N(0, I),   y_k <- f(x_t + mu u_k),   k = 1 .. K
    2  H   <- the pairs (u, y) of the last N iterations, this one among them
    3  b   <- mean of y over H
    4  g_t <- 1 / (|H| - 1) * sum over H of (y - b) / mu * u
    5  x_{t+1} <- x_t - gamma_t m_t / (v_t + eps)^(1/2)                  (a step of R-AdaZO)

Deviations: failed values are not in H; with fewer than two in it g_t = 0; if all of an iteration failed, nothing moves.
The 1 / (|H| - 1) makes the estimate unbiased for N = 1, as the baseline contains the sample's own value; the authors'
code divides by |H|, which R-AdaZO does not notice.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import recalled, stored
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.random_directions.descent import follow, of_differences
from zeroth_order.random_directions.directions import Directions, Gaussian
from zeroth_order.steps import RefinedAdam, Step


class ZoARState(NamedTuple):
    """The iterate, what the step remembers, and the history."""

    x: Tensor
    """[R, d]"""
    moments: Tensor
    """[R, slots, d] of the step."""
    directions: Tensor
    """[R, N K, d] u of H, the newest first."""
    values: Tensor
    """[R, N K] y of H, the largest number where there is none: it failed, or it is too early."""
    t: int


@dataclass(frozen=True)
class ZoAR(Optimizer):
    """Configuration; see the module."""

    id = "zoar"
    summary = "samples of the last iterations against their mean"
    paper = "Qiu, Xie, Yan, Yang, Shu, Zeroth-order optimization is secretly single-step policy optimization (2025)"

    number: int = 10
    """K >= 1, queries a step. The authors' code: 10."""
    history: int = 6
    """N >= 1, iterations whose queries are used, this one among them; K N >= 2. The authors' code: 6."""
    directions: Directions = Gaussian()
    """Law of the directions. Paper: Gaussian."""
    gamma: Decay = Schedule(0.02, 0.25)
    """Step size, > 0, in the units of x. The authors' code: a constant 0.001."""
    mu: Numeric = 0.05
    """Spread radius, > 0, in the units of x, the same in all of H. The authors' code: 0.01."""
    step: Step = RefinedAdam(beta2=0.99)
    """What is done with the gradient. The authors' code: R-AdaZO with betas 0.9 and 0.99."""

    def __post_init__(self) -> None:
        check_range("number", self.number, 1)
        check_range("history", self.history, 2 if self.number == 1 else 1)
        self.gamma.check("gamma")
        check_range("mu", self.mu, 0.0, open_low=True)

    def init(self, x0: Tensor, stream: Stream) -> ZoARState:
        """State at x0 [R, d], without a history."""
        runs, dim = x0.shape
        directions = x0.new_zeros(runs, self.history * self.number, dim)
        values = x0.new_full(directions.shape[:2], torch.finfo(x0.dtype).max)
        return ZoARState(x0, self.step.start(x0), directions, values, 0)

    def ask(self, state: ZoARState, stream: Stream) -> tuple[Tensor, ZoARState]:
        """Points [R, K, d]."""
        u = self.directions(stream, self.number, state.x)
        return state.x[:, None] + along_runs(self.mu, u) * u, state  # l.1

    def tell(self, state: ZoARState, points: Tensor, feedback: Any) -> tuple[ZoARState, Metrics]:
        """One step; metrics as `zeroth_order.random_directions.descent.follow`."""
        mu = along_runs(self.mu, points)
        directions = torch.cat(((points - state.x[:, None]) / mu, state.directions[:, : -self.number]), 1)
        kept = stored(feedback.values, points)
        values = torch.cat((kept, state.values[:, : -self.number]), 1)  # l.2
        gradient = policy_gradient(directions, recalled(values)) / along_runs(self.mu, state.x)
        state = state._replace(directions=directions, values=values)
        return follow(state, gradient, succeeded(recalled(kept)), self.step, self.gamma(state.t))  # l.5

    def recommend(self, state: ZoARState) -> Tensor:
        """x, [R, d]."""
        return state.x

    @property
    def invariances(self) -> frozenset[Invariance]:
        """As of differences, with the baseline in the place of f(x)."""
        return of_differences(self.directions, self.step)


def policy_gradient(directions: Tensor, values: Tensor) -> Tensor:
    """Lines 3 and 4 without mu: [R, d] of directions [R, n, d] and values [R, n], which are not finite if they failed.

    0 where fewer than two values are finite.
    """
    counts = succeeded(values)
    number = counts.sum(-1, keepdim=True)
    values = torch.where(counts, values, 0.0)
    baseline = values.sum(-1, keepdim=True) / number.clamp(min=1)  # l.3
    advantage = torch.where(counts, values - baseline, 0.0)
    return (advantage[..., None] * directions).sum(1) / (number - 1).clamp(min=1)  # l.4
