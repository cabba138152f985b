"""SVRPG: stochastic variance-reduced policy gradient.

Papini, Binaghi, Canonaco, Pirotta, Restelli (ICML 2018, arXiv 1806.05618), Algorithm 2. Every m iterations a large
batch gives a gradient mu at a snapshot; in between, a few trajectories of the iterate estimate only how its gradient
differs from the snapshot's, there with importance weights.

    1  tau ~ p(. | pi_theta_t): N trajectories if m divides t, else B            (`rl.epochs`)
    2  snapshot <- theta_t;  mu <- d_t <- g(tau, theta_t)                        if m divides t
    3  d_t <- mu + g(tau, theta_t) - g_w(tau, snapshot)                          otherwise
    4  theta_{t+1} <- theta_t - gamma_t d_t             (the paper maximises J; here f = -J is minimised)

g_w(tau, theta') is the gradient at theta' from trajectories of theta_t, weighted per decision (`rl.estimators`).

Deviations from the paper: it draws B more trajectories for the first step of an epoch, whose correction is zero
because the iterate is still the snapshot; they are left out. The last iterate is evaluated, where the theorem is about
one drawn uniformly from all. The paper's experiments adapt the length of an epoch and feed d_t to Adam; here m is fixed
and the step is plain.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, along_runs
from envs.random import Stream
from rl.core import Oracle
from rl.epochs import Epochs
from rl.importance import weight_metrics


class State(NamedTuple):
    """The iterate, and the snapshot with its gradient."""

    theta: Tensor
    """[R, d] iterate, the one that is evaluated"""
    snapshot: Tensor
    """[R, d]"""
    mu: Tensor
    """[R, d] gradient at the snapshot"""
    t: int


@dataclass(frozen=True)
class SVRPG(Epochs):
    """Stochastic variance-reduced policy gradient."""

    id: ClassVar[str] = "svrpg"
    summary: ClassVar[str] = "variance reduction from snapshots with importance weights (SVRG)"
    paper: ClassVar[str] = "Papini, Binaghi, Canonaco, Pirotta, Restelli 2018, Algorithm 2"

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        oracle = feedback.at_point(0, copies=points.shape[1])  # l.1
        direction = gradient = oracle.gradient()[:, 0]
        snapshot, mu = state.theta, gradient  # l.2
        if not self.begins(state.t):
            snapshot, mu = state.snapshot, state.mu
            direction = mu + gradient - oracle.gradient(at=snapshot[:, None])[:, 0]  # l.3
        theta = state.theta - along_runs(self.gamma(state.t), direction) * direction  # l.4
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        weights = oracle.log_weights(snapshot[:, None])
        return State(theta, snapshot, mu, state.t + 1), metrics | weight_metrics(weights)
