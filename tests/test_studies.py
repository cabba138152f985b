"""Studies on exact problems: what they measure, what they refuse, and that each runs through the command line."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from oracles import Scripted
from torch import Tensor

from envs.algorithm import Algorithm, Schedule
from envs.core import Cost
from envs.random import Stream
from experiments.answers import Answer
from experiments.cli import main
from experiments.exact import ExactProblem
from experiments.plots import CurveBand, panels_figure
from experiments.presets import Setting
from experiments.statistics import Estimate
from experiments.studies import STUDIES, Request, core
from experiments.studies.core import Contender, chosen_values, write_table
from experiments.studies.estimator_errors import Estimated, bias_and_std, errors_along, exact_path, led_along
from experiments.studies.problems import random_mdp
from experiments.studies.rates import CONTENDERS, draw_guides, row, verdict
from experiments.studies.tracks import RESOLUTION, Track, log_positions, track
from experiments.studies.tuning import check_equal, save_chosen, tune
from experiments.studies.unseen import lines
from rl import HARPG, NMPG, NPGIGT, REINFORCE, Estimator, causal, official, paper, time_baseline

PROBLEM = random_mdp(3)
HORIZON = PROBLEM.env.spec.horizon
PLAIN = Contender("plain", Setting(REINFORCE(Schedule(0.5))), {"gamma.scale": [0.5]}, rate=-1 / 3)


def request(out: Path, **options: Any) -> Request:
    return Request(out, **{"seeds": 3} | options)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(*(np.asarray(part) for part in (value, low, high)))


def made_up(gap: np.ndarray, diverged: int = 0, label: str = "plain") -> Track:
    x = np.geomspace(1, 1000, gap.shape[1])
    return Track(PLAIN._replace(label=label), x, gap, gap[:, :-1], gap, diverged)


# Positions, tracks, slopes.


@pytest.mark.parametrize(("budget", "last"), [(20 * 8192, 8192), (20 * 100 + 7, 100), (40, 2)])
def test_positions_are_whole_trajectories_evenly_spaced_in_the_logarithm(budget: int, last: int) -> None:
    positions = log_positions(budget, 20)
    assert positions[0] == 0
    assert positions[-1] == budget
    trajectories = np.array(positions[1:-1]) / 20
    assert trajectories[0] == 1
    assert (trajectories == trajectories.round()).all()
    late = np.diff(np.log([*trajectories, last]))[trajectories > 30]
    assert late.size == 0 or late.max() < 2 * late.min()


def test_a_track_is_what_the_runs_did(tmp_path: Path) -> None:
    found = track(PLAIN, PROBLEM, request(tmp_path), 30 * HORIZON, tmp_path)
    assert found.trajectories[[0, -1]].tolist() == [1, 30]
    assert found.gap.shape == found.fisher_min.shape == (3, len(found.trajectories))
    assert found.direction_error.shape == (3, len(found.trajectories) - 1)
    assert found.diverged == 0
    start = float(PROBLEM.score(torch.zeros(1, PROBLEM.dim), None)["gap"])
    assert (found.gap[:, 0] != start).all()  # after one trajectory, not before any
    again = track(PLAIN, PROBLEM, request(tmp_path, resume=True), 30 * HORIZON, tmp_path)
    assert_allclose(again.gap, found.gap, rtol=0)


@pytest.mark.parametrize(
    "how", [Setting(HARPG(Schedule(0.1, 0.5))), Setting(REINFORCE(Schedule(0.5)), Estimator(2, time_baseline))]
)
def test_two_trajectories_an_iteration_are_counted_as_two(how: Setting, tmp_path: Path) -> None:
    found = track(Contender("pairs", how, {}), PROBLEM, request(tmp_path), 8 * HORIZON, tmp_path)
    at = dict(zip(found.trajectories, found.gap.T, strict=True))
    assert_allclose(at[2], at[3], rtol=0)
    assert (at[2] != at[4]).all()


def test_slopes_and_verdicts() -> None:
    x, spread = np.geomspace(1, 1000, 31), np.array([[1.0], [2.0], [3.0]])
    cells = row("p", made_up(spread * x**-0.5))
    assert cells[:4] == ["p", "plain", "-0.33", "-0.50 [-0.50, -0.50]"]
    assert cells[4] == "yes"
    assert row("p", made_up(spread * x**-0.1))[4] == "no"
    assert row("p", made_up(spread * x**-0.5, diverged=1))[3:5] == ["none: some diverged", "no"]
    assert verdict(estimate(-0.4, -0.5, -0.3), -0.35) == "undecided"


def test_guides_have_the_slope_of_theory_over_the_last_decade() -> None:
    x = np.geomspace(1, 1000, 31)
    bands = [CurveBand(name, x, *[7 * x**-0.2] * 3, 5) for name in ("n-pg-igt", "another")]
    figure = panels_figure([("gap", bands)], "", "")
    before = len(figure.axes[0].lines)
    draw_guides(figure.axes[0], bands)
    (guide,) = figure.axes[0].lines[before:]
    at, y = guide.get_data()
    assert_allclose(at[[0, -1]], [100, 1000])
    assert_allclose(y, 7 * 100**-0.2 * (at / 100) ** -0.4)
    assert [text.get_text() for text in figure.axes[0].texts] == ["-2/5"]


def test_who_is_ahead_on_an_unseen_process() -> None:
    columns = [np.array([[1.0, level + 0.01 * i] for i in range(8)]) for level in (1.0, 0.5, 0.2)]
    found = [made_up(gap, label=str(i)) for i, gap in enumerate(columns)]
    assert [line[3] for line in lines(0, found)] == ["", "", "yes"]
    assert [line[3] for line in lines(0, [found[0], found[2], found[2]])] == ["", "", ""]


def test_gaps_below_the_resolution_of_the_optimum_count_as_that(tmp_path: Path) -> None:
    found = track(PLAIN, AtTheOptimum(PROBLEM.env, PROBLEM.policy, 0.9), request(tmp_path), 2 * HORIZON, tmp_path)
    assert (found.gap == RESOLUTION).all()


class AtTheOptimum(ExactProblem):
    """Whatever the iterate."""

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        found = super().score(points, stream)
        return found | {"gap": torch.full_like(found["gap"], -1e-15)}


# Tuning.


def test_tuning_pools_problems_and_takes_the_smallest_final_gap(tmp_path: Path) -> None:
    problems, asked = [random_mdp(3), random_mdp(4)], request(tmp_path, seeds=4, seed=50)
    contender = PLAIN._replace(grid={"gamma.scale": [1e-6, 0.5, 1e-5]})
    trials = tune([contender], problems, 40 * HORIZON, asked, tmp_path)
    assert [each.values["gamma.scale"] for each in trials] == [1e-6, 0.5, 1e-5]
    found = save_chosen({"both": trials}, asked, "study")
    data = json.loads((tmp_path / "study.json").read_text())
    assert data["chosen"] == {"both": {"plain": {"gamma.scale": 0.5}}}
    assert data["tuning"]["seeds"] == [50, 51, 52, 53]
    assert tmp_path / "study.json" in found.files
    still = float(np.mean([float(each.score(torch.zeros(1, 18), None)["gap"]) for each in problems]))
    assert_allclose(-float(trials[0].score.value), still, rtol=1e-3)
    assert float(trials[1].score.value) > float(trials[0].score.value)


def test_all_grids_of_a_study_have_one_size() -> None:
    check_equal(CONTENDERS)
    other = PLAIN._replace(label="other", grid={"gamma.scale": [0.5, 1.0]})
    with pytest.raises(ValueError, match=r"\{'plain': 1, 'other': 2\}; every contender gets the same number"):
        check_equal([PLAIN, other])


@pytest.mark.parametrize("name", ["theory-rates", "unseen-mdps"])
def test_the_tuned_values_fit_the_study_and_its_seeds_are_not_reported(name: str, tmp_path: Path) -> None:
    chosen = chosen_values(name, request(tmp_path))
    assert all(values for contenders in chosen.values() for values in contenders.values())
    (first, *_) = json.loads((core.TUNED / f"{name}.json").read_text())["tuning"]["seeds"]
    with pytest.raises(ValueError, match=f"seeds has {first}, one of those that {name} was tuned on"):
        STUDIES[name].run(request(tmp_path / "out", seed=first - 1))
    assert not (tmp_path / "out").exists()


# Errors along one path.


@dataclass(frozen=True)
class Exactly(ExactProblem):
    """Answers with the exact gradient at the first point."""

    def answer(self, algorithm: Algorithm, points: Tensor, stream: Stream) -> Answer:
        cost = Cost.each(len(points), env_steps=HORIZON, episodes=points.shape[1])
        return Answer(Scripted(self.gradient(points[:, 0])), cost, cost.queries)


def test_agents_are_led_along_the_path() -> None:
    """With exact gradients N-MPG's direction is the average of the gradients at the path, whatever its own step."""
    problem = Exactly(PROBLEM.env, PROBLEM.policy, 0.9)
    path = exact_path(problem, 6)
    agent = NMPG(gamma=Schedule(100.0), eta=Schedule(1.0, 1.0))
    found, spent = led_along(Estimated("", agent), problem, path, [1, 5], [7, 8], lambda *_: None)
    gradients, direction, expected = problem.gradient(path), torch.zeros(18, dtype=torch.float64), []
    for t in range(6):
        direction = torch.lerp(direction, gradients[t], 2 / (t + 2))
        expected.append(direction)
    for replicate in range(2):
        assert_allclose(found[:, replicate], torch.stack([expected[1], expected[5]]), rtol=1e-12)
    assert spent.tolist() == [2, 6]


def test_transport_is_along_the_path() -> None:
    """Looking ahead from the path, N-PG-IGT is off by far less than the same average without the look-ahead."""
    problem = Exactly(PROBLEM.env, PROBLEM.policy, 0.9)
    path, eta = exact_path(problem, 12), Schedule(1.0, 0.8)
    exact, errors = problem.gradient(path)[11].numpy(), []
    for agent in (NPGIGT(gamma=Schedule(100.0), eta=eta), NMPG(gamma=Schedule(100.0), eta=eta)):
        found, _ = led_along(Estimated("", agent), problem, path, [11], [0], lambda *_: None)
        errors.append(np.linalg.norm(found[0, 0] - exact))
    assert errors[0] < 0.2 * errors[1]


def test_bias_and_standard_deviation_by_hand() -> None:
    """Two replicates 2 and 4 of a number, whose variance is 2, against 1 and then 3; a second entry is exact."""
    directions = np.array([[[2.0, 5.0], [4.0, 5.0]]] * 2)
    bias, std = bias_and_std(directions, np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert_allclose(bias, [np.sqrt((4 - 1) / 26), np.nan])
    assert_allclose(std, np.sqrt([2 / 26, 2 / 34]))


def test_the_published_product_is_biased_and_the_others_are_not(tmp_path: Path) -> None:
    """1,000 replicates, 10 iterations: of an unbiased estimate the squared bias is within 2.25 times what the mean is
    known to, 4 of its standard deviations or more; the published one is off by more than half the gradient."""
    path, asked = exact_path(PROBLEM, 10), request(tmp_path, seeds=1000)
    for form, biased in ((paper, False), (causal, False), (official, True)):
        each = Estimated("", HARPG(), Estimator(hvp=form))
        found = errors_along(each, PROBLEM, path, [0, 9], asked)
        assert found.trajectories.tolist() == [2, 20]
        known_to = found.std[1] / 1000**0.5
        assert (found.bias[1] > 0.5 + 5 * known_to) if biased else not found.bias[1] > 1.5 * known_to
        assert found.std[1] < found.std[0]


# Through the command line.


@pytest.mark.parametrize(
    ("name", "table", "rows"),
    [("theory-rates", "slopes", 24), ("unseen-mdps", "gaps", 15), ("estimator-errors", "errors", 8)],
)
def test_a_study_runs_and_is_continued(
    name: str, table: str, rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "--preset", name, "--seeds", "2", "--budget", "192", "--out", str(tmp_path / "out")]
    main(words)
    shown = capsys.readouterr().out
    with (tmp_path / "out" / f"{table}.csv").open() as file:
        written = list(csv.reader(file))
    assert len(written) == rows + 1
    assert (tmp_path / "out" / f"{table}.md").read_text() in shown
    for line in shown[shown.index("wrote:") :].splitlines()[1:]:
        assert Path(line.strip()).stat().st_size > 0
    main([*words, "--resume"])
    with (tmp_path / "out" / f"{table}.csv").open() as file:
        assert list(csv.reader(file)) == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "--preset", "theory-rates", "--horizon", "5"], "--horizon is not for the study theory-rates"),
        (["compare", "--preset", "theory-rates", "--seeds", "1"], "seeds = 1 must be >= 2"),
        (["tune", "--preset", "estimator-errors"], "preset = estimator-errors has nothing to tune"),
        (["compare", "--preset", "theory-rates", "--resume"], "--resume needs --out"),
    ],
)
def test_what_a_study_does_not_take(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_tables_are_written_as_markdown_and_csv(tmp_path: Path) -> None:
    text, files = write_table(tmp_path / "t", ["a", "b"], [["x", 1], ["y, z", 2]])
    assert text == "| a | b |\n| --- | --- |\n| x | 1 |\n| y, z | 2 |\n"
    assert [file.read_text() for file in files] == ['a,b\nx,1\n"y, z",2\n', text]
