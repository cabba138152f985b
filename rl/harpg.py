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

Two options of ours, off by default. `products` averages v_t over several independent points `between`. `every` = k
makes products in every k-th iteration only; the others average, d_t <- (1 - eta_t) d_{t-1} + eta_t g(tau, theta_t).
That average stands at the same average of the iterates, m_t <- (1 - eta_t) m_{t-1} + eta_t theta_t, which therefore
takes the place of theta_{t-1} in lines 1 and 3. On a quadratic d_t is grad f(m_t), and m_t is theta_t after a product.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs, check_range
from envs.random import Stream
from rl.core import Oracle, PolicyGradient, unit


class State(NamedTuple):
    """Iterate, momentum and where the momentum stands."""

    theta: Tensor
    """[R, d] iterate, the one that is evaluated"""
    theta_prev: Tensor
    """[R, d] where d_t stands: the iterate before the last step, or m_t with `every` > 1"""
    direction: Tensor
    """[R, d] transported gradient d_t"""
    t: int


@dataclass(frozen=True)
class HessianAided(PolicyGradient):
    """Lines 1 to 4; the step is left to the methods."""

    gamma: Schedule
    """Step size gamma_t > 0."""
    eta: Schedule
    """Momentum weight eta_t in (0, 1]."""
    products: int = field(default=1, kw_only=True)
    """Points of the last step at which a product is made, >= 1. Paper: 1."""
    every: int = field(default=1, kw_only=True)
    """Products are made in every so many iterations, >= 1. Paper: 1."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        self.eta.check("eta", high=1.0)
        check_range("products", self.products, 1)
        check_range("every", self.every, 1)

    @property
    def extra(self) -> int:
        """Copies of the iterate that `step` needs besides the one for the gradient."""
        return 0

    def transports(self, t: int) -> bool:
        """Whether iteration t makes products."""
        return self.uniform or (t + 1) % self.every == 0

    @property
    def uniform(self) -> bool:
        """Where every iteration makes products."""
        return self.every == 1

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with no momentum."""
        return State(x0, x0, torch.zeros_like(x0), 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The iterate, `extra` copies of it and random points of the last step, [R, 1 + extra + products, d]."""
        theta = state.theta[:, None]
        points = theta.expand(-1, 1 + self.extra, -1)  # l.2 is the problem's
        if not self.transports(state.t):
            return points, state
        q = stream.uniform(self.products, dtype=theta.dtype)[..., None]
        between = q * theta + (1 - q) * state.theta_prev[:, None]  # l.1
        return torch.cat((points, between), 1), state

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        gradient = feedback.at_point(0).gradient()[:, 0]
        transport = self.transport(state, feedback)
        eta = along_runs(self.eta(state.t), gradient)
        direction = torch.lerp(state.direction + transport, gradient, eta)  # l.4
        step = self.step(direction, feedback)
        theta = state.theta - along_runs(self.gamma(state.t), step) * step  # l.5
        stands = state.theta if self.transports(state.t) else torch.lerp(state.theta_prev, state.theta, eta)
        metrics = {
            "gradient_norm": gradient.norm(dim=-1),
            "direction": direction,
            "transport_norm": transport.norm(dim=-1),
        }
        return State(theta, stands, direction, state.t + 1), metrics

    def transport(self, state: State, feedback: Oracle) -> Tensor:
        """v_t [R, d], 0 in iterations without products."""
        if not self.transports(state.t):
            return torch.zeros_like(state.theta)
        first = 1 + self.extra
        u = (state.theta - state.theta_prev)[:, None]
        products = [feedback.at_point(first + k).hvp(u)[:, 0] for k in range(self.products)]
        return torch.stack(products).mean(0)  # l.3

    @abstractmethod
    def step(self, direction: Tensor, feedback: Oracle) -> Tensor:
        """Step [R, d] before its size, from d_t."""

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta


@dataclass(frozen=True)
class HARPG(HessianAided):
    """Hessian-aided recursive policy gradient."""

    id: ClassVar[str] = "harpg"
    summary: ClassVar[str] = "Hessian-aided recursive policy gradient"
    paper: ClassVar[str] = "Fatkhullin, Barakat, Kireeva, He 2023, Algorithm 2"

    gamma: Schedule = Schedule(0.1, 0.5)
    """Step size gamma_t > 0. Paper: gamma_0 eta_t^(1/2)."""
    eta: Schedule = Schedule(1.0, 1.0)
    """Momentum weight eta_t in (0, 1]. Paper: 2 / (t + 2)."""

    def step(self, direction: Tensor, feedback: Oracle) -> Tensor:
        """The direction itself."""
        return direction


@dataclass(frozen=True)
class NHARPG(HessianAided):
    """Normalized Hessian-aided recursive policy gradient."""

    id: ClassVar[str] = "n-harpg"
    summary: ClassVar[str] = "normalized Hessian-aided recursive policy gradient"
    paper: ClassVar[str] = "Fatkhullin, Barakat, Kireeva, He 2023, Algorithm 2"

    gamma: Schedule = Schedule(0.1, 1.0)
    """Step size gamma_t > 0. Paper: gamma_0 * 2 / (t + 2)."""
    eta: Schedule = Schedule(1.0, 1.0)
    """Momentum weight eta_t in (0, 1]. Paper: 2 / (t + 2)."""

    def step(self, direction: Tensor, feedback: Oracle) -> Tensor:
        """The unit direction."""
        return unit(direction)
