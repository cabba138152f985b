"""The surrogates suite: one small measurement of each side, and the report."""

import json
from pathlib import Path

import pytest

from experiments.benchmarks import SUITES, surrogates
from experiments.benchmarks.surrogates import OFFICIAL, SIDES
from experiments.libraries import Library


@pytest.mark.parametrize("side", SIDES)
def test_a_measurement(side: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All sides find the gradient of the same function: with 30 points in 3 dimensions nearly."""
    if side == OFFICIAL:
        pytest.importorskip("sklearn")
    for name, value in {"POINTS": 30, "DIM": 3, "LEAST_SECONDS": 1e-9}.items():
        monkeypatch.setattr(surrogates, name, value)
    surrogates.measure(side)
    found = json.loads(capsys.readouterr().out)
    assert found["wall_s"] > 0
    assert found["cpu_s"] > 0
    assert found["cosine"] > 0.99


def test_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seconds = dict(zip(SIDES, (0.01, 0.1, 5.0), strict=True))
    monkeypatch.setattr(surrogates, "PEER", Library("numpy", "numpy"))
    monkeypatch.setattr(surrogates, "child", lambda code, side: {"wall_s": seconds[side], "cpu_s": 1.0, "cosine": 0.5})
    SUITES["surrogates"](3, tmp_path)
    data = json.loads((tmp_path / "surrogates.json").read_text())
    assert data["ratios"] == pytest.approx({"zopg": 500, "zopg refitted": 50, "scikit-learn": 1})
    assert len(data["sides"]["zopg"]) == 3


def test_the_peer_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogates, "PEER", Library("no_such_module", "no-such-package"))
    with pytest.raises(ValueError, match="needs no-such-package, which is not installed"):
        SUITES["surrogates"](1, None)


def test_there_is_at_least_one_repeat() -> None:
    with pytest.raises(ValueError, match="repeats = 0 must be >= 1"):
        SUITES["surrogates"](0, None)
