"""What the CPU kernel needs of an environment: its equations for one episode at a time, on arrays in place."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[np.floating]
Tables: TypeAlias = tuple[Array, ...]
"""An instance's numbers, in the environment's precision."""
Outcome: TypeAlias = tuple[float, bool]
"""Reward, terminated."""


def no_tables(env: Any) -> tuple[Tensor, ...]:
    """For an environment whose numbers are constants of its module."""
    return ()


class Dynamics(NamedTuple):
    """One class of environments; its instances differ in their tables alone and share the compiled kernel."""

    state_size: int | None
    """Numbers in a state; None: as many as are observed."""
    reset: Callable[[Array, Array, Tables], None]
    """(state, uniforms [reset_draws], tables)"""
    step: Callable[[Array, int, Array, Array, Tables], Outcome]
    """(state, discrete action, real action, uniforms [transition_draws], tables)"""
    observe: Callable[[Array, Array], None]
    """(state, obs)"""
    tables: Callable[[Any], tuple[Tensor, ...]] = no_tables
    """Of an instance: tensors of its precision; how many they are and of how many dimensions is up to the class."""
