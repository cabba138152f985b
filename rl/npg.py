"""NPG: natural policy gradient.

Kakade, "A natural policy gradient" (NIPS 2001). The gradient is preconditioned with the Fisher information of the
policy, so a step does not depend on how the policy is parametrised. The system is solved by conjugate gradients with
products only, as in TRPO (Schulman, Levine, Moritz, Jordan, Abbeel, ICML 2015), but without its line search.

    1  tau ~ p(. | pi_theta_t)
    2  w_t <- (F(tau, theta_t) + damping I)^-1 g(tau, theta_t)       by conjugate gradients
    3  theta_{t+1} <- theta_t - gamma_t w_t                          (Plain; f = -J is minimised)
                   <- theta_t - (2 gamma_t / w_t' F w_t)^(1/2) w_t   (Normalized)

Deviations from the paper: damping, which a Fisher matrix of few trajectories needs. F is the sum over time
sum_t discount^t E[s_t s_t'], so w_t are the weights of the compatible advantage function, and gamma_t of `Normalized`
bounds the divergence of whole (discounted) trajectories; the mean over states is (1 - discount) times both.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from rl.conjugate_gradient import conjugate_gradient
from rl.core import Oracle, PolicyGradient
from rl.reinforce import State


class StepSize(ABC):
    """How far to go along the natural gradient."""

    @abstractmethod
    def __call__(self, gamma: Numeric, w: Tensor, fisher: Callable[[Tensor], Tensor]) -> Tensor:
        """Step [R, d] along w [R, d]; `fisher` maps v [R, d] to F v."""


@dataclass(frozen=True)
class Plain(StepSize):
    """gamma_t w (Kakade 2001)."""

    def __call__(self, gamma: Numeric, w: Tensor, fisher: Callable[[Tensor], Tensor]) -> Tensor:
        """The natural gradient times gamma."""
        return along_runs(gamma, w) * w


@dataclass(frozen=True)
class Normalized(StepSize):
    """The step whose divergence w' F w / 2 is gamma_t (TRPO; Rajeswaran, Lowrey, Todorov, Kakade, NIPS 2017)."""

    def __call__(self, gamma: Numeric, w: Tensor, fisher: Callable[[Tensor], Tensor]) -> Tensor:
        """0 where F w is."""
        square = (w * fisher(w)).sum(-1, keepdim=True)
        return torch.where(square <= 0, 0.0, (2 * along_runs(gamma, w) / square).sqrt()) * w


@dataclass(frozen=True)
class NPG(PolicyGradient):
    """Natural policy gradient by conjugate gradients."""

    id: ClassVar[str] = "npg"
    summary: ClassVar[str] = "natural policy gradient by conjugate gradients"
    paper: ClassVar[str] = "Kakade 2001; Rajeswaran, Lowrey, Todorov, Kakade 2017"
    natural: ClassVar[bool] = True

    gamma: Schedule = Schedule(0.1)
    """Step size gamma_t > 0; of `Normalized` the divergence of a step. TRPO: 0.01 per time step, in this file's units
    0.01 / (1 - discount)."""
    damping: Numeric = 0.1
    """What is added to the diagonal of F, >= 0. TRPO's code: 0.1."""
    iterations: int = 10
    """Conjugate gradient iterations, >= 1. TRPO: 10."""
    step_size: StepSize = Plain()
    """How gamma_t scales the natural gradient. Kakade: plain; Rajeswaran et al.: normalized."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        check_range("damping", self.damping, 0.0)
        check_range("iterations", self.iterations, 1)

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate, [R, 1, d]."""
        return state.theta[:, None], state  # l.1 is the problem's

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""

        def fisher(v: Tensor) -> Tensor:
            return feedback.fisher_vp(v[:, None])[:, 0]

        gradient = feedback.gradient()[:, 0]
        damping = along_runs(self.damping, gradient)
        w = conjugate_gradient(lambda v: fisher(v) + damping * v, gradient, self.iterations)  # l.2
        theta = state.theta - self.step_size(self.gamma(state.t), w, fisher)  # l.3
        metrics = {
            "gradient_norm": gradient.norm(dim=-1),
            "direction": gradient,
            "natural_norm": w.norm(dim=-1),
        }
        return State(theta, state.t + 1), metrics

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
