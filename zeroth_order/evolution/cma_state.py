"""The state of CMA-ES."""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.random import Stream


class CMAESState(NamedTuple):
    """The search distribution, the generation that is being evaluated, and what restarts need to know."""

    start: Tensor
    """[R, d] x_0."""
    mean: Tensor
    """[R, d] m."""
    sigma: Tensor
    """[R]"""
    factor: Tensor
    """A, [R, d, d] or [R, d]."""
    p_sigma: Tensor
    """[R, d]"""
    p_c: Tensor
    """[R, d]"""
    z: Tensor
    """[R, K, d] of the ask; where there are restarts [R, 0, d], and they are drawn again, as there may be many asks."""
    filled: Tensor
    """[R] int64, asks of this generation that were told."""
    counters: Tensor
    """[R, M] int64, the stream's counters at those asks."""
    values: Tensor
    """[R, M K] their values, the largest number where they failed."""
    best_mean: Tensor
    """[R, d] the final mean of the best run before a restart."""
    best_median: Tensor
    """[R] the median of its last generation; the largest number before the first restart."""
    generation: Tensor
    """[R] int64 as `stopping.History`, and so the next seven."""
    recent: Tensor
    sparse: Tensor
    worst: Tensor
    median: Tensor
    flat: Tensor
    best: Tensor
    best_generation: Tensor
    multiple: Tensor
    """[R] int64 as `restarts.Regime`, and so the next eight."""
    growths: Tensor
    small: Tensor
    evaluations: Tensor
    spent_small: Tensor
    spent_large: Tensor
    limit: Tensor
    sigma0: Tensor
    last: Tensor
    stream: Stream
    """Of the last ask."""


def gathered(state: CMAESState, values: Tensor) -> CMAESState:
    """The state with the values [R, K] of one more ask."""
    popsize = values.shape[1]
    columns = state.filled[:, None] * popsize + torch.arange(popsize, device=values.device)
    counter = torch.as_tensor(state.stream.counter, device=values.device).expand(len(values))
    return state._replace(
        values=state.values.scatter(1, columns, values),
        counters=state.counters.scatter(1, state.filled[:, None], counter[:, None]),
        filled=state.filled + 1,
        evaluations=state.evaluations + popsize,
    )
