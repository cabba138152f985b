"""Any Gymnasium environment as a problem here.

`from_gymnasium("HalfCheetah-v5")` answers the functional protocol, but behind it stand NumPy copies on the host, one
for each lane of the batch, which remember where they are. So a state can only be continued from where it is: finish a
rollout before starting another of the same size. Continuing an older state raises ValueError instead of going wrong.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from envs.core import Box, Discrete, Env, EnvSpec

SEED_BITS = 31
"""Seeds fit a signed 32-bit integer, which all simulators take."""


class GymnasiumState(NamedTuple):
    """What the copies last showed; where they really are stays inside them."""

    observation: Tensor
    """[..., O]"""
    truncated: Tensor
    """[...] bool, the environment's own verdict on the last step"""


@dataclass
class _Batch:
    """The copies for one batch size, and the only state from which they can go on."""

    copies: VectorEnv
    latest: GymnasiumState | None = None


KEPT = 4
"""Batch sizes whose copies are kept: batches shrink as runs finish, and copies can be large."""


@dataclass(frozen=True, eq=False)
class GymnasiumEnv(Env):
    """Made by `from_gymnasium`. Copies are created on the first reset of a batch size; the last few sizes are kept."""

    options: dict[str, Any]
    """What `gymnasium.make` is given beside the id."""
    action_space: spaces.Space = field(repr=False)
    _batches: dict[int, _Batch] = field(default_factory=dict, repr=False)

    @classmethod
    def create(
        cls,
        device: torch.device,
        dtype: torch.dtype,
        id: str = "CartPole-v1",
        horizon: int | None = None,
        **options: Any,
    ) -> Self:
        """As `from_gymnasium`, with the tensors on `device`; the copies live on the host."""
        if horizon is not None:
            if horizon < 1:
                raise ValueError(f"horizon = {horizon} is not >= 1")
            options = {**options, "max_episode_steps": horizon}
        probe = _probe(id, options)
        low, high = _observation_bounds(id, probe.observation_space)
        spec = EnvSpec(
            id=id,
            summary=f"{id} of Gymnasium",
            source=f"gymnasium {gymnasium.__version__}",
            observation_low=low,
            observation_high=high,
            action=_action(id, probe.action_space),
            horizon=probe.spec.max_episode_steps,
            reset_draws=2,
            threshold=probe.spec.reward_threshold,
        )
        return cls(spec, device, dtype, options, probe.action_space)

    def initial(self, uniform: Tensor) -> GymnasiumState:
        """Reset the copies, each seeded by its two uniforms of 23 bits; they depend on nothing else."""
        high, low = (uniform.double() * 2**23).long().unbind(-1)
        seeds = ((high << 23) | low) >> (46 - SEED_BITS)
        batch = self._batches.get(seeds.numel())
        if batch is None:
            while len(self._batches) >= KEPT:
                self._batches.pop(next(iter(self._batches))).copies.close()
            batch = self._batches[seeds.numel()] = _Batch(self._copies(seeds.numel()))
        observation, _ = batch.copies.reset(seed=seeds.flatten().tolist())
        never = torch.zeros_like(seeds, dtype=torch.bool)
        batch.latest = GymnasiumState(self._observation(observation, seeds.shape), never)
        return batch.latest

    def transition(
        self, state: GymnasiumState, action: Tensor, uniform: Tensor | None
    ) -> tuple[GymnasiumState, Tensor, Tensor]:
        """One step of every copy; real actions are clipped to the bounds. A copy whose episode is over begins anew.

        Raises ValueError when `state` is not the one that the last reset or step of this batch size gave.
        """
        shape = state.truncated.shape
        batch = self._batches.get(shape.numel())
        if batch is None or batch.latest is not state:
            raise ValueError(f"{self.spec.id} keeps its state outside: only the latest state can be stepped")
        observation, reward, terminated, truncated, _ = batch.copies.step(self._action(action, len(shape)))
        batch.latest = GymnasiumState(self._observation(observation, shape), self._flags(truncated, shape))
        reward = torch.as_tensor(reward, dtype=self.dtype, device=self.device).view(shape)
        return batch.latest, reward, self._flags(terminated, shape)

    def observe(self, state: GymnasiumState) -> Tensor:
        """Observation [..., O], flattened."""
        return state.observation

    def truncated(self, state: GymnasiumState) -> Tensor:
        """What the environment said, its TimeLimit at the horizon included."""
        return state.truncated

    def close(self) -> None:
        """Close all copies. A later reset creates new ones."""
        for batch in self._batches.values():
            batch.copies.close()
        self._batches.clear()

    def _copies(self, size: int) -> VectorEnv:
        # NEXT_STEP shows the true last observation and lets a finished copy be stepped on.
        with warnings.catch_warnings(action="ignore"):  # from_gymnasium has shown them
            return gymnasium.make_vec(
                self.spec.id,
                num_envs=size,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
                disable_env_checker=True,
                **self.options,
            )

    def _action(self, action: Tensor, batch_dims: int) -> np.ndarray:
        array = action.cpu().numpy().reshape(-1, *action.shape[batch_dims:])
        if isinstance(self.action_space, spaces.Discrete):
            return array + self.action_space.start
        return array.clip(self.action_space.low, self.action_space.high).astype(self.action_space.dtype)

    def _observation(self, observation: np.ndarray, shape: torch.Size) -> Tensor:
        flat = torch.as_tensor(observation, dtype=self.dtype, device=self.device)
        return flat.reshape(*shape, self.spec.observation_size)

    def _flags(self, flags: np.ndarray, shape: torch.Size) -> Tensor:
        return torch.as_tensor(flags, device=self.device).view(shape)


def from_gymnasium(
    id: str, dtype: torch.dtype = torch.float32, horizon: int | None = None, **options: Any
) -> GymnasiumEnv:
    """The Gymnasium environment `id` with `options`, on the CPU.

    `horizon`, shorter or longer, replaces the registered time limit, which is its default; truncation inside the
    environment itself stays. Observations are a Box (flattened), actions Discrete (from 0 here) or a Box of one axis.
    Raises ValueError where Gymnasium cannot make it, it has no time limit and no horizon is given, or a space is of
    another kind.
    """
    return GymnasiumEnv.create(torch.device("cpu"), dtype, id, horizon, **options)


def _probe(id: str, options: dict[str, Any]) -> gymnasium.Env:
    """A closed environment to read spaces and limits from."""
    try:
        # An old version is worth a warning, but no error where Python turns warnings into errors.
        with warnings.catch_warnings(action="default"):
            probe = gymnasium.make(id, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"Gymnasium cannot make {id!r}: {' '.join(str(error).split())}") from error
    probe.close()
    if probe.spec.max_episode_steps is None:
        raise ValueError(f"{id!r} has no max_episode_steps: give a horizon")
    return probe


def _observation_bounds(id: str, space: spaces.Space) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not isinstance(space, spaces.Box):
        raise ValueError(f"{id!r} observes {space}: only a Box is supported")
    return tuple(space.low.flatten().tolist()), tuple(space.high.flatten().tolist())


def _action(id: str, space: spaces.Space) -> Discrete | Box:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return Box(tuple(space.low.tolist()), tuple(space.high.tolist()))
    raise ValueError(f"{id!r} acts in {space}: only Discrete and a Box of one axis are supported")
