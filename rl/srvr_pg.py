"""SRVR-PG: stochastic recursive variance-reduced policy gradient.

Xu, Gao, Gu (ICLR 2020, arXiv 1909.08610), Algorithm 1. Every m iterations a large batch renews the estimate; in between
it follows the iterate by differences of two gradients from the same few trajectories, the one at the previous iterate
with importance weights.

    1  tau ~ p(. | pi_theta_t): N trajectories if m divides t, else B
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

from envs.algorithm import Metrics, Schedule, along_runs, check_range
from envs.random import Stream
from rl.core import Oracle, PolicyGradient
from rl.importance import weight_metrics
from rl.n_pg_igt import State


@dataclass(frozen=True)
class SRVRPG(PolicyGradient):
    """Stochastic recursive variance-reduced policy gradient."""

    id: ClassVar[str] = "srvr-pg"
    summary: ClassVar[str] = "recursive variance reduction with importance weights (SARAH)"
    paper: ClassVar[str] = "Xu, Gao, Gu 2020, Algorithm 1"

    gamma: Schedule = Schedule(0.005)
    """Step size gamma_t > 0. Paper: a constant; authors' code: 0.005, of Adam."""
    batch: int = 25
    """Points of a large batch >= 1, N = batch * E trajectories with E = Estimator.episodes. Authors' code: N = 25."""
    minibatch: int = 5
    """Points of a small batch >= 1, B = minibatch * E trajectories. Authors' code: B = 5."""
    epoch: int = 3
    """Iterations from one large batch to the next, m >= 1; 1 is REINFORCE. Authors' code: 3."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        for name in ("batch", "minibatch", "epoch"):
            check_range(name, getattr(self, name), 1)

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """Copies of the iterate, [R, K, d]."""
        copies = self.minibatch if state.t % self.epoch else self.batch
        return state.theta[:, None].expand(-1, copies, -1), state  # l.1

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        oracle, previous = feedback.at_point(0, copies=points.shape[1]), state.theta_prev[:, None]
        direction = gradient = oracle.gradient()[:, 0]  # l.2
        if state.t % self.epoch:
            direction = state.direction + gradient - oracle.gradient(at=previous)[:, 0]  # l.3
        theta = state.theta - along_runs(self.gamma(state.t), direction) * direction  # l.4
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        return State(theta, state.theta, direction, state.t + 1), metrics | weight_metrics(oracle.log_weights(previous))

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
