"""Presets of the paper's experiments: what they hold, that files of them can be read back, and one from end to end."""

import csv
from dataclasses import replace

import gymnasium
import pytest

from experiments.cli import main
from experiments.compare import Comparison
from experiments.paper_tasks import PAPER_TASKS
from experiments.preset_files import load_preset, save_preset
from experiments.presets import PRESETS, setting
from experiments.settings import FAITHFUL, PRACTICAL
from rl import PolicyGradient

SHORT = [f"{name}-short" for name, task in PAPER_TASKS.items() if task.short_budget]


@pytest.mark.parametrize("name", [*PAPER_TASKS, *SHORT])
def test_faithful_form_has_the_official_batch_and_nothing_else_of_ours(name: str) -> None:
    preset = PRESETS[name]
    for algorithm in preset.algorithms:
        how = setting(algorithm, "faithful", preset)
        assert how.estimator.episodes == max(1, 1000 // preset.horizon)
        assert how.estimator == replace(FAITHFUL[algorithm].estimator, episodes=how.estimator.episodes)
        assert (how.algorithm, how.normalise) == (FAITHFUL[algorithm].algorithm, False)


@pytest.mark.parametrize("name", [*PAPER_TASKS, *SHORT])
def test_practical_form_can_run_within_its_budget(name: str, tmp_path) -> None:
    preset = PRESETS[name]
    for algorithm in preset.algorithms:
        how = setting(algorithm, "practical", preset)
        assert isinstance(how.algorithm, PolicyGradient)
        assert how.normalise == preset.env.startswith("gym:")
        assert 2 * how.estimator.episodes * preset.horizon <= preset.budget
    assert setting("ppo", "practical", preset) == (FAITHFUL if how.normalise else PRACTICAL)["ppo"]
    save_preset(tmp_path / "preset.json", preset)
    assert load_preset(tmp_path / "preset.json") == preset


def test_networks_horizons_and_thresholds() -> None:
    for name, task in PAPER_TASKS.items():
        assert task.hidden == ((64, 64) if task.simulated else (32, 32)), name
        registered = gymnasium.spec(task.env.removeprefix("gym:"))
        assert task.horizon <= registered.max_episode_steps
        if task.target is not None and task.simulated:
            assert task.target == registered.reward_threshold * task.horizon / registered.max_episode_steps
        shorter = task.horizon < registered.max_episode_steps and registered.reward_threshold is not None
        assert (task.target is not None) == shorter, name


def test_scoring_is_the_presets_and_flags_replace_it() -> None:
    comparison = Comparison(replace(PRESETS["acrobot"], evaluation_episodes=3))
    assert comparison.problem().evaluation_episodes == 3


@pytest.mark.parametrize("mode", ["faithful", "practical"])
def test_a_tiny_reacher_from_end_to_end(mode: str, tmp_path) -> None:
    pytest.importorskip("mujoco")
    flags = ["--seeds", "2", "--budget", "300", "--evaluations", "2", "--evaluation-episodes", "2", "--episodes", "2"]
    main(["compare", "--preset", "reacher-short", "--mode", mode, *flags, "--out", str(tmp_path / "out")])
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines()))
    assert [row["algorithm"] for row in rows] == ["reinforce", "n-pg-igt", "n-harpg"]
    assert (tmp_path / "out" / "curves.png").exists()
