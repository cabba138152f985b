"""Copies of an environment that begin and end their episodes one by one, as the Gymnasium face needs them."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from envs.core import Discrete, Env, State
from envs.random import Purpose, Stream

CONTINUE = -1
"""In place of a seed: the next episode under the present one."""


class Copies:
    """n copies of an environment, each with its own seed, episode counter and step counter, [n] int64 each."""

    state: State = None
    """None until `begin` was called for every copy."""

    def __init__(self, env: Env, size: int) -> None:
        self.env, self.size = env, size
        self.seeds, self.episodes, self.steps = torch.zeros(3, size, dtype=torch.int64, device=env.device)

    def begin(self, index: Tensor, seeds: Tensor | None = None) -> None:
        """New episodes for the copies `index` [m]: the first under `seeds` [m], the next one where that is CONTINUE."""
        if len(index) == 0:
            return
        given = torch.full_like(index, CONTINUE) if seeds is None else seeds
        seeds = torch.where(given == CONTINUE, self.seeds[index], given)
        episodes = torch.where(given == CONTINUE, self.episodes[index] + 1, 0)
        self.seeds[index], self.episodes[index], self.steps[index] = seeds, episodes, 0
        stream = Stream(seeds, torch.zeros_like(index[0]), episodes).fold(Purpose.RESET)
        fresh = self.env.initial(stream.uniform(self.env.spec.reset_draws, dtype=self.env.dtype))
        if self.state is None:
            self.state = fresh
        else:
            self.state = type(fresh)(*(a.index_copy(0, index, b) for a, b in zip(self.state, fresh, strict=True)))

    def advance(self, actions: Any) -> tuple[Tensor, Tensor, Tensor]:
        """One step of every copy: reward, terminated, and truncated by the environment itself, [n] each.

        Raises gymnasium's ResetNeeded before the first `begin`, and ValueError on actions that are none.
        """
        if self.state is None:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        self.state, reward, terminated = self.env.transition(self.state, self._checked(actions), self._uniform())
        self.steps = self.steps + 1
        truncated = self.env.truncated(self.state)
        return reward, terminated, torch.zeros_like(terminated) if truncated is None else truncated

    def observe(self) -> np.ndarray:
        """Observations, float32 [n, O], owned by the caller."""
        return self.env.observe(self.state).cpu().numpy().astype(np.float32)

    def _checked(self, actions: Any) -> Tensor:
        # Real actions beyond the bounds are let through: what they mean is the environment's business.
        array, action = np.asarray(actions), self.env.spec.action
        if isinstance(action, Discrete):
            allowed, dtype = f"integers in 0 .. {action.n - 1}, shape [{self.size}]", torch.int64
            valid = array.shape == (self.size,) and np.issubdtype(array.dtype, np.integer)
            valid = valid and bool(((array >= 0) & (array < action.n)).all())
        else:
            allowed, dtype = f"real numbers, shape [{self.size}, {action.size}]", self.env.dtype
            valid = array.shape == (self.size, action.size) and array.dtype.kind in "iuf"
            valid = valid and not np.isnan(array).any()
        if not valid:
            raise ValueError(f"actions = {actions!r}: allowed are {allowed}")
        return torch.as_tensor(array, dtype=dtype, device=self.env.device)

    def _uniform(self) -> Tensor | None:
        size, dtype = self.env.spec.transition_draws, self.env.dtype
        if size == 0:
            return None

        def draw(seed: Tensor, episode: Tensor, step: Tensor) -> Tensor:
            return Stream(seed[None], step, episode).fold(Purpose.TRANSITION).uniform(size, dtype=dtype)[0]

        return torch.vmap(draw)(self.seeds, self.episodes, self.steps)
