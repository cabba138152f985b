"""Which of the points seen a surrogate is made of: the latest, or the nearest to where it is asked."""

import torch
from torch import Tensor

from zeroth_order.cbo.swarm import product
from zeroth_order.core import succeeded


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, [*B, P, n], of points a [*B, P, d] and b [*B, n, d], as one product of matrices.

    Off by about 1e-16 times the largest squared distance to the last of b, from which all points are measured.
    """
    origin = b[..., -1:, :]
    a, b = a - origin, b - origin
    squares = a.square().sum(-1)[..., None] + b.square().sum(-1)[..., None, :]
    return (squares - 2 * product(a, b.mT)).clamp(min=0.0)


def latest(points: Tensor, values: Tensor, capacity: int) -> tuple[Tensor, Tensor, Tensor]:
    """The last `capacity` of the points [*B, m, d] whose values [*B, m] are finite, in their order.

    Returns float64 points [*B, n, d] and values [*B, n], and which slots are filled, [*B, n] bool. Empty ones come
    first and hold zeros; n is the capacity rounded up to a multiple of 16.
    """
    order = succeeded(values).to(torch.int8).argsort(dim=-1, stable=True)[..., -capacity:]
    values = values.gather(-1, order)
    filled = succeeded(values)
    points = torch.where(filled[..., None], torch.take_along_dim(points, order[..., None], dim=-2), 0.0)
    values = torch.where(filled, values, 0.0)
    missing = slots(capacity) - order.shape[-1]
    pad = torch.nn.functional.pad
    return (
        pad(points.double(), (0, 0, missing, 0)),
        pad(values.double(), (missing, 0)),
        pad(filled, (missing, 0), value=False),
    )


def nearest(points: Tensor, values: Tensor, x: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """The `capacity` points [*B, k, d] nearest to x [*B, d], the nearest last, and their values [*B, k]; k <= capacity.

    Of points [*B, H, d] and values [*B, H]; those whose value is not finite are taken last, and then come first.
    """
    squares = (points - x[..., None, :]).square().sum(-1)
    order = torch.where(succeeded(values), squares, torch.inf).argsort(dim=-1, stable=True)[..., :capacity].flip(-1)
    return torch.take_along_dim(points, order[..., None], dim=-2), values.gather(-1, order)


def slots(capacity: int) -> int:
    """Slots of a window: whole cache lines."""
    return capacity + -capacity % 16
