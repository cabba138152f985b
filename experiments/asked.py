"""What is asked of the loop: its checks, its positions and its name."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from torch import Tensor

from envs.algorithm import Algorithm
from envs.random import Purpose, streams
from experiments.describe import describe, short_hash
from experiments.problems import Problem
from rl.sb3 import External

LARGEST = 2**62
"""Of seeds and budgets: what is counted fits int64."""

Evaluations: TypeAlias = int | Sequence[int]
"""At the ends of how many equal parts of the budget the iterate is scored, or the positions, from 0 to the budget."""


def check_run(
    algorithm: Algorithm,
    problem: Problem,
    seeds: Sequence[int],
    budget: int,
    evaluations: Evaluations,
    cuda_graphs: bool = False,
) -> None:
    """Raise ValueError, naming the field, for what `run` cannot do."""
    if not seeds:
        raise ValueError("seeds is empty; at least one is needed")
    outside = [seed for seed in seeds if not 0 <= seed <= LARGEST]
    if outside:
        raise ValueError(f"seeds has {outside[0]}, which is not in [0, {LARGEST}]")
    if not 1 <= budget <= LARGEST:
        raise ValueError(f"budget = {budget} is not in [1, {LARGEST}]")
    positions_of(evaluations, budget)
    problem.check(algorithm)
    if cuda_graphs:
        check_graphs(algorithm, problem)
    _check_lengths(algorithm, len(seeds), algorithm.id)
    if isinstance(algorithm, External):
        from experiments import external

        external.check(algorithm, problem, budget)
        return
    initial = streams(seeds, problem.device).fold(Purpose.INITIAL)
    state = algorithm.init(problem.init(initial), initial.fold(Purpose.ASK))
    points, _ = algorithm.ask(state, initial)
    least = problem.worst_case(algorithm, points.shape[1])
    if least > budget:
        raise ValueError(
            f"budget = {budget} is less than the {least} {problem.unit} that one iteration of {algorithm.id} can take"
        )


def check_graphs(algorithm: Algorithm, problem: Problem) -> None:
    """Raise ValueError where an iteration cannot be recorded as a CUDA graph."""
    if problem.device.type != "cuda":
        raise ValueError(f"cuda_graphs = True needs a GPU, {problem.name} is on device = {problem.device}")
    if isinstance(algorithm, External) or not algorithm.uniform:
        raise ValueError(f"cuda_graphs = True: iterations of {algorithm.id} differ in more than numbers")


def positions_of(evaluations: Evaluations, budget: int) -> list[int]:
    """Where the iterate is scored. Raises ValueError for a number < 1 or positions that do not end at the budget."""
    if not isinstance(evaluations, int):
        positions = list(evaluations)
        if positions[:1] != [0] or positions[-1] != budget or any(a >= b for a, b in pairwise(positions)):
            raise ValueError(f"evaluations = {positions} must ascend from 0 to the budget = {budget}")
        return positions
    if evaluations < 1:
        raise ValueError(f"evaluations = {evaluations} must be >= 1")
    return [budget * i // evaluations for i in range(evaluations + 1)]


def _check_lengths(settings: Any, runs: int, name: str) -> None:
    """Raise ValueError naming the first hyper-parameter tensor that has not one entry for each run."""
    for entry in fields(settings):
        value, path = getattr(settings, entry.name), f"{name}.{entry.name}"
        if isinstance(value, Tensor) and value.dim() and value.shape != (runs,):
            raise ValueError(f"{path} has shape {tuple(value.shape)}, allowed are a number or [{runs}], one per run")
        if is_dataclass(value):
            _check_lengths(value, runs, path)


def label_of(
    algorithm: Algorithm, problem: Problem, seeds: Sequence[int], budget: int, evaluations: Evaluations
) -> str:
    """`<algorithm>-<hash of the configuration>`."""
    return f"{algorithm.id}-{short_hash(configuration_of(algorithm, problem, seeds, budget, evaluations))}"


def configuration_of(
    algorithm: Algorithm, problem: Problem, seeds: Sequence[int], budget: int, evaluations: Evaluations
) -> dict[str, Any]:
    """What the name is a hash of, as plain data."""
    return {
        "id": algorithm.id,
        "algorithm": describe(algorithm),
        "problem": describe(problem),
        "seeds": list(seeds),
        "budget": budget,
        "evaluations": evaluations if isinstance(evaluations, int) else list(evaluations),
    }
