"""Statistics of independent runs: aggregates with intervals, survival curves, rates.

Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep reinforcement learning at the edge of the statistical
precipice" (NeurIPS 2021) for aggregates and their bootstrap; Kaplan and Meier (1958) and Brookmeyer and Crowley (1982)
for the cost to reach a threshold, where runs that never reached it are kept as censored.

The run axis is first. A number that is not finite stands for a run that failed, and no aggregate has a right to guess
its value: every function here raises ValueError, naming how many there are, and leaves the choice to the caller.
Random resampling depends on its integer `seed` alone.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

AT_ONCE = 100
"""Resamples whose interquartile means are taken in one call; they fit a cache."""


class Estimate(NamedTuple):
    """A statistic and its interval, [...] each, with no axis for a single number."""

    value: Floats
    low: Floats
    high: Floats


class SurvivalCurve(NamedTuple):
    """Share of runs that have not reached the threshold, a right-continuous step function."""

    times: Floats
    """[U] zero and the distinct times observed, ascending."""
    survival: Floats
    """[U] from `times[i]` until `times[i + 1]`."""
    low: Floats
    high: Floats


def iqm(scores: ArrayLike, axis: int = 0) -> Floats:
    """Interquartile mean: the mean of what is left after floor(n / 4) runs are cut at either end of `axis`."""
    ordered = np.sort(np.moveaxis(_finite("scores", scores), axis, 0), axis=0)
    cut = len(ordered) // 4
    return np.asarray(ordered[cut : len(ordered) - cut].mean(axis=0))


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Floats], ArrayLike] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile interval from resampling whole runs within each stratum (Agarwal et al. 2021, section 4).

    `strata` has one array [runs_i, ...] for each task, or one only; trailing axes agree. A run is resampled with all
    its checkpoints, so curves keep their dependence, and the interval is pointwise. `statistic` maps the pooled [sum of
    runs_i, ...] to [...], None: the interquartile mean; rows stay in the order of the strata. A lone run says nothing
    about the spread: where a stratum has one, low and high are NaN. From few runs the interval is too short: for the
    mean of 20 normal numbers a 95 % interval covers 93 %, of 5 about 84 %. Raises ValueError on input that is empty or
    not finite.
    """
    _check_level(level)
    if resamples < 1:
        raise ValueError(f"resamples = {resamples} is not >= 1")
    if not strata:
        raise ValueError("strata is empty; at least one array of runs is needed")
    arrays = [_finite(f"stratum {i}", runs) for i, runs in enumerate(strata)]
    pooled = np.concatenate(arrays)
    value = np.asarray(iqm(pooled) if statistic is None else statistic(pooled), dtype=np.float64)
    sizes = [len(runs) for runs in arrays]
    if min(sizes) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    generator = np.random.default_rng(seed)
    spans = zip(sizes, np.cumsum(sizes), strict=True)
    rows = np.concatenate([generator.integers(end - n, end, (resamples, n)) for n, end in spans], axis=1)
    if statistic is None:  # many resamples in one call
        replicates = np.concatenate(
            [iqm(pooled[some], axis=1) for some in np.array_split(rows, -(-resamples // AT_ONCE))]
        )
    else:
        replicates = np.stack([np.asarray(statistic(pooled[row]), dtype=np.float64) for row in rows])
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Estimate(value, np.asarray(low), np.asarray(high))


def share(successes: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of runs [n, ...] that succeeded, with the exact binomial interval (Clopper and Pearson 1934)."""
    _check_level(level)
    outcomes = _finite("successes", successes)
    n, k, tail = len(outcomes), outcomes.sum(axis=0), (1 - level) / 2
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    return Estimate(np.asarray(k / n), np.asarray(low), np.asarray(high))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Share of all scores above each threshold, [thresholds]; `scores` is [runs] or [runs, tasks]."""
    flat, levels = _finite("scores", scores).ravel(), _finite("thresholds", thresholds)
    return np.asarray((flat[:, None] > levels).mean(axis=0))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + P(X = Y) / 2 for runs x [n] and y [m]: the Mann-Whitney U of x over n m."""
    first, second = _finite("x", x), _finite("y", y)
    if first.ndim != 1 or second.ndim != 1:
        raise ValueError(f"x and y have shapes {first.shape} and {second.shape}; both must be [runs]")
    return float(np.mean((first[:, None] > second) + 0.5 * (first[:, None] == second)))


def improvement_interval(
    x: ArrayLike, y: ArrayLike, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """`probability_of_improvement` with its interval; x [n] and y [m] are resampled each on its own."""
    n = len(_finite("x", x))

    def statistic(pooled: Floats) -> float:
        return probability_of_improvement(pooled[:n], pooled[n:])

    return stratified_bootstrap([x, y], statistic, level, resamples, seed)


def kaplan_meier(times: ArrayLike, reached: ArrayLike, level: float = 0.95) -> SurvivalCurve:
    """Product-limit estimate of the share of runs that have not reached the threshold.

    `times` [n] >= 0 is the cost at which a run reached it where `reached` [n] (bool), and the cost at which its
    observation ended (its budget) where not. The interval is pointwise, from Greenwood's variance of log(-log S).
    That does not exist while S = 1 or once S = 0: there the exact binomial limit stands in (Clopper and Pearson
    1934), for the runs at risk and for the runs that reached. Raises ValueError on input that is empty, not finite or
    negative.
    """
    _check_level(level)
    ends, events = _finite("times", times), np.asarray(reached, dtype=bool)
    if ends.ndim != 1 or ends.shape != events.shape:
        raise ValueError(f"times and reached have shapes {ends.shape} and {events.shape}; both must be [runs]")
    if ends.min() < 0:
        raise ValueError(f"times has {ends.min():g}; a cost is >= 0")
    grid = np.unique(np.append(ends, 0.0))
    at_risk = (ends >= grid[:, None]).sum(axis=1)
    hits = ((ends == grid[:, None]) & events).sum(axis=1)
    survival = np.cumprod(1 - hits / at_risk)
    return SurvivalCurve(grid, survival, *_survival_interval(survival, at_risk, hits, (1 - level) / 2))


def median_time(times: ArrayLike, reached: ArrayLike, level: float = 0.95) -> Estimate:
    """Cost by which half of the runs reached the threshold; arguments as in `kaplan_meier`.

    Infinite where fewer than half did. The interval inverts the pointwise one of the survival curve (Brookmeyer and
    Crowley 1982): costs at which survival may be 1/2. With five runs or fewer that is all of [0, inf] at level 0.95.
    """
    curve = kaplan_meier(times, reached, level)
    return Estimate(*(_first_at_most_half(curve.times, s) for s in (curve.survival, curve.low, curve.high)))


def loglog_slope(
    x: ArrayLike, y: ArrayLike, last_decades: float = 1.0, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Least-squares slope of log(mean over runs of y) against log x, over the last decades of x; interval over runs.

    `x` [P] > 0 is a cost, `y` [runs, P] > 0 a gap or an error. -1/2 means that four times the cost halves the gap.
    Raises ValueError where a number is not positive, or fewer than two distinct x are left.
    """
    costs, gaps = _finite("x", x), _finite("y", y)
    if gaps.ndim != 2 or costs.shape != gaps.shape[1:]:
        raise ValueError(f"x and y have shapes {costs.shape} and {gaps.shape}; they must be [P] and [runs, P]")
    if min(costs.min(), gaps.min()) <= 0:
        raise ValueError(f"smallest x is {costs.min():g}, smallest y {gaps.min():g}; both must be > 0 for a logarithm")
    # The tolerance keeps a point that lies exactly on the edge of the decade.
    kept = costs >= costs.max() * 10.0**-last_decades * (1 - 1e-9)
    if len(np.unique(costs[kept])) < 2:
        raise ValueError(f"last_decades = {last_decades:g} leaves fewer than two distinct x of {len(costs)}")
    centred = np.log(costs[kept]) - np.log(costs[kept]).mean()

    def slope(runs: Floats) -> float:
        return float(centred @ np.log(runs.mean(axis=0)) / (centred @ centred))

    return stratified_bootstrap([gaps[:, kept]], slope, level, resamples, seed)


def carry_forward(positions: ArrayLike, at: ArrayLike, values: ArrayLike) -> Floats:
    """The last value seen at each position, [..., G]; NaN before the first.

    `values` [..., n] were measured at the costs `at` [..., n], ascending; `positions` [G] is the common grid. A run
    with fewer measurements than others is padded with at = inf, and what `values` holds there is ignored. Raises
    ValueError where `at` descends or a value is not finite.
    """
    grid, costs = _finite("positions", positions), np.asarray(at, dtype=np.float64)
    if np.isnan(costs).any() or (costs[..., 1:] < costs[..., :-1]).any():
        raise ValueError("at must be ascending along its last axis and without NaN")
    if costs.shape != np.shape(values):
        raise ValueError(f"at and values have shapes {costs.shape} and {np.shape(values)}; they must agree")
    seen = _finite("values", np.where(np.isposinf(costs), 0.0, values))
    count = (costs[..., None, :] <= grid[:, None]).sum(axis=-1)
    return np.where(count > 0, np.take_along_axis(seen, np.maximum(count - 1, 0), axis=-1), np.nan)


def _survival_interval(survival: Floats, at_risk: Counts, hits: Counts, tail: float) -> tuple[Floats, Floats]:
    """Limits [U], each missed with probability `tail`."""
    untouched, emptied = survival == 1, survival == 0
    low = np.where(untouched, tail ** (1 / at_risk), 0.0)
    high = np.where(emptied, 1 - tail ** (1 / np.cumsum(hits).clip(1)), 1.0)
    inside = ~untouched & ~emptied
    # clip acts only where no run is left, and there survival is 0.
    greenwood = np.cumsum(hits / (at_risk * (at_risk - hits).clip(1)))[inside]
    power = np.exp(ndtri(tail) * np.sqrt(greenwood) / np.log(survival[inside]))
    low[inside], high[inside] = survival[inside] ** power, survival[inside] ** (1 / power)
    return low, high


def _first_at_most_half(times: Floats, curve: Floats) -> Floats:
    """First time at which the curve is at or below 1/2, or infinity. A product that is 1/2 but for rounding counts."""
    below = curve <= 0.5 + 1e-9
    return np.asarray(times[np.argmax(below)] if below.any() else np.inf)


def _finite(name: str, numbers: ArrayLike) -> Floats:
    array = np.asarray(numbers, dtype=np.float64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one run is needed")
    failed = array.size - np.count_nonzero(np.isfinite(array))
    if failed:
        raise ValueError(f"{name} has {failed} of {array.size} numbers that are not finite; mask failed runs first")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level = {level} is not in (0, 1)")
