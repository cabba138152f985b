"""A step of CBO against CBXpy's, side by side, and how the cost of a step grows with N, d and R.

A step is everything but the objective: both sides are told the same values. Anisotropic noise; CBXpy computes in
float64 and on one core, zopg in either precision and on all cores. Each measurement is a process of its own, in turn;
compilation is done before the clock starts, as it is cached between processes. Wall seconds say how long one waits;
processor seconds, of all cores, say how much work there is and suffer less where other processes run.

Bytes: with normals drawn inside the step and nothing written in between, a step has to read the particles once and
write them once, 16 R N d bytes in float64. Drawing the normals is the rest: about 4 ns for each on one core.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.files import write_atomically
from experiments.benchmarks.sides import Seconds, growth_figure, growth_table, head_to_head, in_turn, print_seconds
from experiments.plots import save
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


MAIN = Size(64, 100, 1000)
BASE = Size(4, 100, 100)
GROWTH: dict[str, tuple[Size, ...]] = {
    "N": tuple(BASE._replace(N=count) for count in (25, 50, 100, 200, 400)),
    "d": tuple(BASE._replace(d=dim) for dim in (25, 100, 400, 1600)),
    "R": tuple(BASE._replace(R=runs) for runs in (1, 4, 16, 64)),
}
"""What is varied -> sizes around BASE."""
PEER = "CBXpy"
SIDES = ("zopg", "zopg float32", PEER)
GROWING = ("cbo", "polarized-cbo", "CBXpy", "CBXpy polarized")
CHILD = "import sys; from experiments.benchmarks.cbo import measure; measure(sys.argv[1], *map(int, sys.argv[2:]))"


def measure(side: str, *numbers: int) -> None:
    """Print JSON: the median wall and processor seconds of a step for each size; `numbers` are R, N, d of the sizes."""
    sizes = [Size(*numbers[start : start + 3]) for start in range(0, len(numbers), 3)]
    print_seconds(make_step(side, size) for size in sizes)


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
    ((wall, processor),) = in_turn(CHILD, SIDES, [MAIN], repeats)
    print(head_to_head(wall, processor, PEER), flush=True)
    found = in_turn(CHILD, GROWING, [size for sizes in GROWTH.values() for size in sizes], repeats)
    growth = {axis: [found.pop(0)[1] for _ in sizes] for axis, sizes in GROWTH.items()}
    page = report(wall, processor, growth)
    print(page)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"suite": "cbo", "date": today(), "provenance": provenance(), "size": MAIN._asdict(), "wall": wall}
        write_json(out / "cbo.json", data | {"processor": processor, "growth": growth})
        write_atomically(out / "cbo.md", lambda temporary: temporary.write_text(page))
        title = f"R, N, d = {', '.join(map(str, BASE))}, one of them varied"
        files = save(growth_figure(GROWTH, growth, title), out / "cbo")
        print("wrote", *(out / name for name in ("cbo.json", "cbo.md")), *files)


def report(wall: Seconds, processor: Seconds, growth: dict[str, list[Seconds]]) -> str:
    """The page."""
    tables = "\n\n".join(growth_table(axis, GROWTH[axis], found) for axis, found in growth.items())
    return (
        f"# CBO suite, {today()}\n\n`zopg bench --suite cbo`: medians; see `experiments/benchmarks/cbo.py`. "
        f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran on average:\nwhere others take the "
        "second core, wall seconds are as many as processor seconds and not half of them.\n\n"
        f"A step at R, N, d = {', '.join(map(str, MAIN))}:\n\n{head_to_head(wall, processor, PEER)}\n\n"
        f"Processor milliseconds of a step around R, N, d = {', '.join(map(str, BASE))}. CBO costs O(R N d), polarized "
        f"CBO O(R N^2 d):\nits every particle weighs every other.\n\n{tables}\n\n![Cost of a step](cbo.png)\n"
    )
