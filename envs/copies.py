"""Copies of an environment that begin and end their episodes one by one, as the Gymnasium face needs them.

Episode k of the copy with seed s draws from Stream(s).at(k): its reset by Purpose.RESET, its dynamics by
Purpose.TRANSITION with the step as the lane. `PlainCopies` is the definition; `envs.fused.stepping` has copies that are
stepped by a kernel.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeAlias, final

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from envs.core import Discrete, Env, State
from envs.random import Purpose, Stream

CONTINUE = -1
"""In place of a seed: the next episode under the present one."""

Observations: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]


class Step(NamedTuple):
    """What a step of n copies gave, in arrays that belong to the caller."""

    observations: Observations
    """[n, O]"""
    rewards: NDArray[np.float64]
    """[n]"""
    terminated: Mask
    """[n]"""
    truncated: Mask
    """[n]"""
    finals: Observations | None
    """[n, O]; the finished copies' rows hold what they last saw. In the mode SAME_STEP alone."""


class Copies(ABC):
    """n copies of an environment, each with its own seed, episode counter and step counter."""

    begun = False
    """Whether every copy has an episode."""

    def __init__(self, env: Env, size: int, limit: int, autoreset: AutoresetMode) -> None:
        """`size` copies, whose episodes are cut after `limit` steps and begun anew as Gymnasium's mode says."""
        self.env, self.size, self.limit, self.autoreset = env, size, limit, autoreset
        action = env.spec.action
        if isinstance(action, Discrete):
            self._shape: tuple[int, ...] = (size,)
            self._kinds, self._allowed = "iu", f"integers in 0 .. {action.n - 1}, shape [{size}]"
        else:
            self._shape = (size, action.size)
            self._kinds, self._allowed = "iuf", f"real numbers, shape [{size}, {action.size}]"

    @property
    @abstractmethod
    def over(self) -> Mask:
        """[n], of the copies whose episode ended in their last step, unless `begin` has given them another one."""

    @abstractmethod
    def begin(self, mask: Mask, seeds: NDArray[np.int64]) -> Observations:
        """Observations [n, O] after new episodes for the copies in the mask [n], which at first has to be all True.

        They are the first under `seeds` [n], or the next one where that is CONTINUE.
        """

    def step(self, actions: Any) -> Step:
        """One step of every copy, and what the autoreset mode adds to it.

        Raises gymnasium's ResetNeeded before the first `begin`, and ValueError on actions that are none; then no copy
        was stepped.
        """
        if not self.begun:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        array = np.asarray(actions)
        step = None
        if array.shape == self._shape and array.dtype.kind in self._kinds:
            step = self._step(array)
        if step is None:
            raise ValueError(f"actions = {actions!r}: allowed are {self._allowed}")
        return step

    @abstractmethod
    def _step(self, actions: NDArray[Any]) -> Step | None:
        """`step` with actions of the right shape and kind; None where some of them are not allowed.

        Real ones beyond the bounds are let through: what they mean is the environment's business.
        """


@final
class PlainCopies(Copies):
    """Stepped as tensors, on any device: the definition."""

    state: State = None

    def __init__(self, env: Env, size: int, limit: int, autoreset: AutoresetMode) -> None:
        super().__init__(env, size, limit, autoreset)
        self.seeds, self.episodes, self.steps = torch.zeros(3, size, dtype=torch.int64, device=env.device)
        self._over = torch.zeros(size, dtype=torch.bool, device=env.device)

    @property
    def over(self) -> Mask:
        """See `Copies`."""
        return self._over.cpu().numpy()

    def begin(self, mask: Mask, seeds: NDArray[np.int64]) -> Observations:
        """See `Copies`."""
        index = torch.as_tensor(np.flatnonzero(mask), device=self.env.device)
        self._begin(index, torch.as_tensor(seeds, device=self.env.device)[index])
        self._over[index], self.begun = False, True
        return self._observe()

    def _begin(self, index: Tensor, given: Tensor) -> None:
        """New episodes for the copies `index` [m] with seeds, or CONTINUE, [m]."""
        if len(index) == 0:
            return
        seeds = torch.where(given == CONTINUE, self.seeds[index], given)
        episodes = torch.where(given == CONTINUE, self.episodes[index] + 1, 0)
        self.seeds[index], self.episodes[index], self.steps[index] = seeds, episodes, 0
        stream = Stream(seeds, torch.zeros_like(index[0]), episodes).fold(Purpose.RESET)
        fresh = self.env.initial(stream.uniform(self.env.spec.reset_draws, dtype=self.env.dtype))
        if self.state is None:
            self.state = fresh
        else:
            self.state = type(fresh)(*(a.index_copy(0, index, b) for a, b in zip(self.state, fresh, strict=True)))

    def _step(self, actions: NDArray[Any]) -> Step | None:
        env, discrete = self.env, isinstance(self.env.spec.action, Discrete)
        action = torch.as_tensor(actions, dtype=torch.int64 if discrete else env.dtype, device=env.device)
        if not self._valid(action):
            return None
        self.state, reward, terminated = env.transition(self.state, action, self._uniform())
        self.steps = self.steps + 1
        truncated, cut = self.steps >= self.limit, env.truncated(self.state)
        if cut is not None:
            truncated = truncated | cut
        if self.autoreset is AutoresetMode.NEXT_STEP:
            self._renew(self._over)
            reward = torch.where(self._over, 0.0, reward)
            terminated, truncated = terminated & ~self._over, truncated & ~self._over
        self._over, finals = terminated | truncated, None
        if self.autoreset is AutoresetMode.SAME_STEP:
            finals = self._observe()
            self._renew(self._over)
        rewards, terminations, truncations = (part.cpu().numpy() for part in (reward.double(), terminated, truncated))
        return Step(self._observe(), rewards, terminations, truncations, finals)

    def _renew(self, mask: Tensor) -> None:
        index = mask.nonzero()[:, 0]
        self._begin(index, torch.full_like(index, CONTINUE))

    def _valid(self, action: Tensor) -> bool:
        allowed = self.env.spec.action
        if isinstance(allowed, Discrete):
            return bool(((action >= 0) & (action < allowed.n)).all())
        return not bool(action.isnan().any())

    def _observe(self) -> Observations:
        return self.env.observe(self.state).cpu().numpy().astype(np.float32)

    def _uniform(self) -> Tensor | None:
        size, dtype = self.env.spec.transition_draws, self.env.dtype
        if size == 0:
            return None

        def draw(seed: Tensor, episode: Tensor, step: Tensor) -> Tensor:
            return Stream(seed[None], step, episode).fold(Purpose.TRANSITION).uniform(size, dtype=dtype)[0]

        return torch.vmap(draw)(self.seeds, self.episodes, self.steps)
