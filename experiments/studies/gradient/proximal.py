"""The hop as a proximal step: on a quadratic the softmin of a Gaussian is known in closed form.

f = L |x|^2 / 2 and N(c, sigma^2 I), weighted with exp(-alpha f), have the mean c / (1 + alpha L sigma^2) for any alpha:
the proximal step of length tau = alpha sigma^2. With N samples the hop is off by about N^(-1/2).
"""

import numpy as np

from envs.algorithm import Schedule
from experiments import plots
from experiments.plots import Panel
from experiments.report import interval
from experiments.statistics import Floats, stratified_bootstrap
from experiments.studies.core import Found, Request, write_table
from experiments.studies.gradient.steps import MEANS, band, exponent, mean, starts, steps
from zeroth_order import ConsensusHopping, Growth, Sphere

CURVATURE = 2.0
"""L of `Sphere`, f = |x|^2."""
SIGMA = 0.5
DIMS = (1, 2, 8)
SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
LARGE = 100
"""The exponent is fitted to N from this on: the error of a ratio of means is of the order N^(-1/2) for large N only."""
ALPHA = 4.0
"""While the number of samples changes; tau = 1."""
ALPHAS = tuple(float(alpha) for alpha in np.geomspace(0.01, 100.0, 9))
SIZE = 1_000
"""While alpha changes."""
ROWS = (0.1, 1.0, 10.0, 100.0)
"""Values of alpha in the table."""


def run_proximal(request: Request) -> Found:
    """Error against N and against alpha in a few dimensions, and the mean hop beside the formula."""
    by_size, by_alpha, slopes, x = [], [], [], np.array(SIZES, float)
    with request.show("proximal step") as progress:
        for i, dim in enumerate(DIMS):
            sizes = np.stack([errors(hop(dim, size, ALPHA, request), ALPHA) for size in SIZES], axis=1)
            alphas = np.stack([errors(hop(dim, SIZE, alpha, request), alpha) for alpha in ALPHAS], axis=1)
            by_size.append(band(f"d = {dim}", x, sizes))
            by_alpha.append(band(f"d = {dim}", np.array(ALPHAS), alphas))
            fit = exponent(x[x >= LARGE], sizes[:, x >= LARGE])
            slopes.append([str(dim), interval(fit, "{:.3f}"), "-0.5"])
            progress((i + 1) / len(DIMS), f"d = {dim}")
    panels = [
        Panel(f"samples N, α = {ALPHA:g}", "|hop - proximal step|", by_size),
        Panel(f"α, N = {SIZE:,}", "|hop - proximal step|", by_alpha),
    ]
    title = f"f = |x|², |c| = 1, σ = {SIGMA:g}"
    figure = plots.grid_figure(panels, title, MEANS, columns=2)
    plots.draw_guide(figure.axes[0], by_size[0].x, float(by_size[0].centre[0]), -0.5, "-1/2")
    files = plots.save(figure, request.out / "proximal")
    text, tables = write_table(request.out / "proximal-slopes", ["d", f"exponent of N ≥ {LARGE}", "expected"], slopes)
    header = ["α", "τ", "1 / (1 + τ L)", f"measured, d = 2, N = {SIZES[-1]:,}"]
    hops, more = write_table(request.out / "proximal", header, [row(alpha, request) for alpha in ROWS])
    return Found(f"{text}\n{hops}", [*tables, *more, *files])


def contraction(alpha: float) -> float:
    """Of c in a proximal step."""
    return 1 / (1 + alpha * CURVATURE * SIGMA**2)


def hop(dim: int, size: int, alpha: float, request: Request) -> Floats:
    """Where hops from c = (1, ..., 1) / d^(1/2) end, [R, d]."""
    c, root = starts(request.numbers, dim, dim**-0.5, 0.0)
    (step,) = steps(ConsensusHopping(size, Schedule(SIGMA), Growth(alpha)), Sphere(dim), c, root, 1)
    return step.after.numpy()


def errors(found: Floats, alpha: float) -> Floats:
    """Distance [R] of hops [R, d] to the proximal step."""
    return np.linalg.norm(found - contraction(alpha) * found.shape[1] ** -0.5, axis=1)


def row(alpha: float, request: Request) -> list[str]:
    """The formula, and the mean of the hops along c."""
    along = hop(2, SIZES[-1], alpha, request).sum(axis=1) * 2**-0.5
    measured = interval(stratified_bootstrap([along], mean), "{:.4f}")
    return [f"{alpha:g}", f"{alpha * SIGMA**2:g}", f"{contraction(alpha):.4f}", measured]
