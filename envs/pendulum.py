"""Pendulum-v1: swing a pendulum up and hold it there with a torque too weak to lift it directly.

The constants and the order of operations are those of gymnasium 1.4.0. Semi-implicit Euler: the velocity is updated and
clipped first, and the angle moves with it.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.core import Box, Env, EnvSpec

GRAVITY, MASS, LENGTH, TAU = 10.0, 1.0, 1.0, 0.05
MAX_SPEED, MAX_TORQUE = 8.0, 2.0

SPEC = EnvSpec(
    id="Pendulum-v1",
    summary="swing a pendulum up with a weak torque, quadratic cost on angle, velocity and torque",
    source="gymnasium 1.4.0",
    observation_low=(-1.0, -1.0, -MAX_SPEED),
    observation_high=(1.0, 1.0, MAX_SPEED),
    action=Box((-MAX_TORQUE,), (MAX_TORQUE,)),
    horizon=200,
    reset_draws=2,
)


class PendulumState(NamedTuple):
    """Angle from upright [rad], never wrapped, and angular velocity [rad/s], [...] each."""

    theta: Tensor
    theta_dot: Tensor


class Pendulum(Env):
    """The environment; see the module."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The environment of the module's constants."""
        return cls(SPEC, device, dtype)

    def initial(self, uniform: Tensor) -> PendulumState:
        """Angle uniform in [-pi, pi], velocity in [-1, 1]."""
        theta, theta_dot = uniform.unbind(-1)
        return PendulumState(theta * (2 * math.pi) - math.pi, theta_dot * 2.0 - 1.0)

    def transition(
        self, state: PendulumState, action: Tensor, uniform: Tensor | None
    ) -> tuple[PendulumState, Tensor, Tensor]:
        """One step of 0.05 s; the cost is that of the old state and of the clipped torque. Never terminates."""
        theta, theta_dot = state
        # In gymnasium the torque is a float32, and under NumPy 2 so is what is computed from it alone.
        torque = action[..., 0].float().clamp(-MAX_TORQUE, MAX_TORQUE)
        effort = (0.001 * torch.square(torque)).to(self.dtype)
        push = (3.0 / (MASS * LENGTH**2) * torque).to(self.dtype)
        error = torch.remainder(theta + math.pi, 2 * math.pi) - math.pi
        cost = torch.square(error) + 0.1 * torch.square(theta_dot) + effort
        theta_acc = 3 * GRAVITY / (2 * LENGTH) * torch.sin(theta) + push
        theta_dot = (theta_dot + theta_acc * TAU).clamp(-MAX_SPEED, MAX_SPEED)
        return PendulumState(theta + theta_dot * TAU, theta_dot), -cost, torch.zeros_like(theta, dtype=torch.bool)

    def observe(self, state: PendulumState) -> Tensor:
        """(cos theta, sin theta, theta_dot), [..., 3]."""
        return torch.stack((torch.cos(state.theta), torch.sin(state.theta), state.theta_dot), -1)
