"""Running moments of observations, per run: what a normalisation of observations is made of."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from envs.rollout import BLOCK, Trajectory


class Moments(NamedTuple):
    """Number, mean and squared deviations of vectors seen so far, float64."""

    number: Tensor
    """[R, 1]"""
    mean: Tensor
    """[R, O], 0 where nothing was seen"""
    deviation: Tensor
    """[R, O] sum of squared deviations from the mean"""

    @staticmethod
    def none(runs: int, size: int, device: torch.device) -> "Moments":
        """Of nothing."""
        number, mean = (torch.zeros(runs, n, dtype=torch.float64, device=device) for n in (1, size))
        return Moments(number, mean, mean)

    @staticmethod
    def of(trajectory: Trajectory) -> "Moments":
        """Of all observations inside the mask, each run's own."""
        obs, mask = trajectory.obs, trajectory.mask
        number = mask.sum((1, 2, 3))[:, None].to(torch.float64)
        mean = _total(obs, mask, lambda x: x) / number.clamp(min=1.0)
        centre = mean[:, None, None, None]
        return Moments(number, mean, _total(obs, mask, lambda x: (x - centre).square()))

    def plus(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub, LeVeque 1979)."""
        number = self.number + other.number
        share = other.number / number.clamp(min=1.0)
        shift = other.mean - self.mean
        deviation = self.deviation + other.deviation + shift.square() * self.number * share
        return Moments(number, self.mean + shift * share, deviation)

    @property
    def std(self) -> Tensor:
        """[R, O] standard deviation; 0 where nothing was seen."""
        return (self.deviation / self.number.clamp(min=1.0)).sqrt()


def _total(obs: Tensor, mask: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum [R, O] of what `of` makes of obs [R, K, E, T, O] inside the mask; by time blocks, see `Trajectory`."""
    total = torch.zeros(len(obs), obs.shape[-1], dtype=torch.float64, device=obs.device)
    for block, inside in zip(obs.split(BLOCK, 3), mask.split(BLOCK, 3), strict=True):
        total += (of(block.to(torch.float64)) * inside[..., None]).sum(3).sum((1, 2))
    return total
