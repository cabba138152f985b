"""Gradient estimates from differences of values along directions, as functions of what was asked and answered.

    points [R, K, d]  <-  difference.points(x [R, d], u [R, Q, d], mu)
    slopes [R, Q]     <-  difference.slopes(values [R, K], mu)           not finite where a value failed
    g [R, d]          <-  mean_gradient(u, slopes)

The slope along u is about u'grad f, and the mean of (u'grad f) u is grad f where E u u' = I. Nothing here remembers
anything, and the slopes alone say all about the values: whoever can draw u again needs no more than them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs
from zeroth_order.core import succeeded
from zeroth_order.evolution.pairs import around


class Difference(ABC):
    """Where to ask, and the slopes that follow from the answers."""

    @abstractmethod
    def queries(self, number: int) -> int:
        """K, the points that Q = `number` directions take."""

    @abstractmethod
    def points(self, x: Tensor, directions: Tensor, mu: Numeric) -> Tensor:
        """What to ask [R, K, d] around x [R, d] for directions [R, Q, d]; the spread radius mu > 0 is in units of x."""

    @abstractmethod
    def directions(self, points: Tensor, mu: Numeric) -> Tensor:
        """The directions [R, Q, d] that made the points [R, K, d], with whatever rounding the points have seen."""

    @abstractmethod
    def slopes(self, values: Tensor, mu: Numeric) -> Tensor:
        """Slopes [R, Q] of values [R, K]; not finite where a value is not, or where two are too far apart."""


@dataclass(frozen=True)
class Forward(Difference):
    """(f(x + mu u) - f(x)) / mu: Q + 1 queries. Where f(x) fails, all slopes do."""

    def queries(self, number: int) -> int:
        """Q + 1."""
        return number + 1

    def points(self, x: Tensor, directions: Tensor, mu: Numeric) -> Tensor:
        """x, then all x + mu u, [R, Q + 1, d]."""
        return torch.cat((x[:, None], x[:, None] + along_runs(mu, directions) * directions), 1)

    def directions(self, points: Tensor, mu: Numeric) -> Tensor:
        """(point - x) / mu."""
        return (points[:, 1:] - points[:, :1]) / along_runs(mu, points)

    def slopes(self, values: Tensor, mu: Numeric) -> Tensor:
        """[R, Q] of [R, Q + 1]."""
        return (values[:, 1:] - values[:, :1]) / along_runs(mu, values)


@dataclass(frozen=True)
class Central(Difference):
    """(f(x + mu u) - f(x - mu u)) / (2 mu): 2 Q queries, exact for a quadratic f."""

    def queries(self, number: int) -> int:
        """2 Q."""
        return 2 * number

    def points(self, x: Tensor, directions: Tensor, mu: Numeric) -> Tensor:
        """All x + mu u, then all x - mu u, [R, 2 Q, d]."""
        return around(x, along_runs(mu, directions) * directions)

    def directions(self, points: Tensor, mu: Numeric) -> Tensor:
        """Half the distance of a pair over mu."""
        ahead, behind = points.chunk(2, 1)
        return (ahead - behind) / along_runs(2 * mu, points)

    def slopes(self, values: Tensor, mu: Numeric) -> Tensor:
        """[R, Q] of [R, 2 Q]."""
        ahead, behind = values.chunk(2, 1)
        return (ahead - behind) / along_runs(2 * mu, values)


def mean_gradient(directions: Tensor, slopes: Tensor) -> Tensor:
    """The mean [R, d] of slope * u over the directions [R, Q, d] whose slope [R, Q] is finite; 0 where none is."""
    counts = succeeded(slopes)
    number = counts.sum(-1, keepdim=True).clamp(min=1)
    return (torch.where(counts, slopes, 0.0)[..., None] * directions).sum(1) / number


def majority_vote(directions: Tensor, slopes: Tensor) -> Tensor:
    """For every coordinate, how many estimates slope * u are positive less how many are negative, [R, d].

    Those whose slope is not finite do not vote (Liu, Chen, Chen, Hong 2019, ZO-M-signSGD).
    """
    votes = torch.where(succeeded(slopes), slopes.sign(), 0.0)
    return (votes[..., None] * directions.sign()).sum(1)
