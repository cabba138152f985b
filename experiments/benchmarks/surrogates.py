"""A local step of FZooS, from a new value to the surrogate's gradient, beside refitting as the official code does.

One client that knows 150 points of a walk in [0, 1]^300 and their values of a quadratic. Sides:

    zopg             the point enters the window, posterior, gradient: what a step costs between two searches for l
    zopg refitted    the window from scratch, a search for the length-scale, posterior, gradient
    scikit-learn     the official code's step: values scaled to [0, 1], GaussianProcessRegressor(Matern(nu=2.5),
                     alpha=1e-6, n_restarts_optimizer=20) from scratch, gradient of its mean by scipy's approx_fprime

Each measurement is a process of its own on one core, the sides in turn. Wall seconds say how long one waits; processor
seconds suffer less where other processes run.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.processes import check_repeats, child
from experiments.libraries import Library
from experiments.provenance import provenance, today
from experiments.record import write_json

POINTS, DIM = 150, 300
SIDES = ("zopg", "zopg refitted", "scikit-learn")
OFFICIAL = SIDES[-1]
PEER = Library("sklearn", "scikit-learn")
CHILD = "import sys; from experiments.benchmarks.surrogates import measure; measure(sys.argv[1])"
LEAST_SECONDS = 0.5


def measure(side: str) -> None:
    """Print JSON: the median wall and processor seconds of a step of a side, and the gradient's cosine to the true."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    walk = np.clip(0.5 + 0.01 * generator.standard_normal((POINTS + 1, DIM)).cumsum(0), 0, 1)
    values = 0.1 / DIM * (np.square(20 * walk - 10) + 20 * walk - 10).sum(1)
    x = walk[-1]
    step = refit_official if side == OFFICIAL else ours(side)
    with threadpoolctl.threadpool_limits(1):
        run = step(walk, values, x)
        if side != OFFICIAL:  # the official step has nothing to warm up, and takes seconds
            run()
        walls: list[float] = []
        processors: list[float] = []
        while sum(walls) < LEAST_SECONDS:
            started, used = time.perf_counter(), time.process_time()
            gradient = run()
            walls.append(time.perf_counter() - started)
            processors.append(time.process_time() - used)
    true = 20 * 0.1 / DIM * (2 * (20 * x - 10) + 1)
    cosine = float(gradient @ true / np.linalg.norm(gradient) / np.linalg.norm(true))
    print(json.dumps({"wall_s": statistics.median(walls), "cpu_s": statistics.median(processors), "cosine": cosine}))


def ours(side: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[], np.ndarray]]:
    """(walk, values, x) -> a function that makes the step, of a side that is zopg."""

    def prepare(walk: np.ndarray, values: np.ndarray, x: np.ndarray) -> Callable[[], np.ndarray]:
        import torch

        from zeroth_order.federated.gaussian_process import GaussianProcess

        points, found, at = torch.from_numpy(walk)[None], torch.from_numpy(values)[None], torch.from_numpy(x)[None]
        process = GaussianProcess(capacity=POINTS)
        known = process.tune(process.fit(points[:, :-1], found[:, :-1], 1.0), 100.0, 14)

        def run() -> np.ndarray:
            if side == "zopg":
                window = process.append(known, points[:, -1], found[:, -1])
            else:
                window = process.tune(process.fit(points, found, known.length))
            return process.posterior(window).gradient(at)[0].numpy()

        return run

    return prepare


def refit_official(walk: np.ndarray, values: np.ndarray, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A function that makes the step with scikit-learn."""
    import warnings

    from scipy.optimize import approx_fprime
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    points, kept = walk[1:], values[1:]
    scale = kept.max() - kept.min()

    def run() -> np.ndarray:
        model = GaussianProcessRegressor(Matern(nu=2.5), alpha=1e-6, n_restarts_optimizer=20, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # length-scales at the end of their range
            model.fit(points, (kept - kept.min()) / scale)
            return scale * approx_fprime(x, lambda at: model.predict(at[None])[0], 1e-20)

    return run


def surrogates_suite(repeats: int, out: Path | None) -> None:
    """Measure every side `repeats` times in turn and report.

    Raises ValueError unless repeats >= 1, and without scikit-learn, to which all others are compared.
    """
    check_repeats(repeats)
    if PEER.missing:
        raise ValueError(f"suite = surrogates needs {PEER.package}, which is not installed: pip install -e '.[bench]'")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for i in range(repeats):
        for side in SIDES:
            found[side].append(child(CHILD, side))
            print(f"repeat {i + 1}, {side}: {found[side][-1]['wall_s'] * 1e3:,.1f} ms a step", flush=True)
    medians = {side: statistics.median(run["wall_s"] for run in runs) for side, runs in found.items()}
    ratios = {side: medians[OFFICIAL] / medians[side] for side in SIDES}
    print("faster than the official step: " + ", ".join(f"{side} {ratios[side]:,.0f} times" for side in SIDES[:-1]))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"suite": "surrogates", "date": today(), "provenance": provenance(), "sides": found, "ratios": ratios}
        write_json(out / "surrogates.json", data)
        print(f"wrote {out / 'surrogates.json'}")
