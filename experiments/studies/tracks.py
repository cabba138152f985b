"""Runs of one algorithm on one exact problem, as curves against trajectories."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.exact import ExactProblem
from experiments.ledger import NON_FINITE
from experiments.loop import run
from experiments.plots import CurveBand
from experiments.report import finite_runs, measure_curves
from experiments.statistics import Floats, stratified_bootstrap
from experiments.studies.core import Contender, Request

POSITIONS = 60
"""At most, on a logarithmic axis."""
RESAMPLES = 400
"""Of the runs behind a band in a figure."""
RESOLUTION = 1e-12
"""Smaller gaps are below what the optimum is known to."""


class Track(NamedTuple):
    """What became of n runs at G numbers of trajectories, [n, G] each."""

    contender: Contender
    trajectories: Floats
    """[G], ascending from 1."""
    gap: Floats
    """J_H* - J_H, at least RESOLUTION."""
    direction_error: Floats
    """|d_t - grad f|, [n, G - 1]: of the last iterate there is no next direction."""
    fisher_min: Floats
    """Smallest eigenvalue of the Fisher information outside the null space that it always has."""
    diverged: int
    """Runs that stopped because they were no longer finite; their last finite values are carried forward."""

    def band(self, values: Floats) -> CurveBand:
        """The interquartile mean of `values` [n, G or G - 1] with its interval."""
        x = self.trajectories[: values.shape[1]]
        interval = stratified_bootstrap([values], resamples=RESAMPLES)
        return CurveBand(self.contender.label, x, *interval, len(values))


def budget_of(problem: ExactProblem, request: Request, trajectories: int) -> int:
    """Environment steps per run: those asked for, or else so many trajectories."""
    return trajectories * problem.env.spec.horizon if request.budget is None else request.budget


def log_positions(budget: int, horizon: int) -> list[int]:
    """0 and environment steps up to the budget, at whole trajectories evenly spaced in the logarithm."""
    last = budget // horizon
    trajectories = np.unique(np.geomspace(1, last, POSITIONS).round().astype(int))
    return [0, *(int(n) * horizon for n in trajectories[:-1]), budget]


def track(contender: Contender, problem: ExactProblem, request: Request, budget: int, out: Path) -> Track:
    """Run the contender for that many environment steps, keeping its record in `out`."""
    how, horizon = contender.setting, problem.env.spec.horizon
    positions = log_positions(budget, horizon)
    view = problem.answered_by(how.estimator, how.query_episodes, None)
    with request.show(f"{problem.name} {contender.label}") as progress:
        result = run(
            how.algorithm, view, request.numbers, budget,
            evaluations=positions, out=out, resume=request.resume, progress=progress,
        )  # fmt: skip
    at = [position // horizon for position in positions[1:]]

    def curves(name: str, until: int) -> Floats:
        return finite_runs(measure_curves(result.curves, name, "episodes", at[:until]))

    gap = np.maximum(curves("eval/gap", len(at)), RESOLUTION)
    errors, eigenvalues = curves("train/direction_error", -1), curves("eval/fisher_min_complement", len(at))
    return Track(contender, np.array(at, float), gap, errors, eigenvalues, result.stopped.count(NON_FINITE))
