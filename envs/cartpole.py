"""CartPole-v1: balance a pole on a cart by pushing it left or right.

Barto, Sutton, Anderson (1983), with the constants and the order of operations of gymnasium 1.4.0, so that in float64
on a CPU the states are the same bits. Explicit Euler: positions move with the old velocities.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.core import Discrete, Env, EnvSpec

GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
TOTAL_MASS = CART_MASS + POLE_MASS
POLE_MOMENT = POLE_MASS * HALF_LENGTH
X_LIMIT, ANGLE_LIMIT = 2.4, 12 * 2 * math.pi / 360

SPEC = EnvSpec(
    id="CartPole-v1",
    summary="balance a pole on a cart, +1 for every step it stays up",
    source="Barto, Sutton, Anderson (1983); gymnasium 1.4.0",
    observation_low=(-2 * X_LIMIT, -math.inf, -2 * ANGLE_LIMIT, -math.inf),
    observation_high=(2 * X_LIMIT, math.inf, 2 * ANGLE_LIMIT, math.inf),
    action=Discrete(2),
    horizon=500,
    reset_draws=4,
    threshold=475.0,
)


class CartPoleState(NamedTuple):
    """Position [m], velocity, angle from upright [rad] and angular velocity, [...] each."""

    x: Tensor
    x_dot: Tensor
    theta: Tensor
    theta_dot: Tensor


class CartPole(Env):
    """The environment; see the module."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The environment of the module's constants."""
        return cls(SPEC, device, dtype)

    def initial(self, uniform: Tensor) -> CartPoleState:
        """Uniform in [-0.05, 0.05]^4."""
        return CartPoleState(*(uniform * 0.1 - 0.05).unbind(-1))

    def transition(
        self, state: CartPoleState, action: Tensor, uniform: Tensor | None
    ) -> tuple[CartPoleState, Tensor, Tensor]:
        """One Euler step of 0.02 s; the reward is 1 on every step, the terminating one included."""
        x, x_dot, theta, theta_dot = state
        force = (action == 1).to(self.dtype) * (2 * FORCE) - FORCE
        cos, sin = torch.cos(theta), torch.sin(theta)
        temp = (force + POLE_MOMENT * torch.square(theta_dot) * sin) / TOTAL_MASS
        theta_acc = (GRAVITY * sin - cos * temp) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * torch.square(cos) / TOTAL_MASS)
        )
        x_acc = temp - POLE_MOMENT * theta_acc * cos / TOTAL_MASS
        state = CartPoleState(
            x + TAU * x_dot, x_dot + TAU * x_acc, theta + TAU * theta_dot, theta_dot + TAU * theta_acc
        )
        terminated = (state.x.abs() > X_LIMIT) | (state.theta.abs() > ANGLE_LIMIT)
        return state, torch.ones_like(x), terminated

    def observe(self, state: CartPoleState) -> Tensor:
        """(x, x_dot, theta, theta_dot), [..., 4]."""
        return torch.stack(state, -1)
