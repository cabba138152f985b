"""Who makes a step of which optimizer without its objective: ours and what other libraries have of the same kind."""

from collections.abc import Callable
from typing import NamedTuple

from experiments.benchmarks import ask_tell
from experiments.benchmarks.timing import Step
from experiments.libraries import Library

LARGEST_MATRIX = 300
"""Dimension beyond which optimizers that decompose a d x d matrix are not asked."""


class Size(NamedTuple):
    """Of a batch of runs."""

    algorithm: str
    R: int
    """Runs."""
    N: int
    """Points of a step."""
    d: int
    """Dimension."""


def make_step(side: str, size: Size) -> Step | None:
    """A step of all runs; None where the side has no such optimizer, or not at this dimension."""
    prepare = SIDES[side].get(size.algorithm)
    if prepare is None or (size.algorithm == "cma-es" and size.d > LARGEST_MATRIX):
        return None
    return prepare(size.R, size.N, size.d)


def ours(algorithm: str, float32: bool = False) -> Callable[[int, int, int], Step]:
    """Ours with the population of the size."""

    def prepare(R: int, N: int, d: int) -> Step:
        from zeroth_order import ALGORITHMS

        name = {"cbo": "particles", "pgpe": "pairs"}.get(algorithm, "popsize")
        population = N // 2 if name == "pairs" else N
        return ask_tell.ours(ALGORITHMS[algorithm](**{name: population}), R, N, d, float32)

    return prepare


def of_evosax(name: str) -> Callable[[int, int, int], Step]:
    """An algorithm of evosax."""
    return lambda R, N, d: ask_tell.evosax(name, R, N, d)


def of_evotorch(name: str) -> Callable[[int, int, int], Step]:
    """An algorithm of EvoTorch."""
    return lambda R, N, d: ask_tell.evotorch(name, R, N, d)


ALGORITHMS = ("cbo", "cma-es", "snes", "pgpe")
SIDES: dict[str, dict[str, Callable[[int, int, int], Step]]] = {
    "zopg": {name: ours(name) for name in ALGORITHMS},
    "zopg float32": {name: ours(name, float32=True) for name in ALGORITHMS},
    "CBXpy": {"cbo": lambda R, N, d: ask_tell.cbxpy("CBO", R, N, d)},
    "pycma": {"cma-es": ask_tell.pycma},
    "evosax": {"cma-es": of_evosax("CMA_ES"), "snes": of_evosax("SNES"), "pgpe": of_evosax("PGPE")},
    "EvoTorch": {"cma-es": of_evotorch("CMAES"), "snes": of_evotorch("SNES"), "pgpe": of_evotorch("PGPE")},
}
"""Name -> optimizer -> (R, N, d) -> step."""
LIBRARIES = {
    "CBXpy": Library("cbx", "cbx"),
    "pycma": Library("cma", "cma"),
    "evosax": Library("evosax", "evosax"),
    "EvoTorch": Library("evotorch", "evotorch"),
}
