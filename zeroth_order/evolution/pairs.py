"""Symmetric pairs of points, x + eps_j and x - eps_j: how they are asked for, and what is learnt from them.

Within a pair, whatever is even around x cancels. A pair of which a member failed tells no slope and is dropped.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zeroth_order.core import succeeded
from zeroth_order.evolution.shaping import centred_ranks


class Pairs(NamedTuple):
    """What was told of n pairs."""

    eps: Tensor
    """[R, n, d] deviations from the centre."""
    plus: Tensor
    """[R, n] utilities of x + eps, the values or their ranks; 0 in dropped pairs, and so the next."""
    minus: Tensor
    """[R, n] utilities of x - eps."""
    counts: Tensor
    """[R, n] bool, which pairs were not dropped."""

    @property
    def known(self) -> Tensor:
        """Whether any pair is left, [R] bool."""
        return self.counts.any(-1)

    @property
    def failed(self) -> Tensor:
        """Share of dropped pairs, [R]."""
        return 1 - self.counts.to(self.eps.dtype).mean(-1)

    def mean(self, terms: Tensor) -> Tensor:
        """Mean over the pairs that count of terms [R, n, ...] that are 0 in the others; 0 where none is left."""
        count = self.counts.sum(-1).clamp(min=1).to(terms.dtype)
        return terms.sum(1) / count.view(-1, *(1,) * (terms.dim() - 2))

    def slope(self) -> Tensor:
        """Mean of (u+ - u-) / 2 * eps over the pairs that count, [R, d]: for eps ~ N(0, C), C times a gradient."""
        return self.mean(((self.plus - self.minus) / 2)[..., None] * self.eps)


def around(centre: Tensor, eps: Tensor) -> Tensor:
    """Points [R, 2 n, d] around a centre [R, d]: all x + eps_j, then all x - eps_j, eps [R, n, d]."""
    points = eps.new_empty(eps.shape[0], 2, *eps.shape[1:])
    torch.add(centre[:, None], eps, out=points[:, 0])
    torch.sub(centre[:, None], eps, out=points[:, 1])
    return points.flatten(1, 2)


def paired(points: Tensor, values: Tensor, ranks: bool) -> Pairs:
    """The pairs at points [R, 2 n, d] with values [R, 2 n]; utilities are centred ranks, or the values themselves."""
    ahead, behind = points.chunk(2, 1)
    values = values.to(points.dtype)
    counts = succeeded(values).unflatten(1, (2, -1)).all(1)
    both = counts.repeat(1, 2)
    utilities = torch.where(both, values, 0.0)
    plus, minus = (centred_ranks(utilities, both) if ranks else utilities).chunk(2, 1)
    return Pairs((ahead - behind).div_(2), plus, minus, counts)
