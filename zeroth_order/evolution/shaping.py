"""Fitness shaping: utilities that depend on the order of the values alone, best lowest, as everything minimises.

Equal values share the mean of what their ranks are worth, so a plateau moves nothing.
"""

import torch
from torch import Tensor

from zeroth_order.core import failed_to_inf, succeeded


def centred_ranks(values: Tensor, counts: Tensor) -> Tensor:
    """Ranks in [-1/2, 1/2], the best -1/2, of finite `values` [R, n] among those of them that count, [R, n] bool.

    Those that do not count (their query failed) have no rank and 0.
    """
    ranked = counts.sum(-1, keepdim=True)
    better, not_worse = places(torch.where(counts, values, torch.inf))
    better_minus_worse = torch.where(counts, better + not_worse - ranked, 0)
    return better_minus_worse.to(values.dtype) / (2 * (ranked - 1).clamp(min=1))


def places(values: Tensor) -> tuple[Tensor, Tensor]:
    """How many of values [R, n] lie below each, and how many not above it, [R, n] int64."""
    ordered, values = values.sort(-1).values, values.contiguous()
    return torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, side="right")


def utilities_by_rank(popsize: int, device: torch.device | str = "cpu") -> Tensor:
    """Utilities [n] float64 of the ranks, best first: max(0, ln(n/2 + 1) - ln k) / sum - 1 / n; their sum is 0.

    Wierstra et al., "Natural evolution strategies" (JMLR 2014), section 3.1.
    """
    ranks = torch.arange(1, popsize + 1, dtype=torch.float64, device=device)
    raw = (torch.full_like(ranks, popsize / 2 + 1).log() - ranks.log()).clamp(min=0)
    return raw / raw.sum() - 1 / popsize


def utilities(values: Tensor) -> Tensor:
    """Utilities [R, n] of values [R, n]; failed ones share the last ranks. All 0 where every query failed."""
    values = failed_to_inf(values)
    table = utilities_by_rank(values.shape[-1], values.device)
    total = torch.nn.functional.pad(table.cumsum(0), (1, 0))
    first, last = places(values)
    shared = ((total[last] - total[first]) / (last - first)).to(values.dtype)
    return torch.where(succeeded(values).any(-1, keepdim=True), shared, 0.0)
