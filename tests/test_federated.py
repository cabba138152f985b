"""Federated optimization: clients, rounds against plain loops, accounting, participation, corrections, compression."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from experiments import ObjectiveProblem, run
from experiments.federated import FederatedProblem
from experiments.loop import Loop
from zeroth_order import RandomSearch, Rastrigin, Sphere, Values
from zeroth_order.federated import (
    FederatedAckley,
    FederatedLevy,
    FederatedOptimizer,
    FederatedQuadratic,
    Federation,
    FedProx,
    FedZO,
    FZooS,
    ScaffoldI,
    ScaffoldII,
)
from zeroth_order.federated.active import differences
from zeroth_order.federated.compression import EF21
from zeroth_order.federated.core import FederatedObjective, client_streams
from zeroth_order.federated.fzoos import surrogate
from zeroth_order.federated.gamma import Decaying, Fixed, Observed
from zeroth_order.federated.gaussian_process import GaussianProcess
from zeroth_order.federated.random_features import RandomFeatures
from zeroth_order.federated.synthetic import dirichlet
from zeroth_order.random_directions import Central, Orthonormal
from zeroth_order.steps import Plain

F64 = torch.float64
EXACT: dict[str, Any] = {"number": 4, "directions": Orthonormal(), "difference": Central(), "step": Plain()}
"""With these the estimate is the gradient of a quadratic of 4 variables."""


def test_dirichlet_variates_have_sum_1_and_the_right_moments() -> None:
    """Mean 1/5 and variance 1/5 * 4/5 / (1 + 5 * 0.2): within five standard errors of 20,000 draws, rate 1e-5."""
    draws = dirichlet(0.2, 5, 20_000, 3)
    assert_close(draws.sum(0), torch.ones(20_000, dtype=F64))
    variance = 0.2 * 0.8 / 2
    assert ((draws.mean(1) - 0.2).abs() < 5 * math.sqrt(variance / 20_000)).all()
    assert_close(draws.var(1), torch.full((5,), variance, dtype=F64), rtol=0.05, atol=0.0)
    assert not torch.equal(draws, dirichlet(0.2, 5, 20_000, 4))


@pytest.mark.parametrize("kind", [FederatedQuadratic, FederatedAckley, FederatedLevy])
def test_the_mean_does_not_depend_on_heterogeneity(kind: Callable[..., Any]) -> None:
    points, root = streams([0, 1]).spread(torch.arange(6)).uniform(7, dtype=F64), streams([0, 1])
    means = [kind(dim=7, heterogeneity=c).evaluate(points, root).values for c in (0.0, 0.5, 50.0)]
    assert_close(means[1], means[0], rtol=1e-10, atol=1e-12)
    assert_close(means[2], means[0], rtol=1e-10, atol=1e-12)
    everyone = torch.arange(5).repeat(2, 1)
    apart = kind(dim=7, heterogeneity=50.0).client_values(points[:, :1].expand(-1, 5, -1), everyone, root)
    assert (apart.std(-1) > 0.01).all()


@pytest.mark.parametrize("kind", [FederatedQuadratic, FederatedAckley, FederatedLevy])
def test_the_declared_optimum_is_one(kind: Callable[..., Any]) -> None:
    objective, root = kind(dim=6, heterogeneity=5.0), streams([0])
    x, least = objective.optimum
    assert objective.evaluate(x.view(1, 1, -1), root).values.item() == pytest.approx(least, abs=1e-12)
    around = x + 0.02 * (2 * streams([1]).spread(torch.arange(50)).uniform(6, dtype=F64) - 1)
    assert (objective.evaluate(around, root).values > least).all()


def test_the_published_numbers_of_the_quadratics() -> None:
    """F* = -0.0246667 for d = 300, and f is flat outside the box."""
    objective, root = FederatedQuadratic(), streams([0])
    assert objective.optimum[1] == pytest.approx(-0.0246667, abs=1e-7)
    edge = torch.ones(1, 1, 300, dtype=F64)
    assert torch.equal(objective.evaluate(edge, root).values, objective.evaluate(1.5 * edge, root).values)


def test_clients_answer_for_themselves_and_are_charged() -> None:
    objective, root = FederatedQuadratic(dim=3, heterogeneity=5.0), streams([0, 1])
    points = torch.rand(2, 4, 3, dtype=F64)
    clients = torch.tensor([[0, 1, -1, 4], [2, 2, 3, -1]])
    found = objective.ask_clients(points, clients, root)
    assert found.values.isnan().tolist() == [[False, False, True, False], [False, False, False, True]]
    assert found.cost.queries.tolist() == [3, 3]
    alone = objective.ask_clients(points[:1, 3:], clients[:1, 3:], root).values
    assert torch.equal(alone[0, 0], found.values[0, 3])
    assert objective.evaluate(points, root).cost.queries.tolist() == [20, 20]


def test_participation_is_fair_and_without_replacement() -> None:
    """2 of 5 in 500 rounds: every client within five standard errors of 200, rate 3e-6."""
    federation = Federation(5, participating=2)
    drawn = torch.stack([federation.draw(streams([7]).at(t))[0] for t in range(500)])
    assert (drawn[:, 0] < drawn[:, 1]).all()
    counts = drawn.flatten().bincount(minlength=5)
    assert ((counts - 200).abs() < 5 * math.sqrt(500 * 0.4 * 0.6)).all()
    assert Federation(3).draw(streams([1, 2])).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_weights_are_those_of_the_clients_drawn() -> None:
    federation = Federation(3, participating=2, weights=torch.tensor([0.5, 0.3, 0.2], dtype=F64))
    chosen = torch.tensor([[0, 2]])
    assert_close(federation.shares(chosen), torch.tensor([[5 / 7, 2 / 7]], dtype=F64))
    parts = torch.tensor([[[7.0], [14.0]]], dtype=F64)
    assert_close(federation.mean(parts, chosen), torch.tensor([[9.0]], dtype=F64))


def test_a_client_draws_the_same_whoever_else_takes_part() -> None:
    stream = streams([3, 4]).fold(Purpose.ASK).at(9)
    together = client_streams(stream, torch.tensor([[0, 2, 4], [1, 2, 3]]), 5).normal(6).view(2, 3, 6)
    alone = client_streams(stream, torch.tensor([[2], [2]]), 5).normal(6)
    assert torch.equal(together[:, 1], alone)
    assert together.flatten(0, 1).unique(dim=0).shape[0] == 6


def followed(algorithm: FederatedOptimizer, objective: FederatedObjective, rounds: int, phases: int) -> list[Any]:
    """States after every round."""
    algorithm, root = algorithm.among(objective), streams([5, 6])
    x0 = root.fold(Purpose.INSTANCE).uniform(objective.dim, dtype=F64)
    state: Any = algorithm.init(x0, root.fold(Purpose.INITIAL))
    states = [state]
    for t in range(rounds * phases):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        request = algorithm.request(state)
        assert request.clients.shape == points.shape[:2]
        assert len(request.purposes) == points.shape[1]
        found = objective.ask_clients(points, request.clients, root)
        state, metrics = algorithm.tell(state, points, Values(found.values))
        assert all(metric.shape == (2,) for metric in metrics.values())
        if (t + 1) % phases == 0:
            states.append(state)
    return states


def gradient_of(objective: FederatedObjective, client: int) -> Callable[[Tensor], Tensor]:
    def gradient(x: Tensor) -> Tensor:
        at = x.clone().requires_grad_()
        value = objective.client_values(at[None, None], torch.tensor([[client]]), streams([0]))
        return torch.autograd.grad(value.sum(), at)[0]

    return gradient


def reference(kind: str, objective: FederatedObjective, states: list[Any], r: int, steps: int, rate: float) -> Tensor:
    """A plain loop over rounds, clients and steps with exact gradients; who takes part is read from the states."""
    x, count = states[0].server.x[r], objective.clients
    controls = [torch.zeros_like(x) for _ in range(count)]
    for state in states[1:]:
        chosen, ends = state.chosen[r].tolist(), []
        if kind == "scaffold-i":
            for c in chosen:
                controls[c] = gradient_of(objective, c)(x)
        mean = torch.stack(controls).mean(0)
        new = dict(enumerate(controls))
        for c in chosen:
            local, total = x, torch.zeros_like(x)
            for _ in range(steps):
                g = gradient_of(objective, c)(local)
                total = total + g
                if kind == "fedprox":
                    g = g + 0.3 * (local - x)
                if kind.startswith("scaffold"):
                    g = g - controls[c] + mean
                local = (local - rate * g).clamp(0, 1)
            ends.append(local)
            if kind == "scaffold-ii":
                new[c] = total / steps
        controls = [new[c] for c in range(count)]
        x = (x + torch.stack([end - x for end in ends]).mean(0)).clamp(0, 1)
    return x


@pytest.mark.parametrize("participating", [None, 2])
@pytest.mark.parametrize(
    ("algorithm", "phases"),
    [
        (FedZO(steps=3, gamma=Schedule(0.04), **EXACT), 3),
        (FedProx(steps=3, gamma=Schedule(0.04), proximity=0.3, absolute=True, **EXACT), 3),
        (ScaffoldI(steps=3, gamma=Schedule(0.04), **EXACT), 4),
        (ScaffoldII(steps=3, gamma=Schedule(0.04), **EXACT), 3),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_rounds_are_those_of_a_plain_loop(algorithm: Any, phases: int, participating: int | None) -> None:
    """With as many orthonormal directions as there are variables, central differences of a quadratic are exact."""
    objective = FederatedQuadratic(dim=4, heterogeneity=0.5)
    algorithm = replace(algorithm, federation=Federation(participating=participating))
    states = followed(algorithm, objective, 4, phases)
    for r in range(2):
        expected = reference(algorithm.id, objective, states, r, 3, 0.04)
        assert_close(states[-1].server.x[r], expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(states[-1].server.x[r], states[0].server.x[r], atol=1e-3)


class Spy(FederatedQuadratic):
    """Counts what the clients are asked."""

    asked = 0

    def client_values(self, points: Tensor, clients: Tensor, stream: Stream) -> Tensor:
        type(self).asked += clients.numel()
        return super().client_values(points, clients, stream)


TINY: dict[str, Any] = {
    "steps": 2,
    "initial": 3,
    "active": 2,
    "candidates": 5,
    "closing": 4,
    "closing_candidates": 6,
    "history": 30,
    "features": RandomFeatures(40),
}
SMALL, FAITHFUL = FZooS(process=GaussianProcess(capacity=30), **TINY), FZooS.faithful(**TINY)


@pytest.mark.parametrize(
    ("algorithm", "purposes", "floats"),
    [
        (FedZO(steps=2, number=3), {"gradient": 3 * 5 * 2 * 4}, (6, 6)),
        (ScaffoldI(steps=2, number=3), {"control": 3 * 5 * 4, "gradient": 3 * 5 * 2 * 4}, (6 + 6, 6 + 6)),
        (ScaffoldII(steps=2, number=3), {"gradient": 3 * 5 * 2 * 4}, (6 + 6, 6 + 6)),
        (SMALL, {"gradient": 5 * (3 + 3 * 4), "active": 3 * 5 * 6}, (7 + 46, 6 + 46 + 1 + 6 + 1)),
        (
            replace(SMALL, compression=EF21(0.1)),
            {"gradient": 5 * (3 + 3 * 4), "active": 3 * 5 * 6},
            (7 + 2 * 5, 6 + 46 + 1 + 6 + 1),
        ),
        (
            FAITHFUL,
            {"gradient": 5 * (3 + 3 * 4), "active": 3 * 5 * 6, "acceptance": 3 * 5},
            (7 + 2 + 40, 6 + 40 + 1 + 6 + 6 + 1),
        ),
    ],
    ids=["fedzo", "scaffold-i", "scaffold-ii", "fzoos", "fzoos, compressed", "fzoos, faithful"],
)
def test_every_query_and_float_is_in_the_ledger(
    algorithm: Any, purposes: dict[str, int], floats: tuple[int, int]
) -> None:
    """Three rounds of five clients in six dimensions; the spy sees the scores too, which are not charged."""
    budget = sum(purposes.values())
    Spy.asked = 0
    result = run(algorithm, FederatedProblem(Spy(dim=6)), seeds=2, budget=budget, evaluations=1)
    assert {name: part.tolist() for name, part in result.by_purpose.items()} == {
        name: [count, count] for name, count in purposes.items()
    }
    assert result.spent.queries.tolist() == [budget, budget]
    assert Spy.asked == 2 * budget + 2 * 2 * 5
    uplink, downlink = (3 * 5 * number for number in floats)
    assert result.spent.uplink_floats.tolist() == [uplink, uplink]
    assert result.spent.downlink_floats.tolist() == [downlink, downlink]
    assert result.failures.tolist() == [0, 0]


def test_the_published_procedure_asks_6_t_plus_47_a_round_and_the_test_it_does_not_count() -> None:
    """Queries of a client in a round of the official code: 107 for T = 10; here the acceptance test is one more."""
    algorithm = FZooS.faithful(features=RandomFeatures(16), history=200)
    result = run(algorithm, FederatedProblem(FederatedQuadratic(dim=5)), seeds=1, budget=5 * (108 + 10), evaluations=1)
    assert result.spent.queries.tolist() == [5 * (107 + 10 + 1)]
    assert result.by_purpose["acceptance"].tolist() == [5]


def test_a_central_algorithm_pays_for_every_client() -> None:
    result = run(RandomSearch(points=3), FederatedProblem(FederatedQuadratic(dim=4)), seeds=2, budget=60, evaluations=1)
    assert result.spent.queries.tolist() == [60, 60]


@pytest.mark.parametrize("algorithm", [FedZO(steps=2, number=4), ScaffoldII(steps=2, number=4), SMALL, FAITHFUL])
def test_runs_resume_to_the_same_end(algorithm: Any, tmp_path: Any) -> None:
    problem = FederatedProblem(FederatedQuadratic(dim=4))
    whole = run(algorithm, problem, seeds=2, budget=700, evaluations=4)
    loop = Loop(algorithm, problem, [0, 1], 700, 4, tmp_path, False)
    for _ in range(7):
        loop.iterate()
    loop._flush(lambda *_: None)
    resumed = run(algorithm, problem, seeds=2, budget=700, evaluations=4, out=tmp_path, resume=True)
    assert torch.equal(resumed.parameters, whole.parameters)
    assert {k: v.tolist() for k, v in resumed.by_purpose.items()} == {
        k: v.tolist() for k, v in whole.by_purpose.items()
    }


def test_fzoos_needs_fewer_queries_than_fedzo() -> None:
    """On quadratics in 10 dimensions, after 2,500 queries: each of 3 runs is at least four times closer to F*."""
    problem = FederatedProblem(FederatedQuadratic(dim=10, heterogeneity=0.5))
    gaps = {}
    for algorithm in (FedZO(), FZooS(features=RandomFeatures(200), process=GaussianProcess(capacity=100), history=100)):
        result = run(algorithm, problem, seeds=3, budget=2_500, evaluations=1)
        values = problem.objective.evaluate(result.parameters[:, None], streams(range(3))).values[:, 0]
        gaps[algorithm.id] = values - problem.objective.optimum[1]
    assert (gaps["fzoos"] < gaps["fedzo"] / 4).all()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="has no clients"):
        FederatedProblem(Sphere())
    with pytest.raises(ValueError, match="fedzo needs clients, rastrigin has none"):
        run(FedZO(), ObjectiveProblem(Rastrigin()), seeds=1, budget=1_000)
    with pytest.raises(ValueError, match="federated-quadratic has none, but as a FederatedProblem"):
        run(FedZO(), ObjectiveProblem(FederatedQuadratic(dim=3)), seeds=1, budget=1_000)
    many = FedZO(federation=Federation(9, participating=7))
    with pytest.raises(ValueError, match=r"participating = 7 of fedzo is not in \[1, 5\]"):
        run(many, FederatedProblem(FederatedQuadratic(dim=3)), seeds=1, budget=1_000)
    with pytest.raises(ValueError, match=r"participating = 6 is not in \[1, 5\]"):
        Federation(5, participating=6)
    with pytest.raises(ValueError, match=r"candidates = 3 is not in \[5, inf\]"):
        FZooS(candidates=3)


def test_gamma() -> None:
    """E is the square of what is missing, 0.25, over the number of clients."""
    correction = torch.tensor([[[3.0, 4.0]], [[0.03, 0.04]]], dtype=F64)
    miss = torch.tensor([[[0.3, 0.4]], [[0.3, 0.4]]], dtype=F64)
    assert Decaying()(2, correction, miss, 5).flatten().tolist() == pytest.approx([1 / 3, 1 / 3])
    assert Fixed(0.7)(2, correction, miss, 5).flatten().tolist() == pytest.approx([0.7, 0.7])
    assert Observed()(2, correction, miss, 5).flatten().tolist() == pytest.approx([1 - 0.25 / 5 / 25, 0.0])


def rounds_of(algorithm: FZooS, objective: FederatedObjective, rounds: int) -> tuple[Any, Any]:
    """The state after some rounds, and the last turn's features."""
    algorithm, root = algorithm.among(objective), streams([0, 1])
    state = algorithm.init(objective.optimum[0].expand(2, -1) + 0.2, root.fold(Purpose.TRAIN))
    for t in range(rounds * sum(stage.asks for stage in algorithm.stages)):
        stream = root.fold(Purpose.TRAIN)._replace(counter=t)
        points, state = algorithm.ask(state, stream)
        clients = algorithm.request(state).clients
        state, _ = algorithm.tell(state, points, Values(objective.client_values(points, clients, stream)))
    return state, algorithm


def test_the_linear_term_makes_what_is_sent_exact_at_the_servers_point() -> None:
    """Without it features in a small number tell another gradient than the process that they are made of."""
    objective = FederatedQuadratic(dim=6, heterogeneity=5.0)
    for linear in (True, False):
        state, algorithm = rounds_of(replace(SMALL, linear=linear), objective, 2)
        clients = state.clients
        exact = algorithm.process.posterior(algorithm.window(clients)).gradient(
            state.server.x[:, None].expand(-1, 5, -1)
        )
        close = torch.isclose(surrogate(clients.weights, clients, state.common), exact, rtol=1e-8).all()
        assert bool(close) == linear
        assert_close(state.server.mean, clients.weights.mean(1))


def test_differences_along_what_was_asked() -> None:
    slope = torch.tensor([1.0, -2.0, 3.0], dtype=F64)
    offsets = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0, -0.2], [0, 0.3, 0], [0, 0, 0]], dtype=F64)
    points = (offsets + 0.5)[None, None]
    values = points @ slope
    assert_close(differences(points, values)[0, 0], slope)
    values[0, 0, 1] = math.nan
    assert_close(differences(points, values)[0, 0], torch.tensor([0.0, -2.0, 3.0], dtype=F64))
    values[0, 0, 0] = math.inf
    assert_close(differences(points, values)[0, 0], torch.zeros(3, dtype=F64))


@pytest.mark.parametrize("least_known", [0.5, 0.0])
def test_a_client_whose_surrogate_knows_nothing_follows_its_differences(least_known: float) -> None:
    """With noise of a million times the scale the surrogate is flat; without the rule nobody moves."""
    blind = GaussianProcess(noise=1e6, capacity=30)
    algorithm = replace(SMALL, process=blind, least_known=least_known, closing=6, closing_candidates=6, step=Plain())
    objective = FederatedQuadratic(dim=6, heterogeneity=0.5)
    state, _ = rounds_of(algorithm, objective, 12)
    root = streams([0, 1])
    start = objective.evaluate(objective.optimum[0].expand(2, 1, -1) + 0.2, root).values
    gain = (start - objective.evaluate(state.server.x[:, None], root).values).squeeze(-1)
    assert (~state.clients.trusted).all() == (least_known > 0)
    assert (gain > 0.1 * start.squeeze(-1)).all() if least_known else (gain < 0.01 * start.squeeze(-1)).all()
