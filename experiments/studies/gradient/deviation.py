"""How far consensus iterates are from gradient descent: x_k = x_{k-1} - tau grad f(x_{k-1}) + g_k.

The theorem of arXiv 2306.09778 bounds, with high probability for L-smooth, semiconvex f,

    |g_k| = O(|lambda - 1 / dt| + sigma dt^(1/2) + (tau / alpha)^(1/2) + N^(-1/2)) + O(tau)

tau is free there. Here it is that of the particles from which x_k is computed: alpha times their mean squared distance
to x_{k-1}, over d; for consensus hopping that is alpha sigma^2. Each sweep changes one quantity and keeps the others
where its term leads: of hopping, N, alpha at constant tau, and tau; of CBO, whose particles begin as a Gaussian cloud,
sigma and dt with lambda = 1 / dt, where nothing of the cloud is kept, and lambda with little noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from envs.algorithm import Schedule
from experiments import plots
from experiments.plots import Panel
from experiments.report import interval
from experiments.statistics import Floats
from experiments.studies.core import Found, Request, write_table
from experiments.studies.gradient.steps import MEANS, band, exponent, gradient, starts, steps
from zeroth_order import CBO, ConsensusHopping, Growth, Isotropic, Objective, Rastrigin, Sphere

OBJECTIVES: dict[str, Objective] = {"quadratic": Sphere(4), "rippled": Rastrigin(4, amplitude=0.1)}
"""f = |x|^2, and with ripples that make it nonconvex: its second derivatives lie in [-1.95, 5.95]."""
CENTRE = 0.6
"""x_0 = (CENTRE, ..., CENTRE)."""
SIZE = 1_000
"""N, where it is not varied."""
DT = 0.01
"""dt, where it is not varied."""
GUIDE = "Dotted: the exponent of the bound's term."


class Sweep(NamedTuple):
    """One quantity that is varied."""

    symbol: str
    regime: str
    """What is kept."""
    values: tuple[float, ...]
    make: Callable[[float], CBO | ConsensusHopping]
    step: int
    """k of the g_k that is looked at."""
    exponent: float
    """In the bound's term."""
    term: str


def geometric(low: float, high: float) -> tuple[float, ...]:
    """Seven values."""
    return tuple(float(value) for value in np.geomspace(low, high, 7))


def hopping(size: float = SIZE, alpha: float = 1.0, tau: float = 1e-4) -> ConsensusHopping:
    """With the step tau."""
    return ConsensusHopping(round(size), Schedule((tau / alpha) ** 0.5), Growth(alpha))


def cbo(sigma: float = 1.0, dt: float = DT, distance: float = 0.0) -> CBO:
    """With lambda = 1 / dt - distance, from a cloud of width 1/2."""
    noise = Isotropic()
    return CBO(SIZE, drift=1 / dt - distance, dt=dt, sigma=Schedule(sigma), alpha=Growth(1.0), noise=noise, spread=0.5)


SWEEPS = (
    Sweep("N", "hopping, α = 1, τ = 0.0001", geometric(10, 10_000), lambda n: hopping(n), 1, -0.5, "N^(-1/2)"),
    Sweep("α", "hopping, τ = 0.0001", geometric(1, 1_000), lambda a: hopping(alpha=a), 1, -0.5, "(τ/α)^(1/2)"),
    Sweep("α", "hopping, τ = 0.01", geometric(10, 10_000), lambda a: hopping(SIZE, a, 0.01), 1, -0.5, "(τ/α)^(1/2)"),
    Sweep("τ", "hopping, α = 4, N = 20,000", geometric(0.03, 1), lambda tau: hopping(2e4, 4.0, tau), 1, 1.0, "τ"),
    Sweep("σ", "CBO, λ = 1/Δt, Δt = 0.01", geometric(0.01, 1), lambda s: cbo(s), 1, 1.0, "σ Δt^(1/2)"),
    Sweep("σ", "CBO, λ = 1/Δt, Δt = 0.01", geometric(0.01, 1), lambda s: cbo(s), 2, 1.0, "σ Δt^(1/2)"),
    Sweep("Δt", "CBO, λ = 1/Δt, σ = 1", geometric(1e-4, 1e-2), lambda dt: cbo(dt=dt), 1, 0.5, "σ Δt^(1/2)"),
    Sweep("1/Δt - λ", "CBO, Δt = 0.01, σ = 0.001", geometric(0.1, 50), lambda x: cbo(1e-3, DT, x), 1, 1.0, "λ - 1/Δt"),
)


def run_deviation(request: Request) -> Found:
    """A panel for each sweep, and its exponents beside the bound's."""
    panels, rows = [], []
    with request.show("deviation from gradient descent") as progress:
        for i, sweep in enumerate(SWEEPS):
            found = {name: deviations(sweep, objective, request) for name, objective in OBJECTIVES.items()}
            bands = [band(name, np.array(sweep.values), runs) for name, runs in found.items()]
            panels.append(Panel(f"{sweep.symbol}   ({sweep.regime})", f"|g_{sweep.step}|", bands))
            fits = [interval(exponent(np.array(sweep.values), runs), "{:.3f}") for runs in found.values()]
            rows.append([str(sweep.step), sweep.symbol, sweep.regime, sweep.term, f"{sweep.exponent:g}", *fits])
            progress((i + 1) / len(SWEEPS), sweep.symbol)
    figure = plots.grid_figure(panels, "deviation from gradient descent", f"{MEANS} {GUIDE}", columns=4)
    for axes, panel, sweep in zip(figure.axes, panels, SWEEPS, strict=True):
        curve = panel.curves[0]
        plots.draw_guide(axes, curve.x, 2 * float(curve.centre[0]), sweep.exponent, f"{sweep.exponent:g}")
    files = plots.save(figure, request.out / "deviation")
    header = [
        "k",
        "varied",
        "kept",
        "term of the bound",
        "its exponent",
        *(f"measured, {name}" for name in OBJECTIVES),
    ]
    text, tables = write_table(request.out / "deviation", header, rows)
    return Found(text, [*tables, *files])


def deviations(sweep: Sweep, objective: Objective, request: Request) -> Floats:
    """|g_k| of every run at every value, [R, values]."""
    return np.stack([deviation(sweep.make(value), sweep.step, objective, request) for value in sweep.values], axis=1)


def deviation(algorithm: CBO | ConsensusHopping, k: int, objective: Objective, request: Request) -> Floats:
    """|g_k| of every run, [R]. CBO's first consensus is that of its initial cloud: its x_0 is known one step later."""
    x0, root = starts(request.numbers, objective.dim, CENTRE, 0.0)
    *_, step = steps(algorithm, objective, x0, root, k + isinstance(algorithm, CBO))
    tau = algorithm.alpha.of(k, step.values) * (step.points - step.before[:, None]).square().mean((1, 2))
    descended = step.before - tau[:, None] * gradient(objective, step.before, root)
    return torch.linalg.vector_norm(step.after - descended, dim=-1).numpy()
