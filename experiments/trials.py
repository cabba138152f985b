"""What a configuration is worth, and which one is chosen: the one rule of tuning.

A run's score is its mean evaluated score at the positions after the start, the area under its curve: reaching a good
policy early counts as well as ending with one. A configuration's is the interquartile mean over its seeds. A seed
failed if it stopped because it was no longer finite, or if its last iterate has no finite score; then its
configuration has no score and cannot be chosen. The highest lower end of the score's 95 % interval wins, of equals the
smallest step size: the largest mean alone often belongs to steps so large that a few seeds fail.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from experiments.grids import Values
from experiments.ledger import NON_FINITE
from experiments.loop import Result
from experiments.presets import Setting
from experiments.problems import Problem
from experiments.report import score_curves
from experiments.statistics import Estimate, Floats, stratified_bootstrap

RULE = (
    "highest lower end of the 95 % interval of the interquartile mean over the seeds of the mean score at the "
    "evaluated positions after the start, among the configurations of which no seed ended without a finite iterate "
    "and score; of equals the smallest step size"
)


class Trial(NamedTuple):
    """One configuration and what became of it."""

    algorithm: str
    values: Values
    """What was swept, the step size first."""
    setting: Setting
    score: Estimate
    """Interquartile mean over the seeds of the mean score, with its 95 % interval; NaN where a seed failed."""
    failed: int
    """Seeds that failed."""

    @property
    def step(self) -> float:
        """The step size."""
        return float(next(iter(self.values.values())))

    @property
    def others(self) -> Values:
        """What was swept beside the step size."""
        return dict(list(self.values.items())[1:])


def trial(algorithm: str, values: Values, setting: Setting, scores: Floats) -> Trial:
    """The trial whose seeds had these scores [seeds], NaN for those that failed."""
    failed = int(np.isnan(scores).sum())
    score = Estimate(*[np.asarray(np.nan)] * 3) if failed else stratified_bootstrap([scores])
    return Trial(algorithm, values, setting, score, failed)


def run_scores(result: Result, problem: Problem, budget: int, evaluations: int) -> Floats:
    """The score of each run, [R]; NaN for one that failed."""
    positions = [budget * i // evaluations for i in range(1, evaluations + 1)]
    scores = np.full(len(result.stopped), np.nan)
    seen = np.unique(result.curves["run"].to_numpy())  # a run without a single finite measure has no rows
    curves = score_curves(result.curves, problem.score_name, problem.unit, positions)
    scores[seen] = (curves / evaluations).sum(axis=1)  # divided first: the sum of a diverging run would overflow
    rows = result.curves.filter(pc.equal(result.curves["name"], f"eval/{problem.score_name}"))
    last = np.full(len(scores), -1)
    np.maximum.at(last, rows["run"].to_numpy(), rows[problem.unit].to_numpy())
    unscored = last < getattr(result.spent, problem.unit).cpu().numpy()
    return np.where(unscored | (np.array(result.stopped) == NON_FINITE), np.nan, scores)


def choose(trials: Sequence[Trial]) -> Trial:
    """The best of one algorithm's trials by the rule; raises ValueError where each had a seed that failed."""
    sound = [candidate for candidate in trials if not candidate.failed]
    if not sound:
        raise ValueError(
            f"{trials[0].algorithm}: in each of {len(trials)} configurations a seed failed; try smaller step sizes"
        )
    return max(sound, key=lambda candidate: (float(candidate.score.low), -candidate.step))
