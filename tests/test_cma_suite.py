"""The CMA-ES suite: its steps, its counts, its tables, its figure."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import SUITES, cma_es, cma_es_evaluations, sides
from experiments.benchmarks.cma_es import GROWING, GROWTH, MAIN, PEER, SIDES, Size


@pytest.mark.parametrize("side", sorted({*SIDES, *GROWING}))
def test_every_side_makes_steps(side: str) -> None:
    step = cma_es.make_step(side, Size(2, 3))
    assert [step(), step()] == [1, 1]


@pytest.mark.parametrize("side", ["cma-es", PEER])
def test_evaluations_are_counted(
    side: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """On the sphere in d = 2 from (1, 1), a run needs between 100 and 400 for a value of 1e-8."""
    monkeypatch.setattr(cma_es_evaluations, "FUNCTIONS", ("sphere",))
    monkeypatch.setattr(cma_es_evaluations, "DIMS", (2, 3))
    cma_es_evaluations.count(side, 3)
    found = json.loads(capsys.readouterr().out)["found"]
    assert {name: len(needed) for name, needed in found.items()} == {"sphere 2": 3, "sphere 3": 3}
    assert all(100 < needed < 400 and needed % 6 == 0 for needed in found["sphere 2"])


def test_functions_have_their_minimum_and_condition() -> None:
    rng = np.random.default_rng(0)
    for name, best in (("sphere", np.zeros(4)), ("ellipsoid", np.zeros(4)), ("rosenbrock", np.ones(4))):
        assert cma_es_evaluations.values_of(name, best) == 0
        assert (cma_es_evaluations.values_of(name, best + 0.1 * rng.standard_normal((9, 4))) > 0).all()
    unit = np.eye(4)
    hessian = [[cma_es_evaluations.values_of("ellipsoid", unit[i] + unit[j]) for j in range(4)] for i in range(4)]
    single = cma_es_evaluations.values_of("ellipsoid", unit)
    matrix = (np.array(hessian) - single[:, None] - single) / 2
    assert np.linalg.cond(matrix) == pytest.approx(1e6, rel=1e-6)
    assert abs(matrix[0, 1]) > 1


def pretended(code: str, side: str, *rest: str) -> dict[str, object]:
    """Generations of R d^3 nanoseconds, pycma's a hundred times as long; 1000 evaluations, pycma's 1250."""
    if code == cma_es_evaluations.CODE:
        assert rest == ("15",)
        return {"found": {"ellipsoid 10": [1000, 1000, None] if side == "cma-es" else [1250, 1250, 1250]}}
    seconds = [1e-9 * (100 if side == PEER else 1) * R * d**3 for R, d in json.loads(rest[0])]
    return {"found": [{"wall": time, "processor": 2 * time} for time in seconds]}


def test_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sides, "child", pretended)
    monkeypatch.setattr(cma_es_evaluations, "child", pretended)
    SUITES["cma-es"](3, tmp_path)
    page = (tmp_path / "cma_es.md").read_text()
    assert "| cma-es | 0.0041 | 100.0 | 0.0082 | 100.0 |" in page
    assert "| ellipsoid 10 | 1,000 | 2 of 3 | 1,250 | 3 of 3 | 0.80 |" in page
    rows = [line.split(" | ")[-1] for line in page.splitlines() if line.startswith("| sep-cma-es | ")]
    assert rows[1:] == ["3.00 |", "1.00 |"]
    assert "medians over 15 runs" in page
    data = json.loads((tmp_path / "cma_es.json").read_text())
    assert data["main"]["sizes"] == [MAIN._asdict()]
    assert len(data["main"]["wall"][0]["cma-es"]) == 3
    assert (tmp_path / "cma_es.png").exists()


def test_sizes_vary_one_at_a_time() -> None:
    for axis, sizes in GROWTH.items():
        assert all(size._replace(**{axis: getattr(MAIN, axis)}) == MAIN for size in sizes)


def test_there_is_at_least_one_repeat() -> None:
    with pytest.raises(ValueError, match="repeats = 0 must be >= 1"):
        cma_es.cma_es_suite(0, None)
