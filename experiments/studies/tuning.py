"""Tuning on exact problems: the rule of `experiments.trials` applied to the final score, pooled over problems."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np

from experiments.describe import describe
from experiments.exact import ExactProblem
from experiments.grids import Values, batched, batches, with_values
from experiments.loop import run
from experiments.provenance import provenance
from experiments.record import write_json
from experiments.studies.core import Chosen, Contender, Found, Request, write_table
from experiments.trials import RULE, Trial, choose, run_scores, trial

POWERS = [2.0**k for k in range(-9, 5)]
"""Step sizes of a grid."""


def tune(
    contenders: Sequence[Contender],
    problems: Sequence[ExactProblem],
    budget: int,
    request: Request,
    out: Path,
) -> list[Trial]:
    """Every configuration of every contender, its final scores on all problems pooled; records are kept in `out`."""
    check_equal(contenders)
    return [
        found
        for contender in contenders
        for values in batches(contender.setting, contender.grid)
        for found in _batch(contender, values, problems, budget, request, out)
    ]


def check_equal(contenders: Sequence[Contender]) -> None:
    """Raise ValueError unless all grids have one size."""
    sizes = {each.label: prod(len(values) for values in each.grid.values()) for each in contenders}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"grids have the sizes {sizes}; every contender gets the same number of configurations")


def _batch(
    contender: Contender,
    values: list[Values],
    problems: Sequence[ExactProblem],
    budget: int,
    request: Request,
    out: Path,
) -> list[Trial]:
    seeds, together = request.numbers, batched(contender.setting, values, request.seeds)
    scores = []
    for i, problem in enumerate(problems):
        view = problem.answered_by(together.estimator, together.query_episodes, None)
        with request.show(f"{problem.name} {contender.label}") as progress:
            result = run(
                together.algorithm, view, seeds * len(values), budget,
                evaluations=1, out=out / f"{problem.name}-{i}", resume=request.resume, progress=progress,
            )  # fmt: skip
        scores.append(run_scores(result, view, budget, evaluations=1).reshape(len(values), len(seeds)))
    rows = np.concatenate(scores, axis=1)
    return [
        trial(contender.label, each, with_values(contender.setting, each), row)
        for each, row in zip(values, rows, strict=True)
    ]


def save_chosen(trials: Mapping[str, Sequence[Trial]], request: Request, study: str) -> Found:
    """Write every trial as a table, and the chosen ones (problem -> contender -> values) as <study>.json."""
    chosen: Chosen = {}
    rows = []
    for problem, found in trials.items():
        labels = dict.fromkeys(each.algorithm for each in found)
        best = {label: choose([each for each in found if each.algorithm == label]) for label in labels}
        chosen[problem] = {label: each.values for label, each in best.items()}
        rows += [
            [problem, each.algorithm, describe(each.values), *(f"{-float(gap):.6g}" for gap in each.score),
             each.failed, "yes" if each is best[each.algorithm] else ""]
            for each in found
        ]  # fmt: skip
    header = ["problem", "contender", "values", "gap", "high", "low", "failed", "chosen"]
    _, files = write_table(request.out / "tuning", header, rows)
    file = request.out / f"{study}.json"
    how = {"rule": RULE, "score": "final negative gap", "seeds": request.numbers, "budget": request.budget}
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    write_json(file, {"chosen": chosen, "tuning": how, "provenance": provenance() | {"command": command}})
    return Found(f"chosen: {chosen}\n", [*files, file])
