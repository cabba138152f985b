"""What the CPU kernels need of an environment, a lane per episode on arrays in place; and what kernels give back."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from envs.core import Box, Discrete, Env, EnvSpec
from envs.fused.lanes import Value
from envs.heads import Categorical, Greedy, Head

CATEGORICAL, GAUSSIAN, ARGMAX, MEAN = range(4)

Array: TypeAlias = NDArray[np.floating]
Tables: TypeAlias = tuple[Array, ...]
"""An instance's numbers, in the environment's precision."""
Outcome: TypeAlias = tuple[Value, Value]
"""Reward, which may be a number, and terminated."""


def no_tables(env: Any) -> tuple[Tensor, ...]:
    """For an environment whose numbers are constants of its module."""
    return ()


class Dynamics(NamedTuple):
    """One class of environments; its instances differ in their tables alone and share the compiled kernel."""

    state_size: int | None
    """Rows of a state; None: two for each observed number."""
    reset: Callable[[Array, Array, Tables], None]
    """(state [S, LANES], uniforms [reset_draws, LANES], tables)"""
    step: Callable[[Array, Array, Array, Tables], Outcome]
    """(state, action [A, LANES], uniforms [transition_draws, LANES], tables); the index of a discrete one as a real"""
    observe: Callable[[Array, Array], None]
    """(state, obs [O, LANES])"""
    tables: Callable[[Any], tuple[Tensor, ...]] = no_tables
    """Of an instance: tensors of its precision; how many they are and of how many dimensions is up to the class."""

    def rows(self, spec: EnvSpec) -> int:
        """S of an instance."""
        return 2 * spec.observation_size if self.state_size is None else self.state_size


class Episodes(NamedTuple):
    """What a kernel wrote. The last four hold trajectories where they were asked for, 0 after their end."""

    total: Tensor
    """[R, K, E] discounted return"""
    lengths: Tensor
    """[R, K, E] int64"""
    terminated: Tensor
    """[R, K, E] bool, at the last step"""
    last_obs: Tensor
    """[R, K, E, O]"""
    obs: Tensor
    """[R, K, E, T, O]"""
    action: Tensor
    """[R, K, E, T] or [R, K, E, T, A]"""
    log_prob: Tensor
    """[R, K, E, T]"""
    reward: Tensor
    """[R, K, E, T]"""


def head_kind(head: Head) -> int:
    """Which of the four ways to an action a kernel takes."""
    if isinstance(head, Greedy):
        return ARGMAX if head.discrete else MEAN
    return CATEGORICAL if isinstance(head, Categorical) else GAUSSIAN


def random_choices(action: Discrete | Box) -> tuple[float, float, int]:
    """Lower and upper bound of uniformly random actions, and the number of discrete ones or 0."""
    return (0.0, 0.0, action.n) if isinstance(action, Discrete) else (action.low[0], action.high[0], 0)


def check_random_play(env: Env, steps: int, known: bool) -> None:
    """Raises ValueError where there is no kernel, and unless the steps come in fours, the words of a Philox block."""
    if not known:
        raise ValueError(f"random actions have no kernel for {env.spec.id}")
    if steps < 4 or steps % 4:
        raise ValueError(f"steps = {steps} is not a positive multiple of 4")


class RandomPlay(NamedTuple):
    """What N copies met."""

    reward: Tensor
    """[N], the sum over all steps"""
    episodes: Tensor
    """[N] int64, finished ones"""
    obs: Tensor
    """[N, O] after the last step, or that of the reset which followed"""
