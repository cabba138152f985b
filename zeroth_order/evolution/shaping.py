"""Fitness shaping: utilities that depend on the order of the values alone, best lowest, as everything minimises.

A value that does not count (its query failed) has no rank and no utility.
"""

import torch
from torch import Tensor


def centred_ranks(values: Tensor, counts: Tensor) -> Tensor:
    """Ranks in [-1/2, 1/2], the best -1/2, of finite `values` [R, n] among those of them that count, [R, n] bool.

    Equal values share the mean of their ranks; those that do not count have 0.
    """
    both = (counts[:, :, None] & counts[:, None]).to(values.dtype)
    difference = values[:, :, None] - values[:, None]
    better_minus_worse = (torch.sign(difference) * both).sum(-1)
    others = (counts.sum(-1, keepdim=True) - 1).clamp(min=1)
    return better_minus_worse / (2 * others)
