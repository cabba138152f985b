"""Conjugate gradients for all runs at once, without waiting for the device.

Hestenes, Stiefel, "Methods of conjugate gradients for solving linear systems" (1952): A x = b for a symmetric positive
definite A that is known by its products only; exact after d iterations but for rounding.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """x [R, d] with A x = b for b [R, d]; `product` maps v [R, d] to A v, where each run has an A of its own.

    A run stays where it is once its residual is down to rounding: what is left of it may lie where a singular A is
    zero, and dividing by that would blow it up. NaN in b or in a product makes that run's x NaN.
    """
    rounding = 100 * torch.finfo(b.dtype).eps
    x, residual, direction = torch.zeros_like(b), b, b
    square = _dot(b, b)
    enough = rounding**2 * square
    for _ in range(iterations):
        image = product(direction)
        curvature = _dot(direction, image)
        done = (square <= enough) | (curvature <= 0)
        length = torch.where(done, 0.0, square / curvature)
        x = x + length * direction
        residual = residual - length * image
        next_square = _dot(residual, residual)
        direction = residual + torch.where(done, 0.0, next_square / square) * direction
        square = next_square
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of [R, d], [R, 1]."""
    return (a * b).sum(-1, keepdim=True)
