"""Covariance functions k of the surrogates, and the laws of their random Fourier features.

All are functions of u = |x - x'|^2 / l^2, l the length-scale, with k = 1 at u = 0. With slope(u) = -2 dk/du:

    grad_x k(x, x')            = -slope(u) (x - x') / l^2
    d_x d_x' k(x, x') at x = x' = curvature / l^2 * I,   curvature = slope(0)

By Bochner's theorem k(x, x') = E cos(v'(x - x')) with v drawn from the spectral density. For both kernels it is a scale
mixture of normals: v = mixing * z / l, z ~ N(0, I).

Rasmussen, Williams, "Gaussian processes for machine learning" (2006), section 4.2; Rahimi, Recht, "Random features for
large-scale kernel machines" (NeurIPS 2007).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.random import Stream


class Kernel(ABC):
    """A stationary, isotropic covariance function that is differentiable at least once in the mean square."""

    curvature: ClassVar[float]
    """Variance of a partial derivative of the process where l = 1: slope(0)."""

    @abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """k at u = |x - x'|^2 / l^2 >= 0, of any shape."""

    @abstractmethod
    def slope(self, u: Tensor) -> Tensor:
        """-2 dk/du at u >= 0, of any shape."""

    @abstractmethod
    def mixing(self, stream: Stream, dtype: torch.dtype) -> Tensor:
        """Independent factors by which standard normals become frequencies at l = 1, one per lane, [R, *L]."""


@dataclass(frozen=True)
class SquaredExponential(Kernel):
    """k = exp(-u / 2): smooth functions."""

    curvature = 1.0

    def value(self, u: Tensor) -> Tensor:
        """exp(-u / 2)."""
        return torch.exp(-u / 2)

    def slope(self, u: Tensor) -> Tensor:
        """exp(-u / 2)."""
        return torch.exp(-u / 2)

    def mixing(self, stream: Stream, dtype: torch.dtype) -> Tensor:
        """1: the spectral density is N(0, I / l^2)."""
        return torch.ones((), dtype=dtype, device=stream.seeds.device).expand(len(stream.seeds), *stream.lanes.shape)


@dataclass(frozen=True)
class Matern52(Kernel):
    """k = (1 + a + a^2 / 3) exp(-a), a = (5 u)^(1/2): functions that are twice differentiable (Matern, nu = 5/2)."""

    curvature = 5 / 3

    def value(self, u: Tensor) -> Tensor:
        """(1 + a + a^2 / 3) exp(-a)."""
        a = torch.sqrt(5 * u)
        return (1 + a + a.square() / 3) * torch.exp(-a)

    def slope(self, u: Tensor) -> Tensor:
        """5/3 (1 + a) exp(-a)."""
        a = torch.sqrt(5 * u)
        return 5 / 3 * (1 + a) * torch.exp(-a)

    def mixing(self, stream: Stream, dtype: torch.dtype) -> Tensor:
        """(5 / s)^(1/2), s chi-squared with 5 degrees of freedom: the density is a multivariate t with 5."""
        return torch.sqrt(5 / stream.normal(5, dtype=dtype).square().sum(-1))
