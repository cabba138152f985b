"""How values are put on the scale of a Gaussian process with mean 0 and variance 1: (y - shift) / scale."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Scaling(ABC):
    """A choice of shift and scale, from the values a window holds."""

    @abstractmethod
    def __call__(self, values: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale [*B] of values [*B, n] float64 in the slots that are filled, [*B, n] bool.

        Where all values are equal they are the shift, to the bit, and the scale is 1; without any both are 0 and 1.
        """


@dataclass(frozen=True)
class MeanStd(Scaling):
    """The mean of the values, and their standard deviation (of the values themselves, not of a population)."""

    def __call__(self, values: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """Taken of differences to the smallest value, which are exactly 0 where all are equal."""
        count = filled.sum(-1).clamp(min=1)
        lowest = _lowest(values, filled)
        above = torch.where(filled, values - lowest[..., None], 0.0)
        mean = above.sum(-1) / count
        deviation = torch.where(filled, above - mean[..., None], 0.0)
        return lowest + mean, _or_one(torch.sqrt(deviation.square().sum(-1) / count))


@dataclass(frozen=True)
class MinMax(Scaling):
    """To [0, 1], so that the prior mean is the smallest value. The official code of FZooS does this."""

    def __call__(self, values: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest value, and the largest minus it."""
        lowest = _lowest(values, filled)
        return lowest, _or_one(torch.where(filled, values - lowest[..., None], 0.0).amax(-1))


def _lowest(values: Tensor, filled: Tensor) -> Tensor:
    """The smallest of the values, [*B]; 0 where there is none."""
    return torch.where(filled.any(-1), torch.where(filled, values, torch.inf).amin(-1), 0.0)


def _or_one(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1.0)
