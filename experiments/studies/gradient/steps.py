"""Steps of an optimizer on an objective, seen one by one, and what the parts of the study measure on them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.random import Purpose, Stream, streams
from experiments.answers import ExactOracle
from experiments.objective_problem import ObjectiveProblem
from experiments.plots import CurveBand
from experiments.statistics import Estimate, Floats, loglog_slope, stratified_bootstrap
from zeroth_order import Objective, Optimizer
from zeroth_order.cbo.swarm import gaussian

MEANS = "Line: mean of {runs}. Band: pointwise 95 % bootstrap interval."
RESAMPLES = 400
"""Of the runs behind a band in a figure."""


class Step(NamedTuple):
    """One iteration of R runs."""

    before: Tensor
    """[R, d] recommendation that it began with."""
    points: Tensor
    """[R, K, d] asked for."""
    values: Tensor
    """[R, K]"""
    after: Tensor
    """[R, d] recommendation that it ended with."""


def steps(algorithm: Optimizer, objective: Objective, x0: Tensor, root: Stream, count: int) -> Iterator[Step]:
    """So many iterations from x0 [R, d]."""
    problem = ObjectiveProblem(objective)
    state = algorithm.init(x0, root.fold(Purpose.INITIAL))
    for t in range(count):
        before = algorithm.recommend(state)
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        feedback = problem.answer(algorithm, points, root.fold(Purpose.TRAIN).at(t)).feedback
        state, _ = algorithm.tell(state, points, feedback)
        yield Step(before, points, feedback.values, algorithm.recommend(state))


def starts(
    seeds: Sequence[int], dim: int, centre: float, spread: float, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Stream]:
    """One start [R, d] of N(centre, spread^2 I) for each seed, and the root stream of the runs."""
    root = streams(seeds)
    middle = torch.full((len(seeds), dim), centre, dtype=dtype)
    return gaussian(middle, spread, 1, root.fold(Purpose.INSTANCE))[:, 0], root


def gradient(objective: Objective, x: Tensor, root: Stream) -> Tensor:
    """Exact gradient at x [R, d]."""
    return ExactOracle(objective, x[:, None], root.fold(Purpose.TRAIN), []).gradient()[:, 0]


def mean(runs: Floats) -> Floats:
    """Over the run axis; what bounds in expectation are about."""
    return np.asarray(runs.mean(axis=0))


def band(label: str, x: Floats, runs: Floats) -> CurveBand:
    """The mean over `runs` [n, G] at x [G] with its interval."""
    return CurveBand(label, x, *stratified_bootstrap([runs], mean, resamples=RESAMPLES), len(runs))


def exponent(x: Floats, runs: Floats) -> Estimate:
    """Exponent of x [G] fitted to the mean over `runs` [n, G], over all of x."""
    return loglog_slope(x, runs, last_decades=np.inf)
