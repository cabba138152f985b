"""What people read: the summary and the figure, on made-up results with known answers, and names of configurations."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from rich.console import Console

import envs
from envs.algorithm import Schedule
from envs.core import Cost
from experiments import report
from experiments.asked import label_of
from experiments.describe import canonical, describe, short_hash
from experiments.loop import Result
from experiments.objective_problem import ObjectiveProblem
from experiments.plots import save
from experiments.policy_problem import PolicyProblem
from experiments.record import SCHEMA
from experiments.statistics import Estimate
from rl import NPGIGT, Estimator, causal, time_baseline
from zeroth_order import CBO, Isotropic, Sphere

Rows = Sequence[tuple[int, int, float]]
"""(run, queries, score)"""


def curves(rows: Rows, name: str = "eval/negative value") -> pa.Table:
    records = [
        dict(run=run, seed=run, env_steps=0, queries=at, episodes=0, hvps=0, wall_s=0.0, name=name, value=value)
        for run, at, value in rows
    ]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def outcome(
    table: pa.Table, hits: list[int], stopped: list[str] | None = None, queries: int = 100, wall_s: float = 2.0
) -> report.Outcome:
    spent = Cost.each(len(hits), queries=queries)
    result = Result(
        "cbo-12345678", table, torch.zeros(len(hits), 1), spent, torch.zeros_like(spent.queries), torch.tensor(hits),
        stopped or ["budget"] * len(hits), wall_s, 10,
    )  # fmt: skip
    return report.Outcome("cbo", result, 100)


PROBLEM = ObjectiveProblem(Sphere(dim=2), target=-1.0)
THREE = curves([(0, 0, -9.0), (0, 40, -1.0), (1, 0, -8.0), (1, 60, -5.0), (1, 90, -0.5), (2, 10, -7.0), (2, 30, -6.0)])


def test_scores_are_carried_forward_to_common_positions() -> None:
    scores = report.score_curves(THREE, "negative value", "queries", [0, 10, 50, 100])
    assert_array_equal(scores, [[-9, -9, -1, -1], [-8, -8, -8, -0.5], [np.nan, -7, -6, -6]])
    assert_array_equal(report.finite_runs(scores), scores[:2])


def test_rows_may_come_in_any_order_and_other_measures_are_left_out() -> None:
    noise = curves([(0, 40, 77.0), (1, 90, 77.0)], "train/diameter")
    shuffled = pa.concat_tables([noise, THREE.take(pa.array([6, 2, 4, 0, 5, 1, 3]))])
    expected = report.score_curves(THREE, "negative value", "queries", [10, 100])
    assert_array_equal(report.score_curves(shuffled, "negative value", "queries", [10, 100]), expected)


def test_a_run_without_any_score_is_a_row_of_nan() -> None:
    table = pa.concat_tables([curves([(0, 0, -9.0)]), curves([(1, 0, 0.1)], "train/diameter")])
    scores = report.score_curves(table, "negative value", "queries", [0, 50])
    assert_array_equal(scores, [[-9, -9], [np.nan, np.nan]])
    assert_array_equal(report.finite_runs(scores), [[-9, -9]])


def test_the_summary_of_four_runs() -> None:
    table = curves([(run, 0, -10.0) for run in range(4)] + [(run, 80, float(run)) for run in range(4)])
    row = report.summarise(outcome(table, [20, 80, 40, -1]), PROBLEM)
    assert float(row.final.value) == 1.5, "interquartile mean of 0, 1, 2, 3"
    assert 0 <= float(row.final.low) < 1.5 < float(row.final.high) <= 3
    assert row.cost_to_threshold is not None
    assert float(row.cost_to_threshold.value) == 40, "half of four had reached it with the second"
    assert (row.algorithm, row.reached, row.seeds) == ("cbo", 3, 4)
    assert (row.wall_s, row.cost_per_second, row.stopped) == (2.0, 200.0, "")


def test_runs_that_never_reach_the_threshold_are_censored_at_the_budget() -> None:
    result = outcome(THREE, [-1, 40, -1])
    times, reached = report.times_to_threshold(result)
    assert_array_equal(times, [100, 40, 100])
    assert_array_equal(reached, [False, True, False])
    row = report.summarise(result, PROBLEM)
    assert row.cost_to_threshold is not None
    assert float(row.cost_to_threshold.value) == math.inf
    assert row.reached == 1
    assert report.cells(row)[2].startswith("never [")
    assert report.cells(row)[3] == "1 / 3"


def test_a_run_that_stopped_early_counts_as_never_and_is_named() -> None:
    row = report.summarise(outcome(THREE, [-1, 40, -1], ["non-finite", "budget", "non-finite"]), PROBLEM)
    assert row.stopped == "2 non-finite"
    row = report.summarise(outcome(THREE, [1, 1, -1], ["tolfun", "tolfun", "non-finite"]), PROBLEM)
    assert row.stopped == "2 tolfun, 1 non-finite"
    assert row.reached == 2
    assert row.seeds == 3


def test_runs_without_a_score_leave_the_others_their_mean() -> None:
    table = pa.concat_tables([curves([(0, 0, -2.0), (1, 0, -4.0)]), curves([(2, 0, 0.1)], "train/diameter")])
    row = report.summarise(outcome(table, [-1, -1, -1]), PROBLEM)
    assert float(row.final.value) == -3.0
    assert row.seeds == 3


def test_when_no_run_has_a_score_there_is_no_mean_and_no_figure() -> None:
    empty = outcome(curves([(0, 0, 0.1), (1, 0, 0.1)], "train/diameter"), [-1, -1], ["non-finite"] * 2)
    row = report.summarise(empty, PROBLEM)
    assert np.isnan(row.final.value)
    assert report.cells(row)[1] == "none [none, none]"
    assert report.figure([empty], PROBLEM, "title") is None


def test_a_problem_without_a_threshold_says_so() -> None:
    @dataclass(frozen=True)
    class Unknown(Sphere):
        @property
        def optimum(self) -> Any:
            return None

    problem = ObjectiveProblem(Unknown(dim=2))
    assert problem.threshold is None
    row = report.summarise(outcome(THREE, [-1, -1, -1]), problem)
    assert row.cost_to_threshold is None
    assert report.cells(row)[2:4] == ["no threshold", ""]
    figure = report.figure([outcome(THREE, [-1, -1, -1])], problem, "title")
    assert figure is not None
    assert len(figure.axes) == 1


def test_the_figure_shows_each_curve_and_how_many_reached(tmp_path: Path) -> None:
    table = curves([(run, at, float(run + at / 50)) for run in range(3) for at in (0, 50, 100)])
    one, other = outcome(table, [50, 100, -1]), outcome(THREE, [-1, 40, -1])._replace(algorithm="other")
    figure = report.figure([one, other], PROBLEM, "three runs", positions=4)
    assert figure is not None
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.get_lines()}
    assert_array_equal(lines["cbo"].get_xdata(), [0, 25, 50, 75, 100])
    assert_array_equal(lines["cbo"].get_ydata(), [1, 1, 2, 2, 3])
    # The third run of the other had its first score at 10: it has no curve, but it counts among those to reach.
    assert_array_equal(lines["other"].get_ydata(), [-8.5, -8.5, -4.5, -3, -0.75])
    shares = {line.get_label(): line for line in right.get_lines()}
    assert_array_equal(shares["cbo"].get_xdata(), [0, 50, 100])
    np.testing.assert_allclose(shares["cbo"].get_ydata(), [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(shares["other"].get_ydata()[-1], 1 / 3)
    assert left.get_xlabel() == "queries per seed"
    assert left.get_ylabel() == "negative value"
    files = save(figure, tmp_path / "curves")
    assert [path.name for path in files] == ["curves.png", "curves.pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"%PDF")


def shown(rows: Sequence[report.Row], problem: ObjectiveProblem | PolicyProblem = PROBLEM) -> str:
    console = Console(width=200, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(report.table(rows, problem))
    console.file.close()
    return console.export_text()


def test_the_table_shows_every_number() -> None:
    never = report.summarise(outcome(THREE, [-1, -1, -1]), PROBLEM)
    alone = report.summarise(outcome(curves([(0, 0, -2.5)]), [0]), PROBLEM)
    text = shown([never, alone])
    for row in (never, alone):
        for cell in report.cells(row):
            assert cell in text, "brackets are no markup"
    assert "-2.5 [none, none]" in text, "a lone run has no interval"
    assert "sphere, 3 seeds" in text
    assert "floats" not in text


def test_the_table_shows_what_was_sent_where_anything_was() -> None:
    row = report.summarise(outcome(THREE, [-1, -1, -1]), PROBLEM)
    text = shown([row, row._replace(uplink_floats=12_000.0, downlink_floats=5.0)])
    assert "uplink floats" in text
    assert [word in text for word in ("12,000", "downlink floats")] == [True, True]
    assert report.cells(row, federated=True)[6:9] == ["100", "0", "0"]


def test_the_summary_file_has_plain_numbers(tmp_path: Path) -> None:
    numbers = Estimate(*(np.asarray(x) for x in (1.5, 0.1 + 0.2, 2.0)))
    never = Estimate(*(np.asarray(x) for x in (math.inf, 40.0, math.inf)))
    path = tmp_path / "summary.csv"
    rows = [
        report.Row("cbo", numbers, never, 1, 4, 0.1, 1234.5, "2 tolfun, 1 non-finite"),
        report.Row("fedzo", numbers, None, 0, 4, 0.2, 99.0, "", 105.5, 12.0, 24.0),
    ]
    report.write_summary(path, rows)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["algorithm"], first["stopped_early"]) == ("cbo", "2 tolfun, 1 non-finite")
    assert [float(first[name]) for name in ("final", "final_low", "final_high")] == [1.5, 0.1 + 0.2, 2.0]
    assert [float(first[name]) for name in ("cost_to_threshold", "cost_low", "cost_high")] == [math.inf, 40, math.inf]
    assert [float(first[name]) for name in ("reached", "seeds", "wall_s", "cost_per_second")] == [1, 4, 0.1, 1234.5]
    assert [second[name] for name in ("cost_to_threshold", "cost_low", "cost_high")] == ["", "", ""]
    assert [float(second[name]) for name in ("queries", "uplink_floats", "downlink_floats")] == [105.5, 12, 24]
    assert list(tmp_path.iterdir()) == [path]


# What a configuration is called.


def cartpole(**options: Any) -> PolicyProblem:
    env = envs.make("CartPole-v1", device="cpu", horizon=200)
    return PolicyProblem(env, envs.MLP(env.spec, (8,)), **options)


def test_a_description_is_json_and_says_everything_that_matters() -> None:
    data = describe(cartpole(estimator=Estimator(8, time_baseline, causal)))
    assert json.loads(canonical(data)) == data
    assert data["type"] == "PolicyProblem"
    assert data["env"]["spec"] == {"id": "CartPole-v1", "horizon": 200}
    assert data["env"]["dtype"] == "float32"
    assert data["policy"]["hidden"] == [8]
    assert data["policy"]["head"] == {"type": "Categorical", "size": 2}
    assert data["estimator"] == {
        "type": "Estimator", "episodes": 8, "baseline": "time_baseline", "hvp": "causal",
        "difference": 0.0, "weight_limit": None, "average": "over_episodes",
    }  # fmt: skip
    sweep = describe(NPGIGT(gamma=Schedule(torch.tensor([0.5, 0.25]))))
    assert sweep["gamma"] == {"type": "Schedule", "scale": [0.5, 0.25], "exponent": 0.0, "floor": 0.0}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, torch.nn.Identity(), iter(())])
def test_what_has_no_value_cannot_be_described(value: object) -> None:
    with pytest.raises(TypeError, match="cannot describe"):
        describe({"deep": [value]})


def test_equal_configurations_have_equal_names_made_anew() -> None:
    assert canonical(describe(cartpole())) == canonical(describe(cartpole()))
    assert canonical({"b": 1, "a": [1.5]}) == '{"a":[1.5],"b":1}' == canonical({"a": [1.5], "b": 1})
    assert short_hash({"b": 1, "a": [1.5]}) == "be0f99d2"


def test_a_gymnasium_environment_is_described_by_what_made_it() -> None:
    def problem(horizon: int) -> PolicyProblem:
        env = envs.make("gym:CartPole-v1", device="cpu", horizon=horizon)
        return PolicyProblem(env, envs.Linear(env.spec))

    assert describe(problem(20)) == describe(problem(20))
    assert describe(problem(20)) != describe(problem(21))
    json.loads(canonical(describe(problem(20))))


def test_the_label_changes_with_everything_that_changes_the_outcome() -> None:
    agent, base = NPGIGT(), cartpole()

    def label(
        algorithm: Any = agent, problem: Any = base, seeds: Sequence[int] = (0, 1), budget: int = 9, n: int = 3
    ) -> str:
        return label_of(algorithm, problem, seeds, budget, n)

    mdp = envs.make("RandomMDP-v0", device="cpu")
    other_mdp = envs.make("RandomMDP-v0", device="cpu", seed=1)
    labels = [
        label(),
        label(seeds=(0, 1, 2)),
        label(seeds=(1, 0)),
        label(budget=10),
        label(n=4),
        label(NPGIGT(gamma=Schedule(0.1, 1.0, 0.001))),
        label(NPGIGT(eta=Schedule(0.9, 0.8))),
        label(problem=cartpole(discount=0.98)),
        label(problem=cartpole(target=10.0)),
        label(problem=cartpole(greedy_evaluation=True)),
        label(problem=cartpole(evaluation_episodes=21)),
        label(problem=cartpole(query_episodes=2)),
        label(problem=cartpole(common_random_numbers=False)),
        label(problem=cartpole(estimator=Estimator(4))),
        label(problem=cartpole(estimator=Estimator(4, time_baseline))),
        label(problem=cartpole(estimator=Estimator(4, time_baseline, causal))),
        label(problem=replace(base, env=envs.make("CartPole-v1", device="cpu", horizon=199))),
        label(problem=replace(base, env=envs.make("CartPole-v1", device="cpu", dtype=torch.float64, horizon=200))),
        label(problem=replace(base, policy=envs.MLP(base.env.spec, (9,)))),
        label(problem=replace(base, policy=envs.MLP(base.env.spec, (8,), bias=False))),
        label(problem=replace(base, policy=envs.MLP(base.env.spec, (8,), initialisation="zeros"))),
        label(problem=PolicyProblem(mdp, envs.Linear(mdp.spec))),
        label(problem=PolicyProblem(other_mdp, envs.Linear(mdp.spec))),
        label(CBO(), ObjectiveProblem(Sphere(dim=3))),
        label(CBO(noise=Isotropic()), ObjectiveProblem(Sphere(dim=3))),
        label(CBO(), ObjectiveProblem(Sphere(dim=4))),
        label(CBO(), ObjectiveProblem(Sphere(dim=3, shift=1.0))),
        label(CBO(), ObjectiveProblem(Sphere(dim=3, rotation=1))),
        label(CBO(), ObjectiveProblem(Sphere(dim=3), dtype=torch.float32)),
        label(CBO(), ObjectiveProblem(Sphere(dim=3), tolerance=1e-3)),
    ]
    assert len(set(labels)) == len(labels)
    assert label() == labels[0], "and with nothing else"
    assert labels[0].startswith("n-pg-igt-")
    assert len(labels[0]) == len("n-pg-igt-") + 8
