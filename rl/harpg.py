"""HARPG and N-HARPG: Hessian-aided recursive policy gradient.

Fatkhullin, Barakat, Kireeva, He (ICML 2023), Algorithm 2. A Hessian-vector product at a random point of the last step
is an unbiased difference of gradients, so the momentum is transported to the new iterate without importance weights.

    1  q_t ~ U(0, 1);  between <- q_t theta_t + (1 - q_t) theta_{t-1}
    2  tau ~ p(. | pi_theta_t);  tau' ~ p(. | pi_between)
    3  v_t <- B(tau', between) (theta_t - theta_{t-1})
    4  d_t <- (1 - eta_t) (d_{t-1} + v_t) + eta_t g(tau, theta_t)
    5  theta_{t+1} <- theta_t - gamma_t d_t                        (HARPG)
                   <- theta_t - gamma_t d_t / |d_t|                (N-HARPG; f = -J is minimised)

Deviations from the paper: the second trajectory is also sampled in the first iteration, where its product is zero;
it is charged. The published code's Hessian estimator has a cross term of wrong sign and scale; `rl.estimators` has not.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs
from envs.random import Stream
from rl.core import Oracle, PolicyGradient, unit
from rl.n_pg_igt import State


class _HessianAided(PolicyGradient):
    """Lines 1 to 4; the step is left to the two methods."""

    gamma: Schedule
    eta: Schedule

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        self.eta.check("eta", high=1.0)

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with no momentum."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate and a random point of the last step, [R, 2, d]."""
        q = stream.uniform(1, dtype=state.theta.dtype)
        between = q * state.theta + (1 - q) * state.theta_prev  # l.1
        return torch.stack((state.theta, between), 1), state  # l.2 is the problem's

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        gradient = feedback.at_point(0).gradient()[:, 0]
        step = state.theta - state.theta_prev
        transport = feedback.at_point(1).hvp(step[:, None])[:, 0]  # l.3
        eta = along_runs(self.eta(state.t), gradient)
        direction = torch.lerp(state.direction + transport, gradient, eta)  # l.4
        theta = state.theta - along_runs(self.gamma(state.t), direction) * self.step(direction)  # l.5
        metrics = {
            "gradient_norm": gradient.norm(dim=-1),
            "direction": direction,
            "transport_norm": transport.norm(dim=-1),
        }
        return State(theta, state.theta, direction, state.t + 1), metrics

    @abstractmethod
    def step(self, direction: Tensor) -> Tensor:
        """Step [R, d] before its size, from d_t."""

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta


@dataclass(frozen=True)
class HARPG(_HessianAided):
    """Hessian-aided recursive policy gradient."""

    id: ClassVar[str] = "harpg"
    summary: ClassVar[str] = "Hessian-aided recursive policy gradient"
    paper: ClassVar[str] = "Fatkhullin, Barakat, Kireeva, He 2023, Algorithm 2"

    gamma: Schedule = Schedule(0.1, 0.5)
    """Step size gamma_t > 0. Paper: gamma_0 eta_t^(1/2)."""
    eta: Schedule = Schedule(1.0, 1.0)
    """Momentum weight eta_t in (0, 1]. Paper: 2 / (t + 2)."""

    def step(self, direction: Tensor) -> Tensor:
        """The direction itself."""
        return direction


@dataclass(frozen=True)
class NHARPG(_HessianAided):
    """Normalized Hessian-aided recursive policy gradient."""

    id: ClassVar[str] = "n-harpg"
    summary: ClassVar[str] = "normalized Hessian-aided recursive policy gradient"
    paper: ClassVar[str] = "Fatkhullin, Barakat, Kireeva, He 2023, Algorithm 2"

    gamma: Schedule = Schedule(0.1, 1.0)
    """Step size gamma_t > 0. Paper: gamma_0 * 2 / (t + 2)."""
    eta: Schedule = Schedule(1.0, 1.0)
    """Momentum weight eta_t in (0, 1]. Paper: 2 / (t + 2)."""

    def step(self, direction: Tensor) -> Tensor:
        """The unit direction."""
        return unit(direction)
