"""SRVR-PG: stochastic recursive variance-reduced policy gradient.

Xu, Gao, Gu (ICLR 2020, arXiv 1909.08610), Algorithm 1. Every m iterations a large batch renews the estimate; in between
it follows the iterate by differences of two gradients from the same few trajectories, the one at the previous iterate
with importance weights.

    1  tau ~ p(. | pi_theta_t): N trajectories if m divides t, else B            (`rl.epochs`)
    2  d_t <- g(tau, theta_t)                                                    if m divides t
    3  d_t <- d_{t-1} + g(tau, theta_t) - g_w(tau, theta_{t-1})                  otherwise
    4  theta_{t+1} <- theta_t - gamma_t d_t             (the paper maximises J; here f = -J is minimised)

g_w(tau, theta') is the gradient at theta' from trajectories of theta_t, weighted per decision (`rl.estimators`).

Deviations from the paper: epochs are not nested loops but counted by t, which is the same. The last iterate is
evaluated, where the theorem is about one drawn uniformly from all. The step is plain, as in the paper; the published
code feeds d_t to Adam, which makes it another algorithm.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Metrics, along_runs
from envs.random import Stream
from rl.core import Oracle
from rl.epochs import Epochs
from rl.importance import weight_metrics
from rl.n_pg_igt import State


@dataclass(frozen=True)
class SRVRPG(Epochs):
    """Stochastic recursive variance-reduced policy gradient."""

    id: ClassVar[str] = "srvr-pg"
    summary: ClassVar[str] = "recursive variance reduction with importance weights (SARAH)"
    paper: ClassVar[str] = "Xu, Gao, Gu 2020, Algorithm 1"

    minibatch: int = 5
    """Points of a small batch >= 1, B = minibatch * E trajectories. Authors' code: B = 5."""

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        oracle, previous = feedback.at_point(0, copies=points.shape[1]), state.theta_prev[:, None]  # l.1
        direction = gradient = oracle.gradient()[:, 0]  # l.2
        if not self.begins(state.t):
            direction = state.direction + gradient - oracle.gradient(at=previous)[:, 0]  # l.3
        theta = state.theta - along_runs(self.gamma(state.t), direction) * direction  # l.4
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        return State(theta, state.theta, direction, state.t + 1), metrics | weight_metrics(oracle.log_weights(previous))
