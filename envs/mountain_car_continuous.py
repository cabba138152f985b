"""MountainCarContinuous-v0: drive an underpowered car out of a valley with a real force that costs energy.

Moore (1990) with the constants and the order of operations of gymnasium 1.4.0, which keeps the state in float32 after
every step; here it has the environment's own precision.
"""

from typing import Self

import torch
from torch import Tensor

from envs.core import Box, EnvSpec
from envs.mountain_car import MAX_POSITION, MAX_SPEED, MIN_POSITION, MountainCarState, Valley, roll

MAX_FORCE, POWER, GOAL = 1.0, 0.0015, 0.45

SPEC = EnvSpec(
    id="MountainCarContinuous-v0",
    summary="drive an underpowered car out of a valley, +100 at the top, quadratic cost on the force",
    source="Moore (1990); gymnasium 1.4.0",
    observation_low=(MIN_POSITION, -MAX_SPEED),
    observation_high=(MAX_POSITION, MAX_SPEED),
    action=Box((-MAX_FORCE,), (MAX_FORCE,)),
    horizon=999,
    reset_draws=1,
    threshold=90.0,
)


class MountainCarContinuous(Valley):
    """The environment; see the module."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The environment of the module's constants."""
        return cls(SPEC, device, dtype)

    def transition(
        self, state: MountainCarState, action: Tensor, uniform: Tensor | None
    ) -> tuple[MountainCarState, Tensor, Tensor]:
        """One step under the clipped force; the cost is that of the force before clipping."""
        force = action[..., 0]
        state = roll(state, force.clamp(-MAX_FORCE, MAX_FORCE) * POWER)
        terminated = (state.position >= GOAL) & (state.velocity >= 0.0)
        return state, 100.0 * terminated.to(self.dtype) - torch.square(force) * 0.1, terminated
