"""The policy search presets: everybody runs, on one axis, and nobody's settings are those of another task."""

from dataclasses import replace

import pytest

from experiments.compare import Comparison
from experiments.loop import run
from experiments.policy_problem import PolicyProblem
from experiments.policy_search import AGENTS, OPTIMIZERS, SEARCH_TASKS
from experiments.presets import PRESETS
from zeroth_order import Optimizer


@pytest.mark.parametrize("name", SEARCH_TASKS)
def test_members_and_their_settings(name: str) -> None:
    task, preset = SEARCH_TASKS[name], PRESETS[name]
    members = dict(zip(preset.algorithms, Comparison(preset, device="cpu").members(), strict=True))
    assert tuple(members) == (*AGENTS, *OPTIMIZERS)
    for id, (algorithm, problem) in members.items():
        assert algorithm.id == id
        assert isinstance(problem, PolicyProblem)
        assert isinstance(algorithm, Optimizer) == (id in OPTIMIZERS)
        assert problem.query_episodes == (task.episodes if id in OPTIMIZERS else 1)
        assert id in OPTIMIZERS or problem.estimator.episodes == task.batch
        # Generations that are whole within the budget, and enough of them to learn something.
        asked = task.population if id in OPTIMIZERS else 2
        assert problem.worst_case(algorithm, asked) * 3 <= task.budget
    assert preset.seeds == 20
    assert min(preset.tuning_seeds) == 1000


@pytest.mark.parametrize("id", OPTIMIZERS)
def test_a_generation_is_as_large_for_everybody(id: str) -> None:
    name = "policy-search-mountain-car"
    preset = replace(PRESETS[name], algorithms=(id,), seeds=2, horizon=20, budget=20 * 50 * 2)
    ((algorithm, problem),) = Comparison(preset, device="cpu").members()
    result = run(algorithm, problem, 2, preset.budget, evaluations=1)
    assert result.spent.queries.tolist() == [100, 100]
