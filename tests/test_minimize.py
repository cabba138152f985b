"""`minimize`: the answer, the accounting, and what it refuses."""

import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zeroth_order
from zeroth_order import CBO, CMAES, Optimizer, RandomSearch, minimize
from zeroth_order.ask_tell.evaluation import evaluator
from zeroth_order.ask_tell.start import Form

OPTIMIZERS = [CBO(), CMAES(), RandomSearch(points=7)]


class Recorded:
    """Sum of squares about 1, which keeps what it was asked."""

    def __init__(self, failing: bool = False) -> None:
        self.failing = failing
        self.asked: list[np.ndarray] = []
        self.values: list[float] = []

    def __call__(self, x: np.ndarray) -> float:
        self.asked.append(x)
        value = float(((x - 1) ** 2).sum())
        value = math.nan if self.failing and len(self.asked) % 3 else value
        self.values.append(value)
        return value


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
@pytest.mark.parametrize("budget", [1, 10, 333])
def test_the_budget_is_never_exceeded(algorithm: Optimizer, budget: int) -> None:
    f = Recorded()
    best = minimize(f, bounds=(-5, 5), dim=3, algorithm=algorithm, budget=budget)
    assert best.queries == len(f.asked) == budget
    assert best.stop == {"budget": budget}
    assert best.fun == min(f.values)
    assert np.array_equal(best.x, f.asked[f.values.index(best.fun)])
    assert best.x.shape == (3,)
    assert best.x.dtype == np.float64


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
def test_failures_are_counted_and_never_returned(algorithm: Optimizer) -> None:
    f = Recorded(failing=True)
    best = minimize(f, x0=[0.0, 0.0], algorithm=algorithm, budget=300)
    assert best.failures == sum(map(math.isnan, f.values)) == 200
    assert best.fun == np.nanmin(f.values)


def test_when_everything_fails_the_start_is_returned() -> None:
    best = minimize(lambda x: math.inf, x0=[0.5, 0.25], budget=120)
    assert best.x.tolist() == [0.5, 0.25]
    assert best.fun == math.inf
    assert best.failures == best.queries == 120
    assert minimize(lambda x: -math.inf, x0=[0.5], budget=10).fun == math.inf


def test_solves() -> None:
    best = minimize(Recorded(), bounds=(-5, 5), dim=5, budget=10_000)
    assert best.fun < 0.05
    best = minimize(Recorded(), bounds=(-5, 5), dim=5, algorithm=CMAES(), budget=10_000)
    assert best.fun < 1e-10
    assert best.queries < 10_000
    assert {"tolfun", "tolfunhist"} & best.stop.keys()


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
def test_points_stay_in_the_box(algorithm: Optimizer) -> None:
    """The minimiser of this function lies outside; the answer is the nearest corner for all but random search."""
    f = Recorded()
    low, high = np.array([-2.0, -1.0]), np.array([0.5, 0.0])
    best = minimize(f, bounds=(low, high), algorithm=algorithm, budget=600)
    assert all((x >= low).all() and (x <= high).all() for x in f.asked)
    assert best.fun == pytest.approx(1.25, abs=0.3 if algorithm.id == "random-search" else 1e-3)


def test_a_target_ends_it_at_once() -> None:
    f = Recorded()
    best = minimize(f, bounds=(-5, 5), dim=2, target=0.1, budget=5_000)
    assert best.fun <= 0.1 < min(f.values[:-1])
    assert best.stop == {"target": best.fun}


def test_the_same_arguments_give_the_same_answer() -> None:
    def solve(seed: int) -> list[float]:
        return minimize(Recorded(), bounds=(-5, 5), dim=3, seed=seed, budget=200).x.tolist()

    assert solve(3) == solve(3) != solve(4)


def test_f_may_write_into_its_argument() -> None:
    def f(x: np.ndarray) -> float:
        value = float((x**2).sum())
        x[:] = 100.0
        return value

    assert np.abs(minimize(f, x0=[1.0, 1.0], budget=500).x).max() < 10


def test_exceptions_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        minimize(lambda x: 1 / 0, x0=[0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "tell nothing"),
        ({"dim": 2}, "x0 or bounds"),
        ({"bounds": (-1, 1)}, "one dimension"),
        ({"bounds": (-1, 1), "dim": 0}, "one dimension"),
        ({"x0": []}, "one dimension"),
        ({"x0": [0.0, 0.0], "dim": 3}, "one dimension"),
        ({"x0": [0.0, 0.0], "bounds": ([-1, -1, -1], 1)}, "one dimension"),
        ({"bounds": ([-1, -1], [1, 1, 1])}, "one dimension"),
        ({"bounds": (1, 1), "dim": 2}, "low has to be < high"),
        ({"bounds": ([0, 2], [1, 1])}, "low has to be < high"),
        ({"bounds": (-math.inf, 1), "dim": 2}, "x0 is needed where a side is open"),
        ({"x0": [0.0, math.nan]}, "x0 = "),
        ({"x0": [[0.0, 1.0]]}, "x0 = "),
        ({"x0": [2.0], "bounds": (-1, 1)}, "does not lie in the bounds"),
        ({"x0": [0.0], "budget": 0}, "budget = 0"),
        ({"x0": [0.0], "workers": 0}, "workers = 0"),
        ({"x0": [0.0], "workers": 2}, "f = .*never.* cannot be sent to worker processes"),
        ({"x0": [0.0], "workers": 2, "vectorized": True}, "workers = 2 with vectorized = True"),
        ({"x0": [0.0], "repeats": 2.5}, "repeats = 2.5"),
        ({"x0": [0.0], "final": 10_000}, "budget = 10000 is not a whole number >= 10001"),
        ({"x0": [0.0], "seed": -1}, "seed = -1"),
    ],
)
def test_bad_input_is_refused_before_any_query(arguments: dict[str, Any], message: str) -> None:
    def never(x: np.ndarray) -> float:
        raise AssertionError("f was called")

    with pytest.raises(ValueError, match=message):
        minimize(never, **arguments)


def quadratic(x: np.ndarray) -> float:
    return float(((x - 1) ** 2).sum())


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@pytest.mark.parametrize("algorithm", OPTIMIZERS, ids=lambda algorithm: algorithm.id)
@pytest.mark.parametrize("arguments", [{}, {"repeats": 3, "final": 20}])
def test_how_f_is_called_does_not_matter(algorithm: Optimizer, arguments: dict[str, Any]) -> None:
    arguments = {"bounds": (-5, 5), "dim": 3, "algorithm": algorithm, "budget": 233} | arguments
    one = minimize(quadratic, **arguments)
    sizes = []

    def many(points: np.ndarray) -> np.ndarray:
        sizes.append(len(points))
        return ((points - 1) ** 2).sum(-1)

    assert same(minimize(many, vectorized=True, **arguments), one)
    assert sum(sizes) == one.queries
    assert len(sizes) < one.queries / 3
    with ThreadPoolExecutor(3) as pool:
        assert same(minimize(quadratic, workers=pool.map, **arguments), one)


def picky(x: np.ndarray) -> float:
    """Fails in two ways."""
    if x[0] == 7:
        raise FileNotFoundError("no such life")
    if x[0] == 8:
        os._exit(1)
    return quadratic(x)


def test_worker_processes() -> None:
    """Values are those of this process; an exception arrives with its point; what ends a worker is explained."""
    points = np.linspace(-1, 1, 33).reshape(11, 3)
    with evaluator(picky, False, 2, Form.of([0.0], several=False)) as evaluate:
        assert evaluate.values(points) == [quadratic(x) for x in points]
        points[4, 0] = 7
        with pytest.raises(FileNotFoundError, match="no such life") as caught:
            evaluate.values(points)
        assert repr(points[4]) in caught.value.__notes__[0]
        points[4, 0] = 8
        with pytest.raises(BrokenProcessPool) as broken:
            evaluate.values(points)
        assert "__main__" in broken.value.__notes__[0]


def test_the_point_of_an_exception_is_named() -> None:
    def f(x: np.ndarray) -> float:
        if x[0] != 0.25:
            x[:] = 0
        raise KeyError("x")

    x0 = [0.1, 1 / 3]
    with pytest.raises(KeyError) as caught:
        minimize(f, x0, algorithm=RandomSearch(points=1, spread=1e-300))
    assert caught.value.__notes__ == [f"f was called at {np.array_repr(np.array(x0), precision=17)}"]
    assert repr(1 / 3) in caught.value.__notes__[0]
    for wrong in (lambda points: 0.0, lambda points: points):
        with pytest.raises(ValueError, match=r"f returned \[.*\] for points \[50, 2\]: \[K\] is needed"):
            minimize(wrong, x0, vectorized=True)
    with pytest.raises(TypeError) as none:
        minimize(lambda x: None, x0)
    assert "f was called at array" in none.value.__notes__[0]


@pytest.mark.parametrize("arguments", [{"vectorized": True}, {"workers": map}])
def test_a_generation_that_is_evaluated_at_once_is_counted_whole(arguments: dict[str, Any]) -> None:
    f = Recorded()

    def g(x: np.ndarray) -> Any:
        return f(x) if x.ndim == 1 else [f(row) for row in x]

    best = minimize(g, bounds=(-5, 5), dim=2, target=0.1, budget=5_000, **arguments)
    assert best.queries == len(f.asked)
    assert best.queries % 50 == 0
    assert best.fun == min(f.values) <= 0.1 < min(f.values[:-50])


@pytest.mark.parametrize("budget", [26, 100, 1_001])
def test_noise(budget: int) -> None:
    """The mean at the recommendation is near the truth, the least value is not; and every query is counted."""
    random = np.random.default_rng(0)
    values = []

    def f(x: np.ndarray) -> float:
        values.append(quadratic(x) + random.normal())
        return values[-1]

    best = minimize(f, x0=[0.0, 0.0], budget=budget, repeats=4, algorithm=CBO(particles=10))
    final = min(40, budget // 10)
    assert best.queries == len(values) <= budget
    assert budget - best.queries < 4
    last = np.array(values[-final:])
    assert best.fun == best.recommendation.fun == pytest.approx(last.mean())
    assert best.recommendation.stderr == pytest.approx(last.std(ddof=1) / math.sqrt(final))
    assert best.x.tolist() == best.recommendation.x.tolist()
    # Five standard errors: one in 1e6 seeds.
    assert abs(best.fun - quadratic(best.x)) < 5 / math.sqrt(final)
    if budget > 1_000:
        assert min(values) < -2
        assert best.stop == {"budget": 1_001}


def test_a_finished_checkpoint_is_an_answer(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"x0": [0.0], "budget": 77, "checkpoint": tmp_path / "search", "final": 5}
    best = minimize(quadratic, **arguments)
    with pytest.raises(ValueError, match=r"checkpoint = .*search exists already; resume it"):
        minimize(quadratic, **arguments)
    assert same(minimize(lambda x: 1 / 0, resume=True, **arguments), best)
    with pytest.raises(ValueError, match="budget was 77, is 78"):
        minimize(quadratic, resume=True, **(arguments | {"budget": 78}))


KILLED_AGAIN_AND_AGAIN = """
import os, signal, sys, time
from pathlib import Path
import zeroth_order
from zeroth_order.ask_tell import optimize

optimize.SAVE_SECONDS = 0.0
checkpoint, log = Path("search"), open("log", "a", buffering=1)

def f(x):
    time.sleep(0.002)
    log.write("f\\n")
    return float(((x - 1) ** 2).sum())

def work():
    best = zeroth_order.minimize(
        f, bounds=(-5, 5), dim=3, algorithm=zeroth_order.CBO(particles=10), budget=123, final=9,
        checkpoint=checkpoint, resume=True,
    )
    Path("best").write_text(repr(best))

# Nothing is computed in this process: threads do not survive a fork.
for calls in (5, 40, 77, 118, None):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    while calls and len(open("log").read().split()) < calls:
        time.sleep(0.001)
    if calls:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status == (signal.SIGKILL if calls else 0), status
"""


def test_a_killed_search_ends_as_one_that_was_not(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    best = minimize(quadratic, bounds=(-5, 5), dim=3, algorithm=CBO(particles=10), budget=123, final=9)
    assert (tmp_path / "best").read_text() == repr(best)
    calls = len((tmp_path / "log").read_text().split())
    # Each kill costs at most the call under way and the one that was not saved yet, but the last nine are together.
    assert 123 <= calls <= 123 + 4 * 2 + 9


PAGE = (Path(zeroth_order.__path__[0]) / "minimize.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_page_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {"__name__": "page"}
    exec(compile(snippet, "minimize.md", "exec"), page)
    found = page["best"] if "best" in page else page["search"].result
    for result in found if isinstance(found, list) else [found]:
        assert result.queries > 0
        assert np.isfinite(result.fun)


def test_the_page_has_snippets() -> None:
    assert len(SNIPPETS) == 7
