"""When a run of CMA-ES has come to its end: the criteria of pycma 4.5 under their names, with its defaults."""

from typing import NamedTuple

import torch
from torch import Tensor

TOLFUN, TOLFUNHIST, TOLX, TOLFACUPX, TOLCONDITIONCOV = 1e-11, 1e-12, 1e-11, 1e3, 1e14
TOLFLATFITNESS = 1
"""Generations with equal values that are tolerated."""
EVERY = 5
"""Of so many generations one enters the long history."""


class History(NamedTuple):
    """What the criteria remember of a run's generations, those in which something was learnt."""

    generation: Tensor
    """[R] int64, generations so far."""
    recent: Tensor
    """[R, H] best values of the last generations, the newest first; 0 before the first."""
    sparse: Tensor
    """[R, 2, S] best value and median of every fifth generation, the newest first; 0 before the first."""
    worst: Tensor
    """[R] worst value of the last generation."""
    median: Tensor
    """[R] median of the last generation; the largest number before the first."""
    flat: Tensor
    """[R] int64, generations in a row in which the best quarter and one more had the same value."""
    best: Tensor
    """[R] best value; the largest number before the first."""
    best_generation: Tensor
    """[R] int64, the generation it is from."""


class Lengths(NamedTuple):
    """Of histories, in generations."""

    recent: int
    """For tolfun and tolfunhist."""
    stagnation: int
    """tolstagnation."""
    window: int
    """Entries of the long history that are compared with as many older ones."""
    most: int
    """maxiter."""


def lengths(dim: int, popsize: int) -> Lengths:
    """pycma's defaults."""
    stagnation = int(100 + 100 * dim**1.5 / popsize)
    most = 100 + int(150 * (dim + 3) ** 2 / popsize**0.5)
    return Lengths(int(10 + 30 * dim / popsize), stagnation, stagnation // (2 * EVERY), most)


def begin(like: Tensor, popsize: int) -> History:
    """The history before the first generation, for x [R, d] and the smallest population that will come."""
    runs, length = len(like), lengths(like.shape[1], popsize)
    zero, count = like.new_zeros(runs), like.new_zeros(runs, dtype=torch.int64)
    unknown = torch.full_like(zero, torch.finfo(zero.dtype).max)
    recent, sparse = like.new_zeros(runs, length.recent), like.new_zeros(runs, 2, 2 * length.window)
    return History(count, recent, sparse, zero, unknown, count, unknown, count)


def extended(history: History, ordered: Tensor, count: Tensor) -> History:
    """The history after a generation with values in ascending order, [R, n], of which the first `count` [R] count.

    Where fewer than two count, it is as before.
    """
    learnt, last = count >= 2, (count - 1).clamp(min=0)
    places = torch.stack((last, last // 2, count // 2, 3 * count // 4), 1)
    worst, *middle, quarter = torch.take_along_dim(ordered, places, dim=1).unbind(1)
    best, median = ordered[:, 0], (middle[0] + middle[1]) / 2
    generation = history.generation + learnt
    better = learnt & (best < history.best)
    entry = torch.stack((best, median), 1)[..., None]
    sparse = torch.cat((entry, history.sparse[..., :-1]), -1)
    enters = learnt & (generation % EVERY == 0)
    return History(
        generation,
        torch.where(learnt[:, None], torch.cat((best[:, None], history.recent[:, :-1]), 1), history.recent),
        torch.where(enters[:, None, None], sparse, history.sparse),
        torch.where(learnt, worst, history.worst),
        torch.where(learnt, median, history.median),
        torch.where(learnt, torch.where(best == quarter, history.flat + 1, 0), history.flat),
        torch.where(better, best, history.best),
        torch.where(better, generation, history.best_generation),
    )


def criteria(
    history: History,
    popsize: int,
    sigma: Tensor,
    sigma0: Tensor,
    deviations: Tensor,
    path: Tensor,
    condition: Tensor,
) -> dict[str, Tensor]:
    """Which criteria are met, [R] bool each.

    Of the distribution: sigma [R] now and at the start of the run, roots of the variances of C [R, d], the path of the
    covariance [R, d] and the condition of C [R].
    """
    dim, generation = deviations.shape[1], history.generation
    length, scales = lengths(dim, popsize), sigma[:, None] * deviations
    recent = history.recent[:, : length.recent]
    known = torch.arange(recent.shape[1], device=recent.device) < generation[:, None]
    highest = torch.where(known, recent, -torch.inf).amax(-1)
    past = highest - torch.where(known, recent, torch.inf).amin(-1)
    met = {
        "tolfun": (history.worst - recent[:, 0] < TOLFUN) & (past < TOLFUN),
        "tolfunhist": (generation > 9) & (past < TOLFUNHIST),
        "tolx": (scales < TOLX).all(-1) & (sigma[:, None] * path < TOLX).all(-1),
        "tolfacupx": (scales > TOLFACUPX * sigma0[:, None]).any(-1),
        "tolconditioncov": condition > TOLCONDITIONCOV,
        "tolflatfitness": history.flat > TOLFLATFITNESS,
        "tolstagnation": _stagnates(history, length, dim, popsize),
        "maxiter": generation >= length.most,
    }
    return {name: reason & (generation > 0) for name, reason in met.items()}


def _stagnates(history: History, length: Lengths, dim: int, popsize: int) -> Tensor:
    """Whether bests and medians are no better than those before, and the best of all is not from the last of them."""
    generation, window = history.generation, length.window
    late = (generation > dim * (5 + 100 / popsize)) & (generation // EVERY > max(100, 2 * window))
    late = late & (generation - history.best_generation >= length.stagnation / 2)
    now, before = _median(history.sparse[..., :window]), _median(history.sparse[..., window : 2 * window])
    return late & (now >= before).all(-1)


def _median(values: Tensor) -> Tensor:
    """Of the last axis, the mean of the middle two where n is even."""
    ordered, middle = values.sort(-1).values, values.shape[-1] // 2
    return (ordered[..., middle] + ordered[..., (values.shape[-1] - 1) // 2]) / 2
