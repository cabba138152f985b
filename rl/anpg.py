"""ANPG: accelerated natural policy gradient.

Mondal, Aggarwal, "Improved sample complexity analysis of natural policy gradient algorithm with general
parameterization for infinite horizon discounted reward Markov decision processes" (AISTATS 2024, arXiv 2310.11677),
Algorithm 1. The natural gradient minimises w' F w / 2 - <g, w>, a least squares problem. It is solved by the
accelerated and tail-averaged SGD of Jain, Kakade, Kidambi, Netrapalli, Sidford, "Accelerating stochastic gradient
descent for least squares regression" (COLT 2018), with a fresh trajectory for each of its H iterations.

    1  x_0, v_0 <- 0;  tau_h ~ p(. | pi_theta_k),  h = 0 .. H - 1
    2  y_h <- alpha x_h + (1 - alpha) v_h
    3  G_h <- F(tau_h, theta_k) y_h - g(tau_h, theta_k)
    4  x_{h+1} <- y_h - delta G_h
    5  v_{h+1} <- beta y_h + (1 - beta) v_h - xi G_h
    6  w_k <- mean of x_h over H/2 < h <= H
    7  theta_{k+1} <- theta_k - gamma_k w_k                              (f = -J is minimised)

Deviations from the paper: the H trajectories of an outer iteration are sampled in one batch, which changes nothing, as
theta_k is the same for all of them; F and g come from whole trajectories of the horizon instead of single state-action
pairs at a geometric time; F is the paper's divided by 1 - discount, and so is w times 1 - discount. The four constants
are Jain et al.'s for a condition number G^2 / mu_F.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from rl.core import Oracle, PolicyGradient
from rl.reinforce import State


@dataclass(frozen=True)
class ANPG(PolicyGradient):
    """Accelerated natural policy gradient."""

    id: ClassVar[str] = "anpg"
    summary: ClassVar[str] = "natural policy gradient by accelerated stochastic gradient descent"
    paper: ClassVar[str] = "Mondal, Aggarwal 2024, Algorithm 1"
    natural: ClassVar[bool] = True

    gamma: Schedule = Schedule(0.1)
    """Step size gamma_k > 0 of the outer iteration (the paper's eta). Paper: a constant."""
    inner: int = 50
    """H >= 2, inner iterations and trajectories of an outer one. Paper: of the order of 1 / epsilon."""
    fisher_max: Numeric = 100.0
    """G^2 > 0, bounds the largest eigenvalue of F; diverges if much too small. Paper: that of |score|^2 (see above)."""
    fisher_min: Numeric = 1.0
    """mu_F, the smallest eigenvalue of F that matters, in (0, fisher_max]. Paper: that of F."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        check_range("inner", self.inner, 2)
        check_range("fisher_max", self.fisher_max, 0.0, open_low=True)
        check_range("fisher_min", self.fisher_min, 0.0, open_low=True)
        if bool(torch.as_tensor(self.fisher_min > self.fisher_max).any()):
            raise ValueError(f"fisher_min = {self.fisher_min} is greater than fisher_max = {self.fisher_max}")

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate H times, [R, H, d]."""
        return state.theta[:, None].expand(-1, self.inner, -1), state  # l.1

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One outer iteration."""
        gradients = feedback.gradient()  # [R, H, d]
        w = self.natural_gradient(gradients, feedback)
        theta = state.theta - along_runs(self.gamma(state.t), w) * w  # l.7
        direction = gradients.mean(1)
        metrics = {
            "gradient_norm": direction.norm(dim=-1),
            "direction": direction,
            "natural_norm": w.norm(dim=-1),
        }
        return State(theta, state.t + 1), metrics

    def natural_gradient(self, gradients: Tensor, feedback: Oracle) -> Tensor:
        """w_k [R, d] from the gradients [R, H, d] and Fisher products of H trajectories."""
        alpha, beta, xi, delta = (along_runs(constant, gradients[:, 0]) for constant in self.constants())
        x = v = total = torch.zeros_like(gradients[:, 0])
        for h in range(self.inner):
            y = alpha * x + (1 - alpha) * v  # l.2
            G = feedback.at_point(h).fisher_vp(y[:, None])[:, 0] - gradients[:, h]  # l.3
            x = y - delta * G  # l.4
            v = beta * y + (1 - beta) * v - xi * G  # l.5
            if h >= self.inner // 2:
                total = total + x
        return total / (self.inner - self.inner // 2)  # l.6

    def constants(self) -> tuple[Numeric, Numeric, Numeric, Numeric]:
        """alpha, beta, xi and delta."""
        G2, mu = self.fisher_max, self.fisher_min
        root = 3 * 5**0.5
        return root * G2 / (mu + root * G2), mu / (9 * G2), 1 / (root * G2), 1 / (5 * G2)

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
