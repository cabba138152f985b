"""CMA-ES in torch against pycma: the time of a generation of many runs, and evaluations until the optimum.

A generation is `ask` and `tell` of all runs, without the objective: both sides are told the same values. pycma steps
one instance after the other, its BLAS on one core, which is its fastest here; zopg has one torch thread, and wakes
other cores for large updates alone. Each measurement is a process of its own, in turn; kernels are compiled before the
clock starts. Wall seconds say how long one waits; processor seconds, of all cores, say how much work there is.

Evaluations until a value of 1e-8 are counted once, the median over five runs for each repeat; see `cma_es_evaluations`.
The default of three repeats, and so fifteen runs, takes four to five minutes; ten take a quarter of an hour.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks import ask_tell
from experiments.benchmarks.cma_es_evaluations import PEER, RUNS, count_in_turn, evaluations_table
from experiments.benchmarks.head_to_head import HeadToHead
from experiments.benchmarks.pages import write_suite
from experiments.benchmarks.sides import as_data
from experiments.benchmarks.timing import Step
from experiments.libraries import Library


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
SIDES = (
    "cma-es", "cma-es float32", "cma-es symmetric root", "sep-cma-es", "sep-cma-es float32", PEER, "pycma diagonal",
)  # fmt: skip
GROWING = ("cma-es", "cma-es float32", "sep-cma-es", PEER)
LIBRARIES = {side: Library("cma", "cma") for side in SIDES if side.startswith(PEER)}
SUITE = HeadToHead(
    name="cma-es",
    title="CMA-ES",
    module=__name__,
    unit="generation",
    costs="A full matrix costs O(R d^3), a diagonal one O(R d log d);\nat d = 20 and below both are mostly the cost of "
    "about 200 calls.",
    peer=PEER,
    libraries=LIBRARIES,
    main=MAIN,
    sides=SIDES,
    base=MAIN,
    growth=GROWTH,
    growing=GROWING,
)


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


def cma_es_suite(repeats: int, out: Path | None) -> None:
    """Time all sides `repeats` times in turn, count evaluations once. Raises ValueError unless repeats >= 1."""
    found = SUITE.measure(repeats)
    runs = RUNS * repeats
    counts = count_in_turn(runs)
    page = f"{SUITE.page(found)}\nEvaluations until 1e-8, medians over {runs} runs:\n\n{evaluations_table(counts)}\n"
    write_suite(SUITE.stem, out, as_data(found) | {"evaluations": counts}, page, SUITE.figure(found), LIBRARIES)
