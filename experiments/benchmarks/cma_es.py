"""CMA-ES in torch against pycma: the time of a generation of many runs, and evaluations until the optimum.

A generation is `ask` and `tell` of all runs, without the objective: both sides are told the same values. pycma steps
one instance after the other, its BLAS on one core, which is its fastest here; zopg has one torch thread, and wakes
other cores for large updates alone. Each measurement is a process of its own, in turn; kernels are compiled before the
clock starts. Wall seconds say how long one waits; processor seconds, of all cores, say how much work there is.

Evaluations: until a value of 1e-8 was seen, from x = 1 with sigma0 = 1/2 (Rosenbrock: from x = 0), the median over 51
runs, of which some may end in Rosenbrock's local minimum. The ellipsoid has a condition of 10^6 and is rotated.
"""

import json
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks import ask_tell
from experiments.benchmarks.pages import (
    as_data,
    circumstances,
    growth_figure,
    growth_table,
    head_to_head,
    not_measured,
    write_suite,
)
from experiments.benchmarks.sides import Measured, growth_in_turn, in_turn
from experiments.benchmarks.timing import Step
from experiments.benchmarks.training import child
from experiments.libraries import Library
from experiments.progress import show_progress
from experiments.provenance import today


class Size(NamedTuple):
    """Of a batch of runs; their populations have the default size."""

    R: int
    """Runs."""
    d: int
    """Dimension."""


MAIN = Size(64, 40)
GROWTH: dict[str, tuple[Size, ...]] = {
    "d": tuple(MAIN._replace(d=dim) for dim in (5, 10, 20, 40, 80, 160)),
    "R": tuple(MAIN._replace(R=runs) for runs in (1, 4, 16, 64, 256)),
}
"""What is varied -> sizes around MAIN."""
PEER = "pycma"
SIDES = (
    "cma-es", "cma-es float32", "cma-es symmetric root", "sep-cma-es", "sep-cma-es float32", PEER, "pycma diagonal",
)  # fmt: skip
GROWING = ("cma-es", "cma-es float32", "sep-cma-es", PEER)
LIBRARIES = {side: Library("cma", "cma") for side in SIDES if side.startswith(PEER)}

FUNCTIONS = ("sphere", "ellipsoid", "rosenbrock")
DIMS, RUNS, TARGET, LONGEST = (5, 10, 20), 51, 1e-8, 5000
COUNT = "import sys; from experiments.benchmarks.cma_es import count; count(*sys.argv[1:3], *map(int, sys.argv[3:]))"


def make_step(side: str, size: Size) -> Step:
    """One generation of all runs; the next call makes the next."""
    population = 4 + int(3 * np.log(size.d))
    if side.startswith(PEER):
        return ask_tell.pycma(size.R, population, size.d, diagonal=side.endswith("diagonal"))
    from zeroth_order import CMAES, Optimizer, SepCMAES
    from zeroth_order.evolution import SymmetricRoot

    algorithm: Optimizer = {
        "cma-es": CMAES(0.5),
        "cma-es symmetric root": CMAES(0.5, covariance=SymmetricRoot()),
        "sep-cma-es": SepCMAES(0.5),
    }[side.removesuffix(" float32")]
    return ask_tell.ours(algorithm, size.R, population, size.d, float32=side.endswith("float32"))


def values_of(function: str, x: np.ndarray) -> np.ndarray:
    """The function at x [.., d]."""
    dim = x.shape[-1]
    if function == "rosenbrock":
        return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)
    if function == "sphere":
        return (x**2).sum(-1)
    rotation = np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))[0]
    return (10 ** (6 * np.arange(dim) / (dim - 1)) * (x @ rotation) ** 2).sum(-1)


def count(side: str, function: str, dim: int, runs: int) -> None:
    """Print JSON: the evaluations that each run needed, null where it stopped before."""
    start = np.full((runs, dim), 0.0 if function == "rosenbrock" else 1.0)
    print(json.dumps({"found": (count_theirs if side == PEER else count_ours)(function, start)}))


def count_theirs(function: str, start: np.ndarray) -> list[int | None]:
    """Of pycma's instances that begin at `start` [R, d]."""
    import cma
    import threadpoolctl

    threadpoolctl.threadpool_limits(1, "blas")
    needed: list[int | None] = []
    for r, x0 in enumerate(start):
        instance, best = cma.CMAEvolutionStrategy(x0, 0.5, {"seed": r + 1, "verbose": -10}), np.inf
        while best >= TARGET and not instance.stop() and instance.countiter < LONGEST:
            points = instance.ask()
            values = values_of(function, np.stack(points))
            instance.tell(points, values.tolist())
            best = min(best, values.min())
        needed.append(instance.countevals if best < TARGET else None)
    return needed


def count_ours(function: str, start: np.ndarray) -> list[int | None]:
    """Of CMAES in one batch."""
    import torch

    import zeroth_order
    from envs.random import streams

    torch.set_num_threads(1)
    algorithm, root = zeroth_order.CMAES(0.5), streams(range(len(start)))
    state = algorithm.init(torch.as_tensor(start), root)
    needed: list[int | None] = [None] * len(start)
    running = np.ones(len(start), dtype=bool)
    for t in range(LONGEST):
        points, state = algorithm.ask(state, root.at(t))
        values = values_of(function, points.numpy())
        state, _ = algorithm.tell(state, points, zeroth_order.Values(torch.as_tensor(values)))
        reached = running & (values.min(1) < TARGET)
        for r in reached.nonzero()[0]:
            needed[r] = (t + 1) * values.shape[1]
        running &= ~reached & ~torch.stack(list(algorithm.stop(state).values())).any(0).numpy()
        if not running.any():
            break
    return needed


def cma_es_suite(repeats: int, out: Path | None) -> None:
    """Time all sides `repeats` times in turn, count evaluations once. Raises ValueError unless repeats >= 1."""
    with show_progress("cma-es") as progress:
        measured = in_turn(__name__, SIDES, [MAIN], repeats, LIBRARIES, progress)
    with show_progress("cma-es, growth") as progress:
        growth = growth_in_turn(__name__, GROWING, GROWTH, repeats, LIBRARIES, progress)
    counts = {
        f"{function} {dim}": {
            side: child(COUNT, side, function, str(dim), str(RUNS))["found"] for side in ("cma-es", PEER)
        }
        for function in FUNCTIONS
        for dim in DIMS
    }
    data = {"main": as_data([MAIN], measured)} | {axis: as_data(GROWTH[axis], one) for axis, one in growth.items()}
    title = f"R, d = {', '.join(map(str, MAIN))}, one of them varied"
    page, figure = report(measured, growth, counts), growth_figure(GROWTH, growth, title)
    write_suite("cma_es", out, data | {"evaluations": counts}, page, figure, LIBRARIES)


def evaluations_table(counts: dict[str, dict[str, list[int | None]]]) -> str:
    """Medians over all runs, and how many of them came to the optimum."""
    lines = ["| function, d | cma-es | solved | pycma | solved | ratio |", "|---|---:|---:|---:|---:|---:|"]
    for name, of_side in counts.items():
        cells: list[str] = []
        medians: list[float] = []
        for needed in of_side.values():
            medians.append(statistics.median(np.inf if number is None else number for number in needed))
            cells.append(f"{medians[-1]:,.0f} | {sum(number is not None for number in needed)} of {len(needed)}")
        lines.append(f"| {name} | {' | '.join(cells)} | {medians[0] / medians[1]:.2f} |")
    return "\n".join(lines)


def report(
    measured: Measured, growth: dict[str, Measured], counts: dict[str, dict[str, list[int | None]]]
) -> str:  # fmt: skip
    """The page."""
    tables = "\n\n".join(growth_table(axis, GROWTH[axis], one.processor) for axis, one in growth.items())
    return (
        f"# CMA-ES suite, {today()}\n\n`zopg bench --suite cma-es`: medians; see `experiments/benchmarks/cma_es.py`. "
        f"{circumstances()}\n{not_measured(measured)}\n"
        f"A generation at R, d = {', '.join(map(str, MAIN))}:\n\n{head_to_head(measured, PEER)}\n\n"
        f"Processor milliseconds of a generation around R, d = {', '.join(map(str, MAIN))}. A full matrix costs "
        "O(R d^3), a diagonal one O(R d log d);\nat d = 20 and below both are mostly the cost of about 200 calls.\n\n"
        f"{tables}\n\n![Cost of a generation](cma_es.png)\n\nEvaluations until 1e-8, medians over {RUNS} runs:\n\n"
        f"{evaluations_table(counts)}\n"
    )
