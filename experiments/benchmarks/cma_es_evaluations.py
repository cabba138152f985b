"""Evaluations that CMA-ES needs until a value of 1e-8 was seen, ours and pycma's.

From x = 1 with sigma0 = 1/2; on Rosenbrock's function from x = 0, and some runs may end in its local minimum. The
ellipsoid has a condition of 10^6 and is rotated. Nearly all the time goes into `ask` and `tell` of pycma's instances,
one after the other: about 6 s of a core for one run of all functions and dimensions.
"""

import json
import statistics
from functools import cache
from typing import TypeAlias

import numpy as np

from experiments.benchmarks.processes import child
from experiments.progress import show_progress

OURS, PEER = SIDES = ("cma-es", "pycma")
FUNCTIONS = ("sphere", "ellipsoid", "rosenbrock")
DIMS, TARGET, LONGEST = (5, 10, 20), 1e-8, 5000
RUNS = 5
"""Of each side on each function, for each repeat of the suite."""
CODE = "import sys; from experiments.benchmarks.cma_es_evaluations import count; count(sys.argv[1], int(sys.argv[2]))"
Needed: TypeAlias = list[int | None]
"""Evaluations of each run, None where it stopped before."""


def count_in_turn(runs: int) -> dict[str, dict[str, Needed]]:
    """Function and dimension -> side -> what it needed; a process for each side."""
    found = {}
    with show_progress("evaluations") as progress:
        for i, side in enumerate(SIDES):
            progress(i / len(SIDES), side)
            found[side] = child(CODE, side, str(runs))["found"]
        progress(1.0, "done")
    return {name: {side: found[side][name] for side in SIDES} for name in found[PEER]}


def values_of(function: str, x: np.ndarray) -> np.ndarray:
    """The function at x [.., d]."""
    dim = x.shape[-1]
    if function == "rosenbrock":
        return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)
    if function == "sphere":
        return (x**2).sum(-1)
    return (10 ** (6 * np.arange(dim) / (dim - 1)) * (x @ rotation(dim)) ** 2).sum(-1)


@cache
def rotation(dim: int) -> np.ndarray:
    """Of the ellipsoid, [d, d]."""
    return np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))[0]


def count(side: str, runs: int) -> None:
    """Print JSON: function and dimension -> the evaluations that each run needed, null where it stopped before."""
    count_one = count_theirs if side == PEER else count_ours
    found = {}
    for function in FUNCTIONS:
        for dim in DIMS:
            start = np.full((runs, dim), 0.0 if function == "rosenbrock" else 1.0)
            found[f"{function} {dim}"] = count_one(function, start)
    print(json.dumps({"found": found}))


def count_theirs(function: str, start: np.ndarray) -> Needed:
    """Of pycma's instances that begin at `start` [R, d]."""
    import cma

    needed: Needed = []
    for r, x0 in enumerate(start):
        instance, best = cma.CMAEvolutionStrategy(x0, 0.5, {"seed": r + 1, "verbose": -10}), np.inf
        while best >= TARGET and not instance.stop() and instance.countiter < LONGEST:
            points = instance.ask()
            values = values_of(function, np.stack(points))
            instance.tell(points, values.tolist())
            best = min(best, values.min())
        needed.append(instance.countevals if best < TARGET else None)
    return needed


def count_ours(function: str, start: np.ndarray) -> Needed:
    """Of CMAES in one batch."""
    import torch

    import zeroth_order
    from envs.random import streams

    torch.set_num_threads(1)
    algorithm, root = zeroth_order.CMAES(0.5), streams(range(len(start)))
    state = algorithm.init(torch.as_tensor(start), root)
    needed: Needed = [None] * len(start)
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


def evaluations_table(counts: dict[str, dict[str, Needed]]) -> str:
    """Medians over all runs, and how many of them came to the optimum."""
    lines = [f"| function, d | {OURS} | solved | {PEER} | solved | ratio |", "|---|---:|---:|---:|---:|---:|"]
    for name, of_side in counts.items():
        cells: list[str] = []
        medians: list[float] = []
        for needed in of_side.values():
            medians.append(statistics.median(np.inf if number is None else number for number in needed))
            cells.append(f"{medians[-1]:,.0f} | {sum(number is not None for number in needed)} of {len(needed)}")
        lines.append(f"| {name} | {' | '.join(cells)} | {medians[0] / medians[1]:.2f} |")
    return "\n".join(lines)
