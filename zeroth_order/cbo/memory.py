"""Personal bests: every particle Y^i that its own past has found, and a second drift towards it.

    Y^i <- X^i  where f(X^i) < f(Y^i);   the consensus is made of the Y^i
    dX^i = -lambda_2 (X^i - Y^i) dt + sigma_2 D(X^i - Y^i) dB^i                 beside the drift to the consensus

Grassi, Pareschi, "From particle swarm optimization to consensus based optimization" (M3AS 2021); Riedl, "Leveraging
memory effects and gradient information in consensus-based optimisation" (arXiv 2211.12184), with kappa = 1 / dt and
beta = infinity.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.noise import Noise, Step
from zeroth_order.cbo.swarm import normals


def improved(x: Tensor, values: Tensor, best: Tensor, best_values: Tensor) -> tuple[Tensor, Tensor]:
    """Personal bests [R, K, d] and their values [R, K] after x was evaluated; values are finite, as `stored` ones."""
    better = values < best_values
    return torch.where(better[..., None], x, best), torch.where(better, values, best_values)


class Memory(ABC):
    """What particles remember."""

    remembers: ClassVar[bool]
    """Whether there are personal bests."""

    @abstractmethod
    def pull(
        self, x: Tensor, best: Tensor, stream: Stream, first: int, dt: Numeric, step: Step, noise: Noise
    ) -> Tensor:
        """Where particles x [R, K, d] with personal bests [R, K, d] are after a time dt; lanes from `first` on."""


@dataclass(frozen=True)
class NoMemory(Memory):
    """Particles remember nothing."""

    remembers = False

    def pull(
        self, x: Tensor, best: Tensor, stream: Stream, first: int, dt: Numeric, step: Step, noise: Noise
    ) -> Tensor:
        """x."""
        return x


@dataclass(frozen=True)
class PersonalBest(Memory):
    """Each particle remembers the best place it has been at and is drawn to it."""

    drift: Numeric = 0.4
    """lambda_2 >= 0. Riedl: 0.4."""
    sigma: Numeric = 0.4
    """sigma_2 >= 0. CBXpy: lambda_2 times sigma; Riedl: 0.1."""

    remembers = True

    def __post_init__(self) -> None:
        check_range("drift", self.drift, 0.0)
        check_range("sigma", self.sigma, 0.0)

    def pull(
        self, x: Tensor, best: Tensor, stream: Stream, first: int, dt: Numeric, step: Step, noise: Noise
    ) -> Tensor:
        """A step of the same kind and with the same noise as towards the consensus."""
        p, s = along_runs(self.drift * dt, x), along_runs(self.sigma * dt**0.5, x)
        return step(x, x - best, normals(stream, x.shape[1], x, first), p, s, noise)
