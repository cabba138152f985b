"""MountainCar-v0: drive an underpowered car out of a valley; also the valley that the continuous version shares.

Moore, "Efficient memory-based learning for robot control" (PhD thesis, Cambridge 1990), with the constants and the
order of operations of gymnasium 1.4.0.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.core import Discrete, Env, EnvSpec

FORCE, GRAVITY = 0.001, 0.0025
MIN_POSITION, MAX_POSITION, MAX_SPEED = -1.2, 0.6, 0.07
GOAL = 0.5

SPEC = EnvSpec(
    id="MountainCar-v0",
    summary="drive an underpowered car out of a valley, -1 for every step until then",
    source="Moore (1990); gymnasium 1.4.0",
    observation_low=(MIN_POSITION, -MAX_SPEED),
    observation_high=(MAX_POSITION, MAX_SPEED),
    action=Discrete(3),
    horizon=200,
    reset_draws=1,
    threshold=-110.0,
)


class MountainCarState(NamedTuple):
    """Position and velocity, [...] each."""

    position: Tensor
    velocity: Tensor


def roll(state: MountainCarState, push: Tensor) -> MountainCarState:
    """One step in the valley under the acceleration `push` [...]: velocity first; the left wall is inelastic."""
    velocity = state.velocity + (push - GRAVITY * torch.cos(3 * state.position))
    velocity = velocity.clamp(-MAX_SPEED, MAX_SPEED)
    position = (state.position + velocity).clamp(MIN_POSITION, MAX_POSITION)
    at_wall = (position == MIN_POSITION) & (velocity < 0.0)
    return MountainCarState(position, velocity.masked_fill(at_wall, 0.0))


class Valley(Env):
    """What both mountain cars share: where they start and what they see."""

    def initial(self, uniform: Tensor) -> MountainCarState:
        """Position uniform in [-0.6, -0.4], at rest."""
        position = uniform[..., 0] * 0.2 - 0.6
        return MountainCarState(position, torch.zeros_like(position))

    def observe(self, state: MountainCarState) -> Tensor:
        """(position, velocity), [..., 2]."""
        return torch.stack(state, -1)


class MountainCar(Valley):
    """The environment; see the module."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The environment of the module's constants."""
        return cls(SPEC, device, dtype)

    def transition(
        self, state: MountainCarState, action: Tensor, uniform: Tensor | None
    ) -> tuple[MountainCarState, Tensor, Tensor]:
        """One step, pushed by (action - 1) * FORCE; the reward is -1 on every step, the last one included."""
        state = roll(state, (action - 1).to(self.dtype) * FORCE)
        terminated = (state.position >= GOAL) & (state.velocity >= 0.0)
        return state, -torch.ones_like(state.position), terminated
