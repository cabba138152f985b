"""The loop: runs do not see each other, evaluation does not touch training, a killed run continues, budgets hold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from torch import Tensor

import envs
from envs.algorithm import Algorithm, Metrics, Schedule
from envs.core import Evaluation
from envs.random import Purpose, Stream, streams
from envs.rollout import backend_for
from experiments import loop, problems
from experiments.algorithms import ALGORITHMS
from experiments.loop import Result, run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.problems import Problem
from experiments.record import AXES
from rl import NHARPG, NPGIGT, REINFORCE, Estimator, External, PolicyGradient, causal, time_baseline
from zeroth_order import CBO, CMAES, OBJECTIVES, FederatedOptimizer, Optimizer, RandomSearch, Sphere

STEPPED = [name for name, kind in ALGORITHMS.items() if not issubclass(kind, External | FederatedOptimizer)]
"""Algorithms that ask one function and are told; `test_external.py` and `test_federated.py` have the others."""
ON_GRADIENTS = {"gradient-descent", "langevin"}
"""Those that a policy cannot answer."""
ESTIMATOR = Estimator(episodes=4, baseline=time_baseline, hvp=causal)
ITERATES: dict[str, Algorithm] = {
    "n-pg-igt": NPGIGT(gamma=Schedule(0.2, 0.5), eta=Schedule(1.0, 0.8, 0.1)),
    "n-harpg": NHARPG(gamma=Schedule(0.2, 0.5), eta=Schedule(1.0, 1.0, 0.1)),
    "cbo": CBO(particles=12, batch=4),
    "cma-es": CMAES(popsize=5),
}
NOTHING_TO_LOSE = 1e9
"""Seconds between flushes that no test lives to see."""


def cartpole(**options: Any) -> PolicyProblem:
    env = envs.make("CartPole-v1", device="cpu", horizon=50)
    return PolicyProblem(env, envs.MLP(env.spec, (4,)), estimator=ESTIMATOR, query_episodes=2, target=25.0, **options)


def tabular() -> PolicyProblem:
    env = envs.make("RandomMDP-v0", device="cpu", horizon=8)
    return PolicyProblem(env, envs.Linear(env.spec, bias=False), target=4.0)


def curves_of(result: Result, run: int | None = None) -> pa.Table:
    """The curves, all but the wall time; those of one run, without its number."""
    table = result.curves.drop_columns("wall_s")
    return table if run is None else table.filter(pc.equal(table["run"], run)).drop_columns("run")


def assert_same(one: Result, other: Result) -> None:
    """Equal bit for bit, wall time apart."""
    assert curves_of(one).equals(curves_of(other))
    assert torch.equal(one.parameters, other.parameters)
    assert_same_spending(one, other)
    assert torch.equal(one.hits, other.hits)
    assert one.label == other.label


def assert_same_spending(one: Result, other: Result) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one.spent, other.spent, strict=True))
    assert torch.equal(one.failures, other.failures)
    assert one.stopped == other.stopped


def assert_same_run(several: Result, r: int, alone: Result, r_alone: int = 0) -> None:
    """Run r of the one equals run r_alone of the other, bit for bit."""
    assert curves_of(several, r).equals(curves_of(alone, r_alone))
    assert torch.equal(several.parameters[r], alone.parameters[r_alone])
    assert all(torch.equal(a[r], b[r_alone]) for a, b in zip(several.spent, alone.spent, strict=True))
    assert several.stopped[r] == alone.stopped[r_alone]
    assert several.failures[r] == alone.failures[r_alone]
    assert several.hits[r] == alone.hits[r_alone]


@pytest.mark.parametrize("name", ITERATES)
def test_a_run_is_the_same_alone_and_among_others(name: str) -> None:
    problem, algorithm, seeds = cartpole(evaluation_episodes=3), ITERATES[name], [3, 0, 11]
    assert backend_for(problem.env, problem.policy) == "fused"
    together = run(algorithm, problem, seeds=seeds, budget=1200, evaluations=6)
    assert len(set(together.spent.episodes.tolist())) > 1, "runs that end together would not test the masks"
    for r, seed in enumerate(seeds):
        assert_same_run(together, r, run(algorithm, problem, seeds=[seed], budget=1200, evaluations=6))


@pytest.mark.parametrize("name", [name for name in STEPPED if name not in ON_GRADIENTS])
def test_a_run_is_the_same_alone_and_among_others_on_the_plain_backend(name: str) -> None:
    algorithm, seeds = ALGORITHMS[name](), [5, 2, 9]
    problem = tabular().answered_by(ESTIMATOR, 1, None)
    together = run(algorithm, problem, seeds=seeds, budget=1600, evaluations=3)
    for r, seed in enumerate(seeds):
        assert_same_run(together, r, run(algorithm, problem, seeds=[seed], budget=1600, evaluations=3))


@pytest.mark.parametrize("name", ITERATES)
def test_evaluation_never_shifts_training(name: str) -> None:
    few = run(ITERATES[name], cartpole(evaluation_episodes=1), seeds=3, budget=1000, evaluations=1)
    many = run(ITERATES[name], cartpole(evaluation_episodes=7), seeds=3, budget=1000, evaluations=20)
    greedy = run(ITERATES[name], cartpole(greedy_evaluation=True), seeds=3, budget=1000, evaluations=3)
    assert many.curves.num_rows > 2 * few.curves.num_rows
    for other in (many, greedy):
        assert torch.equal(few.parameters, other.parameters)
        assert_same_spending(few, other)


@pytest.mark.parametrize("name", ITERATES)
def test_how_often_the_loop_flushes_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FLUSH_SECONDS", NOTHING_TO_LOSE)
    whole = run(ITERATES[name], cartpole(), seeds=3, budget=1500, evaluations=8)
    monkeypatch.setattr(loop, "FLUSH_SECONDS", -1.0)
    monkeypatch.setattr(problems, "SCORED_AT_ONCE", 2)
    assert_same(whole, run(ITERATES[name], cartpole(), seeds=3, budget=1500, evaluations=8))


def killed_after(flushes: int) -> Callable[[float, str], None]:
    """A progress callback that ends the run the hard way after so many flushes."""
    left = iter(range(flushes - 1))

    def progress(done: float, message: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return progress


RESUMED: dict[str, tuple[Algorithm, Callable[[], Problem], int]] = {
    name: (algorithm, cartpole, 2000) for name, algorithm in ITERATES.items()
} | {
    "n-harpg on an objective": (NHARPG(), lambda: ObjectiveProblem(Sphere(dim=3)), 60),
    # Runs end by CMA-ES's own criteria, at different iterations: reasons are restored, and the engines' histories.
    "cma-es to the end": (CMAES(popsize=6), lambda: ObjectiveProblem(Sphere(dim=3)), 4000),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_run_continues_to_the_same_result(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, problem, budget = RESUMED[name]

    def attempt(out: Path | None, resume: bool, kill: int | None) -> Result:
        progress = None if kill is None else killed_after(kill)
        return run(algorithm, problem(), 3, budget, evaluations=9, out=out, resume=resume, progress=progress)

    whole = attempt(None, False, None)
    monkeypatch.setattr(loop, "FLUSH_SECONDS", -1.0)
    total = whole.iterations
    assert total > 6
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, False, total // 3)
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, True, total // 3)
    monkeypatch.setattr(loop, "FLUSH_SECONDS", NOTHING_TO_LOSE)
    resumed = attempt(tmp_path, True, None)
    assert resumed.iterations == total
    assert_same(whole, resumed)
    assert (resumed.curves["wall_s"].to_numpy() >= 0).all()
    # Resuming what is finished changes nothing and does nothing.
    assert_same(whole, attempt(tmp_path, True, None))


def test_the_reasons_of_finished_runs_survive_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case above that relies on it really has reasons, and killed runs of which some have ended."""
    algorithm, problem, budget = RESUMED["cma-es to the end"]
    result = run(algorithm, problem(), 3, budget, evaluations=9)
    assert all("tol" in reason for reason in result.stopped)
    assert len(set(result.spent.queries.tolist())) > 1


def test_a_run_killed_before_its_first_flush_starts_again(tmp_path: Path) -> None:
    problem = ObjectiveProblem(Sphere(dim=2))
    result = run(CBO(), problem, 2, 500, evaluations=3, out=tmp_path)
    folder = tmp_path / result.label
    (folder / "state.safetensors").unlink()
    (folder / "curves.parquet").unlink()
    assert_same(result, run(CBO(), problem, 2, 500, evaluations=3, out=tmp_path, resume=True))


def test_an_existing_record_is_not_overwritten(tmp_path: Path) -> None:
    problem = ObjectiveProblem(Sphere(dim=2))
    folder = tmp_path / run(CBO(), problem, 2, 500, evaluations=3, out=tmp_path).label
    before = (folder / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match=f"out = {folder} exists already"):
        run(CBO(), problem, 2, 500, evaluations=3, out=tmp_path)
    assert (folder / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(("problem", "budget"), [(tabular(), 2009), (ObjectiveProblem(Sphere(dim=3)), 101)])
@pytest.mark.parametrize("name", STEPPED)
def test_a_budget_is_spent_and_never_exceeded(name: str, problem: Problem, budget: int) -> None:
    algorithm, problem = ALGORITHMS[name](), problem.answered_by(ESTIMATOR, 2, None)
    if isinstance(problem, ObjectiveProblem) and isinstance(algorithm, PolicyGradient) and algorithm.natural:
        pytest.skip("an objective has no policy")
    if isinstance(problem, PolicyProblem) and name in ON_GRADIENTS:
        pytest.skip("a policy tells optimizers values alone")
    result = run(algorithm, problem, seeds=2, budget=budget, evaluations=2)
    root = streams([0])
    points, _ = algorithm.ask(algorithm.init(problem.init(root), root), root)
    one_more = problem.worst_case(algorithm, points.shape[1])
    for spent, reason in zip(getattr(result.spent, problem.unit).tolist(), result.stopped, strict=True):
        assert 0 < spent <= budget
        assert reason != "budget" or spent + one_more > budget
        assert reason == "budget" or name in ("cma-es", "sep-cma-es", "pycma")


class Ticks(NamedTuple):
    t: Tensor
    """[R, d], the number of iterations so far in every coordinate."""


@dataclass(frozen=True)
class Clock(Optimizer):
    """Its iterate is how often it was told; it asks far away from it, and for NaN where `bad` says so."""

    id: ClassVar[str] = "clock"
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    asked: int = 3
    bad: tuple[int, int] | None = None
    """(seed, iteration) from which on a point is NaN."""

    def init(self, x0: Tensor, stream: Stream) -> Ticks:
        return Ticks(torch.zeros_like(x0))

    def ask(self, state: Ticks, stream: Stream) -> tuple[Tensor, Ticks]:
        points = (state.t[:, None] + 100.0).repeat(1, self.asked, 1)
        if self.bad is not None:
            seed, iteration = self.bad
            points[(stream.seeds == seed) & (state.t[:, 0] >= iteration), 0, 0] = torch.nan
        return points, state

    def tell(self, state: Ticks, points: Tensor, feedback: Any) -> tuple[Ticks, Metrics]:
        return Ticks(state.t + 1), {"asked": feedback.values[:, 0]}

    def recommend(self, state: Ticks) -> Tensor:
        return state.t


def rows(result: Result, name: str, r: int = 0) -> list[tuple[int, float]]:
    """(queries, value) of run r."""
    table = curves_of(result, r)
    table = table.filter(pc.equal(table["name"], name))
    return list(zip(table["queries"].to_pylist(), table["value"].to_pylist(), strict=True))


def scores(result: Result, r: int = 0) -> list[float]:
    return [score for _, score in rows(result, "eval/negative value", r)]


def test_a_position_is_answered_by_the_last_iterate_that_had_cost_at_most_that() -> None:
    result = run(Clock(asked=3), ObjectiveProblem(Sphere(dim=2)), seeds=2, budget=30, evaluations=7)
    positions = [30 * i // 7 for i in range(8)]
    assert positions == [0, 4, 8, 12, 17, 21, 25, 30]
    ticks = [position // 3 for position in positions]
    # The value is that of the iterate (t, t), not of the points asked at (t + 100, t + 100).
    assert rows(result, "eval/negative value") == [(3 * t, -2.0 * t**2) for t in ticks]
    assert all(3 * t <= position for t, position in zip(ticks, positions, strict=True))
    # A metric belongs to the iteration that began at the iterate; after the last one there was none.
    assert rows(result, "train/asked") == [(3 * t, 2 * (t + 100.0) ** 2) for t in ticks[:-1]]


def test_an_iteration_that_passes_several_positions_is_recorded_once_before_it() -> None:
    result = run(Clock(asked=7), ObjectiveProblem(Sphere(dim=1)), seeds=2, budget=30, evaluations=30)
    assert rows(result, "eval/negative value") == [(7 * t, -(float(t) ** 2)) for t in range(5)]
    assert result.parameters.tolist() == [[4.0], [4.0]]


@pytest.mark.parametrize("name", ITERATES)
def test_the_last_row_scores_the_final_parameters(name: str) -> None:
    problem, seeds, evaluations = cartpole(), [2, 6], 4
    result = run(ITERATES[name], problem, seeds=seeds, budget=1500, evaluations=evaluations)
    bank = streams(seeds).fold(Purpose.EVALUATE).at(torch.tensor([evaluations] * len(seeds)))
    expected = problem.score(result.parameters, bank)["return"]
    for r in range(len(seeds)):
        table = curves_of(result, r)
        table = table.filter(pc.equal(table["name"], "eval/return"))
        assert table["value"].to_pylist()[-1] == float(expected[r])
        assert [table[axis].to_pylist()[-1] for axis in AXES] == [int(getattr(result.spent, axis)[r]) for axis in AXES]


@dataclass(frozen=True)
class Faulty(Sphere):
    """A sphere whose values for one seed become `becomes` from an iteration on; derivatives, too."""

    seed: int = -1
    since: int = 3
    becomes: float = torch.nan
    share: float = 1.0
    """Of the points."""

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        found = super().evaluate(points, stream)
        training = f"{stream.path:x}".endswith(str(int(Purpose.TRAIN)))
        if not training or int(stream.counter) < self.since:
            return found
        hit = torch.arange(points.shape[1]) < self.share * points.shape[1]
        factor = torch.where((stream.seeds == self.seed)[:, None] & hit, torch.nan, 1.0)
        values = found.values * factor
        return found._replace(values=torch.where(torch.isnan(values), values + self.becomes, values))


@pytest.mark.parametrize("agent", [REINFORCE(), NPGIGT(), NHARPG()], ids=lambda agent: agent.id)
def test_a_run_that_diverges_stops_alone(agent: Algorithm) -> None:
    problem = ObjectiveProblem(Faulty(dim=3, seed=1, since=3))
    result = run(agent, problem, seeds=[0, 1, 2], budget=50, evaluations=5)
    assert result.stopped == ["budget", "non-finite", "budget"]
    without = run(agent, problem, seeds=[0, 2], budget=50, evaluations=5)
    assert_same_run(result, 0, without, 0)
    assert_same_run(result, 2, without, 1)
    # The iteration that failed was the fourth: paid for, and not followed.
    assert int(result.spent.queries[1]) == 4 * int(result.spent.queries[0]) // result.iterations
    sound = run(agent, ObjectiveProblem(Sphere(dim=3)), seeds=[1], budget=50, evaluations=50)
    assert scores(result, 1)[-1] == scores(sound)[3]
    assert torch.isfinite(result.parameters).all()


def test_points_that_are_not_finite_stop_a_run_before_it_is_charged() -> None:
    problem = ObjectiveProblem(Sphere(dim=2))
    result = run(Clock(bad=(1, 4)), problem, seeds=[0, 1, 2], budget=30, evaluations=5)
    assert result.stopped == ["budget", "non-finite", "budget"]
    assert result.spent.queries.tolist() == [30, 12, 30]
    assert result.parameters[:, 0].tolist() == [10.0, 4.0, 10.0]
    assert_same_run(result, 2, run(Clock(bad=(1, 4)), problem, seeds=[2], budget=30, evaluations=5))


def test_a_step_that_explodes_an_unstable_system_stops_that_run_alone() -> None:
    env = envs.make("LQR-v0", device="cpu", horizon=20)
    policy = envs.Linear(env.spec, initialisation="zeros")
    problem = PolicyProblem(env, policy, estimator=Estimator(episodes=2))
    scale = torch.tensor([1e-7, 1e12, 1e-6])
    result = run(REINFORCE(gamma=Schedule(scale)), problem, seeds=[0, 1, 2], budget=800, evaluations=4)
    assert result.stopped == ["budget", "non-finite", "budget"]
    assert torch.isfinite(result.parameters).all()
    for r in (0, 2):
        alone = REINFORCE(gamma=Schedule(scale[r : r + 1]))
        assert_same_run(result, r, run(alone, problem, seeds=[r], budget=800, evaluations=4))


OPTIMIZERS: dict[str, Optimizer] = {
    "cbo": CBO(particles=10),
    "cma-es": CMAES(popsize=10),
    "random-search": RandomSearch(points=10),
}


@pytest.mark.parametrize("becomes", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_failed_values_are_paid_for_counted_and_never_followed(name: str, becomes: float) -> None:
    def optimize(**faults: Any) -> Result:
        problem = ObjectiveProblem(Faulty(dim=3, becomes=becomes, **faults))
        return run(OPTIMIZERS[name], problem, seeds=[0, 1, 2], budget=200, evaluations=4)

    sound, half, all_failed = optimize(), optimize(seed=1, since=3, share=0.5), optimize(seed=1, since=3)
    assert sound.failures.tolist() == [0, 0, 0]
    assert half.failures.tolist() == [0, 5 * (20 - 3), 0]
    assert all_failed.failures.tolist() == [0, 10 * (20 - 3), 0]
    for result in (half, all_failed):
        assert result.spent.queries.tolist() == [200] * 3
        assert result.stopped == ["budget"] * 3
        assert_same_run(result, 0, sound, 0)
        assert_same_run(result, 2, sound, 2)
        assert torch.isfinite(result.parameters).all()
        assert len(scores(result, 1)) == 5
        assert min(scores(result, 1)) > -1e3


def test_a_run_whose_values_all_fail_keeps_its_recommendation() -> None:
    problem = ObjectiveProblem(Faulty(dim=3, seed=0, since=0))
    for optimizer in OPTIMIZERS.values():
        result = run(optimizer, problem, seeds=[0], budget=100, evaluations=2)
        assert torch.equal(result.parameters, problem.init(streams([0]).fold(Purpose.INITIAL)))
        assert result.failures.tolist() == [100]


@dataclass(frozen=True)
class Bottomless(Sphere):
    """Minus infinity everywhere."""

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        found = super().evaluate(points, stream)
        return found._replace(values=torch.full_like(found.values, -torch.inf))


def test_an_infinite_score_is_no_success() -> None:
    result = run(RandomSearch(), ObjectiveProblem(Bottomless(dim=2)), seeds=2, budget=100, evaluations=2)
    assert result.hits.tolist() == [-1, -1]
    assert not [name for name in result.curves["name"].to_pylist() if name.startswith("eval/")]


def per_run(algorithm: Algorithm, name: str, values: list[float]) -> tuple[Algorithm, list[Algorithm]]:
    """The algorithm with `name` as [R] along the runs, and R algorithms with one number each."""
    head, _, tail = name.partition(".")

    def given(value: Any) -> Any:
        part = replace(getattr(algorithm, head), **{tail: value}) if tail else value
        return replace(cast(Any, algorithm), **{head: part})

    return given(torch.tensor(values, dtype=torch.float64)), [given(value) for value in values]


SWEEPS: list[tuple[Algorithm, str, list[float]]] = [
    (NPGIGT(), "gamma.scale", [0.05, 0.1, 0.4]),
    (NHARPG(), "eta.floor", [0.0, 0.2, 0.5]),
    (CBO(particles=8), "drift", [0.5, 1.0, 1.5]),
    (CBO(particles=8), "spread", [0.5, 1.0, 1.5]),
    (CMAES(popsize=6), "sigma0", [0.1, 0.5, 2.0]),
    (RandomSearch(), "spread", [0.1, 0.5, 2.0]),
]


@pytest.mark.parametrize(("algorithm", "name", "values"), SWEEPS, ids=[f"{a.id} {name}" for a, name, _ in SWEEPS])
def test_a_sweep_in_one_batch_equals_separate_runs(algorithm: Algorithm, name: str, values: list[float]) -> None:
    problem, seeds = tabular(), [4, 4, 1]
    batch, singles = per_run(algorithm, name, values)
    swept = run(batch, problem, seeds=seeds, budget=200, evaluations=2)
    assert not torch.equal(swept.parameters[0], swept.parameters[1]), "the hyper-parameter has no effect"
    for r, (single, seed) in enumerate(zip(singles, seeds, strict=True)):
        assert_same_run(swept, r, run(single, problem, seeds=[seed], budget=200, evaluations=2))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"policy-return", "bbob"}))
def test_agents_and_optimizers_run_on_every_objective(name: str) -> None:
    make: Any = OBJECTIVES[name]
    problem = ObjectiveProblem(make(dim=2))
    for algorithm in (NHARPG(), CBO(particles=10)):
        result = run(algorithm, problem, seeds=2, budget=40, evaluations=2)
        assert result.stopped == ["budget"] * 2
        assert torch.isfinite(result.parameters).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": 2, "seed": -1}, r"seeds has -1, which is not in \[0, "),
        ({"seeds": [3, 2**63]}, f"seeds has {2**63}, which is not in"),
        ({"budget": 0}, r"budget = 0 is not in \[1, "),
        ({"budget": -5}, r"budget = -5 is not in \[1, "),
        ({"budget": 2**63}, f"budget = {2**63} is not in"),
        ({"evaluations": 0}, "evaluations = 0 must be >= 1"),
        ({"budget": 49}, "budget = 49 is less than the 50 queries that one iteration of cbo can take"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments: dict[str, Any] = {"seeds": 2, "budget": 500, "out": out}
    with pytest.raises(ValueError, match=message):
        run(CBO(particles=50), ObjectiveProblem(Sphere(dim=2)), **arguments | changes)
    assert not out.exists()


def test_a_deterministic_policy_is_refused_for_agents_alone(tmp_path: Path) -> None:
    env = envs.make("RandomMDP-v0", device="cpu", horizon=4)
    greedy = PolicyProblem(env, envs.Linear(env.spec, head=envs.deterministic_head(env.spec.action)))
    with pytest.raises(ValueError, match="n-pg-igt needs a stochastic policy"):
        run(NPGIGT(), greedy, seeds=2, budget=100, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(RandomSearch(), greedy, seeds=2, budget=100, evaluations=1).stopped == ["budget"] * 2


def test_a_policy_that_does_not_fit_the_actions_is_refused() -> None:
    env = envs.make("CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match=r"head = Gaussian.* does not fit the Discrete actions of CartPole-v1"):
        envs.MLP(env.spec, (4,), head=envs.Gaussian(1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 0.0),
        ("discount", 1.5),
        ("discount", torch.nan),
        ("query_episodes", 0),
        ("evaluation_episodes", 0),
        ("target", torch.nan),
        ("target", torch.inf),
    ],
)
def test_a_problem_refuses_bad_numbers(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} = {value}"):
        replace(tabular(), **{field: value})


def test_a_problem_refuses_a_policy_for_another_environment() -> None:
    pendulum = envs.make("Pendulum-v1", device="cpu").spec
    with pytest.raises(ValueError, match=r"policy is for Pendulum-v1, .* not those of RandomMDP-v0"):
        replace(tabular(), policy=envs.Linear(pendulum))


def test_a_target_replaces_the_threshold_of_either_kind_of_problem() -> None:
    assert tabular().threshold == 4.0
    assert cartpole().threshold == 25.0
    assert replace(cartpole(), target=None).threshold == 475.0
    assert ObjectiveProblem(Sphere(dim=2), tolerance=0.5).threshold == -0.5
    problem = ObjectiveProblem(Sphere(dim=2), target=-8.0)
    assert problem.threshold == -8.0
    result = run(Clock(asked=1), problem, seeds=1, budget=10, evaluations=10)
    assert result.hits.tolist() == [0]
    with pytest.raises(ValueError, match="target = nan"):
        ObjectiveProblem(Sphere(dim=2), target=torch.nan)
