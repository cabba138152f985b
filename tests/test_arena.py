"""The arena: exact first hits, equal budgets, restarts, running times on data made by hand, and the report."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.arena import suite
from experiments.arena.contenders import SIGMA0, AskTell, Batch, Caller, fitted, ours
from experiments.arena.entries import SETTINGS, Entry, default_names, entries
from experiments.arena.figures import spread_out
from experiments.arena.peers import PEERS, Peer
from experiments.arena.recorder import TARGETS, Ended, Found, Recorder
from experiments.arena.report import Arena
from experiments.arena.runtimes import distribution, expected_running_time, reached_share, target_index
from experiments.arena.suite import ArenaFlags, arena_suite, run_arena
from experiments.arena.tasks import START, Task, starts, tasks
from experiments.cli import main
from experiments.libraries import Library
from zeroth_order import BLACK_BOX, CBO, PyCMA, RandomSearch


def quiet(done: float, message: str) -> None:
    """Shows nothing."""


class Spy:
    """Notes every point in order; answers what it is told to, or the distance from 1 of the first coordinate."""

    def __init__(self, values: Sequence[float] | None = None) -> None:
        self.values = None if values is None else iter(values)
        self.points: list[np.ndarray] = []

    def __call__(self, points: np.ndarray) -> np.ndarray:
        self.points += list(points)
        if self.values is None:
            return (points**2).sum(-1) + 3.0
        return np.array([next(self.values) for _ in points])


def task(function: Callable[[np.ndarray], np.ndarray], minimum: float = 3.0, seed: int = 1, dim: int = 2) -> Task:
    return Task("spied", "of spies", 1, dim, function, minimum, seed)


def hits_in_words(points: list[np.ndarray], budget: int) -> list[int]:
    """First hits of the sphere with minimum 3, by going through the queries one by one."""
    hits = [-1] * len(TARGETS)
    for number, point in enumerate(points[:budget], 1):
        for i, target in enumerate(TARGETS):
            if hits[i] < 0 and float((point**2).sum() + 3.0) - 3.0 <= target:
                hits[i] = number
    return hits


def test_targets_are_those_of_coco() -> None:
    assert len(TARGETS) == 51
    assert TARGETS[0] == 100
    assert TARGETS[-1] == pytest.approx(1e-8)
    np.testing.assert_allclose(np.diff(np.log10(TARGETS)), -0.2)


def test_first_hits_query_by_query_within_a_batch() -> None:
    """Distances 1000, 50, NaN, 70, 2, 2, -inf, 0.5: failures are queries and nothing else."""
    values = [1003.0, 53.0, math.nan, 73.0, 5.0, 5.0, -math.inf, 3.5]
    spied = Spy(values)
    recorder = Recorder([task(spied)], budget=20)
    answers = [recorder.evaluate(0, np.zeros((count, 2))) for count in (3, 5)]
    np.testing.assert_array_equal(np.concatenate(answers), values)
    expected = [2 if target >= 50 else 5 if target >= 2 else 8 if target >= 0.5 else -1 for target in TARGETS]
    assert recorder.found.hits[0].tolist() == expected
    assert recorder.found.queries.tolist() == [8]
    assert recorder.running.tolist() == [True]


def test_a_value_at_a_target_has_reached_it() -> None:
    recorder = Recorder([task(Spy([200.0, 100.0, 100.0, 1.0]), minimum=0.0)], budget=9)
    recorder.evaluate(0, np.zeros((4, 2)))
    assert TARGETS[10] == 1.0
    assert recorder.found.hits[0, [0, 1, 10, 11]].tolist() == [2, 4, 4, -1]


def test_a_run_ends_at_the_last_target_or_at_the_budget_within_a_batch() -> None:
    solved, poor = Spy([4.0, 3.0, 9.0, 9.0]), Spy([9.0] * 20)
    recorder = Recorder([task(solved), task(poor, seed=2)], budget=6)
    first = recorder.evaluate(0, np.zeros((4, 2)))
    assert first[:2].tolist() == [4.0, 3.0]
    assert np.isnan(first[2:]).all()
    assert recorder.found.queries[0] == recorder.found.hits[0, -1] == 2
    assert np.isnan(recorder.evaluate(0, np.zeros((4, 2)))).all()
    assert recorder.found.queries[0] == 2
    recorder.evaluate(1, np.zeros((4, 2)))
    last = recorder.evaluate(1, np.zeros((4, 2)))
    assert np.isnan(last).tolist() == [False, False, True, True]
    assert len(poor.points) == recorder.found.queries[1] == 6
    assert recorder.running.tolist() == [False, False]
    assert recorder.done == 1.0


@pytest.mark.parametrize("optimizer", [CBO(particles=7), RandomSearch(points=3), PyCMA()], ids=lambda o: o.id)
@pytest.mark.parametrize("budget", [40, 41, 400])
def test_ours_get_the_budget_and_not_a_query_more(optimizer: Any, budget: int) -> None:
    spies = [Spy(), Spy()]
    runs = [task(spied, seed=seed) for seed, spied in enumerate(spies)]
    found = ours(fitted(optimizer)).run(runs, budget, quiet)
    for row, spied in enumerate(spies):
        solved = found.hits[row, -1] >= 0
        assert found.queries[row] == (found.hits[row, -1] if solved else budget)
        assert found.hits[row].tolist() == hits_in_words(spied.points, int(found.queries[row]))
        assert len(spied.points) <= budget


def test_a_run_is_the_same_alone_and_among_others() -> None:
    runs = tasks("synthetic", 3, (1, 4), (1, 2))
    together = ours(fitted(CBO(particles=8))).run(runs, 300, quiet)
    for row, run in enumerate(runs):
        alone = ours(fitted(CBO(particles=8)), at_once=1).run([run], 300, quiet)
        assert alone.hits[0].tolist() == together.hits[row].tolist()


class Impatient(Batch):
    """Asks at its starts, and stops after two generations."""

    begun: list[tuple[list[int], int, np.ndarray]] = []  # noqa: RUF012

    def __init__(self, runs: Sequence[Task], restart: int) -> None:
        self.points, self.generations = starts(runs, restart), 0
        self.begun.append(([run.seed for run in runs], restart, self.points))

    def ask(self) -> np.ndarray:
        return np.repeat(self.points[:, None], 5, axis=1)

    def tell(self, values: np.ndarray) -> np.ndarray:
        self.generations += 1
        return np.full(len(values), self.generations == 2)


def test_what_stops_is_started_again_elsewhere_and_counted() -> None:
    Impatient.begun.clear()
    lucky = Spy([3.0] * 5)
    found = AskTell(Impatient).run([task(lucky, seed=7), task(Spy(), seed=8)], 34, quiet)
    assert found.restarts.tolist() == [0, 3]
    assert found.queries.tolist() == [1, 34]
    assert [(seeds, restart) for seeds, restart, _ in Impatient.begun] == [([7, 8], 0), ([8], 1), ([8], 2), ([8], 3)]
    places = [points[-1] for *_, points in Impatient.begun]
    assert len({tuple(place) for place in places}) == 4
    assert all((np.abs(place) <= START).all() for place in places)


def test_peers_that_call_by_themselves_are_restarted_and_stopped() -> None:
    begun: list[tuple[np.ndarray, int]] = []

    def minimise(f: Callable[[np.ndarray], np.ndarray], x0: np.ndarray, seed: int) -> None:
        begun.append((x0, seed))
        for _ in range(3):
            f(np.repeat(x0[None], 4, axis=0))

    spied = Spy()
    found = Caller(minimise).run([task(spied, seed=7)], 30, quiet)
    assert found.queries.tolist() == [30]
    assert found.restarts.tolist() == [2]
    assert len(spied.points) == 30
    assert len({seed for _, seed in begun}) == 3
    np.testing.assert_array_equal(begun[0][0], starts([task(spied, seed=7)], 0)[0])


def test_a_call_after_the_end_of_a_run_is_refused() -> None:
    recorder = Recorder([task(Spy([3.0]))], budget=10)
    with pytest.raises(Ended):
        recorder.call(0, np.zeros((1, 2)))


@pytest.mark.parametrize(
    "name", [name for name, peer in PEERS.items() if not peer.library.missing and peer.library.module != "evotorch"]
)
def test_peers_are_counted_by_the_recorder(name: str) -> None:
    spied = Spy()
    found = PEERS[name].make().run([task(spied, dim=3)], 157, quiet)
    assert found.queries[0] == len(spied.points) == 157
    assert found.hits[0].tolist() == hits_in_words(spied.points, 157)
    first = np.array(spied.points[:20])
    assert 0.2 * SIGMA0 < first.std(axis=0).mean() < 2 * SIGMA0


def test_missing_peers_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = Peer(Library("no_such_module", "no-such-package"), lambda: Caller(lambda *_: None))
    monkeypatch.setitem(PEERS, "Nobody's", nobody)
    playing, missing = entries(["random-search", "Nobody's"])
    assert [entry.name for entry in playing] == ["random-search"]
    assert missing == ["Nobody's"]
    arena_suite(1, None, ArenaFlags(False, "synthetic", (2,), (1,), 5, ("random-search", "Nobody's")))
    assert "not installed: Nobody's" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown algorithm 'nonsense'"):
        entries(["nonsense"])


def test_everybody_registered_takes_part() -> None:
    names = default_names()
    assert set(BLACK_BOX) - set(names) <= {"pycma"}
    assert {*PEERS, *SETTINGS} <= set(names)
    assert len(set(names)) == len(names)


# The sphere of BBOB in words: two functions, three runs each, two of the targets looked at.

REACHED = Found(
    np.array([[4, 40], [8, -1], [4, 20], [16, -1], [-1, -1], [-1, -1]]),
    np.array([40, 100, 20, 100, 100, 100]),
    np.zeros(6, dtype=np.int64),
)


def test_distribution_by_hand() -> None:
    grid = np.array([1.0, 2.0, 4.0, 8.0, 10.0, 20.0, 50.0])
    expected = np.array([0, 2, 3, 4, 5, 6, 6]) / 12
    np.testing.assert_allclose(distribution(REACHED, 2, grid), expected)


def test_share_and_its_interval() -> None:
    share = reached_share(REACHED, ["a"] * 3 + ["b"] * 3, 2, 50.0)
    assert float(share.value) == pytest.approx(6 / 12)
    # Runs of a reach 2, 1, 2 targets and of b 1, 0, 0: a resample of all is between 3 and 9 of 12.
    assert 3 / 12 <= float(share.low) < 6 / 12 < float(share.high) <= 9 / 12


def test_expected_running_time_by_hand() -> None:
    hits = np.stack([REACHED.hits[:3], REACHED.hits[3:]], axis=1)
    queries = np.stack([REACHED.queries[:3], REACHED.queries[3:]], axis=1)[..., None]
    ert = expected_running_time(hits, queries)
    np.testing.assert_allclose(ert.value[0], [16 / 3, (40 + 100 + 20) / 2])
    assert ert.value[1].tolist() == [216.0, math.inf]
    assert (ert.low <= ert.value).all()
    assert (ert.value <= ert.high).all()
    assert ert.high[1].tolist() == [math.inf, math.inf]
    assert 4 <= ert.low[0, 0] < 16 / 3 < ert.high[0, 0] <= 8


def test_targets_by_their_precision() -> None:
    assert target_index(1e2) == 0
    assert target_index(1e-8) == 50
    assert TARGETS[target_index(1e-1)] == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"precision = 0\.3 is not one of the targets"):
        target_index(0.3)


def test_tasks_of_the_synthetic_testbed() -> None:
    found = tasks("synthetic", 4, (), (1, 2))
    assert [run.name for run in found[::2]] == ["sphere", "ackley", "rastrigin", "rosenbrock", "griewank", "levy"]
    assert len({run.seed for run in found}) == len(found)
    generator = np.random.default_rng(0)
    for run in found:
        values = run.function(generator.uniform(-5, 5, (1000, 4)))
        assert (values > run.minimum).all()
    one, other = found[:2]
    points = generator.uniform(-5, 5, (10, 4))
    assert not np.allclose(one.function(points), other.function(points))


def test_our_sphere_has_its_optimum_in_the_box_where_runs_start() -> None:
    (run,) = tasks("synthetic", 2, (1,), (3,))
    side = np.linspace(-START, START, 81)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    # The sphere's own box is [-5.12, 5.12]: half a cell away in each coordinate is (1.024 * 0.05)^2 * 2 at most.
    assert run.function(grid).min() <= 2 * (1.024 * 0.05) ** 2 + 1e-12


def test_tasks_of_bbob() -> None:
    pytest.importorskip("cocoex")
    found = tasks("bbob", 5, (), (1, 2))
    assert len(found) == 48
    assert [run.group for run in found[::2]].count("multi-modal") == 5
    assert found[0].function(np.zeros((2, 5))).tolist() == [found[0].function(np.zeros((1, 5)))[0]] * 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (ArenaFlags(testbed="nothing"), "testbed = 'nothing' is not one of bbob, synthetic"),
        (ArenaFlags(testbed="synthetic", functions=(1, 7)), "functions has 7; synthetic has 1 to 6"),
        (ArenaFlags(budget=0), "budget = 0 must be >= 1"),
        (ArenaFlags(contenders=("pgpe", "nonsense")), "unknown algorithm 'nonsense'"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(flags: ArenaFlags, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        arena_suite(3, tmp_path / "out", flags)
    assert not (tmp_path / "out").exists()


def test_names_beside_a_panel_keep_their_distance_and_order() -> None:
    heights = spread_out(np.array([0.0, 0.0, 0.01, 0.9, 0.99, 1.0]))
    assert (np.diff(heights) > 0.0449).all()
    assert heights[0] >= 0
    assert heights[-1] <= 1
    crowded = spread_out(np.full(40, 0.5))
    assert (np.diff(crowded) > 0.9 / 39).all()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


COMMAND = [
    "bench", "--suite", "arena", "--repeats", "2", "--arena.testbed", "synthetic", "--arena.dims", "2", "3",
    "--arena.functions", "1", "3", "--arena.budget", "60", "--arena.contenders", "random-search", "cbo",
]  # fmt: skip


def test_one_command_writes_tables_figures_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "arena"
    main([*COMMAND, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "| contender | d = 2 | d = 3 |" in printed
    names = ("arena.md", "arena.json", "shares.csv", "ert.csv", "dimensions.png", "groups.png")
    assert all((out / name).exists() for name in names)
    rows = rows_of(out / "ert.csv")
    assert len(rows) == 2 * 2 * 2 * 6
    assert {row["function"] for row in rows} == {"sphere", "rastrigin"}
    assert all(float(row["low"]) <= float(row["ert"]) <= float(row["high"]) for row in rows)
    shares = {(row["contender"], row["dim"]): float(row["share"]) for row in rows_of(out / "shares.csv")}
    assert shares["cbo", "2"] > shares["random-search", "2"]
    told = json.loads((out / "arena.json").read_text())
    assert told["arena"]["budget"] == 60
    assert "torch" in told["provenance"]["versions"]
    assert len(list((out / "records").iterdir())) == 4
    assert "| cbo |" in (out / "arena.md").read_text()


def test_what_is_recorded_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena("synthetic", (2, 3), (1, 3), 2, 60, ("random-search", "cbo"))
    first = run_arena(arena, tmp_path, quiet)
    records = sorted((tmp_path / "records").iterdir())
    records[0].unlink()
    made: list[str] = []
    playing, missing = entries(arena.contenders)

    def noted(entry: Entry) -> Entry:
        return entry._replace(make=lambda: (made.append(entry.name), entry.make())[1])

    monkeypatch.setattr(suite, "entries", lambda names: ([noted(entry) for entry in playing], missing))
    again = run_arena(arena, tmp_path, quiet)
    assert len(made) == 1
    assert sorted((tmp_path / "records").iterdir()) == records
    for one, other in zip(first.outcomes, again.outcomes, strict=True):
        assert (one.contender, one.dim) == (other.contender, other.dim)
        assert all(np.array_equal(a, b) for a, b in zip(one.found, other.found, strict=True))
    run_arena(replace(arena, budget=61), tmp_path, quiet)
    assert len(made) == 5


def test_progress_of_the_whole_arena_ascends_to_one() -> None:
    shown: list[float] = []
    arena = Arena("synthetic", (2, 3), (1,), 2, 20, ("random-search", "cbo"))
    finished = run_arena(arena, None, lambda done, message: shown.append(done))
    assert shown == sorted(shown)
    assert shown[-1] == 1.0
    assert [(outcome.contender, outcome.dim) for outcome in finished.outcomes] == [
        ("random-search", 2), ("cbo", 2), ("random-search", 3), ("cbo", 3),
    ]  # fmt: skip
