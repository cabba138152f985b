"""Paths on the Grand Canyon: CBO, consensus hopping, gradient descent, annealed Langevin, in the paper's settings."""

from typing import Any, NamedTuple

import numpy as np
import torch

from envs.algorithm import Schedule
from experiments import plots
from experiments.record import write_csv
from experiments.report import interval
from experiments.statistics import Floats, share, stratified_bootstrap
from experiments.studies.core import Found, Request, write_table
from experiments.studies.gradient.pictures import paths_figure
from experiments.studies.gradient.steps import starts, steps
from zeroth_order import CBO, ConsensusHopping, GradientDescent, GrandCanyon, Growth, Isotropic, Langevin, Optimizer
from zeroth_order.langevin import PUBLISHED

RUNS = 50
"""At most, of those asked for."""
CENTRE, SPREAD = 8.0, 0.5
"""Particles, or starts, are drawn from N(CENTRE, SPREAD^2 I)."""
NEAR = 1.0
"""Distance to the global minimiser; the closest of the other minima is 3 away."""


class Method(NamedTuple):
    """A panel."""

    label: str
    algorithm: Optimizer
    queries: int
    """A step, a gradient being one."""
    steps: int
    every: int
    """Steps between the points of a path."""
    spread: float
    """Of the starts."""


METHODS = (
    Method(
        "CBO",
        CBO(200, dt=0.01, sigma=Schedule(1.6), alpha=Growth(100.0), noise=Isotropic(), spread=SPREAD),
        200,
        250,
        1,
        0.0,
    ),
    Method("consensus hopping", ConsensusHopping(200, Schedule(0.7), Growth(100.0)), 200, 250, 1, 0.0),
    Method("gradient descent", GradientDescent(Schedule(1e-3)), 2, 10_000, 50, SPREAD),
    Method("annealed Langevin", Langevin(Schedule(1e-3), PUBLISHED), 2, 10_000, 50, SPREAD),
)


def run_canyon(request: Request) -> Found:
    """A panel and a line for each method."""
    seeds, rows, paths = request.numbers[:RUNS], [], {}
    ends: list[list[Any]] = [["method", "seed", "x", "y", "value"]]
    for method in METHODS:
        path = follow(method, seeds, request)
        last = path[-1]
        values = GrandCanyon()(torch.as_tensor(last)).numpy()
        paths[method.label] = path
        rows.append(row(method, last, values))
        ends += [
            [method.label, seed, *(f"{number:.6g}" for number in (*x, value))]
            for seed, x, value in zip(seeds, last, values, strict=True)
        ]
    write_csv(request.out / "canyon-ends.csv", ends)
    title = f"Grand Canyon, {len(seeds)} runs each"
    files = plots.save(paths_figure(GrandCanyon(), paths, title), request.out / "canyon")
    header = ["method", "runs", f"end within {NEAR:g} of the minimiser", "final value", "queries a run"]
    text, tables = write_table(request.out / "canyon", header, rows)
    return Found(text, [*tables, request.out / "canyon-ends.csv", *files])


def follow(method: Method, seeds: list[int], request: Request) -> Floats:
    """The paths [G, R, 2]: the start, every so many steps, and the end."""
    x0, root = starts(seeds, 2, CENTRE, method.spread)
    path = [x0]
    with request.show(method.label) as progress:
        for t, step in enumerate(steps(method.algorithm, GrandCanyon(), x0, root, method.steps), start=1):
            if t % method.every == 0 or t == method.steps:
                path.append(step.after)
                progress(t / method.steps, f"{t} steps")
    return torch.stack(path).numpy()


def row(method: Method, last: Floats, values: Floats) -> list[str]:
    """The line of a method whose runs ended at `last` [R, 2] with these values [R]."""
    minimiser, _ = GrandCanyon().optimum
    near = np.linalg.norm(last - minimiser.numpy(), axis=1) < NEAR
    return [
        method.label, str(len(near)), interval(share(near), "{:.2f}"),
        interval(stratified_bootstrap([values]), "{:.3g}"), f"{method.queries * method.steps:,}",
    ]  # fmt: skip
