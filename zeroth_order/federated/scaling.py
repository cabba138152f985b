"""Mean and standard deviation of the prior, found from the values of a window: y = shift + scale * N(0, K + s^2 I).

    values [*B, n] float64, of which those count that are filled, [*B, n] bool; factor [*B, n, n] of K + s^2 I

Where all values are equal they are the shift, to the bit, and the scale is 1. Without any both are 0 and 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from zeroth_order.federated.cholesky import half_log_det, solve_lower


class Scaling(ABC):
    """A choice of shift and scale, and the likelihood that goes with it."""

    @abstractmethod
    def __call__(self, values: Tensor, filled: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale, [*B] each, in the units of f."""

    @abstractmethod
    def log_likelihood(self, values: Tensor, filled: Tensor, factor: Tensor) -> Tensor:
        """Of the kernel that `factor` belongs to, [*B]; it does not change under f -> a f + b, a > 0."""


@dataclass(frozen=True)
class MinMax(Scaling):
    """To [0, 1], as in the official code of FZooS: the smallest value is the prior mean, the range the deviation."""

    def __call__(self, values: Tensor, filled: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """min y and max y - min y."""
        lowest, above = _from_lowest(values, filled)
        return lowest, _or_one(above.amax(-1))

    def log_likelihood(self, values: Tensor, filled: Tensor, factor: Tensor) -> Tensor:
        """log N(z; 0, K + s^2 I) of the scaled values z."""
        _, above = _from_lowest(values, filled)
        whitened = solve_lower(factor, above / _or_one(above.amax(-1))[..., None])
        normalisation = filled.to(values).sum(-1) * (math.log(2 * math.pi) / 2)
        return -whitened.square().sum(-1) / 2 - half_log_det(factor) - normalisation


@dataclass(frozen=True)
class Restricted(Scaling):
    """The generalised least squares mean, and the variance that is likeliest once the mean is not known.

    Ordinary kriging, with the restricted likelihood of Patterson, Thompson (Biometrika 1971), which is that of the
    differences of the values. With the mean and the standard deviation of the values instead, the likelihood prefers
    l -> 0 for few points in many dimensions: what is equally far from everything else tells nothing about l, but
    values around their own mean look independent.
    """

    def __call__(self, values: Tensor, filled: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """m = 1' A y / 1' A 1 and ((y - m)' A (y - m) / (n - 1))^(1/2), A = (K + s^2 I)^-1, n filled slots."""
        shift, variance, _ = _least_squares(values, filled, factor)
        return shift, _or_one(variance.sqrt())

    def log_likelihood(self, values: Tensor, filled: Tensor, factor: Tensor) -> Tensor:
        """-(n - 1) / 2 log variance - 1/2 log |K + s^2 I| - 1/2 log 1' A 1, up to a constant."""
        _, variance, information = _least_squares(values, filled, factor)
        return -(filled.sum(-1) - 1) * variance.log() / 2 - half_log_det(factor) - information.log() / 2


def _least_squares(values: Tensor, filled: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the variance and 1' A 1, [*B] each."""
    lowest, above = _from_lowest(values, filled)
    ones, whitened = solve_lower(factor, filled.to(values)), solve_lower(factor, above)
    information = ones.square().sum(-1)
    mean = (ones * whitened).sum(-1) / information.clamp(min=torch.finfo(values.dtype).tiny)
    rest = whitened - mean[..., None] * ones
    return lowest + mean, rest.square().sum(-1) / (filled.sum(-1) - 1).clamp(min=1), information


def _from_lowest(values: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest value [*B], and what the others are above it [*B, n]: exactly 0 where all are equal."""
    lowest = torch.where(filled.any(-1), torch.where(filled, values, torch.inf).amin(-1), 0.0)
    return lowest, torch.where(filled, values - lowest[..., None], 0.0)


def _or_one(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1.0)
