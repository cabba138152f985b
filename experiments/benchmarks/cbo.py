"""A step of CBO against CBXpy's, side by side, and how the cost of a step grows with N, d and R.

A step is everything but the objective: both sides are told the same values. Anisotropic noise; CBXpy computes in
float64 and on one core, zopg in either precision and on all cores. Each measurement is a process of its own, in turn;
compilation is done before the clock starts, as it is cached between processes. Wall seconds say how long one waits;
processor seconds, of all cores, say how much work there is and suffer less where other processes run.

Bytes: with normals drawn inside the step and nothing written in between, a step has to read the particles once and
write them once, 16 R N d bytes in float64. Drawing the normals is the rest: about 4 ns for each on one core.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from envs.files import write_atomically
from experiments.benchmarks.training import child
from experiments.plots import CurveBand, panels_figure, save
from experiments.provenance import provenance, today
from experiments.record import write_json


class Size(NamedTuple):
    """Of a swarm."""

    R: int
    """Runs."""
    N: int
    """Particles."""
    d: int
    """Dimension."""


Seconds: TypeAlias = dict[str, list[float]]
"""Side -> seconds of a step, one for each repeat."""

MAIN = Size(64, 100, 1000)
BASE = Size(4, 100, 100)
GROWTH: dict[str, tuple[Size, ...]] = {
    "N": tuple(BASE._replace(N=count) for count in (25, 50, 100, 200, 400)),
    "d": tuple(BASE._replace(d=dim) for dim in (25, 100, 400, 1600)),
    "R": tuple(BASE._replace(R=runs) for runs in (1, 4, 16, 64)),
}
"""What is varied -> sizes around BASE."""
SIDES = ("zopg", "zopg float32", "CBXpy")
GROWING = ("cbo", "polarized-cbo", "CBXpy", "CBXpy polarized")
CHILD = "import sys; from experiments.benchmarks.cbo import measure; measure(sys.argv[1], *map(int, sys.argv[2:]))"
LEAST_SECONDS, LEAST_STEPS = 0.3, 5
CAPTION = "Line: median of {runs}. Band: the fastest and the slowest."


def measure(side: str, *numbers: int) -> None:
    """Print JSON: the median wall and processor seconds of a step for each size; `numbers` are R, N, d of the sizes."""
    sizes = [Size(*numbers[start : start + 3]) for start in range(0, len(numbers), 3)]
    print(json.dumps({"found": [seconds_per_step(make_step(side, size)) for size in sizes]}))


def seconds_per_step(step: Callable[[], None]) -> dict[str, float]:
    """Medians over the calls of `step`, two of which are not counted."""
    for _ in range(2):
        step()
    wall: list[float] = []
    processor: list[float] = []
    while sum(wall) < LEAST_SECONDS or len(wall) < LEAST_STEPS:
        started, used = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return {"wall": statistics.median(wall), "processor": statistics.median(processor)}


def make_step(side: str, size: Size) -> Callable[[], None]:
    """A function that makes one step of a swarm; the next call makes the next."""
    values = np.random.default_rng(0).random(size[:2])
    if side.startswith("CBXpy"):
        from cbx.dynamics import CBO as CBXpy  # noqa: N811
        from cbx.dynamics import PolarCBO

        kind = PolarCBO if side.endswith("polarized") else CBXpy
        x = np.random.default_rng(1).normal(size=size)
        settings: dict[str, Any] = {"noise": "anisotropic", "dt": 0.1, "sigma": 0.5, "track_args": {"names": []}}
        return kind(lambda points: values, f_dim="3D", check_f_dims=False, x=x, verbosity=0, **settings).step
    import torch

    import zeroth_order
    from envs.algorithm import Schedule
    from envs.random import streams

    torch.set_num_threads(1)
    dtype = torch.float32 if side.endswith("float32") else torch.float64
    algorithm: Any = zeroth_order.ALGORITHMS["polarized-cbo" if side.startswith("polarized") else "cbo"]
    algorithm = algorithm(particles=size.N, dt=0.1, sigma=Schedule(0.5))
    root, told = streams(range(size.R)), zeroth_order.Values(torch.as_tensor(values).to(dtype))
    swarm = {"state": algorithm.init(torch.zeros(size.R, size.d, dtype=dtype), root), "t": 0}

    def step() -> None:
        points, asked = algorithm.ask(swarm["state"], root.at(swarm["t"]))
        swarm.update(state=algorithm.tell(asked, points, told)[0], t=swarm["t"] + 1)

    return step


def cbo_suite(repeats: int, out: Path | None) -> None:
    """Measure both sides `repeats` times in turn and report medians. Raises ValueError unless repeats >= 1."""
    if repeats < 1:
        raise ValueError(f"repeats = {repeats} must be >= 1")
    ((wall, processor),) = in_turn(SIDES, [MAIN], repeats)
    print(head_to_head(wall, processor), flush=True)
    found = in_turn(GROWING, [size for sizes in GROWTH.values() for size in sizes], repeats)
    growth = {axis: [found.pop(0)[1] for _ in sizes] for axis, sizes in GROWTH.items()}
    page = report(wall, processor, growth)
    print(page)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"suite": "cbo", "date": today(), "provenance": provenance(), "size": MAIN._asdict(), "wall": wall}
        write_json(out / "cbo.json", data | {"processor": processor, "growth": growth})
        write_atomically(out / "cbo.md", lambda temporary: temporary.write_text(page))
        files = save(growth_figure(growth), out / "cbo")
        print("wrote", *(out / name for name in ("cbo.json", "cbo.md")), *files)


def in_turn(sides: Sequence[str], sizes: Sequence[Size], repeats: int) -> list[tuple[Seconds, Seconds]]:
    """For each size the wall and the processor seconds of a step of every side."""
    seconds: list[tuple[Seconds, Seconds]] = [
        ({side: [] for side in sides}, {side: [] for side in sides}) for _ in sizes
    ]
    numbers = [str(number) for size in sizes for number in size]
    for _ in range(repeats):
        for side in sides:
            for (wall, processor), found in zip(seconds, child(CHILD, side, *numbers)["found"], strict=True):
                wall[side].append(found["wall"])
                processor[side].append(found["processor"])
    return seconds


def head_to_head(wall: Seconds, processor: Seconds) -> str:
    """The table of the first comparison."""
    lines = [
        "| side | wall s per step | CBXpy / side | processor s per step | CBXpy / side |",
        "|---|---:|---:|---:|---:|",
    ]
    for side in wall:
        times = [statistics.median(seconds[side]) for seconds in (wall, processor)]
        peer = [statistics.median(seconds["CBXpy"]) for seconds in (wall, processor)]
        cells = " | ".join(f"{time:.4f} | {other / time:.1f}" for time, other in zip(times, peer, strict=True))
        lines.append(f"| {side} | {cells} |")
    return "\n".join(lines)


def growth_table(axis: str, found: Sequence[Seconds]) -> str:
    """Processor milliseconds of a step against one of N, d and R, and the exponent of the last three sizes."""
    sizes = [getattr(size, axis) for size in GROWTH[axis]]
    lines = [
        f"| side | {' | '.join(f'{axis} = {size}' for size in sizes)} | exponent |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for side in GROWING:
        medians = [statistics.median(seconds[side]) for seconds in found]
        exponent = np.polyfit(np.log(sizes[-3:]), np.log(medians[-3:]), 1)[0]
        lines.append(f"| {side} | {' | '.join(f'{1e3 * time:.2f}' for time in medians)} | {exponent:.2f} |")
    return "\n".join(lines)


def growth_figure(growth: dict[str, list[Seconds]]) -> Any:
    """Processor seconds of a step against N, d and R, in logarithmic axes."""
    panels = []
    for axis, found in growth.items():
        x = np.array([getattr(size, axis) for size in GROWTH[axis]], dtype=float)
        bands = []
        for side in GROWING:
            times = np.array([seconds[side] for seconds in found])
            low, high = times.min(1), times.max(1)
            bands.append(CurveBand(side, x, np.median(times, 1), low, high, times.shape[1]))
        panels.append((f"processor seconds of a step, {axis} varies", bands))
    return panels_figure(panels, f"R, N, d = {', '.join(map(str, BASE))}, one of them varied", "N, d, R", CAPTION)


def report(wall: Seconds, processor: Seconds, growth: dict[str, list[Seconds]]) -> str:
    """The page."""
    tables = "\n\n".join(growth_table(axis, found) for axis, found in growth.items())
    return (
        f"# CBO suite, {today()}\n\n`zopg bench --suite cbo`: medians; see `experiments/benchmarks/cbo.py`. "
        f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran on average:\nwhere others take the "
        "second core, wall seconds are as many as processor seconds and not half of them.\n\n"
        f"A step at R, N, d = {', '.join(map(str, MAIN))}:\n\n{head_to_head(wall, processor)}\n\n"
        f"Processor milliseconds of a step around R, N, d = {', '.join(map(str, BASE))}. CBO costs O(R N d), polarized "
        f"CBO O(R N^2 d):\nits every particle weighs every other.\n\n{tables}\n\n![Cost of a step](cbo.png)\n"
    )
