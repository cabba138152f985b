"""How far an adversarial image may be from its original: balls in pixel space, where images are in [0, 1].

Everything here is about the intersection of the ball with the cube [0, 1]^D of images, D = C H W: `project` is the
Euclidean projection onto it; what it returns in float32 is never outside, whatever the rounding.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import floor, prod, sqrt

import torch
from torch import Tensor

from envs.algorithm import check_range
from zeroth_order.attack.target import Shape

STEPS = 64
"""Of Newton's method in `L2.project`; it stops by itself after a handful."""
LEVELS = 255
"""An 8-bit image holds multiples of 1 / 255."""


@dataclass(frozen=True)
class Ball(ABC):
    """Base of the balls."""

    epsilon: float
    """Radius, > 0, in units of the pixels' range [0, 1]."""

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0.0, open_low=True)

    @abstractmethod
    def project(self, images: Tensor, candidates: Tensor) -> Tensor:
        """The nearest allowed images to candidates [..., C, H, W], for originals that broadcast with them."""

    @abstractmethod
    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances [...] of images [..., C, H, W], float64."""

    @abstractmethod
    def scale(self, shape: Shape) -> float:
        """A pixel's change when all of them change alike and reach the border of the ball."""

    @abstractmethod
    def pixels(self, images: Tensor, found: Tensor) -> Tensor:
        """`found` [..., C, H, W] in 8 bits, uint8, rounded such that it stays in the ball. `images` are 8-bit too."""


@dataclass(frozen=True)
class Linf(Ball):
    """|x' - x|_inf <= epsilon."""

    def bounds(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest allowed value of each pixel."""
        exact = images.double()
        limits = (exact - self.epsilon).clamp(min=0.0), (exact + self.epsilon).clamp(max=1.0)
        low, high = (limit.to(images) for limit in limits)
        # What was rounded out of the ball is brought back.
        low = torch.where(low < limits[0], torch.nextafter(low, images), low)
        high = torch.where(high > limits[1], torch.nextafter(high, images), high)
        return low, high

    def project(self, images: Tensor, candidates: Tensor) -> Tensor:
        """Pixel by pixel."""
        low, high = self.bounds(images)
        return torch.minimum(torch.maximum(candidates, low), high)

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Largest difference of a pixel."""
        return (others.double() - images.double()).abs().flatten(-3).amax(-1)

    def scale(self, shape: Shape) -> float:
        """epsilon."""
        return self.epsilon

    def pixels(self, images: Tensor, found: Tensor) -> Tensor:
        """The nearest level within floor(255 epsilon) levels of the image's."""
        origin, nearest = levels(images), (found.double() * LEVELS).round()
        reach = floor(LEVELS * self.epsilon * (1 + 1e-12))
        return torch.minimum(torch.maximum(nearest, origin - reach), origin + reach).clamp(0, LEVELS).to(torch.uint8)


@dataclass(frozen=True)
class L2(Ball):
    """|x' - x|_2 <= epsilon."""

    def project(self, images: Tensor, candidates: Tensor) -> Tensor:
        """x + min(max(t d, -x), 1 - x) for the difference d and the largest t <= 1 that stays in the ball.

        The square of the norm is piecewise quadratic in t. Solved for the pixels that no bound stops at the current t,
        it gives a next t that is never too large; when no more pixels are stopped it is the solution.
        """
        exact = images.double()
        difference = candidates.double() - exact
        low, high = -exact, 1.0 - exact
        radius = self._safe_radius(images)
        square = difference.square()
        t = (radius / _norm(difference)).clamp(max=1.0)
        for _ in range(STEPS):
            scaled = t * difference
            free = (scaled >= low) & (scaled <= high)
            stopped = torch.where(free, 0.0, scaled.clamp(low, high)).square().sum((-3, -2, -1), keepdim=True)
            open_square = torch.where(free, square, 0.0).sum((-3, -2, -1), keepdim=True)
            larger = ((radius**2 - stopped).clamp(min=0.0) / open_square).sqrt().clamp(max=1.0)
            grows = larger > t * (1 + 4 * torch.finfo(t.dtype).eps)
            t = torch.where(grows, larger, t)
            if not bool(grows.any()):
                break
        return (exact + (t * difference).clamp(low, high)).to(candidates).clamp(0.0, 1.0)

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Euclidean norm of the difference."""
        return _norm(others.double() - images.double())[..., 0, 0, 0]

    def scale(self, shape: Shape) -> float:
        """epsilon / D^(1/2)."""
        return self.epsilon / sqrt(prod(shape))

    def pixels(self, images: Tensor, found: Tensor) -> Tensor:
        """The nearest levels, or, where they leave the ball, the next ones towards the image."""
        origin, exact = levels(images), found.double() * LEVELS
        nearest = exact.round()
        towards = origin + (exact - origin).trunc()
        outside = _norm(nearest - origin) > LEVELS * self.epsilon
        return torch.where(outside, towards, nearest).clamp(0, LEVELS).to(torch.uint8)

    def _safe_radius(self, images: Tensor) -> float:
        """epsilon less what rounding the pixels may add to the norm."""
        rounding = torch.finfo(images.dtype).eps * sqrt(prod(images.shape[-3:]))
        return max(self.epsilon - rounding, 0.0)


def levels(images: Tensor) -> Tensor:
    """The levels 0 .. 255 of 8-bit images in [0, 1], float64. Raises ValueError for what is between two of them."""
    exact = images.double() * LEVELS
    rounded = exact.round()
    if bool(((exact - rounded).abs() > 1e-3).any()):
        raise ValueError("images are not 8-bit: some pixels are no multiples of 1/255; round them before the attack")
    return rounded


def _norm(difference: Tensor) -> Tensor:
    """Euclidean norms [..., 1, 1, 1] of [..., C, H, W]."""
    return difference.square().sum((-3, -2, -1), keepdim=True).sqrt()
