"""The ledger: its arithmetic, and its totals against spies that count what is really evaluated."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import pytest
import torch
from torch import Tensor

import envs
from envs.algorithm import Algorithm
from envs.core import Cost, Discrete, Env, EnvSpec, Evaluation
from envs.random import Purpose, Stream
from experiments.ledger import Ledger
from experiments.loop import run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from rl import HARPG, NHARPG, NPGIGT, REINFORCE, Estimator, causal, time_baseline
from zeroth_order import CBO, CMAES, RandomSearch, Sphere

CPU = torch.device("cpu")
NONE = torch.zeros(3, dtype=torch.int64)


def ledger(budget: int = 100, targets: tuple[float, ...] = (), runs: int = 3) -> Ledger:
    return Ledger(runs, "env_steps", budget, targets, CPU)


def steps(*amounts: int) -> Cost:
    return Cost.each(len(amounts), env_steps=torch.tensor(amounts), episodes=1)


def test_charges_add_up_in_every_currency() -> None:
    book = ledger()
    book.charge(Cost(*(torch.tensor([1, 2, 3]) * 10**i for i in range(len(Cost._fields)))), torch.tensor([0, 1, 0]))
    book.charge(steps(5, 6, 7), torch.tensor([2, 1, 0]))
    assert [part.tolist() for part in book.spent] == [
        [1, 2, 3], [11, 21, 31], [105, 206, 307], [1000, 2000, 3000], [10000, 20000, 30000], [100000, 200000, 300000],
    ]  # fmt: skip
    assert book.failures.tolist() == [2, 2, 0]
    assert book.position.tolist() == [105, 206, 307]
    assert Ledger(2, "queries", 5, (), CPU).unit == "queries"


def test_runs_that_have_stopped_are_not_charged() -> None:
    book = ledger()
    book.stop(torch.tensor([False, True, False]), "tolfun")
    active = book.charge(steps(5, 6, 7), torch.tensor([1, 1, 1]))
    assert active.tolist() == [True, False, True]
    assert book.position.tolist() == [5, 0, 7]
    assert book.spent.episodes.tolist() == [1, 0, 1]
    assert book.failures.tolist() == [1, 0, 1]


def test_the_first_reason_stays() -> None:
    book = ledger()
    assert book.why() == ["running"] * 3
    book.stop(torch.tensor([True, False, False]), "tolfun")
    book.stop(torch.tensor([True, True, False]), "non-finite")
    book.stop(torch.tensor([True, True, False]), "tolfun")
    assert book.why() == ["tolfun", "non-finite", "running"]
    assert book.active.tolist() == [False, False, True]


def test_an_iteration_that_fits_exactly_is_admitted_and_one_step_more_is_not() -> None:
    book = ledger(budget=100)
    book.charge(steps(60, 61, 0), NONE)
    book.admit(40)
    assert book.why() == ["running", "budget", "running"]
    book.admit(101)
    assert book.why() == ["budget"] * 3


def test_hits_are_the_first_position_at_each_target() -> None:
    book = ledger(targets=(1.0, 2.0))
    assert book.hits().tolist() == [[-1, -1]] * 3
    runs, positions = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 10, 20, 0, 10])
    book.reached(runs, positions, torch.tensor([0.0, 1.0, 1.5, torch.nan, 0.99]))
    assert book.hits().tolist() == [[10, -1], [-1, -1], [-1, -1]]
    book.reached(torch.tensor([0, 2]), torch.tensor([30, 30]), torch.tensor([3.0, 3.0]))
    assert book.hits().tolist() == [[10, 30], [-1, -1], [30, 30]]


def test_a_packed_ledger_continues_where_it_was() -> None:
    book = ledger(targets=(1.0,))
    book.charge(steps(5, 6, 7), torch.tensor([1, 0, 0]))
    book.stop(torch.tensor([True, False, False]), "tolfun")
    book.reached(torch.tensor([1]), torch.tensor([6]), torch.tensor([1.0]))
    other = ledger(targets=(1.0,))
    other.unpack(book.pack(), book.reasons)
    for one in (book, other):
        one.charge(steps(1, 1, 1), torch.tensor([1, 1, 1]))
        one.stop(torch.tensor([True, True, False]), "non-finite")
        one.reached(torch.tensor([1, 2]), torch.tensor([7, 8]), torch.tensor([1.0, 1.0]))
    assert other.why() == book.why() == ["tolfun", "non-finite", "running"]
    assert other.hits().tolist() == book.hits().tolist() == [[-1], [6], [8]]
    assert all(torch.equal(part, book.pack()[name]) for name, part in other.pack().items())


class Seen(NamedTuple):
    """What a spy counted by seed, in training and in evaluation apart."""

    training: Counter[tuple[int, str]]
    evaluation: Counter[tuple[int, str]]

    def by(self, stream: Stream) -> Counter[tuple[int, str]]:
        """The count that a stream belongs to: purposes are the hexadecimal digits of its path."""
        return self.evaluation if str(int(Purpose.EVALUATE)) in f"{stream.path:x}" else self.training

    def of(self, seeds: list[int], what: str) -> list[int]:
        return [self.training[seed, what] for seed in seeds]


def seen() -> Seen:
    return Seen(Counter(), Counter())


class CorridorState(NamedTuple):
    seed: Tensor
    walked: Tensor
    length: Tensor
    evaluating: Tensor
    over: Tensor


@dataclass(frozen=True, eq=False)
class CountingCorridor(Env):
    """A corridor of random length that ends where the walker turns right behind it; it counts its own live steps."""

    seen: Seen = field(repr=False)

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        spec = EnvSpec("corridor", "", "", (0.0, 0.0), (1.0, 1.0), Discrete(2), horizon=12, reset_draws=1)
        return cls(spec, device, dtype, seen())

    def reset(self, shape: tuple[int, ...], stream: Stream) -> CorridorState:
        for seed in stream.seeds.tolist():
            self.seen.by(stream)[seed, "episodes"] += shape[1] * shape[2]
        length = (stream.uniform(1, dtype=self.dtype)[..., 0] * 20).long().expand(shape)
        seed = stream.seeds[:, None, None].expand(shape)
        evaluating = torch.full(shape, self.seen.by(stream) is self.seen.evaluation)
        return CorridorState(seed, torch.zeros_like(seed), length, evaluating, torch.zeros_like(evaluating))

    def initial(self, uniform: Tensor) -> CorridorState:
        raise NotImplementedError

    def transition(
        self, state: CorridorState, action: Tensor, uniform: Tensor | None
    ) -> tuple[CorridorState, Tensor, Tensor]:
        count = self.seen.evaluation if bool(state.evaluating.any()) else self.seen.training
        for seed in state.seed[~state.over].tolist():
            count[seed, "env_steps"] += 1
        walked = state.walked + 1
        terminated = (walked > state.length) & (action == 1)
        moved = state._replace(walked=walked, over=state.over | terminated)
        return moved, action.to(self.dtype), terminated

    def observe(self, state: CorridorState) -> Tensor:
        return torch.stack((state.walked / 12.0, torch.ones_like(state.walked)), -1).to(self.dtype)


SEEDS = [4, 0, 9]
E = 3
POLICY_CASES: dict[str, tuple[Algorithm, int]] = {
    "reinforce": (REINFORCE(), 1),
    "n-pg-igt": (NPGIGT(), 1),
    "n-harpg": (NHARPG(), 2),
    "cbo": (CBO(particles=4), 4),
    "cbo in batches": (CBO(particles=8, batch=2), 2),
    "cma-es": (CMAES(popsize=5), 5),
    "random-search": (RandomSearch(points=3), 3),
}
"""Algorithm, and K."""


@pytest.mark.parametrize("case", POLICY_CASES)
def test_totals_of_a_policy_problem_equal_what_the_environment_counted(case: str) -> None:
    algorithm, points = POLICY_CASES[case]
    env = CountingCorridor.create(CPU, torch.float32)
    estimator = Estimator(episodes=E, baseline=time_baseline, hvp=causal)
    problem = PolicyProblem(env, envs.Linear(env.spec), 0.9, estimator, query_episodes=E, evaluation_episodes=4)
    result = run(algorithm, problem, seeds=SEEDS, budget=700, evaluations=3)

    assert result.spent.env_steps.tolist() == env.seen.of(SEEDS, "env_steps")
    assert result.spent.episodes.tolist() == env.seen.of(SEEDS, "episodes")
    iterations = [episodes // (points * E) for episodes in env.seen.of(SEEDS, "episodes")]
    assert result.spent.queries.tolist() == [points * n for n in iterations]
    hvps = E if algorithm.id == "n-harpg" else 0
    assert result.spent.hvps.tolist() == [hvps * n for n in iterations]
    assert max(iterations) == result.iterations > 1
    for spent, reason in zip(result.spent.env_steps.tolist(), result.stopped, strict=True):
        assert spent <= 700
        assert reason != "budget" or spent + points * E * env.spec.horizon > 700
    # Evaluation did take place, and none of it was charged.
    assert min(env.seen.evaluation[seed, "env_steps"] for seed in SEEDS) > 0


def test_runs_on_a_policy_problem_end_at_different_iterations() -> None:
    """Otherwise the test above would not see a finished run that goes on being charged."""
    env = CountingCorridor.create(CPU, torch.float32)
    problem = PolicyProblem(env, envs.Linear(env.spec), estimator=Estimator(episodes=E))
    episodes = run(REINFORCE(), problem, seeds=SEEDS, budget=700, evaluations=3).spent.episodes
    assert len(set(episodes.tolist())) == len(SEEDS)


@dataclass(frozen=True)
class CountingSphere(Sphere):
    """Counts the points that it was asked for."""

    seen: Seen = field(default_factory=seen, repr=False)

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        for seed in stream.seeds.tolist():
            self.seen.by(stream)[seed, "queries"] += points.shape[1]
        return super().evaluate(points, stream)


OBJECTIVE_CASES: dict[str, tuple[Algorithm, int, int]] = {
    "reinforce": (REINFORCE(), 1, 0),
    "n-pg-igt": (NPGIGT(), 1, 0),
    "harpg": (HARPG(), 2, 1),
    "n-harpg": (NHARPG(), 2, 1),
    "cbo": (CBO(particles=6), 6, 0),
    "cma-es": (CMAES(popsize=5), 5, 0),
    "random-search": (RandomSearch(points=7), 7, 0),
}
"""Algorithm, queries and Hessian-vector products of an iteration."""


@pytest.mark.parametrize("case", OBJECTIVE_CASES)
def test_totals_of_an_objective_equal_what_it_counted(case: str) -> None:
    algorithm, queries, hvps = OBJECTIVE_CASES[case]
    objective = CountingSphere(dim=4)
    result = run(algorithm, ObjectiveProblem(objective), seeds=SEEDS, budget=100, evaluations=3)
    assert result.spent.queries.tolist() == objective.seen.of(SEEDS, "queries") == [queries * result.iterations] * 3
    assert result.spent.hvps.tolist() == [hvps * result.iterations] * 3
    assert result.spent.queries.max() <= 100
    assert result.spent.episodes.tolist() == result.spent.env_steps.tolist() == [0] * 3
    assert min(objective.seen.evaluation[seed, "queries"] for seed in SEEDS) > 0
