"""Algorithms that run at once: the same results, and an end for all when one of them ends badly."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import envs
from envs.algorithm import Algorithm
from experiments import side_by_side as module
from experiments.compare import Comparison, compare
from experiments.loop import Progress
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.presets import Preset
from experiments.problems import Problem
from experiments.side_by_side import number_of_jobs, side_by_side
from rl.sb3 import A2C
from zeroth_order import CBO, XNES, Ackley

Watch = Callable[[Progress], Progress]
CPU = torch.device("cpu")
PRESET = Preset(
    summary="", env="CartPole-v1", horizon=20, hidden=(2,), budget=2_000, seeds=3,
    algorithms=("n-pg-igt", "n-harpg", "cbo", "cma-es"), evaluations=3, evaluation_episodes=2,
)  # fmt: skip


def silent(done: float, message: str) -> None:
    """Shows nothing."""


def test_results_do_not_depend_on_how_many_run_at_once(tmp_path: Path) -> None:
    alone = compare(Comparison(PRESET), tmp_path / "alone", jobs=1)
    together = compare(Comparison(PRESET), tmp_path / "together", jobs=4)
    assert (alone.jobs, together.jobs) == (1, 4)
    for one, other in zip(alone.results, together.results, strict=True):
        assert one.label == other.label
        assert one.curves.drop_columns("wall_s").equals(other.curves.drop_columns("wall_s"))
        torch.testing.assert_close(one.parameters, other.parameters, rtol=0, atol=0)


def test_a_comparison_that_one_algorithm_broke_off_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(CBO, "tell", broken)
        with pytest.raises(OSError, match="no space left"):
            compare(Comparison(PRESET), tmp_path / "out", jobs=4)
    whole = compare(Comparison(PRESET), tmp_path / "whole", jobs=1)
    continued = compare(Comparison(PRESET), tmp_path / "out", resume=True, jobs=4)
    assert [row.final for row in continued.rows] == [row.final for row in whole.rows]
    shutil.rmtree(tmp_path)


def test_each_call_gives_what_it_found_in_order() -> None:
    calls = [lambda watched, i=i: (watched(silent)(1.0, ""), i)[1] for i in range(5)]
    assert side_by_side(calls, 1) == side_by_side(calls, 3) == [0, 1, 2, 3, 4]


def test_when_one_fails_the_others_stop_at_their_next_report_and_the_rest_never_begins() -> None:
    begun, seen = threading.Event(), []

    def fails(watched: Watch) -> None:
        assert begun.wait(10)
        raise ValueError("dim = 0")

    def endless(watched: Watch) -> None:
        report = watched(lambda done, message: seen.append(done))
        begun.set()
        while True:
            report(0.5, "")

    def never(watched: Watch) -> None:
        seen.append(-1.0)

    with pytest.raises(ValueError, match="dim = 0"):
        side_by_side([fails, endless, never], 2)
    assert set(seen) <= {0.5}


def test_an_interrupt_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def endless(watched: Watch) -> None:
        report = watched(silent)
        try:
            while True:
                report(0.5, "")
        finally:
            stopped.append(True)

    monkeypatch.setattr(module, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([endless, endless], 2)
    assert stopped in ([True], [True, True])  # the second may not have begun


def members(*algorithms: Algorithm, device: torch.device = CPU) -> list[tuple[Algorithm, Problem]]:
    return [(algorithm, ObjectiveProblem(Ackley(), place=device)) for algorithm in algorithms]


def simulated() -> tuple[Algorithm, Problem]:
    env = envs.make("gym:CartPole-v1")
    return CBO(), PolicyProblem(env, envs.MLP(env.spec, (2,)), 0.99)


def test_jobs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    assert number_of_jobs(None, members(*[CBO()] * 9)) == 4
    assert number_of_jobs(None, members(CBO(), XNES())) == 2
    assert number_of_jobs(None, members(CBO(), A2C())) == 1
    assert number_of_jobs(None, [simulated(), simulated()]) == 1
    assert number_of_jobs(None, members(CBO(), XNES(), device=torch.device("cuda"))) == 1
    assert number_of_jobs(3, members(CBO(), XNES(), device=torch.device("cuda"))) == 3


def test_jobs_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="jobs = 0 must be >= 1"):
        number_of_jobs(0, members(CBO()))
    with pytest.raises(ValueError, match="jobs = 2 must be 1: a2c draws from torch's global generator"):
        number_of_jobs(2, members(CBO(), A2C()))
    with pytest.raises(ValueError, match="jobs = 2 must be 1: algorithms share the simulators of CartPole-v1"):
        number_of_jobs(2, [simulated(), simulated()])
