"""The scripts that users copy run as they are, on small budgets, and stay short."""

import importlib
from pathlib import Path

import pytest

import experiments.scripts

FOLDER = Path(experiments.scripts.__path__[0])
SMALL: dict[str, dict[str, int]] = {
    "compare_on_cartpole": {"seeds": 2, "budget": 5_000},
    "gradient_against_values": {"seeds": 2, "budget": 200},
    "minimize_a_function": {"budget": 500},
    "sweep_step_sizes": {"seeds": 2, "budget": 2_000},
    "train_and_keep_a_policy": {"seeds": 2, "budget": 4_000},
    "train_in_gymnasium": {"seeds": 1, "budget": 3_000},
}


def test_every_script_is_listed_and_short():
    scripts = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    assert scripts == sorted(SMALL)
    for name in scripts:
        assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 30, name


@pytest.mark.parametrize("name", SMALL)
def test_script_runs(name: str, capsys: pytest.CaptureFixture[str]):
    importlib.import_module(f"experiments.scripts.{name}").main(**SMALL[name])
    assert capsys.readouterr().out.strip()
