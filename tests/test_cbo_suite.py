"""The CBO suite: its steps, its tables, its figure, and one small measurement."""

import json
from pathlib import Path

import pytest

from experiments.benchmarks import SUITES, cbo, sides, timing
from experiments.benchmarks.cbo import BASE, GROWING, GROWTH, MAIN, SIDES, Size


@pytest.mark.parametrize("side", sorted({*SIDES, *GROWING}))
def test_every_side_makes_steps(side: str) -> None:
    step = cbo.make_step(side, Size(2, 5, 3))
    assert [step(), step()] == [1, 1]


def test_a_measurement(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.0)
    timing.measure(cbo.make_step, Size, "zopg float32", "[[2, 5, 3], [1, 4, 2]]")
    found = json.loads(capsys.readouterr().out)["found"]
    assert len(found) == 2
    assert all(seconds["wall"] > 0 and seconds["processor"] > 0 for seconds in found)


def pretended(code: str, side: str, sizes: str) -> dict[str, list[dict[str, float]]]:
    """Steps of R N^a d seconds, a = 2 where polarized; CBXpy's take ten times as long."""
    factor = 10.0 if side.startswith("CBXpy") else 1.0
    power = 2 if "polarized" in side else 1
    seconds = [1e-9 * factor * R * N**power * d for R, N, d in json.loads(sizes)]
    return {"found": [{"wall": time, "processor": 2 * time} for time in seconds]}


def test_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sides, "child", pretended)
    SUITES["cbo"](3, tmp_path)
    page = (tmp_path / "cbo.md").read_text()
    assert "| zopg | 0.0064 | 10.0 | 0.0128 | 10.0 |" in page
    assert "| CBXpy | 0.0640 | 1.0 | 0.1280 | 1.0 |" in page
    tables = page.split("| side | ")[2:]
    for table, axis in zip(tables, "NdR", strict=True):
        rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1] for line in table.splitlines()[2:6]}
        assert rows["cbo"] == "1.00 |"
        assert rows["polarized-cbo"] == ("2.00 |" if axis == "N" else "1.00 |")
    data = json.loads((tmp_path / "cbo.json").read_text())
    assert data["main"]["sizes"] == [MAIN._asdict()]
    assert len(data["main"]["wall"][0]["zopg"]) == 3
    assert (tmp_path / "cbo.png").exists()
    assert (tmp_path / "cbo.pdf").exists()


def test_sizes_vary_one_at_a_time_around_the_base() -> None:
    for axis, sizes in GROWTH.items():
        assert all(size._replace(**{axis: getattr(BASE, axis)}) == BASE for size in sizes)
        assert [getattr(size, axis) for size in sizes] == sorted({getattr(size, axis) for size in sizes})


def test_there_is_at_least_one_repeat() -> None:
    with pytest.raises(ValueError, match="repeats = 0 must be >= 1"):
        cbo.cbo_suite(0, None)
