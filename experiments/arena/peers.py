"""Other libraries in the arena, each with its own defaults and the first samples spread as ours.

Every point goes through the recorder; what a library counts itself is not read. A peer that is not installed is named
as missing. Libraries that draw from global generators are seeded from the run's seed.

    pycma      CMA-ES with its own BIPOP restarts
    CBXpy      CBO, 20 particles
    evosax     CMA-ES, SNES and differential evolution, all runs in one batch, float64; populations of 4 + floor(3 ln d)
               but for differential evolution, which has 10 d; they never stop by themselves
    EvoTorch   CMA-ES, SNES and XNES
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from math import floor, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.arena.contenders import SIGMA0, AskTell, Batch, Caller, Contender
from experiments.arena.tasks import Task, run_streams, starts
from experiments.libraries import Library
from experiments.statistics import Floats

F = Callable[[Floats], Floats]
SEED_BITS = 2**31 - 1


class Peer(NamedTuple):
    """A contender of another library."""

    library: Library
    make: Callable[[], Contender]


def pycma_bipop() -> Contender:
    """CMA-ES by `cma.fmin2` with nine restarts, BIPOP."""
    import cma

    def minimise(f: F, x0: Floats, seed: int) -> None:
        generator = np.random.default_rng(seed)
        restarts = iter([x0])

        def start() -> Floats:
            return next(restarts, generator.uniform(-4, 4, len(x0)))

        cma.fmin2(
            None, start, SIGMA0, {"verbose": -9, "seed": seed % SEED_BITS + 1}, restarts=9, bipop=True,
            parallel_objective=lambda points: f(np.asarray(points)).tolist(),
        )  # fmt: skip

    return Caller(minimise)


def cbxpy() -> Contender:
    """CBO by CBXpy as it comes, but for the initial particles."""
    from cbx.dynamics import CBO

    def minimise(f: F, x0: Floats, seed: int) -> None:
        particles = x0 + SIGMA0 * np.random.default_rng(seed).normal(size=(1, 20, len(x0)))
        np.random.seed(seed % SEED_BITS)
        with np.errstate(all="ignore"):  # its alpha grows until weights overflow
            CBO(lambda x: f(x[0])[None], f_dim="3D", check_f_dims=False, x=particles, verbosity=0).optimize()

    return Caller(minimise)


def evosax(name: str, population: Callable[[int], int]) -> Contender:
    """An algorithm of evosax."""
    import jax

    jax.config.update("jax_enable_x64", True)
    kind = getattr(import_module("evosax.algorithms"), name)

    def begin(tasks: Sequence[Task], restart: int) -> Batch:
        return _Evosax(kind, population(tasks[0].dim), tasks, restart)

    return AskTell(begin)


class _Evosax(Batch):
    def __init__(self, kind: Any, population: int, tasks: Sequence[Task], restart: int) -> None:
        import jax

        strategy = kind(population_size=population, solution=jax.numpy.zeros(tasks[0].dim))
        params = strategy.default_params.replace(std_init=SIGMA0)
        seeds = run_streams(tasks, restart).seeds.numpy()
        self.keys = jax.vmap(jax.random.key)(jax.numpy.asarray(seeds))
        self.split = jax.jit(jax.vmap(lambda key: tuple(jax.random.split(key, 3))))
        self.asks = jax.jit(jax.vmap(lambda key, state: strategy.ask(key, state, params)))
        self.tells = jax.jit(jax.vmap(lambda *told: strategy.tell(*told, params)[0]))
        begin = jax.vmap(lambda key, mean: strategy.init(key, mean, params))
        self.state = begin(self.keys, jax.numpy.asarray(starts(tasks, restart)))
        self.population: Any = None

    def ask(self) -> Floats:
        """Points [n, K, d]."""
        self.keys, key, self.telling = self.split(self.keys)
        self.population, self.state = self.asks(key, self.state)
        return np.asarray(self.population)

    def tell(self, values: Floats) -> NDArray[np.bool_]:
        """No run stops."""
        worst = np.where(np.isfinite(values), values, np.inf)
        self.state = self.tells(self.telling, self.population, worst, self.state)
        return np.zeros(len(values), dtype=bool)


def evotorch(name: str) -> Contender:
    """An algorithm of EvoTorch."""
    import torch
    from evotorch import Problem
    from evotorch.tools import set_default_logger_config

    set_default_logger_config(logger_level=40, override=True)
    kind = getattr(import_module("evotorch.algorithms"), name)

    def minimise(f: F, x0: Floats, seed: int) -> None:
        problem = Problem(
            "min", lambda points: torch.from_numpy(f(points.numpy())), solution_length=len(x0),
            initial_bounds=(-4, 4), dtype=torch.float64, vectorized=True, seed=seed % SEED_BITS,
        )  # fmt: skip
        searcher = kind(problem, stdev_init=SIGMA0, center_init=torch.from_numpy(x0))
        while True:
            searcher.step()

    return Caller(minimise)


def _usual(dim: int) -> int:
    return 4 + floor(3 * log(dim))


PEERS: dict[str, Peer] = {
    "pycma BIPOP": Peer(Library("cma", "cma"), pycma_bipop),
    "CBXpy CBO": Peer(Library("cbx", "cbx"), cbxpy),
    "evosax CMA-ES": Peer(Library("evosax", "evosax"), lambda: evosax("CMA_ES", _usual)),
    "evosax SNES": Peer(Library("evosax", "evosax"), lambda: evosax("SNES", _usual)),
    "EvoTorch CMA-ES": Peer(Library("evotorch", "evotorch"), lambda: evotorch("CMAES")),
    "EvoTorch SNES": Peer(Library("evotorch", "evotorch"), lambda: evotorch("SNES")),
    "EvoTorch XNES": Peer(Library("evotorch", "evotorch"), lambda: evotorch("XNES")),
}
"""Name -> contender."""
