"""The angle between a hop and the NES gradient of the same samples, as alpha goes to 0.

For small alpha, w_k = 1/N - alpha (f_k - mean f) / N + O(alpha^2), and so the hop is

    c' - mean V  =  -alpha sigma^2 g + O(alpha^2),   g = 1 / (N sigma^2) sum_k (f_k - mean f) (V_k - c)

with the NES gradient g whose baseline is the mean. It goes from the mean of the samples, which is not c: seen from c, a
finite sample adds mean V - c, whose length sigma (d / N)^(1/2) does not fall with alpha. Both angles are measured.
alpha is given in units of 1 / the standard deviation of f over the samples, so that one axis serves all objectives.
"""

import numpy as np
import torch
from torch import Tensor

from envs.algorithm import Schedule
from experiments import plots
from experiments.plots import CurveBand, Panel
from experiments.report import interval
from experiments.statistics import Floats, stratified_bootstrap
from experiments.studies.core import Found, Request, write_table
from experiments.studies.gradient.steps import MEANS, Step, band, exponent, mean, starts, steps
from zeroth_order import Ackley, ConsensusHopping, GrandCanyon, Growth, Objective, Rastrigin, Rosenbrock, Sphere

SAMPLES = 1_000
SIGMA = 0.5
SPREAD = 1.0
"""The hops begin at N(1, SPREAD^2 I)."""
OBJECTIVES: tuple[Objective, ...] = (Sphere(10), Ackley(10), Rastrigin(10), Rosenbrock(10), GrandCanyon())
ALPHAS = tuple(float(alpha) for alpha in np.geomspace(1e-4, 1e2, 13))
"""Times the standard deviation of f over the samples."""
SMALL = 1e-2
"""The exponent is fitted to alphas up to this."""


def run_cosine(request: Request) -> Found:
    """1 - cosine against alpha, from the mean of the samples and from c."""
    x, rows = np.array(ALPHAS), []
    from_mean: list[CurveBand] = []
    from_c: list[CurveBand] = []
    with request.show("angle to the NES gradient") as progress:
        for i, objective in enumerate(OBJECTIVES):
            inner, outer = measure(objective, request)
            from_mean.append(band(objective.id, x, inner))
            from_c.append(band(objective.id, x, outer))
            rows.append(row(objective, inner, outer))
            progress((i + 1) / len(OBJECTIVES), objective.id)
    scale = "α · standard deviation of f"
    panels = [
        Panel(scale, "1 - cos(c' - mean V, -g)", from_mean),
        Panel(scale, "1 - cos(c' - c, -g)", from_c),
    ]
    figure = plots.grid_figure(panels, f"hop and NES gradient, N = {SAMPLES:,}", MEANS, columns=2)
    plots.draw_guide(figure.axes[0], x[x <= SMALL], 0.2 * float(from_mean[0].centre[0]), 2.0, "2")
    files = plots.save(figure, request.out / "cosine")
    header = ["objective", "d", f"1 - cosine from the mean, α = {ALPHAS[0]:g}", "exponent of α", "expected",
              "largest cosine from c", "at α"]  # fmt: skip
    text, tables = write_table(request.out / "cosine", header, rows)
    return Found(text, [*tables, *files])


def measure(objective: Objective, request: Request) -> tuple[Floats, Floats]:
    """1 - cosine [R, alphas] from the mean of the samples and from c."""
    found = []
    for alpha in ALPHAS:
        step = hop(objective, alpha, request)
        g = nes_gradient(step)
        found.append([apart(step.after - step.points.mean(1), -g), apart(step.after - step.before, -g)])
    inner, outer = torch.stack([torch.stack(pair) for pair in found], -1).numpy()
    return inner, outer


def hop(objective: Objective, alpha: float, request: Request) -> Step:
    """One hop of every run with this alpha in units of 1 / the standard deviation of f over its own samples."""
    c, root = starts(request.numbers, objective.dim, 1.0, SPREAD)
    (unweighted,) = steps(ConsensusHopping(SAMPLES, Schedule(SIGMA)), objective, c, root, 1)
    own = Growth(alpha / unweighted.values.std(-1))
    (step,) = steps(ConsensusHopping(SAMPLES, Schedule(SIGMA), own), objective, c, root, 1)
    return step


def nes_gradient(step: Step) -> Tensor:
    """Of the smoothed objective, [R, d], up to the factor 1 / sigma^2, with the mean as baseline."""
    centred = step.values - step.values.mean(-1, keepdim=True)
    return (centred[..., None] * (step.points - step.before[:, None])).mean(1)


def apart(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine [R] of vectors [R, d], exact also where they are almost parallel."""
    unit_a, unit_b = (torch.nn.functional.normalize(v, dim=-1) for v in (a, b))
    return (unit_a - unit_b).square().sum(-1) / 2


def row(objective: Objective, inner: Floats, outer: Floats) -> list[str]:
    """The line of an objective."""
    x = np.array(ALPHAS)
    best = int(outer.mean(axis=0).argmin())
    return [
        objective.id, str(objective.dim), interval(stratified_bootstrap([inner[:, 0]], mean), "{:.2g}"),
        interval(exponent(x[x <= SMALL], inner[:, x <= SMALL]), "{:.3f}"), "2",
        interval(stratified_bootstrap([1 - outer[:, best]], mean), "{:.3f}"), f"{x[best]:.2g}",
    ]  # fmt: skip
