"""From first hits to runtime distributions and expected running times."""

from collections.abc import Sequence

import numpy as np

from experiments.arena.recorder import TARGETS, Found
from experiments.statistics import Counts, Estimate, Floats, stratified_bootstrap

RESAMPLES = 1_000


def shares(found: Found, dim: int, grid: Floats) -> Floats:
    """Share of its targets that each run had reached within `grid` [G] queries per dimension, [n, G]."""
    reached, costs = found.hits >= 0, found.hits / dim
    # An exact multiple of d counts as within, whatever rounding made of the grid.
    within = costs[:, :, None] <= grid * (1 + 1e-9)
    return np.asarray((reached[:, :, None] & within).mean(axis=1))


def distribution(found: Found, dim: int, grid: Floats) -> Floats:
    """Share of all (run, target) pairs reached within `grid` [G] queries per dimension, [G]: the runtime ECDF."""
    return np.asarray(shares(found, dim, grid).mean(axis=0))


def reached_share(found: Found, names: Sequence[str], dim: int, queries_per_dim: float) -> Estimate:
    """The ECDF at one point, with a 95 % interval from resampling the runs of each function."""
    mine = shares(found, dim, np.array([queries_per_dim]))[:, 0]
    functions = np.array(names)
    strata = [mine[functions == name] for name in dict.fromkeys(names)]
    return stratified_bootstrap(strata, lambda pooled: pooled.mean(), resamples=RESAMPLES)


def expected_running_time(hits: Counts, queries: Counts) -> Estimate:
    """ERT: queries of all runs up to the target, or to their end without it, over the number that reached it.

    `hits` [n, ...] is -1 where a run did not reach the target; `queries` [n, ...] is what the run had used at its end.
    Infinite where no run reached it. The 95 % interval resamples runs; it is that of 1 / ERT turned over, which exists
    in every resample.
    """
    reached = hits >= 0
    runs = np.stack([reached, np.where(reached, hits, queries)], axis=-1).astype(float)

    def rate(pooled: Floats) -> Floats:
        successes, spent = np.moveaxis(pooled.sum(axis=0), -1, 0)
        return np.asarray(successes / spent)

    found = stratified_bootstrap([runs], rate, resamples=RESAMPLES)
    with np.errstate(divide="ignore"):
        return Estimate(1 / found.value, 1 / found.high, 1 / found.low)


def target_index(precision: float) -> int:
    """Which of TARGETS is f_opt + `precision`. Raises ValueError where none is."""
    matches = np.flatnonzero(np.isclose(TARGETS, precision, rtol=1e-6, atol=0.0))
    if len(matches) == 0:
        raise ValueError(f"precision = {precision:g} is not one of the targets 10^2, 10^1.8, ..., 10^-8")
    return int(matches[0])


def of_rows(found: Found, rows: Sequence[int]) -> Found:
    """Some runs only."""
    chosen = list(rows)
    return Found(found.hits[chosen], found.queries[chosen], found.restarts[chosen])
