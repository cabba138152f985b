"""How an optimizer that knows no bounds searches a box: four small pieces.

    asked     <- P(x)                     what f is evaluated at, for any real x: always in the box
    told      <- f(P(x)) + penalty(x)     what the optimizer is told about x

The box is [low, high], -inf and inf where a side is open; a is the length of the margin along a border.

    Projection       P(x) = min(max(x, low), high)
    Reflection       P folds the line at the bounds like a strip of paper: low - t and low + t fall together
    Transformation   P is smooth: low + (x - low + a)^2 / 4a  for |x - low| <= a, the same at high, x between; and
                     folded at low - a and high + a, where its slope is 0
    Penalty          Projection, and weight * |(x - P(x)) / length|^2 is added

All are continuous and leave the interior (of Transformation: what is farther than a from every border) as it is, bit
for bit. Hansen, Niederberger, Guzzella, Koumoutsakos (IEEE Trans. Evolutionary Computation 2009) add such a penalty
with adaptive weights; pycma maps with quadratic margins too, which are a share of 1 + |bound|, here of the box.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range
from zeroth_order.core import Bounds


class Boundary(ABC):
    """A map from all search points to those in the box, and what is told about a search point."""

    @abstractmethod
    def feasible(self, points: Tensor, box: Bounds) -> Tensor:
        """The points of the box that search points [R, ..., d] stand for, of the same shape; NaN stays NaN."""

    def search_point(self, points: Tensor, box: Bounds) -> Tensor:
        """A search point for each feasible one [R, ..., d]: `feasible` leads back, up to rounding."""
        return points

    def told(self, values: Tensor, points: Tensor, box: Bounds) -> Tensor:
        """What the optimizer is told: values [R, K] that were found for search points [R, K, d]."""
        return values


@dataclass(frozen=True)
class Projection(Boundary):
    """The nearest point of the box."""

    def feasible(self, points: Tensor, box: Bounds) -> Tensor:
        """min(max(x, low), high)."""
        return points.clamp(*box)


@dataclass(frozen=True)
class Reflection(Boundary):
    """Mirrors at the bounds, as often as it takes."""

    def feasible(self, points: Tensor, box: Bounds) -> Tensor:
        """The folded line."""
        return _folded(points, box)


@dataclass(frozen=True)
class Transformation(Boundary):
    """A map without kinks: f stays smooth where it was, and a minimum on the border becomes one inside."""

    margin: Numeric = 0.05
    """a in units of the box, in (0, 0.5]. pycma: (1 + |bound|) / 20, in the units of x."""

    def __post_init__(self) -> None:
        check_range("margin", self.margin, 0.0, 0.5, open_low=True)

    def feasible(self, points: Tensor, box: Bounds) -> Tensor:
        """Folded in the box that is larger by a on every side, then bent into the box."""
        low, high = box
        a = self._margin(points, box)
        x = _folded(points, (low - a, high + a))
        bent = torch.where(x < low + a, low + (x - low + a).square() / (4 * a), x)
        bent = torch.where(x > high - a, high - (high - x + a).square() / (4 * a), bent)
        return bent.clamp(low, high)

    def search_point(self, points: Tensor, box: Bounds) -> Tensor:
        """The inverse, in the larger box."""
        low, high = box
        a = self._margin(points, box)
        x = torch.where(points < low + a, low - a + 2 * (a * (points - low)).sqrt(), points)
        return torch.where(points > high - a, high + a - 2 * (a * (high - points)).sqrt(), x)

    def _margin(self, points: Tensor, box: Bounds) -> Tensor:
        return along_runs(self.margin, points) * _lengths(box)


@dataclass(frozen=True)
class Penalty(Boundary):
    """The nearest point of the box, and a penalty for the distance to it: the box is where the search wants to be."""

    weight: Numeric = 1.0
    """> 0, in the units of f: what is added at a point one length of the box outside. Any weight is exact."""

    def __post_init__(self) -> None:
        check_range("weight", self.weight, 0.0, open_low=True)

    def feasible(self, points: Tensor, box: Bounds) -> Tensor:
        """min(max(x, low), high)."""
        return points.clamp(*box)

    def told(self, values: Tensor, points: Tensor, box: Bounds) -> Tensor:
        """f + weight * squared distance; what failed stays failed."""
        distance = ((points - self.feasible(points, box)) / _lengths(box)).to(values)
        return values + along_runs(self.weight, values) * distance.square().sum(-1)


def _folded(points: Tensor, box: Bounds) -> Tensor:
    """Reflected at the bounds until inside; what rounding leaves outside is projected."""
    low, high = box
    width = high - low
    phase = torch.remainder(points - low, 2 * width)
    between = low + torch.minimum(phase, 2 * width - phase)
    mirrored = torch.where(points < low, 2 * low - points, 2 * high - points)
    folded = torch.where(torch.isfinite(width), between, mirrored)
    inside = (low <= points) & (points <= high)
    return torch.where(inside | torch.isnan(folded), points, folded).clamp(low, high)


def _lengths(box: Bounds) -> Tensor:
    """[d] the width of the box; where a side is open max(1, |the other bound|)."""
    low, high = box
    bound = torch.where(torch.isfinite(low), low, torch.where(torch.isfinite(high), high, 0.0))
    return torch.where(torch.isfinite(high - low), high - low, bound.abs().clamp(min=1.0))
