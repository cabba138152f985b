"""The diffusion D of dX = -lambda (X - c) dt + sigma D(X - c) dB, and the steps that follow the equation for a time dt.

A step gets p = lambda dt and s = sigma sqrt(dt), numbers or tensors that broadcast with [R, K, d].

    Euler   X <- X - p (X - c) + s D(X - c) xi
    Exact   the law of the equation while c is frozen, for any dt:
            D = diag(X - c):  X <- c + (X - c) exp(-(p + s^2 / 2) + s xi)                 geometric Brownian motion
            D = I:            X <- c + (X - c) e^-p + s ((1 - e^-2p) / (2p))^(1/2) xi     Ornstein-Uhlenbeck

Sources: isotropic, Pinnau et al. (2017); anisotropic, Carrillo, Jin, Li, Zhu (2021); truncated, Fornasier, Richtarik,
Riedl, Sun (arXiv 2310.16610); constant and frozen consensus, Fornasier, Huang, Klemenc, Malaspina (arXiv 2602.11677).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, check_range
from zeroth_order.cbo.swarm import as_tensor


class Noise(ABC):
    """The diffusion D(v) xi."""

    isotropic: ClassVar[bool]
    """Whether D(v) depends on |v| alone: no coordinate is treated by itself."""

    @abstractmethod
    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """D(X - c) xi, [R, K, d], of the differences to the consensus and of standard normals."""


class Solvable(ABC):
    """What a noise is beside, if its equation has a closed solution while the consensus is frozen."""

    @abstractmethod
    def solve(self, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric) -> Tensor:
        """What X [R, K, d] gains in the time dt."""


@dataclass(frozen=True)
class Isotropic(Noise):
    """D(v) = |v| I: explores all directions; the mean-field law contracts only if 2 lambda > d sigma^2."""

    isotropic = True

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """|X - c| xi."""
        return torch.linalg.vector_norm(difference, dim=-1, keepdim=True) * xi


@dataclass(frozen=True)
class Anisotropic(Noise, Solvable):
    """D(v) = diag(v): explores along the axes; the mean-field law contracts if 2 lambda > sigma^2, whatever d."""

    isotropic = False

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """(X - c) xi, coordinate by coordinate."""
        return difference * xi

    def solve(self, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric) -> Tensor:
        """(X - c) (exp(-(p + s^2 / 2) + s xi) - 1)."""
        return difference * torch.expm1(s * xi - (p + s * s / 2))


@dataclass(frozen=True)
class TruncatedIsotropic(Noise):
    """D(v) = min(|v|, bound) I: particles far from the consensus do not diffuse farther and farther away."""

    bound: Numeric = 1.0
    """M > 0, in the units of x."""

    isotropic = True

    def __post_init__(self) -> None:
        check_range("bound", self.bound, 0.0, open_low=True)

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """min(|X - c|, M) xi."""
        distance = torch.linalg.vector_norm(difference, dim=-1, keepdim=True)
        return distance.minimum(as_tensor(self.bound, distance)) * xi


@dataclass(frozen=True)
class TruncatedAnisotropic(Noise):
    """D(v) = diag(min(|v_j|, bound)), with the sign of v_j, as anisotropic noise has it."""

    bound: Numeric = 1.0
    """M > 0, in the units of x."""

    isotropic = False

    def __post_init__(self) -> None:
        check_range("bound", self.bound, 0.0, open_low=True)

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """(X - c) xi with each coordinate of X - c cut to [-M, M]."""
        bound = as_tensor(self.bound, difference)
        return difference.clamp(-bound, bound) * xi


@dataclass(frozen=True)
class Constant(Noise, Solvable):
    """D = I: noise that never vanishes; with a frozen consensus particles settle at N(c, sigma^2 / (2 lambda) I)."""

    isotropic = True

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """xi."""
        return xi

    def solve(self, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric) -> Tensor:
        """(X - c) (e^-p - 1) + s ((1 - e^-2p) / (2p))^(1/2) xi."""
        p = p if isinstance(p, Tensor) else xi.new_full((), p)
        variance = torch.where(p > 0, -torch.expm1(-2 * p) / (2 * p), 1.0)
        return difference * torch.expm1(-p) + s * variance.sqrt() * xi


class Step(ABC):
    """How particles move towards the consensus."""

    @abstractmethod
    def __call__(self, x: Tensor, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric, noise: Noise) -> Tensor:
        """Where x [R, K, d] is after a step; `difference` is X - c, and x is X, or its mirror image."""

    @abstractmethod
    def check(self, noise: Noise) -> None:
        """Raise ValueError where this step does not know the noise."""


@dataclass(frozen=True)
class Euler(Step):
    """Euler-Maruyama: any noise; stable for lambda dt < 2 without noise, less with it."""

    def __call__(self, x: Tensor, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric, noise: Noise) -> Tensor:
        """x - p (X - c) + s D(X - c) xi."""
        return x - p * difference + s * noise(difference, xi)

    def check(self, noise: Noise) -> None:
        """Any noise will do."""


@dataclass(frozen=True)
class Exact(Step):
    """The law of the equation while the consensus is frozen: stable for any dt; anisotropic and constant noise only."""

    def __call__(self, x: Tensor, difference: Tensor, xi: Tensor, p: Numeric, s: Numeric, noise: Noise) -> Tensor:
        """x and what the noise's solution adds to it."""
        assert isinstance(noise, Solvable)  # `check` has seen to it
        return x + noise.solve(difference, xi, p, s)

    def check(self, noise: Noise) -> None:
        """Raise ValueError unless the noise has a closed solution."""
        if not isinstance(noise, Solvable):
            raise ValueError(f"step = {self} is not in closed form for noise = {noise}; Anisotropic and Constant are")
