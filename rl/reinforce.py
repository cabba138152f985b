"""REINFORCE: stochastic gradient descent on f = -J.

Williams (1992); the estimator behind the oracle is GPOMDP (Baxter and Bartlett, 2001).

    1  tau ~ p(. | pi_theta_t)
    2  theta_{t+1} <- theta_t - gamma_t g(tau, theta_t)

Deviations from the paper: the step size follows a schedule; the papers' baseline code decays it as (2 / (t + 2))^(2/3).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs
from envs.random import Stream
from rl.core import Oracle, PolicyGradient


class State(NamedTuple):
    """The iterate."""

    theta: Tensor
    """[R, d]"""
    t: int


@dataclass(frozen=True)
class REINFORCE(PolicyGradient):
    """Vanilla policy gradient."""

    id: ClassVar[str] = "reinforce"
    summary: ClassVar[str] = "vanilla policy gradient (GPOMDP)"
    paper: ClassVar[str] = "Williams 1992; Baxter, Bartlett 2001"

    gamma: Schedule = Schedule(0.1, 2 / 3)
    """Step size gamma_t > 0. N-PG-IGT authors' code: gamma_0 (2 / (t + 2))^(2/3), gamma_0 = 0.1."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate, [R, 1, d]."""
        return state.theta[:, None], state  # l.1 is the problem's

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        gradient = feedback.gradient()[:, 0]
        theta = state.theta - along_runs(self.gamma(state.t), gradient) * gradient  # l.2
        return State(theta, state.t + 1), {"gradient_norm": gradient.norm(dim=-1), "direction": gradient}

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
