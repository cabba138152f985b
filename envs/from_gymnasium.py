"""Any Gymnasium environment as a problem here.

`from_gymnasium("HalfCheetah-v5")` answers the functional protocol, but behind it stand NumPy copies on the host, one
for each lane of the batch, which remember where they are. So a state can only be continued from where it is: finish a
rollout before starting another. Continuing an older state raises ValueError instead of going wrong.

Stepping the copies is nearly all of the time. So a copy whose episode is over is not stepped, and MuJoCo's copies are
shared out among threads. Every copy has its own generator: results do not depend on the number of threads.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple, Self

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs.core import Box, Discrete, Env, EnvSpec

SEED_BITS = 31
"""Seeds fit a signed 32-bit integer, which all simulators take."""
MUJOCO = "gymnasium.envs.mujoco"
"""Where the classes of Gymnasium's MuJoCo environments live."""
MUJOCO_THREADS = min(4, os.cpu_count() or 1)
"""MuJoCo lets go of Python's lock while it computes, so threads pay; between its calls only one of them runs."""


class GymnasiumState(NamedTuple):
    """What the copies last showed; where they really are stays inside them."""

    observation: Tensor
    """[..., O]"""
    truncated: Tensor
    """[...] bool, the environment's own verdict on the last step"""


@dataclass
class _Copies:
    """The simulators, and the only state from which they can go on; a smaller batch uses the first of them."""

    all: list[gymnasium.Env] = field(default_factory=list)
    running: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """[n] those whose episode goes on"""
    latest: GymnasiumState | None = None
    workers: ThreadPoolExecutor | None = None


@dataclass(frozen=True, eq=False)
class GymnasiumEnv(Env):
    """Made by `from_gymnasium`. Copies are created when a reset needs them, and kept."""

    options: dict[str, Any]
    """What `gymnasium.make` is given beside the id."""
    action_space: spaces.Space = field(repr=False)
    threads: int = field(repr=False)
    """Threads that step the copies."""
    _copies: _Copies = field(default_factory=_Copies, repr=False)

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
        threads = MUJOCO_THREADS if _is_mujoco(id) else 1
        return cls(spec, device, dtype, options, probe.action_space, threads)

    def initial(self, uniform: Tensor) -> GymnasiumState:
        """Reset the copies, each seeded by its two uniforms of 23 bits; they depend on nothing else."""
        high, low = (uniform.double() * 2**23).long().unbind(-1)
        seeds = ((high << 23) | low) >> (46 - SEED_BITS)
        copies = self._grown(seeds.numel())
        starts = [copy.reset(seed=seed)[0] for copy, seed in zip(copies.all, seeds.flatten().tolist(), strict=False)]
        copies.running = np.ones(len(starts), dtype=bool)
        never = torch.zeros_like(seeds, dtype=torch.bool)
        copies.latest = GymnasiumState(self._tensor(np.stack(starts), seeds.shape, self.dtype), never)
        return copies.latest

    def transition(
        self, state: GymnasiumState, action: Tensor, uniform: Tensor | None
    ) -> tuple[GymnasiumState, Tensor, Tensor]:
        """One step of every copy; real actions are clipped to the bounds.

        A copy whose episode is over stays where it is, without reward. Raises ValueError when `state` is not the one
        that the last reset or step gave.
        """
        copies, shape = self._copies, state.truncated.shape
        if copies.latest is not state:
            raise ValueError(f"{self.spec.id} keeps its state outside: only the latest state can be stepped")
        actions = self._action(action, len(shape))
        observation = state.observation.cpu().numpy().reshape(len(actions), -1).copy()
        reward, terminated, truncated = np.zeros(len(actions)), *np.zeros((2, len(actions)), dtype=bool)

        def step(indices: np.ndarray) -> None:
            for i in indices:
                seen, reward[i], terminated[i], truncated[i], _ = copies.all[i].step(actions[i])
                observation[i] = seen.ravel()

        self._share(step, copies.running.nonzero()[0])
        copies.running &= ~(terminated | truncated)
        copies.latest = GymnasiumState(
            self._tensor(observation, shape, self.dtype), self._tensor(truncated, shape, torch.bool)
        )
        return copies.latest, self._tensor(reward, shape, self.dtype), self._tensor(terminated, shape, torch.bool)

    def observe(self, state: GymnasiumState) -> Tensor:
        """Observation [..., O], flattened."""
        return state.observation

    def truncated(self, state: GymnasiumState) -> Tensor:
        """What the environment said, its TimeLimit at the horizon included."""
        return state.truncated

    def close(self) -> None:
        """Close all copies. A later reset creates new ones."""
        for copy in self._copies.all:
            copy.close()
        self._copies.all.clear()
        self._copies.latest = None

    def _grown(self, size: int) -> _Copies:
        """The copies, at least `size` of them."""
        with warnings.catch_warnings(action="ignore"), _quiet(self.spec.id):  # from_gymnasium has shown them
            while len(self._copies.all) < size:
                self._copies.all.append(gymnasium.make(self.spec.id, disable_env_checker=True, **self.options))
        return self._copies

    def _share(self, work: Callable[[np.ndarray], None], indices: np.ndarray) -> None:
        """Do the work, a part of the indices in each thread."""
        if self.threads == 1 or len(indices) <= self.threads:
            return work(indices)
        if self._copies.workers is None:
            self._copies.workers = ThreadPoolExecutor(self.threads)
        list(self._copies.workers.map(work, np.array_split(indices, self.threads)))

    def _action(self, action: Tensor, batch_dims: int) -> np.ndarray:
        array = action.cpu().numpy().reshape(-1, *action.shape[batch_dims:])
        if isinstance(self.action_space, spaces.Discrete):
            return array + self.action_space.start
        return array.clip(self.action_space.low, self.action_space.high).astype(self.action_space.dtype)

    def _tensor(self, array: np.ndarray, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """[n, ...] as [*shape, ...], on the device; arrays of one axis without a trailing one."""
        tail = (self.spec.observation_size,) if array.ndim > 1 else ()
        return torch.as_tensor(array, dtype=dtype, device=self.device).reshape(*shape, *tail)


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
        with warnings.catch_warnings(action="default"), _quiet(id):
            probe = gymnasium.make(id, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"Gymnasium cannot make {id!r}: {' '.join(str(error).split())}") from error
    probe.close()
    if probe.spec.max_episode_steps is None:
        raise ValueError(f"{id!r} has no max_episode_steps: give a horizon")
    return probe


def _is_mujoco(id: str) -> bool:
    spec = gymnasium.registry.get(id)
    return spec is not None and str(spec.entry_point).startswith(MUJOCO)


@contextmanager
def _quiet(id: str) -> Iterator[None]:
    """Without MuJoCo's remarks about Gymnasium's models, one per copy on the terminal and in MUJOCO_LOG.TXT."""
    if not _is_mujoco(id) or find_spec("mujoco") is None:
        yield
        return
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(None)


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
