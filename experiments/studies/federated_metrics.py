"""federated-metrics: federated optimizers on metrics of a classifier, which have no gradient.

Shu, Lin, Dai, Low (arXiv 2308.04077), section 6.3, on tables that lie in a package: precision, recall, F1 and Jaccard's
index of a small network whose parameters may change by 0.2, seven clients. Each seed has a split, a partition and a
network of its own, the same for all contenders. What was found is in `experiments/federated_metrics.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from envs.algorithm import Schedule
from experiments import plots
from experiments.loop import Result, run
from experiments.plots import CurveBand, Panel
from experiments.presets import Setting
from experiments.report import interval, measure_curves
from experiments.statistics import Floats, stratified_bootstrap
from experiments.studies.core import Contender, Found, Request, open_study, write_table
from experiments.tabular import MetricTask, Table, segment, shuttle
from zeroth_order.federated import FedProx, FedZO, FZooS, ScaffoldI, ScaffoldII
from zeroth_order.federated.gaussian_process import GaussianProcess
from zeroth_order.federated.partition import ClassPortions
from zeroth_order.objectives.metric import F1, Jaccard, Metric, Precision, Recall

NAME = "federated-metrics"
METRICS: dict[str, Metric] = {"precision": Precision(), "recall": Recall(), "F1": F1(), "Jaccard": Jaccard()}
EVALUATIONS = 15
"""Positions of the budget at which iterates are scored, besides the start."""
MU = Schedule(1.0)
"""A distance at which rows change their class: of the 0.01 that suits smooth functions hardly any does."""
BASELINE = "fedzo"
CONTENDERS = (
    Contender("fzoos", Setting(FZooS(radius=Schedule(0.1), process=GaussianProcess(capacity=150, noise=1e-2))), {}),
    Contender(BASELINE, Setting(FedZO(mu=MU)), {}),
    Contender("fedprox", Setting(FedProx(mu=MU)), {}),
    Contender("scaffold-i", Setting(ScaffoldI(mu=MU)), {}),
    Contender("scaffold-ii", Setting(ScaffoldII(mu=MU)), {}),
)
"""One of them is `BASELINE`, from which the paired differences are taken."""
HEADER = (
    "table", "metric", "algorithm", "start", "quarter", "half", "end",
    f"end, less that of {BASELINE}", "test: start", "test: end",
)  # fmt: skip


class Scene(NamedTuple):
    """A table and what is done with it."""

    table: Callable[[], Table]
    task: MetricTask
    budget: int
    """Queries of all clients together, unless others are asked for."""


SCENES: dict[str, Scene] = {
    "shuttle": Scene(shuttle, MetricTask(), 3_000),
    "segment": Scene(
        segment,
        MetricTask(partition=ClassPortions(0.3), hidden=(20,), training=300, rows=1_400, test=600, steps=20),
        5_000,
    ),
}


class Course(NamedTuple):
    """What became of n seeds of a contender at G positions."""

    label: str
    queries: Floats
    """[G] ascending from 0."""
    rounds: Floats
    """[G] finished by then, of those known to be: the mean over the seeds."""
    error: Floats
    """F, the clients' mean of 1 - metric, [n, G]."""
    test: Floats
    """1 - metric on the test rows, [n, G]."""


def run_federated_metrics(
    request: Request, scenes: Mapping[str, Scene] = SCENES, contenders: Sequence[Contender] = CONTENDERS
) -> Found:
    """The study. Raises ValueError for bad input, and where the package river is missing, before any work."""
    tables = {name: scene.table() for name, scene in scenes.items()}
    open_study(NAME, request)
    rows: list[list[str]] = []
    files: list[Path] = []
    for name, scene in scenes.items():
        above, below = [], []
        for metric in METRICS:
            found = [course(each, metric, name, scene, tables[name], request) for each in contenders]
            rows += lines(name, metric, found)
            above.append(Panel("queries", f"1 - {metric}", [_band(each, each.queries) for each in found]))
            if min(each.rounds[-1] for each in found) > 0:
                below.append(Panel("rounds", f"1 - {metric}", [_band(each, each.rounds) for each in found]))
        figure = plots.grid_figure([*above, *below], f"{name}: mean of the clients", plots.CURVES, columns=len(METRICS))
        files += plots.save(figure, request.out / name)
    text, written = write_table(request.out / "metrics", HEADER, rows)
    return Found(text, [*written, *files])


def course(contender: Contender, metric: str, name: str, scene: Scene, table: Table, request: Request) -> Course:
    """Run the contender seed by seed, because each has a problem of its own; records are kept in the study's folder."""
    budget = scene.budget if request.budget is None else request.budget
    results = []
    with request.show(f"{name}, {metric}: {contender.label}") as progress:
        for i, seed in enumerate(request.numbers):
            problem = replace(scene.task, metric=METRICS[metric], seed=seed).problem(table, torch.float32)

            def shown(done: float, message: str, before: int = i) -> None:
                progress((before + done) / request.seeds, message)

            results.append(
                run(
                    contender.setting.algorithm, problem, [seed], budget, evaluations=EVALUATIONS,
                    out=request.out / f"{name}-{metric}", resume=request.resume, progress=shown,
                )
            )  # fmt: skip
    positions = [budget * i // EVALUATIONS for i in range(EVALUATIONS + 1)]

    def told(measure: str, result: Result) -> Floats:
        return measure_curves(result.curves, measure, "queries", positions)[0]

    rounds = np.mean([told("train/rounds", result) for result in results], axis=0)
    error = np.array([-told("eval/negative value", result) for result in results])
    test = np.array([1 - told("eval/test metric", result) for result in results])
    return Course(contender.label, np.array(positions, float), rounds, error, test)


def lines(name: str, metric: str, found: Sequence[Course]) -> list[list[str]]:
    """The rows of one table and metric."""
    (baseline,) = (each for each in found if each.label == BASELINE)
    at = [0, EVALUATIONS // 4, EVALUATIONS // 2, EVALUATIONS]
    return [
        [
            name, metric, each.label,
            *(f"{each.error[:, i].mean():.3f}" for i in at),
            "" if each is baseline else _difference(each.error[:, -1] - baseline.error[:, -1]),
            *(f"{each.test[:, i].mean():.3f}" for i in (0, -1)),
        ]
        for each in found
    ]  # fmt: skip


def _difference(pairs: Floats) -> str:
    return interval(stratified_bootstrap([pairs], statistic=lambda runs: runs.mean(0)), "{:.3f}")


def _band(found: Course, x: Floats) -> CurveBand:
    """Where x grows, from the first positive x on."""
    _, first = np.unique(x, return_index=True)
    first = first[x[first] > 0]
    return CurveBand(found.label, x[first], *stratified_bootstrap([found.error[:, first]]), len(found.error))
