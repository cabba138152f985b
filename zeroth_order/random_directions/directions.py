"""Random directions along which differences are taken.

    u [R, Q, d]  <-  directions(stream, Q, like x [R, d])

All have E u = 0 and E u u' = I, and u and -u are equally likely: so forward and central differences have the same mean,
which is grad f for a linear and for a quadratic f, and otherwise the gradient of a smoothed f that each class names.
A direction is about d^(1/2) long. Papers that draw unit vectors v and multiply by d mean u = d^(1/2) v: their spread
radius is d^(1/2) times the mu that goes with u, which leaves points and estimate the same.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.random import Stream
from zeroth_order.cbo.swarm import normals, whole_lines


class Directions(ABC):
    """A law of directions."""

    isotropic: ClassVar[bool]
    """Whether all orientations are equally likely: no coordinate is treated by itself."""

    @abstractmethod
    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """Directions [R, number, d] for the points `like` [R, d], of their type and on their device."""


@dataclass(frozen=True)
class Gaussian(Directions):
    """Standard normal directions (Nesterov, Spokoiny 2017): smoothing with a Gaussian.

    Unbiased for the gradient of f_mu(x) = E f(x + mu u), u ~ N(0, I).
    """

    isotropic = True

    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """u ~ N(0, I), independent."""
        return normals(stream, number, like)


@dataclass(frozen=True)
class UnitSphere(Directions):
    """Uniform on the unit sphere, times d^(1/2) (Flaxman, Kalai, McMahan 2005): smoothing with a ball.

    Unbiased for the gradient of f_mu(x) = E f(x + mu d^(1/2) b), b uniform in the unit ball.
    """

    isotropic = True

    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """u = d^(1/2) v, v uniform on the unit sphere, independent."""
        gaussian = normals(stream, number, like)
        return like.shape[-1] ** 0.5 * torch.nn.functional.normalize(gaussian, dim=-1)


@dataclass(frozen=True)
class Rademacher(Directions):
    """Independent random signs (Spall 1992).

    There is no one smoothed function: coordinate i of the mean is the derivative with respect to x_i of
    E f(x + mu (s e_i + sum_{j != i} u_j e_j)), s uniform in [-1, 1] and u_j random signs. Its error is O(mu^2).
    """

    isotropic = False

    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """u_i = 1 or -1, each with probability 1/2."""
        lanes = torch.arange(number, device=like.device)
        return (stream.spread(lanes).uniform(like.shape[-1], dtype=like.dtype) - 0.5).sign()  # never 0: see `uniform`


@dataclass(frozen=True)
class Orthonormal(Directions):
    """Random orthonormal directions, times d^(1/2), in blocks of at most d.

    Each alone is as `UnitSphere`, and so is the mean of the estimate; its variance is lower, because no two directions
    of a block ask for the same. With Q = d central differences give the gradient of a quadratic exactly.
    """

    isotropic = True

    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """Rows of d^(1/2) Q, Q uniform (Haar) on the orthogonal group, independent between blocks.

        QR decomposition of Gaussian matrices, the signs of R's diagonals moved into Q (Mezzadri 2007).
        """
        dim = like.shape[-1]
        blocks, size = _blocks(number, dim)
        gaussian = normals(stream, blocks * size, like).unflatten(1, (blocks, size))
        q, r = torch.linalg.qr(whole_lines(gaussian.mT))
        signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q)
        rows = (q * signs[..., None, :])[..., :dim, :size].mT
        return dim**0.5 * rows.flatten(1, 2)[:, :number]


@dataclass(frozen=True)
class Coordinates(Directions):
    """Random coordinate axes with random signs, times d^(1/2), without replacement in blocks of d.

    Coordinate i of the mean is the derivative of f averaged over x_i - mu d^(1/2) .. x_i + mu d^(1/2).
    """

    isotropic = False

    def __call__(self, stream: Stream, number: int, like: Tensor) -> Tensor:
        """u = +-d^(1/2) e_i, all coordinates of a block different."""
        dim = like.shape[-1]
        blocks, size = _blocks(number, dim)
        lanes = torch.arange(blocks, device=like.device)
        order, signs = stream.spread(lanes).uniform(2 * dim, dtype=like.dtype).chunk(2, -1)
        axes = torch.nn.functional.one_hot(order.argsort(dim=-1, stable=True)[..., :size], dim)
        rows = (signs[..., :size, None] - 0.5).sign() * axes
        return dim**0.5 * rows.flatten(1, 2)[:, :number]


def _blocks(number: int, dim: int) -> tuple[int, int]:
    """How many blocks, and how many directions in each of them."""
    size = min(number, dim)
    return -(-number // size), size
