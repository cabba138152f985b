"""Maximising functions of one variable, many at once."""

from collections.abc import Callable

import torch
from torch import Tensor

RATIO = (5**0.5 - 1) / 2


def golden_section(score: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, steps: int) -> Tensor:
    """The best point found [*B] of the brackets [low, high], [*B] each.

    A step costs one evaluation and shrinks the brackets by 0.618. Of two equal scores the lower point is taken.
    Kiefer, "Sequential minimax search for a maximum" (Proc. AMS 1953).
    """
    left, right = high - RATIO * (high - low), low + RATIO * (high - low)
    at_left, at_right = score(left), score(right)
    for _ in range(steps):
        lower = at_left >= at_right
        low, high = torch.where(lower, low, left), torch.where(lower, right, high)
        probe = torch.where(lower, high - RATIO * (high - low), low + RATIO * (high - low))
        found = score(probe)
        left, right = torch.where(lower, probe, right), torch.where(lower, left, probe)
        at_left, at_right = torch.where(lower, found, at_right), torch.where(lower, at_left, found)
    return torch.where(at_left >= at_right, left, right)
