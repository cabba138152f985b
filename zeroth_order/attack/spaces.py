"""Attack spaces: how a search point z [d] becomes a perturbation of an image [C, H, W].

The unit of a perturbation is the change of a pixel at which all pixels together reach the border of the ball, and all
spaces but `Squares` have about the same mean square over z as over the pixels, so that z of order 1 reaches it. z = 0
is the original image.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from envs.algorithm import check_range
from zeroth_order.attack.target import Shape
from zeroth_order.cbo.swarm import product


class Space(ABC):
    """Base of the attack spaces."""

    @abstractmethod
    def dim(self, shape: Shape) -> int:
        """d. Raises ValueError for images that the space does not fit."""

    @abstractmethod
    def decode(self, z: Tensor, shape: Shape) -> Tensor:
        """Perturbations [n, C, H, W] in units of the ball, of search points z [n, d]."""


@dataclass(frozen=True)
class Pixels(Space):
    """A coordinate for each pixel and channel."""

    def dim(self, shape: Shape) -> int:
        """C H W."""
        return math.prod(shape)

    def decode(self, z: Tensor, shape: Shape) -> Tensor:
        """z itself."""
        return z.view(-1, *shape)


@dataclass(frozen=True)
class LowResolution(Space):
    """A small image of size x size pixels in C channels, enlarged to the nearest neighbour."""

    size: int = 14
    """Side in pixels, >= 1. Roith et al. (arXiv 2506.24048): 50 for ImageNet."""

    def __post_init__(self) -> None:
        check_range("size", self.size, 1)

    def dim(self, shape: Shape) -> int:
        """C size^2."""
        _check_side("size", self.size, shape)
        return shape[0] * self.size**2

    def decode(self, z: Tensor, shape: Shape) -> Tensor:
        """Enlarged."""
        small = z.view(-1, shape[0], self.size, self.size)
        return torch.nn.functional.interpolate(small, size=shape[1:], mode="nearest")


@dataclass(frozen=True)
class DCT(Space):
    """The lowest size x size frequencies of the orthonormal cosine transform (DCT-II), in C channels."""

    size: int = 14
    """Frequencies along each side, >= 1."""

    def __post_init__(self) -> None:
        check_range("size", self.size, 1)

    def dim(self, shape: Shape) -> int:
        """C size^2."""
        _check_side("size", self.size, shape)
        return shape[0] * self.size**2

    def decode(self, z: Tensor, shape: Shape) -> Tensor:
        """(D / d)^(1/2) times B_H' z B_W, B the rows of the transform."""
        channels, height, width = shape
        waves = z.view(-1, self.size, self.size) * math.sqrt(height * width) / self.size
        down, across = (dct_rows(side)[: self.size].to(z) for side in (height, width))
        return product(down.T.expand(len(waves), -1, -1), product(waves, across.expand(len(waves), -1, -1))).view(
            -1, channels, height, width
        )


@dataclass(frozen=True)
class Squares(Space):
    """Squares painted one over the other: each has a place, a side and C colours.

    A coordinate is cut to [-1, 1]; places go from one border to the other, sides from `smallest` to `largest`, colours
    from -1 to 1.
    """

    count: int = 40
    """Squares, >= 1. Roith et al.: 40."""
    smallest: float = 0.1
    """Side in units of the image's, in (0, 1]. Roith et al.: 0.1."""
    largest: float = 0.5
    """Side in units of the image's, in (0, 1], >= smallest. Roith et al.: 0.5."""

    def __post_init__(self) -> None:
        check_range("count", self.count, 1)
        check_range("largest", self.largest, 0.0, 1.0, open_low=True)
        check_range("smallest", self.smallest, 0.0, self.largest, open_low=True)

    def dim(self, shape: Shape) -> int:
        """count (3 + C)."""
        return self.count * (3 + shape[0])

    def decode(self, z: Tensor, shape: Shape) -> Tensor:
        """The picture of the squares."""
        channels, height, width = shape
        squares = z.view(-1, self.count, 3 + channels).clamp(-1.0, 1.0)
        share = (squares[..., :3] + 1) / 2
        side = self.smallest + (self.largest - self.smallest) * share[..., 2:]
        begin = share[..., :2] * (1 - side)
        rows, columns = (_covered(begin[..., i : i + 1], side, extent) for i, extent in ((0, height), (1, width)))
        painted = z.new_zeros(len(squares), channels, height, width)
        for i in range(self.count):
            inside = (rows[:, i, :, None] & columns[:, i, None, :])[:, None]
            painted = torch.where(inside, squares[:, i, 3:, None, None], painted)
        return painted


def _covered(begin: Tensor, side: Tensor, extent: int) -> Tensor:
    """Which of the `extent` pixels' centres lie in [begin, begin + side], [..., extent]."""
    centres = (torch.arange(extent, dtype=begin.dtype, device=begin.device) + 0.5) / extent
    return (centres >= begin) & (centres <= begin + side)


@lru_cache(maxsize=8)
def dct_rows(size: int) -> Tensor:
    """The orthonormal DCT-II matrix [size, size] float64, row i the wave of frequency i (Ahmed et al. 1974)."""
    frequency, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * frequency * (2 * place + 1) / (2 * size)) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves


def _check_side(name: str, size: int, shape: Shape) -> None:
    if size > min(shape[1:]):
        raise ValueError(f"{name} = {size} is larger than the images of {shape[1]} x {shape[2]} pixels")
