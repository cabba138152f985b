"""Statistics against scipy.stats and closed forms."""

import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from experiments.statistics import (
    carry_forward,
    improvement_interval,
    iqm,
    kaplan_meier,
    loglog_slope,
    median_time,
    performance_profile,
    probability_of_improvement,
    share,
    stratified_bootstrap,
)

REPEATABLE = settings(derandomize=True, deadline=None)
SCORES = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(-1000, 1000))


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 5, 7, 8, 19, 32])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_iqm_is_the_trimmed_mean(runs, axis):
    scores = np.random.default_rng(runs).standard_cauchy((runs, runs, 3) if axis != -1 else (2, 3, runs))
    assert_allclose(iqm(scores, axis), scipy.stats.trim_mean(scores, 0.25, axis=axis), rtol=1e-12)


def test_iqm_ignores_the_outer_quarters():
    assert iqm([-1e9, 1.0, 3.0, 1e9]) == 2.0


@REPEATABLE
@given(SCORES, st.randoms(use_true_random=False), st.integers(-100, 100), st.integers(1, 8))
def test_iqm_does_not_see_the_order_of_runs_and_moves_with_shift_and_scale(scores, random, shift, scale):
    order = random.sample(range(len(scores)), len(scores))
    assert_array_equal(iqm(scores[order]), iqm(scores))
    assert_allclose(iqm(scale * scores + shift), scale * iqm(scores) + shift, rtol=1e-12, atol=1e-9)


@REPEATABLE
@given(SCORES, st.integers(-100, 100))
def test_bootstrap_interval_moves_with_a_shift(scores, shift):
    here, there = (stratified_bootstrap([s], resamples=20) for s in (scores, scores + shift))
    for a, b in zip(here, there, strict=True):
        assert_allclose(b, a + shift, rtol=1e-12, atol=1e-9)


def test_bootstrap_agrees_with_scipy():
    scores, rng = np.random.default_rng(1).gamma(2.0, size=24), np.random.default_rng(2)
    ours = stratified_bootstrap([scores], resamples=10_000, level=0.9)

    def statistic(x, axis):
        return scipy.stats.trim_mean(x, 0.25, axis=axis)

    peer = scipy.stats.bootstrap(
        (scores,), statistic, n_resamples=10_000, confidence_level=0.9, method="percentile", rng=rng
    )
    # A 5 % quantile of 10^4 draws has standard error sqrt(.05 * .95 / 10^4) / density, and the density of a normal
    # there is .103 / sd. Either side has it: 4 standard deviations, wrong in fewer than 2 of 10^4 seeds.
    noise = 0.00218 / 0.103 * peer.standard_error
    assert_allclose((ours.low, ours.high), peer.confidence_interval, atol=4 * np.sqrt(2) * noise)


def test_bootstrap_of_the_normal_mean_covers_as_often_as_theory_says():
    n, sets = 20, 2000
    samples = np.random.default_rng(3).normal(5.0, 2.0, (n, sets))
    value, low, high = stratified_bootstrap([samples], lambda runs: runs.mean(axis=0), resamples=1000)
    assert_allclose(value, samples.mean(axis=0))
    # The percentile interval is mean +- 1.96 s sqrt((n - 1) / n) / sqrt(n), so Student's t gives its coverage, 0.929.
    expected = 1 - 2 * scipy.stats.t.sf(1.96 * np.sqrt((n - 1) / n), n - 1)
    covered = ((low <= 5.0) & (high >= 5.0)).mean()
    # 4 standard deviations of the binomial: wrong in fewer than 1 of 10^4 seeds.
    assert abs(covered - expected) < 4 * np.sqrt(expected * (1 - expected) / sets)


def test_bootstrap_keeps_the_checkpoints_of_a_run_together():
    scores = np.random.default_rng(4).normal(size=(10, 1))
    curves = np.concatenate([scores, scores + 7, -scores], axis=1)
    # Column 2 mirrors column 0 in every resample, so their sum cannot vary.
    total = stratified_bootstrap([curves], lambda runs: runs[:, 0].mean() + runs[:, 2].mean())
    assert_allclose(total, 0.0, atol=1e-12)
    low, high = stratified_bootstrap([curves])[1:]
    assert_allclose((low[1], high[1]), (low[0] + 7, high[0] + 7))


def test_bootstrap_resamples_within_strata():
    low_task, high_task = np.zeros(5), np.full(11, 100.0)
    value, low, high = stratified_bootstrap([low_task, high_task], np.mean)
    assert value == low == high == 1100 / 16
    seen = stratified_bootstrap([low_task, high_task], lambda pooled: pooled, resamples=50)
    assert_array_equal(seen.low, seen.high)


def test_bootstrap_is_a_function_of_its_seed():
    scores = np.random.default_rng(5).normal(size=20)
    assert stratified_bootstrap([scores], seed=1) == stratified_bootstrap([scores], seed=1)
    assert stratified_bootstrap([scores], seed=1) != stratified_bootstrap([scores], seed=2)


def test_bootstrap_takes_many_interquartile_means_at_once_as_one_by_one():
    scores = np.random.default_rng(3).normal(size=(13, 4))
    for part in (scores, scores[:, 0]):
        at_once, one_by_one = (stratified_bootstrap([part, part + 1.0], how, resamples=250) for how in (None, iqm))
        np.testing.assert_allclose(at_once, one_by_one, rtol=1e-13)


def test_a_lone_run_has_no_interval():
    value, low, high = stratified_bootstrap([[[1.0, 2.0]]])
    assert_array_equal(value, [1.0, 2.0])
    assert np.isnan([low, high]).all()
    assert np.isnan(stratified_bootstrap([[1.0, 2.0], [3.0]]).low)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_share_has_the_exact_binomial_interval(level):
    successes = np.arange(7)[:, None] < np.arange(8)  # 0 to 7 of 7
    found = share(successes, level)
    exact = [scipy.stats.binomtest(k, 7).proportion_ci(level, "exact") for k in range(8)]
    assert_allclose(found.value, np.arange(8) / 7)
    assert_allclose(np.stack([found.low, found.high], 1), exact, rtol=1e-9, atol=1e-12)


def test_performance_profile_counts_what_is_above():
    assert_array_equal(performance_profile([[0.0, 1.0], [2.0, 3.0]], [-1.0, 0.0, 2.5, 3.0]), [1.0, 0.75, 0.25, 0.0])


@REPEATABLE
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
)
def test_probability_of_improvement_is_mann_whitney(x, y):
    u = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic if len({*x, *y}) > 1 else len(x) * len(y) / 2
    assert probability_of_improvement(x, y) == pytest.approx(u / (len(x) * len(y)))
    assert probability_of_improvement(y, x) == pytest.approx(1 - probability_of_improvement(x, y))


def test_improvement_interval_resamples_either_group_on_its_own():
    generator = np.random.default_rng(6)
    assert improvement_interval(np.arange(5.0) + 10, np.arange(8.0)) == (1.0, 1.0, 1.0)
    x, y = generator.normal(0.5, size=(2, 40))
    value, low, high = improvement_interval(x, y)
    assert value == probability_of_improvement(x, y)
    # Standard error of U / (n m) under equal distributions: sqrt((n + m + 1) / (12 n m)) = 0.065. Fixed seed.
    assert (high - low) / (2 * 1.96) == pytest.approx(0.065, rel=0.15)
    assert low < value < high


@pytest.mark.parametrize("seed", range(5))
def test_kaplan_meier_agrees_with_scipy(seed):
    generator = np.random.default_rng(seed)
    times, reached = generator.integers(1, 15, 30).astype(float), generator.random(30) < 0.6
    curve = kaplan_meier(times, reached, level=0.9)
    peer = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(times, ~reached)).sf
    assert_array_equal(curve.times, [0.0, *peer.quantiles])
    assert_allclose(curve.survival, [1.0, *peer.probabilities])
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # it has no interval at the ends
        interval = peer.confidence_interval(0.9, method="log-log")
    inside = (peer.probabilities > 0) & (peer.probabilities < 1)
    assert inside.sum() > 5
    assert_allclose(curve.low[1:][inside], interval.low.probabilities[inside])
    assert_allclose(curve.high[1:][inside], interval.high.probabilities[inside])


def test_kaplan_meier_without_censoring_is_one_minus_the_share_reached():
    curve = kaplan_meier([3.0, 1.0, 2.0, 2.0], [True] * 4)
    assert_array_equal(curve.times, [0, 1, 2, 3])
    assert_allclose(curve.survival, [1, 0.75, 0.25, 0], atol=1e-15)


@pytest.mark.parametrize("n", [1, 6, 32])
def test_ends_of_the_survival_interval_are_clopper_pearson(n):
    for reached, survivors in ((True, 0), (False, n)):
        curve = kaplan_meier(np.full(n, 5.0), np.full(n, reached))
        exact = scipy.stats.binomtest(survivors, n).proportion_ci(0.95, "exact")
        assert_allclose((curve.low[-1], curve.high[-1]), exact, atol=1e-12)


@REPEATABLE
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_survival_is_ordered_and_does_not_see_the_order_of_runs(runs, random):
    curve = kaplan_meier(*zip(*runs, strict=True))
    assert (np.diff(curve.survival) <= 0).all()
    assert ((curve.low >= 0) & (curve.low <= curve.survival + 1e-12)).all()
    assert ((curve.survival <= curve.high + 1e-12) & (curve.high <= 1)).all()
    shuffled = kaplan_meier(*zip(*random.sample(runs, len(runs)), strict=True))
    for a, b in zip(curve, shuffled, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("n", [2, 4, 10, 24, 28, 30, 38])
def test_median_is_reached_by_exactly_half(n):
    """The product 1 - 1/n, 1 - 1/(n - 1), ... passes 1/2 with a rounding error that must not move the median."""
    times = np.arange(1.0, n + 1)
    assert median_time(times, times <= n // 2).value == n // 2
    assert median_time(times, times <= n // 2 - 1).value == np.inf


def test_median_interval_inverts_the_survival_interval():
    generator = np.random.default_rng(7)
    times = np.sort(generator.exponential(size=40))
    reached = times < 1.5
    value, low, high = median_time(np.minimum(times, 1.5), reached)
    peer = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(np.minimum(times, 1.5), ~reached)).sf
    interval = peer.confidence_interval(method="log-log")
    for ours, curve in ((value, peer), (low, interval.low), (high, interval.high)):
        assert ours == curve.quantiles[curve.probabilities <= 0.5][0]
    assert low < value < high


def test_median_of_censored_exponentials_is_covered():
    generator = np.random.default_rng(8)
    covered = 0
    for _ in range(400):
        times = generator.exponential(size=32)
        _, low, high = median_time(np.minimum(times, 1.2), times <= 1.2)
        covered += low <= np.log(2) < high
    # Nominal 0.95, and the steps make it conservative: below 0.906 is 4 standard deviations, 1 of 3 * 10^4 seeds.
    assert covered / 400 > 0.906


def test_median_says_what_few_runs_can_say():
    assert median_time([5.0] * 32, [True] * 32) == (5.0, 5.0, 5.0)
    assert median_time([9.0] * 32, [False] * 32) == (np.inf, np.inf, np.inf)
    # Order statistics: the range of n runs covers their median with 1 - 2 / 2^n, which reaches 0.95 at n = 6.
    assert median_time(np.arange(1.0, 6), [True] * 5) == (3.0, 0.0, np.inf)
    assert median_time(np.arange(1.0, 7), [True] * 6) == (3.0, 1.0, 6.0)


@REPEATABLE
@given(st.floats(-2, 0), st.floats(0.1, 10))
def test_slope_of_a_power_law_is_exact(exponent, scale):
    x = np.array([1.0, 10, 100, 200, 500, 1000])
    y = scale * x**exponent * np.array([[1.0], [2.0], [7.0]])
    y[:, 0] *= 1000  # before the last two decades
    assert_allclose(loglog_slope(x, y, last_decades=2, resamples=20), exponent, atol=1e-9)


def test_slope_of_a_bent_power_law_depends_on_the_decades_kept():
    x = np.geomspace(1, 1000, 31)
    y = np.where(x < 100, x**-1.0, 0.01 * (x / 100) ** -0.25) * np.array([[1.0], [3.0]])
    assert_allclose(loglog_slope(x, y, resamples=20), -0.25, atol=1e-9)
    whole = np.polyfit(np.log(x[10:]), np.log(y[0, 10:]), 1)[0]
    assert_allclose(loglog_slope(x, y, last_decades=2, resamples=20), whole, atol=1e-9)


def test_slope_takes_the_mean_over_runs_first_and_its_interval_covers():
    generator = np.random.default_rng(9)
    x = np.geomspace(10, 1000, 21)
    covered = 0
    for seed in range(200):
        y = x**-0.5 * generator.gamma(4.0, 0.25, (30, 21))
        estimate = loglog_slope(x, y, resamples=200, seed=seed)
        kept = x >= 100 - 1e-6
        assert estimate.value == pytest.approx(np.polyfit(np.log(x[kept]), np.log(y[:, kept].mean(axis=0)), 1)[0])
        covered += estimate.low <= -0.5 <= estimate.high
    # Nominal 0.95, about 0.94 for 30 runs: below 0.88 is more than 3.5 standard deviations, 1 of 4000 seeds.
    assert covered / 200 > 0.88


def test_carry_forward_takes_the_last_value_seen():
    at, values = [[0.0, 10, 20], [5.0, 5, np.inf]], [[1.0, 2, 3], [4.0, 6, np.nan]]
    expected = [[1, 1, 1, 2, 2, 3], [np.nan, np.nan, 6, 6, 6, 6]]
    assert_array_equal(carry_forward([0, 4.9, 5, 10, 19, 1e9], at, values), expected)


@REPEATABLE
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.lists(st.integers(-1, 22), min_size=1, max_size=8))
def test_carry_forward_is_the_definition(at, positions):
    at = np.sort(np.array(at, dtype=float))
    values = np.arange(len(at)) + 0.5
    expected = [values[at <= g][-1] if (at <= g).any() else np.nan for g in positions]
    assert_array_equal(carry_forward(positions, at, values), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iqm([1.0, np.nan, np.inf]), "scores has 2 of 3 numbers that are not finite"),
        (lambda: iqm([]), "at least one run"),
        (lambda: stratified_bootstrap([[1.0, 2.0], [np.nan, 1.0]]), "stratum 1 has 1 of 2"),
        (lambda: stratified_bootstrap([]), "strata is empty"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], level=95), r"level = 95 is not in \(0, 1\)"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], resamples=0), "resamples = 0"),
        (lambda: performance_profile([np.nan], [0.0]), "scores has 1 of 1"),
        (lambda: share([1.0, np.nan]), "successes has 1 of 2"),
        (lambda: share([True], level=1.0), "level = 1.0"),
        (lambda: probability_of_improvement([1.0], [np.nan]), "y has 1 of 1"),
        (lambda: probability_of_improvement([[1.0]], [1.0]), r"\(1, 1\)"),
        (lambda: kaplan_meier([np.inf, 1.0], [False, True]), "times has 1 of 2"),
        (lambda: kaplan_meier([1.0, 2.0], [True]), r"\(2,\) and \(1,\)"),
        (lambda: kaplan_meier([-1.0], [True]), "times has -1"),
        (lambda: median_time([1.0], [True], level=0), "level = 0"),
        (lambda: loglog_slope([1.0, 2.0], [[1.0, 0.0]]), "smallest y 0"),
        (lambda: loglog_slope([1.0, 2.0], [1.0, 1.0]), r"\[runs, P\]"),
        (lambda: loglog_slope([1.0, 100.0], [[1.0, 1.0]]), "last_decades = 1 leaves"),
        (lambda: carry_forward([1.0], [2.0, 1.0], [0.0, 0.0]), "ascending"),
        (lambda: carry_forward([1.0], [1.0, 2.0], [0.0, np.nan]), "values has 1 of 2"),
        (lambda: carry_forward([1.0], [1.0, 2.0], [0.0]), "must agree"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
