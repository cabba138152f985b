"""The memory suite: sizes, the fit, the report, and one measurement."""

import json
from pathlib import Path

import pytest

import envs
from experiments.benchmarks import SUITES, memory
from rl import ALGORITHMS


@pytest.mark.parametrize("size", memory.SIZES)
def test_networks_have_about_as_many_parameters_as_asked(size: int) -> None:
    width = memory.width_for(size)
    spec = envs.make("CartPole-v1", device="cpu").spec
    dims = [envs.MLP(spec, (w, w)).dim for w in (width - 1, width, width + 1)]
    assert dims[1] == width**2 + 8 * width + 2
    assert abs(dims[1] - size) == min(abs(dim - size) for dim in dims)


def test_two_iterations_use_products_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    memory.measure("n-harpg", 1_000)
    found = json.loads(capsys.readouterr().out)
    assert found["d"] == 1_010
    assert found["bytes"] >= 0


def test_the_line_fitted_is_the_line_there_is() -> None:
    line = memory.row("agent", [(d, 2.0**20 + 12.0 * d) for d in memory.SIZES])
    assert line == "| agent | 1.0 | 1.1 | 2.1 | 12.4 | 12.0 | 0.0 |"


def test_every_agent_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With bytes per parameter that grow from repeat to repeat, of which the median is taken."""
    calls: dict[tuple[str, str], int] = {}

    def child(code: str, name: str, size: str) -> dict[str, int]:
        calls[name, size] = calls.get((name, size), 0) + 1
        return {"d": int(size), "bytes": 10 ** calls[name, size] * int(size)}

    monkeypatch.setattr(memory, "child", child)
    SUITES["memory"](3, tmp_path)
    assert set(calls.values()) == {3}
    data = json.loads((tmp_path / "memory.json").read_text())["bytes"]
    assert set(data) == set(ALGORITHMS) - set(memory.ABLATIONS)
    page = (tmp_path / "memory.md").read_text()
    assert all(f"| {name} |" in page for name in data)
    assert "| reinforce | 0.1 | 1.0 | 9.5 | 95.4 | 100.0 | 0.0 |" in page


def test_there_is_at_least_one_repeat() -> None:
    with pytest.raises(ValueError, match="repeats = 0 must be >= 1"):
        memory.memory_suite(0, None)
