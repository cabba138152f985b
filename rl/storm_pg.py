"""STORM-PG: stochastic recursive momentum for policy gradients.

Yuan, Lian, Liu, Zhou (2020, arXiv 2003.04302), Algorithm 1. The momentum is carried over to the new iterate by the
difference of two gradients from the same trajectories, the one at the previous iterate with importance weights. One
large batch at the start, small ones ever after.

    1  tau ~ p(. | pi_theta_t): N trajectories if t = 0, else B
    2  d_0 <- g(tau, theta_0)
    3  d_t <- g(tau, theta_t) + (1 - alpha_t) (d_{t-1} - g_w(tau, theta_{t-1}))          if t > 0
    4  theta_{t+1} <- theta_t - gamma_t d_t             (the paper maximises J; here f = -J is minimised)

g_w(tau, theta') is the gradient at theta' from trajectories of theta_t, weighted per decision (`rl.estimators`).

Deviations from the paper: the last iterate is evaluated, where its theorem is about one drawn uniformly from all. The
step is plain, without Adam. alpha_t and gamma_t may follow schedules; the paper's are constant.
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
class STORMPG(PolicyGradient):
    """Stochastic recursive momentum for policy gradients."""

    id: ClassVar[str] = "storm-pg"
    summary: ClassVar[str] = "stochastic recursive momentum with importance weights"
    paper: ClassVar[str] = "Yuan, Lian, Liu, Zhou 2020, Algorithm 1"

    gamma: Schedule = Schedule(0.005)
    """Step size gamma_t > 0. Paper: a constant."""
    alpha: Schedule = Schedule(0.9)
    """Weight alpha_t in (0, 1] of the new gradient, 1 being REINFORCE. Paper: a constant; potion: 0.9."""
    batch: int = 25
    """Points of the first batch >= 1, N = batch * E trajectories with E = Estimator.episodes. Potion: N = 100."""
    minibatch: int = 5
    """Points of every other batch >= 1, B = minibatch * E trajectories. Potion: B = 10."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        self.alpha.check("alpha", high=1.0)
        check_range("batch", self.batch, 1)
        check_range("minibatch", self.minibatch, 1)

    @property
    def uniform(self) -> bool:
        """The first batch is larger."""
        return False

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with no momentum."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """Copies of the iterate, [R, K, d]."""
        copies = self.batch if state.t == 0 else self.minibatch
        return state.theta[:, None].expand(-1, copies, -1), state  # l.1

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        oracle, previous = feedback.at_point(0, copies=points.shape[1]), state.theta_prev[:, None]
        direction = gradient = oracle.gradient()[:, 0]  # l.2
        if state.t > 0:
            alpha = along_runs(self.alpha(state.t), gradient)
            direction = gradient + (1 - alpha) * (state.direction - oracle.gradient(at=previous)[:, 0])  # l.3
        theta = state.theta - along_runs(self.gamma(state.t), direction) * direction  # l.4
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        return State(theta, state.theta, direction, state.t + 1), metrics | weight_metrics(oracle.log_weights(previous))

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
