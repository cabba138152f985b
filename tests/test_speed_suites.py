"""The suites beside peers: what they count, their tables and figures, and what they do where a peer is missing."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import (
    SUITES,
    ceilings,
    optimizers,
    pages,
    policies,
    policies_sides,
    seeds,
    seeds_sides,
    sides,
    speed,
    steps,
    steps_sides,
    timing,
)
from experiments.benchmarks.ceilings import Ceilings
from experiments.benchmarks.processes import child
from experiments.benchmarks.rates import rates_tables
from experiments.benchmarks.sides import Axis, Measured, Plan
from experiments.libraries import Library, versions
from experiments.presets import PRESETS

NOWHERE = Library("no_such_module", "no-such-package")
CEILINGS = Ceilings(flops=1e11, tanh=1e9, cached_bytes=5e10, memory_bytes=1e10)


def pretended(code: str, side: str = "", *rest: str) -> dict[str, Any]:
    """Ceilings; training that ends after 2 s; elsewhere 2 and 4 ns for a unit of ours, 20 and 40 for the peers'."""
    if code == ceilings.CODE:
        return {"found": list(CEILINGS)}
    if "seeds_sides" in code:
        first, count = map(int, rest)
        reached = [None if seed == 1 else (1_000 * (seed + 1), 0.5) for seed in range(first, first + count)]
        return {"reached": reached, "wall": 2.0, "processor": 3.0}
    slow = 1.0 if side.startswith("zopg") else 10.0
    return {"found": [{"wall": 2e-9 * slow, "processor": 4e-9 * slow} for _ in json.loads(rest[0])]}


@pytest.fixture(name="children")
def _children(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sides, ceilings, seeds):
        monkeypatch.setattr(module, "child", pretended)


@pytest.fixture(name="unsaved")
def _unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not drawn, which takes seconds."""
    monkeypatch.setattr(pages, "save", lambda figure, path: [])


# What is counted.


def test_a_unit_is_what_the_call_says_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(1000) * 1.0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing.time, "process_time", lambda: 0.0)
    assert timing.seconds_each(lambda: 4) == {"wall": 0.25, "processor": 0.0}


class Endings:
    """Copies whose episodes have 2, 3, 4 .. steps; a copy that is over begins anew in the next step."""

    def __init__(self, number: int) -> None:
        self.number, self.age, self.taken = number, np.zeros(number, dtype=int), 0

    def reset(self) -> None:
        self.age[:] = 0

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        length = np.arange(self.number) + 2
        fresh = self.age == length
        self.taken += int((~fresh).sum())
        self.age = np.where(fresh, 0, self.age + 1)
        over = self.age == length
        return None, None, over & (length % 2 == 0), over & (length % 2 == 1), {}


def test_rows_that_begin_an_episode_are_not_steps() -> None:
    envs = Endings(5)
    step = steps_sides.vector_steps(envs, 5, lambda: np.zeros(5))
    counted = step() + step()
    assert counted == envs.taken
    rows = 2 * 5 * -(-steps_sides.ROWS // 5)
    assert 0.6 * rows < counted < 0.85 * rows


def test_a_row_without_a_step_is_measured_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy whose episodes have two steps: every third row only begins one."""
    monkeypatch.setattr(steps_sides, "ROWS", 1)
    envs = Endings(1)
    step = steps_sides.vector_steps(envs, 1, lambda: np.zeros(1))
    assert [step() for _ in range(7)] == [1] * 7
    assert envs.taken == 7


def installed(side: Any) -> bool:
    return side.library is None or not side.library.missing


@pytest.mark.parametrize("env", steps_sides.HORIZONS)
@pytest.mark.parametrize("name", [name for name, side in steps_sides.SIDES.items() if installed(side)])
def test_sides_make_random_steps(name: str, env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CartPole-v1's episodes have 22 random steps on average, so one row in 23 begins one; Pendulum-v1's 1 in 201."""
    monkeypatch.setattr(steps_sides, "ROWS", 1_600)
    step = steps_sides.make_step(name, steps_sides.Size(env, 8))
    if step is None:
        assert (name, env) in (("Gymnasium vector", "Pendulum-v1"), ("torchrl", "CartPole-v1"))
        return
    counted = step()
    low, high = (1_460, 1_580) if env == "CartPole-v1" else (1_592, 1_600)
    assert low <= counted <= high or counted % 1_024 == 0


def test_ours_and_plain_count_the_steps_of_whole_episodes() -> None:
    size = policies_sides.Size(3, 2, 4)
    step, plain = (policies_sides.make_step(name, size) for name in ("zopg", "zopg, plain"))
    assert step is not None
    assert plain is not None
    counted = [step() for _ in range(3)]
    assert counted == [plain() for _ in range(3)]
    assert len(set(counted)) > 1
    assert all(6 * 8 <= number <= 6 * 500 for number in counted)
    assert policies_sides.make_step("zopg, plain", size._replace(episodes=1_000)) is None


def test_evaluate_policy_plays_the_episodes_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies_sides, "SB3_EPISODES", 16)
    size = policies_sides.Size(1, policies_sides.SB3_EPISODES, 4)
    step = policies_sides.make_step("Stable-Baselines3", size)
    assert step is not None
    assert 16 * 8 < step() < 16 * 100
    assert policies_sides.make_step("Stable-Baselines3", size._replace(episodes=17)) is None


@pytest.mark.parametrize(("train", "name"), [("train_ours", "cbo"), ("train_sb3", "A2C")])
def test_training_tells_when_each_seed_was_there(
    train: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seeds_sides, "BUDGET", 40_000)
    if train == "train_sb3":
        monkeypatch.setattr(seeds_sides, "THRESHOLD", 12.0)
    getattr(seeds_sides, train)(name, 0, 2)
    found = json.loads(capsys.readouterr().out)
    assert len(found["reached"]) == 2
    for hit in found["reached"]:
        assert hit is None or (0 <= hit[0] <= 40_000 and 0 < hit[1] <= found["wall"])
    if train == "train_sb3":  # an untrained policy keeps the pole up for 12 steps
        assert [hit[0] for hit in found["reached"]] == [2_000, 2_000]
    else:
        assert any(found["reached"])


def test_ours_have_the_problem_that_is_stated() -> None:
    preset = PRESETS["cartpole"]
    stated = (seeds_sides.HORIZON, seeds_sides.THRESHOLD, seeds_sides.EPISODES)
    assert (preset.horizon, preset.target, preset.evaluation_episodes) == stated


# What is written.


@pytest.mark.usefixtures("children")
def test_the_steps_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "save", lambda figure, path: figure.draw_without_rendering() or [path])
    steps.steps_suite(3, tmp_path)
    page = (tmp_path / "steps.md").read_text()
    floor = steps.floor("zopg, Gymnasium's face", steps_sides.Size("CartPole-v1", 64), CEILINGS)
    [line, *_] = [line for line in page.splitlines() if line.startswith("| zopg, Gymnasium's face | ")]
    cells = line.strip("| ").split(" | ")[1:]
    assert cells == [f"{1 / 4e-9:.2g}", "10", f"{floor / 4e-9:.2g}"] * 3
    data = json.loads((tmp_path / "steps.json").read_text())
    assert data["CartPole-v1"]["sizes"][0] == {"env": "CartPole-v1", "number": 64}
    assert data["Pendulum-v1"]["processor"][2]["EnvPool"] in ([], [4e-8] * 3)
    assert data["ceilings"] == CEILINGS._asdict()
    assert {"platform", "cores", "load"} <= set(data["provenance"])


@pytest.mark.usefixtures("children", "unsaved")
@pytest.mark.parametrize("name", ["policies", "optimizers"])
def test_the_other_pages(name: str, tmp_path: Path) -> None:
    SUITES[name](1, tmp_path)
    page = (tmp_path / f"{name}.md").read_text()
    if name == "policies":
        share = policies.floor("zopg", policies.BASE, CEILINGS) / 4e-9
        assert f"| 2.5e+08 | 10 | {share:.2g} |" in page
    else:
        assert page.count("| zopg | 2e-06 | 10 | 4e-06 | 10 |" + " 4e-06 |" * 6) == 4
    assert "provenance" in json.loads((tmp_path / f"{name}.json").read_text())


@pytest.mark.usefixtures("children", "unsaved")
def test_the_seeds_page(tmp_path: Path) -> None:
    seeds.seeds_suite(2, tmp_path)
    lines = (tmp_path / "seeds.md").read_text().splitlines()
    [ours] = [line for line in lines if line.startswith("| zopg N-PG-IGT | 8 |")]
    assert ours == "| zopg N-PG-IGT | 8 | 2 | 15 of 16 | 9,000 | 0.50 | 0.50 | 2.00 | 3.00 |"
    [a2c] = [line for line in lines if line.startswith("| Stable-Baselines3 A2C |")]
    assert a2c == "| Stable-Baselines3 A2C | 1 | 2 | 1 of 2 | 1,000 | 0.50 | 0.50 | 2.00 | 3.00 |"
    data = json.loads((tmp_path / "seeds.json").read_text())["sides"]
    assert data["Stable-Baselines3 A2C"]["1"][1] == {"reached": [None], "wall": 2.0, "processor": 3.0}


# Peers that are missing.


@pytest.mark.usefixtures("children", "unsaved")
def test_a_missing_peer_is_named_and_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(steps_sides.SIDES, "EnvPool", sides.Side(steps_sides.envpool, NOWHERE))
    monkeypatch.setitem(steps.PLAN.libraries, "EnvPool", NOWHERE)
    steps.steps_suite(1, tmp_path)
    page = (tmp_path / "steps.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| EnvPool |")]
    assert len(lines) == 4
    assert all(line.split(" | ")[1] == "not installed |" or "| not installed |" in line for line in lines)
    data = json.loads((tmp_path / "steps.json").read_text())
    assert data["CartPole-v1"]["absent"]["EnvPool"] == "not installed"
    assert data["CartPole-v1"]["processor"][0]["EnvPool"] == []
    assert "no-such-package" not in " ".join(data["peers"])


def test_a_peer_that_fails_is_named_and_ours_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(code: str, side: str, numbers: str) -> dict[str, Any]:
        if side != "zopg":
            raise OSError("it broke")
        return pretended(code, side, numbers)

    monkeypatch.setattr(sides, "child", broken)
    library = Library("json", "json")
    found = Plan("nothing", {"peer": library}, {"n": Axis(["zopg", "peer"], [(1,)])}).measure("", 2)["n"]
    assert found.absent == {"peer": "failed: it broke"}
    assert found.processor == [{"zopg": [4e-9, 4e-9], "peer": []}]
    with pytest.raises(OSError, match="it broke"):
        Plan("nothing", {}, {"n": Axis(["zopg", "other"], [(1,)])}).measure("", 1)


def test_a_side_is_measured_once_at_each_of_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noting(code: str, side: str, numbers: str) -> dict[str, Any]:
        asked.append((side, json.loads(numbers)))
        return {"found": [{"wall": float(n), "processor": 2.0 * n} for (n,) in json.loads(numbers)]}

    monkeypatch.setattr(sides, "child", noting)
    axes = {"main": Axis(["a", "b"], [(3,)]), "n": Axis(["b", "c"], [(1,), (3,)])}
    found = Plan("nothing", {"c": Library("json", "json")}, axes).measure("", 2)
    assert asked == 2 * [("a", [[3]]), ("b", [[3], [1]]), ("c", [[1], [3]])]
    assert found["main"].wall == [{"a": [3.0, 3.0], "b": [3.0, 3.0]}]
    assert found["n"].processor == [{"b": [2.0, 2.0], "c": [2.0, 2.0]}, {"b": [6.0, 6.0], "c": [6.0, 6.0]}]


def test_a_side_without_such_a_size_leaves_a_dash() -> None:
    sizes = steps.PLAN.axes["CartPole-v1"].sizes
    times: list[sides.Seconds] = [{"zopg": [1e-9], "torchrl": [], "gymnax": []} for _ in sizes]
    times[0]["torchrl"] = [2e-9]
    measured = Measured(sizes, times, times, {})
    libraries = {"torchrl": NOWHERE, "gymnax": NOWHERE}
    tables = rates_tables(["a", "b", "c"], measured, libraries, lambda side, size: 1e-10)
    assert "| torchrl | 5e+08 | 1 | 0.05 |" + " – | – | – |" * 2 in tables
    assert "| zopg | 1e+09 | 2 | 0.1 |" + " 1e+09 | – | 0.1 |" * 2 in tables
    assert "gymnax" not in tables
    low, *_ = pages.spread([])
    assert math.isnan(low)


def test_versions_of_what_is_installed_each_once() -> None:
    numpy = Library("numpy", "numpy")
    assert versions([numpy, NOWHERE, numpy]) == [f"numpy {np.__version__}"]


# All of them.


def test_all_suites_run_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[Any] = []
    for name in speed.SPEED:
        monkeypatch.setitem(speed.SPEED, name, lambda repeats, out, name=name: called.append((name, repeats, out)))
    SUITES["speed"](2, Path("there"))
    assert called == [(name, 2, Path("there")) for name in ("steps", "policies", "seeds", "optimizers")]
    assert "suite 2 of 4: policies" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["speed", *speed.SPEED])
def test_there_is_at_least_one_repeat(name: str) -> None:
    with pytest.raises(ValueError, match="repeats = 0 must be >= 1"):
        SUITES[name](0, None)
    assert optimizers.PLAN.axes["snes, d"].sizes[0] == ("snes", 16, 64, 10)


def test_every_side_has_one_thread_of_blas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Size` and `make_step` of a module that fails unless NumPy was loaded with one."""
    (tmp_path / "blas_side.py").write_text(
        "import numpy, threadpoolctl\n"
        "Size = tuple\n"
        "def make_step(side, size):\n"
        "    blas = [part for part in threadpoolctl.threadpool_info() if part['user_api'] == 'blas']\n"
        "    assert {part['num_threads'] for part in blas} == {1}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    found = Plan("blas_side", {}, {"none": Axis(["side"], [()])}).measure("", 1)
    assert found["none"].processor == [{"side": []}]


def test_a_process_that_fails_says_how() -> None:
    with pytest.raises(OSError, match="ended with status 1: ValueError: 3 is no size"):
        child("raise ValueError('3 is no size')")
