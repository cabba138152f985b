"""CMA-ES in torch against pycma: the time of a generation of many runs, and evaluations until the optimum.

A generation is `ask` and `tell` of all runs, without the objective: both sides are told the same values. pycma steps
one instance after the other, its BLAS on one core, which is its fastest here; zopg has one torch thread, and wakes
other cores for large updates alone. Each measurement is a process of its own, in turn; kernels are compiled before the
clock starts. Wall seconds say how long one waits; processor seconds, of all cores, say how much work there is.

Evaluations: until a value of 1e-8 was seen, from x = 1 with sigma0 = 1/2 (Rosenbrock: from x = 0), the median over 51
runs, of which some may end in Rosenbrock's local minimum. The ellipsoid has a condition of 10^6 and is rotated.
"""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.files import write_atomically
from experiments.benchmarks.sides import Seconds, growth_figure, growth_table, head_to_head, in_turn, print_seconds
from experiments.benchmarks.training import child
from experiments.plots import save
from experiments.provenance import provenance, today
from experiments.record import write_json


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
TIME = "import sys; from experiments.benchmarks.cma_es import measure; measure(sys.argv[1], *map(int, sys.argv[2:]))"

FUNCTIONS = ("sphere", "ellipsoid", "rosenbrock")
DIMS, RUNS, TARGET, LONGEST = (5, 10, 20), 51, 1e-8, 5000
COUNT = "import sys; from experiments.benchmarks.cma_es import count; count(*sys.argv[1:3], *map(int, sys.argv[3:]))"


def measure(side: str, *numbers: int) -> None:
    """Print JSON: median wall and processor seconds of a generation for each size; `numbers` are R, d of the sizes."""
    sizes = [Size(*numbers[start : start + 2]) for start in range(0, len(numbers), 2)]
    print_seconds(make_step(side, size) for size in sizes)


def make_step(side: str, size: Size) -> Callable[[], None]:
    """A function that makes one generation of all runs; the next call makes the next."""
    values = np.random.default_rng(0).random((size.R, 4 + int(3 * np.log(size.d))))
    if side.startswith(PEER):
        import cma
        import threadpoolctl

        threadpoolctl.threadpool_limits(1, "blas")
        options = {"verbose": -10, "CMA_diagonal": side.endswith("diagonal")}
        instances = [
            cma.CMAEvolutionStrategy(size.d * [1.0], 0.5, options | {"seed": r + 1}) for r in range(size.R)
        ]  # fmt: skip

        def their_step() -> None:
            for instance, told in zip(instances, values.tolist(), strict=True):
                instance.tell(instance.ask(), told)

        return their_step
    import torch

    import zeroth_order
    from envs.random import streams
    from zeroth_order.evolution import SymmetricRoot

    torch.set_num_threads(1)
    dtype = torch.float32 if side.endswith("float32") else torch.float64
    algorithm: zeroth_order.Optimizer = {
        "cma-es": zeroth_order.CMAES(0.5),
        "cma-es symmetric root": zeroth_order.CMAES(0.5, covariance=SymmetricRoot()),
        "sep-cma-es": zeroth_order.SepCMAES(0.5),
    }[side.removesuffix(" float32")]
    root, told = streams(range(size.R)), zeroth_order.Values(torch.as_tensor(values).to(dtype))
    batch: dict[str, Any] = {"state": algorithm.init(torch.ones(size.R, size.d, dtype=dtype), root), "t": 0}

    def our_step() -> None:
        points, asked = algorithm.ask(batch["state"], root.at(batch["t"]))
        batch.update(state=algorithm.tell(asked, points, told)[0], t=batch["t"] + 1)

    return our_step


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
    if repeats < 1:
        raise ValueError(f"repeats = {repeats} must be >= 1")
    ((wall, processor),) = in_turn(TIME, SIDES, [MAIN], repeats)
    print(head_to_head(wall, processor, PEER), flush=True)
    found = in_turn(TIME, GROWING, [size for sizes in GROWTH.values() for size in sizes], repeats)
    growth = {axis: [found.pop(0)[1] for _ in sizes] for axis, sizes in GROWTH.items()}
    counts = {
        f"{function} {dim}": {
            side: child(COUNT, side, function, str(dim), str(RUNS))["found"] for side in ("cma-es", PEER)
        }
        for function in FUNCTIONS
        for dim in DIMS
    }
    page = report(wall, processor, growth, counts)
    print(page)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"suite": "cma-es", "date": today(), "provenance": provenance(), "size": MAIN._asdict(), "wall": wall}
        write_json(out / "cma_es.json", data | {"processor": processor, "growth": growth, "evaluations": counts})
        write_atomically(out / "cma_es.md", lambda temporary: temporary.write_text(page))
        title = f"R, d = {', '.join(map(str, MAIN))}, one of them varied"
        files = save(growth_figure(GROWTH, growth, title), out / "cma_es")
        print("wrote", *(out / name for name in ("cma_es.json", "cma_es.md")), *files)


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
    wall: Seconds,
    processor: Seconds,
    growth: dict[str, list[Seconds]],
    counts: dict[str, dict[str, list[int | None]]],
) -> str:
    """The page."""
    tables = "\n\n".join(growth_table(axis, GROWTH[axis], found) for axis, found in growth.items())
    return (
        f"# CMA-ES suite, {today()}\n\n`zopg bench --suite cma-es`: medians; see `experiments/benchmarks/cma_es.py`. "
        f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran on average:\nwhere others take the "
        "second core, wall seconds are as many as processor seconds and not half of them.\n\n"
        f"A generation at R, d = {', '.join(map(str, MAIN))}:\n\n{head_to_head(wall, processor, PEER)}\n\n"
        f"Processor milliseconds of a generation around R, d = {', '.join(map(str, MAIN))}. A full matrix costs "
        "O(R d^3), a diagonal one O(R d log d);\nat d = 20 and below both are mostly the cost of about 200 calls.\n\n"
        f"{tables}\n\n![Cost of a generation](cma_es.png)\n\nEvaluations until 1e-8, medians over {RUNS} runs:\n\n"
        f"{evaluations_table(counts)}\n"
    )
