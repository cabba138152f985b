"""Phase diagram on Rastrigin's function: for which noise and how many particles CBO finds the minimum."""

import numpy as np
import torch

from envs.algorithm import Schedule
from experiments import plots
from experiments.loop import Progress
from experiments.statistics import Floats, share
from experiments.studies.core import Found, Request, write_table
from experiments.studies.gradient.pictures import phase_figure
from experiments.studies.gradient.steps import starts, steps
from zeroth_order import CBO, Growth, Rastrigin

OBJECTIVE = Rastrigin(4, amplitude=2.5)
DRIFT, DT, ALPHA = 1.0, 0.02, 100.0
STEPS = 1_000
"""T = 20."""
CENTRE, SPREAD = 2.0, 4.0
"""V_0 ~ N(CENTRE, SPREAD^2 I)."""
VARIANCES = tuple(float(variance) for variance in np.geomspace(0.4, 32.0, 7))
"""sigma^2"""
SIZES = (2, 5, 10, 20, 50, 100, 200)
SOLVED = 0.8
"""A run succeeds if f is below this at its last consensus: below the best of the other minima."""
CAPTION = "Percentage of {runs} runs with f(c) < {solved:g} at the end. Dashed: σ² = 2 λ, see the page."


def run_phases(request: Request) -> Found:
    """The diagram and its numbers."""
    found = []
    for size in SIZES:
        with request.show(f"phase diagram, N = {size}") as progress:
            found.append(successes(size, request, progress))
    estimates = [[share(cell) for cell in cells] for cells in found]
    shares = np.array([[float(cell.value) for cell in cells] for cells in estimates])
    title = f"CBO on Rastrigin's function, d = {OBJECTIVE.dim}, anisotropic noise, α = {ALPHA:g}, Δt = {DT:g}"
    caption = CAPTION.format(runs=request.seeds, solved=SOLVED)
    figure = phase_figure(shares, SIZES, VARIANCES, 2 * DRIFT, title, caption)
    files = plots.save(figure, request.out / "phases")
    header = ["N", *(f"σ² = {variance:.3g}" for variance in VARIANCES)]
    rows = [
        [str(size), *(f"{float(e.value):.2f} [{float(e.low):.2f}, {float(e.high):.2f}]" for e in cells)]
        for size, cells in zip(SIZES, estimates, strict=True)
    ]
    text, tables = write_table(request.out / "phases", header, rows)
    return Found(text, [*tables, *files])


def successes(size: int, request: Request, progress: Progress) -> Floats:
    """Whether each run with so many particles succeeded, [variances, R]; one batch for all of them."""
    runs = request.seeds
    sigma = torch.tensor(VARIANCES).sqrt().repeat_interleave(runs)
    algorithm = CBO(size, drift=DRIFT, dt=DT, sigma=Schedule(sigma), alpha=Growth(ALPHA), spread=SPREAD)
    x0, root = starts(request.numbers * len(VARIANCES), OBJECTIVE.dim, CENTRE, 0.0, torch.float32)
    for t, step in enumerate(steps(algorithm, OBJECTIVE, x0, root, STEPS), start=1):
        progress(t / STEPS, f"{t} steps")
        last = step.after
    return (OBJECTIVE(last) < SOLVED).view(len(VARIANCES), runs).numpy()
