"""The factor on the drift: particles that are better than the consensus need not be drawn to it.

    dX = -lambda H(f(X) - f(c)) (X - c) dt + ...          H the Heaviside function, or a smooth one

Pinnau, Totzeck, Tse, Martin (2017), section 2. It takes one more query for every step, f(c).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range


class Correction(ABC):
    """H, between 0 and 1."""

    asks: ClassVar[bool] = True
    """Whether f(c) has to be asked for."""

    @abstractmethod
    def __call__(self, excess: Tensor) -> Tensor:
        """H [R, K] of f(X) - f(c) [R, K]."""


@dataclass(frozen=True)
class NoCorrection(Correction):
    """H = 1: all particles drift; no additional query."""

    asks = False

    def __call__(self, excess: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(excess)


@dataclass(frozen=True)
class Heaviside(Correction):
    """H(z) = 1 where z > 0, else 0."""

    def __call__(self, excess: Tensor) -> Tensor:
        """Whether the particle is worse than the consensus."""
        return (excess > 0).to(excess.dtype)


@dataclass(frozen=True)
class SmoothHeaviside(Correction):
    """H(z) = (1 + tanh(z / width)) / 2."""

    width: Numeric = 1e-3
    """> 0, in the units of f. CBXpy: 1e-3."""

    def __post_init__(self) -> None:
        check_range("width", self.width, 0.0, open_low=True)

    def __call__(self, excess: Tensor) -> Tensor:
        """A half where the particle is as good as the consensus."""
        return 0.5 + 0.5 * torch.tanh(excess / along_runs(self.width, excess))
