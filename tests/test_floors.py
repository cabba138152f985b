"""The floors' arithmetic, and the ceilings that they stand on."""

import json

import numpy as np
import pytest

from experiments.benchmarks import ceilings, floors
from experiments.benchmarks.ceilings import Ceilings
from experiments.benchmarks.floors import Work, policy_step

CEILINGS = Ceilings(flops=1e11, tanh=1e9, cached_bytes=5e10, memory_bytes=1e10)


def test_a_network_has_the_operations_of_its_matrices() -> None:
    work = policy_step(64)
    assert work.flops == 8_960
    assert work.tanh == 128
    assert work.operations - policy_step(63).operations == 2


def test_times_on_the_same_units_add_up_and_copies_overlap() -> None:
    work = Work(flops=1e11, operations=1e11, tanh=1e9)
    assert work.seconds(CEILINGS) == pytest.approx(1 + 2 + 1)
    assert work.plus(Work(bytes=1e11)).seconds(CEILINGS) == pytest.approx(4)
    assert work.plus(Work(bytes=5e11)).seconds(CEILINGS) == pytest.approx(10)


def test_random_steps_cost_their_dynamics_and_draws() -> None:
    assert floors.DRAW == 28
    cartpole, pendulum = floors.RANDOM_STEPS["CartPole-v1"], floors.RANDOM_STEPS["Pendulum-v1"]
    assert cartpole.operations == pytest.approx(36 + 28 + 1 + (4 * 28 + 8) / 22.3)
    assert pendulum.operations == pytest.approx(28 + 28 + (2 * 28 + 4) / 200)


def test_ceilings_are_those_of_a_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.setattr(ceilings, "SECONDS", 0.0)
    ceilings.print_ceilings()
    found = Ceilings(*json.loads(capsys.readouterr().out)["found"])
    assert all(value > 1e6 for value in found)
    assert "GFLOP" in ceilings.ceilings_table(found)


def test_the_ceiling_of_tanh_is_measured_on_one() -> None:
    x, out = np.linspace(-9, 9, 1001, dtype=np.float32), np.empty(1001, np.float32)
    ceilings.rational_tanh(x, out)
    np.testing.assert_allclose(out, np.tanh(x), atol=2e-4)


def test_the_best_of_the_repeats_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"found": [1.0, 5.0, 3.0, 4.0]}, {"found": [2.0, 1.0, 3.5, 0.5]}])
    monkeypatch.setattr(ceilings, "child", lambda code: next(answers))
    assert ceilings.measure_ceilings(2) == Ceilings(2.0, 5.0, 3.5, 4.0)
