"""A step of an optimizer without its objective, for R runs of N points in d dimensions: ours and other libraries'.

Everybody is told the same values in every step. Libraries without a run axis make one step after the other.
"""

from importlib import import_module
from typing import Any

import numpy as np

from experiments.benchmarks.timing import Step


def values_told(R: int, N: int) -> np.ndarray:
    """[R, N] in [0, 1)."""
    return np.random.default_rng(0).random((R, N))


def ours(algorithm: Any, R: int, N: int, d: int, float32: bool = False) -> Step:
    """`ask` and `tell` of an optimizer of ours."""
    import torch

    from envs.random import streams
    from zeroth_order import Values

    torch.set_num_threads(1)
    dtype = torch.float32 if float32 else torch.float64
    root, told = streams(range(R)), Values(torch.as_tensor(values_told(R, N)).to(dtype))
    batch: dict[str, Any] = {"state": algorithm.init(torch.zeros(R, d, dtype=dtype), root), "t": 0}

    def step() -> int:
        points, asked = algorithm.ask(batch["state"], root.at(batch["t"]))
        batch.update(state=algorithm.tell(asked, points, told)[0], t=batch["t"] + 1)
        return 1

    return step


def cbxpy(kind: str, R: int, N: int, d: int) -> Step:
    """A dynamic of CBXpy, with its own run axis and anisotropic noise."""
    values, x = values_told(R, N), np.random.default_rng(1).normal(size=(R, N, d))
    settings: dict[str, Any] = {"noise": "anisotropic", "dt": 0.1, "sigma": 0.5, "track_args": {"names": []}}
    swarm = getattr(import_module("cbx.dynamics"), kind)(
        lambda points: values, f_dim="3D", check_f_dims=False, x=x, verbosity=0, **settings
    )

    def step() -> int:
        swarm.step()
        return 1

    return step


def pycma(R: int, N: int, d: int, diagonal: bool = False) -> Step:
    """R instances of pycma."""
    import cma

    options = {"verbose": -10, "CMA_diagonal": diagonal, "popsize": N}
    instances = [cma.CMAEvolutionStrategy(d * [1.0], 0.5, options | {"seed": r + 1}) for r in range(R)]
    values = values_told(R, N).tolist()

    def step() -> int:
        for instance, told in zip(instances, values, strict=True):
            instance.tell(instance.ask(), told)
        return 1

    return step


def evosax(name: str, R: int, N: int, d: int) -> Step:
    """An algorithm of evosax, `ask` and `tell` of all runs in one compiled call, float32."""
    from experiments.benchmarks.compiled import jax_on_one_core

    jax = jax_on_one_core()
    strategy = getattr(import_module("evosax.algorithms"), name)(
        population_size=N, solution=jax.numpy.zeros(d)
    )  # fmt: skip
    params, values = strategy.default_params, jax.numpy.asarray(values_told(R, N), dtype="float32")

    def generation(key: Any, state: Any, told: Any) -> tuple[Any, Any]:
        key, asking, telling = jax.random.split(key, 3)
        points, state = strategy.ask(asking, state, params)
        return key, strategy.tell(telling, points, told, state, params)[0]

    compiled = jax.jit(jax.vmap(generation))
    keys = jax.random.split(jax.random.key(0), R)
    begin = jax.jit(jax.vmap(lambda key: strategy.init(key, jax.numpy.zeros(d), params)))
    batch = {"now": (keys, begin(keys))}

    def step() -> int:
        batch["now"] = jax.block_until_ready(compiled(*batch["now"], values))
        return 1

    return step


def evotorch(name: str, R: int, N: int, d: int) -> Step:
    """An algorithm of EvoTorch in float32: R searchers, or for PGPE its functional form, which has a run axis."""
    import torch

    torch.set_num_threads(1)
    values = torch.as_tensor(values_told(R, N), dtype=torch.float32)
    if name == "PGPE":
        return _evotorch_pgpe(values, d)
    from evotorch import Problem
    from evotorch.tools import set_default_logger_config

    set_default_logger_config(logger_level=40, override=True)
    kind = getattr(import_module("evotorch.algorithms"), name)
    searchers = []
    for told in values:
        problem = Problem(
            "min", lambda points, told=told: told, solution_length=d, initial_bounds=(-1, 1), vectorized=True,
        )  # fmt: skip
        searchers.append(kind(problem, stdev_init=0.5, popsize=N))

    def step() -> int:
        for searcher in searchers:
            searcher.step()
        return 1

    return step


def _evotorch_pgpe(values: Any, d: int) -> Step:
    import torch
    from evotorch.algorithms.functional import pgpe, pgpe_ask, pgpe_tell

    R, N = values.shape
    state = pgpe(
        center_init=torch.zeros(R, d), center_learning_rate=0.1, stdev_learning_rate=0.1, objective_sense="min",
        optimizer="adam", stdev_init=0.5,
    )  # fmt: skip
    batch = {"state": state}

    def step() -> int:
        points = pgpe_ask(batch["state"], popsize=N)
        batch["state"] = pgpe_tell(batch["state"], points, values)
        return 1

    return step
