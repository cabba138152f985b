"""A step of CBO against CBXpy's, side by side, and how the cost of a step grows with N, d and R.

A step is everything but the objective: both sides are told the same values. Anisotropic noise; CBXpy computes in
float64 and on one core, zopg in either precision and on all cores. Each measurement is a process of its own, in turn;
compilation is done before the clock starts, as it is cached between processes. Wall seconds say how long one waits;
processor seconds, of all cores, say how much work there is and suffer less where other processes run.

Bytes: with normals drawn inside the step and nothing written in between, a step has to read the particles once and
write them once, 16 R N d bytes in float64. Drawing the normals is the rest: about 4 ns for each on one core.
"""

from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks import ask_tell
from experiments.benchmarks.head_to_head import HeadToHead
from experiments.benchmarks.pages import write_suite
from experiments.benchmarks.sides import as_data
from experiments.benchmarks.timing import Step
from experiments.libraries import Library


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
LIBRARIES = {side: Library("cbx", "cbx") for side in (*SIDES, *GROWING) if side.startswith(PEER)}


SUITE = HeadToHead(
    name="cbo",
    title="CBO",
    module=__name__,
    unit="step",
    costs="CBO costs O(R N d), polarized CBO O(R N^2 d):\nits every particle weighs every other.",
    peer=PEER,
    libraries=LIBRARIES,
    main=MAIN,
    sides=SIDES,
    base=BASE,
    growth=GROWTH,
    growing=GROWING,
)


def make_step(side: str, size: Size) -> Step:
    """One step of a swarm; the next call makes the next."""
    if side.startswith(PEER):
        return ask_tell.cbxpy("PolarCBO" if side.endswith("polarized") else "CBO", *size)
    from envs.algorithm import Schedule
    from zeroth_order import CBO, PolarizedCBO

    kind = PolarizedCBO if side.startswith("polarized") else CBO
    algorithm = kind(particles=size.N, dt=0.1, sigma=Schedule(0.5))
    return ask_tell.ours(algorithm, *size, float32=side.endswith("float32"))


def cbo_suite(repeats: int, out: Path | None) -> None:
    """Measure all sides `repeats` times in turn and report medians. Raises ValueError unless repeats >= 1."""
    found = SUITE.measure(repeats)
    write_suite(SUITE.stem, out, as_data(found), SUITE.page(found), SUITE.figure(found), LIBRARIES)
