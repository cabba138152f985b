"""N-PG-IGT: normalized policy gradient with implicit gradient transport.

Fatkhullin, Barakat, Kireeva, He (ICML 2023), Algorithm 1. Averaging past gradients cuts their noise but lags behind the
moving iterate. Sampling at an extrapolated policy makes the lag vanish to first order.

    1  eta_t     <- (2 / (t + 2))^(4/5)
    2  lookahead <- theta_t + (1 - eta_t) / eta_t * (theta_t - theta_{t-1})
    3  tau       ~  p(. | pi_lookahead)
    4  d_t       <- (1 - eta_t) d_{t-1} + eta_t g(tau, lookahead)
    5  theta_{t+1} <- theta_t - gamma_t d_t / |d_t|          (the paper maximises J; here f = -J is minimised)

Deviations from the paper: none in `faithful`. `practical` floors eta_t and decays gamma_t more slowly, because the
paper's steps sum to about 2 gamma_0 ln T, too short a path at budgets people run. The published code extrapolates with
the eta of the previous iteration, which breaks the transport; here lines 2 and 4 use the same one.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs
from envs.random import Stream
from rl.core import Oracle, PolicyGradient, unit


class State(NamedTuple):
    """Two iterates and the momentum."""

    theta: Tensor
    """[R, d] iterate, the one that is evaluated"""
    theta_prev: Tensor
    """[R, d]"""
    direction: Tensor
    """[R, d] averaged gradient d_t"""
    t: int


@dataclass(frozen=True)
class NPGIGT(PolicyGradient):
    """Normalized policy gradient with implicit gradient transport."""

    id: ClassVar[str] = "n-pg-igt"
    summary: ClassVar[str] = "normalized policy gradient with implicit gradient transport"
    paper: ClassVar[str] = "Fatkhullin, Barakat, Kireeva, He 2023, Algorithm 1"

    gamma: Schedule = Schedule(0.1, 1.0)
    """Step size gamma_t > 0. Paper: gamma_0 * 2 / (t + 2); authors' code: gamma_0 = 0.1."""
    eta: Schedule = Schedule(1.0, 0.8)
    """Momentum weight eta_t in (0, 1]. Paper: (2 / (t + 2))^(4/5)."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        self.eta.check("eta", high=1.0)

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with no momentum."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """Points [R, 1, d] at which to sample."""
        eta = along_runs(self.eta(state.t), state.theta)  # l.1
        lookahead = state.theta + (1 - eta) / eta * (state.theta - state.theta_prev)  # l.2
        return lookahead[:, None], state  # l.3 is the problem's

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        eta = along_runs(self.eta(state.t), state.theta)
        gradient = feedback.gradient()[:, 0]  # g(tau, lookahead), [R, d]
        direction = torch.lerp(state.direction, gradient, eta)  # l.4
        theta = state.theta - along_runs(self.gamma(state.t), direction) * self.step(direction)  # l.5
        metrics = {
            "gradient_norm": gradient.norm(dim=-1),
            "direction": direction,
            "lookahead_distance": (points[:, 0] - state.theta).norm(dim=-1),
        }
        return State(theta, state.theta, direction, state.t + 1), metrics

    def step(self, direction: Tensor) -> Tensor:
        """Step [R, d] before its size, from d_t: the unit direction."""
        return unit(direction)

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
