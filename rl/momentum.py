"""N-SGD and N-MPG: normalized policy gradient, without and with momentum.

Cutkosky and Mehta, "Momentum improves normalized SGD" (ICML 2020), on policy gradients. N-SGD is eta = 1.

    1  tau ~ p(. | pi_theta_t)
    2  d_t <- (1 - eta_t) d_{t-1} + eta_t g(tau, theta_t)
    3  theta_{t+1} <- theta_t - gamma_t d_t / |d_t|

Deviations from the paper: none.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs
from envs.random import Stream
from rl.core import Oracle, PolicyGradient, unit


class State(NamedTuple):
    """Iterate and momentum."""

    theta: Tensor
    """[R, d]"""
    direction: Tensor
    """[R, d] averaged gradient d_t"""
    t: int


@dataclass(frozen=True)
class NMPG(PolicyGradient):
    """Normalized momentum policy gradient."""

    id: ClassVar[str] = "n-mpg"
    summary: ClassVar[str] = "normalized policy gradient with momentum"
    paper: ClassVar[str] = "Cutkosky, Mehta 2020"

    gamma: Schedule = Schedule(0.1, 1.0)
    """Step size gamma_t > 0. Paper: proportional to 1 / t."""
    eta: Schedule = Schedule(1.0, 2 / 3)
    """Momentum weight eta_t in (0, 1]. Paper: (2 / (t + 2))^(2/3)."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        self.eta.check("eta", high=1.0)

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with no momentum."""
        return State(x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate, [R, 1, d]."""
        return state.theta[:, None], state  # l.1 is the problem's

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        gradient = feedback.gradient()[:, 0]
        direction = torch.lerp(state.direction, gradient, along_runs(self.eta(state.t), gradient))  # l.2
        theta = state.theta - along_runs(self.gamma(state.t), direction) * unit(direction)  # l.3
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        return State(theta, direction, state.t + 1), metrics

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta


@dataclass(frozen=True)
class NSGD(NMPG):
    """Normalized policy gradient without momentum."""

    id: ClassVar[str] = "n-sgd"
    summary: ClassVar[str] = "normalized policy gradient without momentum"

    eta: Schedule = Schedule(1.0)
    """Fixed at 1, which is what makes it N-SGD."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(isinstance(part, Tensor) for part in vars(self.eta).values()) or self.eta != Schedule(1.0):
            raise ValueError(f"eta = {self.eta} must be 1 for N-SGD; use N-MPG for momentum")
