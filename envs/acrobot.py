"""Acrobot-v1: swing the tip of a two-link pendulum above a line by a torque at the joint between the links.

Sutton, "Generalization in reinforcement learning" (NIPS 1995), with the equations of motion of Sutton and Barto's book
(2nd ed., example 11.3), the constants and the order of operations of gymnasium 1.4.0. One Runge-Kutta step of 0.2 s
with the torque held.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.core import Discrete, Env, EnvSpec

GRAVITY, TAU = 9.8, 0.2
LENGTH, CENTER, MASS, INERTIA = 1.0, 0.5, 1.0, 1.0  # both links alike; CENTER is the distance of the center of mass
MAX_SPEED_1, MAX_SPEED_2 = 4 * math.pi, 9 * math.pi

SPEC = EnvSpec(
    id="Acrobot-v1",
    summary="swing a two-link pendulum above a line, -1 for every step until then",
    source="Sutton (1995); gymnasium 1.4.0",
    observation_low=(-1.0, -1.0, -1.0, -1.0, -MAX_SPEED_1, -MAX_SPEED_2),
    observation_high=(1.0, 1.0, 1.0, 1.0, MAX_SPEED_1, MAX_SPEED_2),
    action=Discrete(3),
    horizon=500,
    reset_draws=4,
    threshold=-100.0,
)


class AcrobotState(NamedTuple):
    """Angle of link 1 from hanging, of link 2 from link 1 [rad], in [-pi, pi], and their velocities, [...] each."""

    theta1: Tensor
    theta2: Tensor
    theta1_dot: Tensor
    theta2_dot: Tensor


def derivative(state: AcrobotState, torque: Tensor) -> AcrobotState:
    """Time derivative of the state under `torque` [...]; d1, d2, phi1, phi2 are the book's symbols."""
    theta1, theta2, theta1_dot, theta2_dot = state
    cos2, sin2 = torch.cos(theta2), torch.sin(theta2)
    d1 = MASS * CENTER**2 + MASS * (LENGTH**2 + CENTER**2 + 2 * LENGTH * CENTER * cos2) + INERTIA + INERTIA
    d2 = MASS * (CENTER**2 + LENGTH * CENTER * cos2) + INERTIA
    phi2 = MASS * CENTER * GRAVITY * torch.cos(theta1 + theta2 - math.pi / 2)
    phi1 = (
        -MASS * LENGTH * CENTER * torch.square(theta2_dot) * sin2
        - 2 * MASS * LENGTH * CENTER * theta2_dot * theta1_dot * sin2
        + (MASS * CENTER + MASS * LENGTH) * GRAVITY * torch.cos(theta1 - math.pi / 2)
        + phi2
    )
    theta2_acc = (torque + d2 / d1 * phi1 - MASS * LENGTH * CENTER * torch.square(theta1_dot) * sin2 - phi2) / (
        MASS * CENTER**2 + INERTIA - torch.square(d2) / d1
    )
    theta1_acc = -(d2 * theta2_acc + phi1) / d1
    return AcrobotState(theta1_dot, theta2_dot, theta1_acc, theta2_acc)


def runge_kutta(state: AcrobotState, torque: Tensor) -> AcrobotState:
    """The classical fourth-order step of TAU seconds."""

    def ahead(step: float, slope: AcrobotState) -> AcrobotState:
        return AcrobotState(*(y + step * k for y, k in zip(state, slope, strict=True)))

    k1 = derivative(state, torque)
    k2 = derivative(ahead(TAU / 2, k1), torque)
    k3 = derivative(ahead(TAU / 2, k2), torque)
    k4 = derivative(ahead(TAU, k3), torque)
    mean = (a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return ahead(TAU / 6, AcrobotState(*mean))


def wrap(angle: Tensor) -> Tensor:
    """The angle moved by whole turns into [-pi, pi]; both ends stay where they are, which a modulus would not do."""
    turn = 2 * math.pi
    over, under = torch.ceil((angle - math.pi) / turn), torch.floor((angle + math.pi) / turn)
    return angle - turn * (over.clamp_min(0.0) + under.clamp_max(0.0))


class Acrobot(Env):
    """The environment; see the module."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The environment of the module's constants."""
        return cls(SPEC, device, dtype)

    def initial(self, uniform: Tensor) -> AcrobotState:
        """Uniform in [-0.1, 0.1]^4, rounded to float32 as gymnasium does."""
        return AcrobotState(*(uniform * 0.2 - 0.1).float().to(self.dtype).unbind(-1))

    def transition(
        self, state: AcrobotState, action: Tensor, uniform: Tensor | None
    ) -> tuple[AcrobotState, Tensor, Tensor]:
        """One step under the torque action - 1; the reward is -1, and 0 on the step that reaches the line."""
        theta1, theta2, theta1_dot, theta2_dot = runge_kutta(state, (action - 1).to(self.dtype))
        state = AcrobotState(
            wrap(theta1),
            wrap(theta2),
            theta1_dot.clamp(-MAX_SPEED_1, MAX_SPEED_1),
            theta2_dot.clamp(-MAX_SPEED_2, MAX_SPEED_2),
        )
        terminated = -torch.cos(state.theta1) - torch.cos(state.theta2 + state.theta1) > 1.0
        return state, terminated.to(self.dtype) - 1.0, terminated

    def observe(self, state: AcrobotState) -> Tensor:
        """Cosine and sine of both angles and the two velocities, [..., 6]."""
        cos1, sin1 = torch.cos(state.theta1), torch.sin(state.theta1)
        cos2, sin2 = torch.cos(state.theta2), torch.sin(state.theta2)
        return torch.stack((cos1, sin1, cos2, sin2, state.theta1_dot, state.theta2_dot), -1)
