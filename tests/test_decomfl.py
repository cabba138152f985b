"""DeComFL: against plain loops with exact gradients, replays from seeds and slopes alone, accounting, failures."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from oracles import WEIGHTS, Unequal
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Request, Schedule
from envs.random import Purpose, Stream, streams
from experiments import run
from experiments.federated import FederatedProblem
from experiments.loop import Loop
from zeroth_order import Values
from zeroth_order.federated import DeComFL, FederatedQuadratic, Federation
from zeroth_order.random_directions import Central, Orthonormal, Rademacher, mean_gradient
from zeroth_order.steps import Adam, Momentum, Plain

F64 = torch.float64
EXACT: dict[str, Any] = {"number": 4, "directions": Orthonormal(), "difference": Central(), "gamma": Schedule(0.04)}
"""With these the estimate is the gradient of a quadratic of 4 variables."""


class Iteration(NamedTuple):
    before: Any
    asked: Any
    after: Any
    stream: Stream
    points: Tensor
    values: Tensor
    request: Request


def iterated(algorithm: DeComFL, objective: FederatedQuadratic, steps: int, fail: Any = None) -> Iterator[Iteration]:
    """Two runs, step by step; `fail` may spoil the values [R, K] of the clients [R, K]."""
    algorithm, root = algorithm.among(objective), streams([5, 6])
    state: Any = algorithm.init(root.fold(Purpose.INSTANCE).uniform(objective.dim, dtype=F64), root)
    for t in range(steps):
        before, stream = state, root.fold(Purpose.ASK).at(t)
        points, asked = algorithm.ask(before, stream)
        request = algorithm.request(asked)
        values = objective.ask_clients(points, request.clients, root).values
        if fail is not None:
            values = fail(values, request.clients)
        state, metrics = algorithm.tell(asked, points, Values(values))
        assert all(metric.shape == (2,) for metric in metrics.values())
        yield Iteration(before, asked, state, stream, points, values, request)


def gradient(objective: FederatedQuadratic, client: int, x: Tensor) -> Tensor:
    at = x.clone().requires_grad_()
    value = objective.client_values(at[None, None], torch.tensor([[client]]), streams([0]))
    return torch.autograd.grad(value.sum(), at)[0]


@pytest.mark.parametrize("participating", [None, 2])
@pytest.mark.parametrize("steps", [1, 3])
def test_rounds_are_those_of_a_plain_loop(steps: int, participating: int | None) -> None:
    """Clients step for themselves; the server follows the mean of their gradients, step by step."""
    objective = Unequal(dim=4, heterogeneity=0.5)
    algorithm = DeComFL(federation=Federation(participating=participating), steps=steps, step=Plain(), **EXACT)
    iterations = list(iterated(algorithm, objective, 4 * steps))
    for r in range(2):
        x = iterations[0].before.x[r]
        for opening in iterations[::steps]:
            chosen = opening.asked.chosen[r].tolist()
            local, ahead = {c: x for c in chosen}, x
            for _ in range(steps):
                own = {c: gradient(objective, c, local[c]) for c in chosen}
                local = {c: (local[c] - 0.04 * own[c]).clamp(0, 1) for c in chosen}
                mean = torch.stack([WEIGHTS[c] * own[c] for c in chosen]).sum(0) / WEIGHTS[chosen].sum()
                ahead = (ahead - 0.04 * mean).clamp(0, 1)
            x = ahead
        assert_close(iterations[-1].after.x[r], x, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(x, iterations[0].before.x[r], atol=1e-3)


def test_with_adam_it_is_adam_on_the_mean() -> None:
    """One local step a round: Kingma and Ba's Adam on the exact gradient of F."""
    objective = Unequal(dim=4, heterogeneity=5.0)
    iterations = list(iterated(DeComFL(step=Adam(), **EXACT), objective, 6))
    x = iterations[0].before.x[1]
    m = v = torch.zeros_like(x)
    for t in range(1, 7):
        g = torch.stack([WEIGHTS[c] * gradient(objective, c, x) for c in range(5)]).sum(0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = (x - 0.04 * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)).clamp(0, 1)
    assert_close(iterations[-1].after.x[1], x, rtol=1e-6, atol=1e-6)


def test_local_steps_begin_with_the_moments_that_everyone_has() -> None:
    iterations = list(iterated(DeComFL(steps=2, number=3, step=Momentum(0.5)), Unequal(dim=4), 4))
    opened = iterations[2].asked
    assert opened.moments.abs().min() > 0
    assert torch.equal(opened.local_moments, opened.moments[:, None].expand(-1, 5, -1, -1))
    assert torch.equal(opened.local, opened.x[:, None].expand(-1, 5, -1))
    assert not torch.equal(iterations[3].asked.local[:, 0], iterations[3].asked.local[:, 1])


@pytest.mark.parametrize(
    "algorithm",
    [
        DeComFL(steps=2, number=3),
        DeComFL(steps=3, number=2, directions=Rademacher(), difference=Central(), step=Momentum(0.5)),
    ],
)
def test_an_absent_client_catches_up_from_seeds_and_slopes_alone(algorithm: DeComFL) -> None:
    """Bit for bit: what it replays when it is drawn again is where the server's round begins."""
    objective, steps = Unequal(dim=6, heterogeneity=5.0), algorithm.steps
    algorithm = replace(algorithm, federation=Federation(participating=2)).among(objective)
    iterations = list(iterated(algorithm, objective, 8 * steps))
    mu = algorithm.mu(0) / 6**0.5
    told = []
    for each in iterations:
        slopes = algorithm.difference.slopes(each.values.view(4, -1), mu).view(2, 2, -1)
        everyone = torch.ones_like(slopes, dtype=torch.bool)
        told.append((each.stream, algorithm.federation.mean_of_answers(slopes, each.asked.chosen, everyone)))

    x = iterations[0].before.x
    moments, read = algorithm.step.start(x), 0
    for opening in iterations[::steps]:
        if 3 not in opening.asked.chosen[0].tolist():
            continue
        for t in range(read, opening.asked.t):
            stream, scalars = told[t]
            u = algorithm.directions(stream, algorithm.number, x)
            displacement, moments = algorithm.step(mean_gradient(u, scalars), moments, algorithm.gamma(0), t)
            x = algorithm.federation.projected(x + displacement)
        read = opening.asked.t
        assert torch.equal(x[0], opening.asked.local[0, 0])
    assert read > 2 * steps


def test_all_clients_take_differences_along_the_same_directions() -> None:
    algorithm = DeComFL(steps=2, number=3, step=Plain(), gamma=Schedule(1.0))
    iterations = list(iterated(algorithm, FederatedQuadratic(dim=4, heterogeneity=5.0), 2))
    first, second = (each.points.unflatten(1, (5, -1)) for each in iterations)
    assert torch.equal(first, first[:, :1].expand_as(first))
    offsets = second - second[:, :, :1]
    assert_close(offsets, offsets[:, :1].expand_as(offsets))
    assert not torch.allclose(second[:, 0], second[:, 1])
    assert not torch.allclose(offsets[:, 0], (first - first[:, :, :1])[:, 0])  # drawn anew


@pytest.mark.parametrize("participating", [None, 2])
def test_every_float_and_query_is_accounted_for(participating: int | None) -> None:
    """K = 2, P = 3, d = 6: slopes up; down a client's seeds, x_0 once, and for a missed round 2 seeds and 6 slopes."""
    algorithm = DeComFL(federation=Federation(participating=participating), steps=2, number=3)
    iterations, size = list(iterated(algorithm, FederatedQuadratic(dim=6), 12)), participating or 5
    for r in range(2):
        replayed: dict[int, int] = {}
        for t, (opening, closing) in enumerate(zip(iterations[::2], iterations[1::2], strict=True)):
            down = 0
            for c in opening.asked.chosen[r].tolist():
                down += 2 + 8 * (t - replayed.get(c, 0)) + (0 if c in replayed else 6)
                replayed[c] = t
            assert opening.request.downlink[r] == down
            assert opening.request.uplink[r] == closing.request.downlink[r] == 0
            assert closing.request.uplink[r] == size * 2 * 3
            assert opening.request.clients[r].tolist() == opening.asked.chosen[r].repeat_interleave(4).tolist()
    result = run(algorithm, FederatedProblem(FederatedQuadratic(dim=6)), seeds=2, budget=size * 48, evaluations=1)
    assert {name: part.tolist() for name, part in result.by_purpose.items()} == {"gradient": [size * 48] * 2}
    assert result.spent.uplink_floats.tolist() == [size * 36] * 2


def test_a_client_without_answers_is_left_out_of_the_mean() -> None:
    """As if it had not been drawn; a slope that failed alone is left out alone, one that all failed by everyone."""

    def silent(values: Tensor, clients: Tensor) -> Tensor:
        return torch.where(clients == 1, torch.nan, values)

    algorithm = DeComFL(number=3, step=Plain(), difference=Central(), gamma=Schedule(0.3))
    objective = Unequal(dim=5, heterogeneity=5.0)
    (one,) = iterated(algorithm, objective, 1, silent)
    u = algorithm.directions(one.stream, 3, one.before.x)
    slopes = Central().slopes(one.values.view(10, -1), 0.01 / 5**0.5).view(2, 5, 3)
    others = [0, 2, 3, 4]
    mean = (WEIGHTS[others][:, None] * slopes[:, others]).sum(1) / WEIGHTS[others].sum()
    expected = (one.before.x - 0.3 * (mean[..., None] * u).mean(1)).clamp(0, 1)
    assert_close(one.after.x, expected, rtol=1e-12, atol=1e-12)

    def partly(values: Tensor, clients: Tensor) -> Tensor:
        spoiled = values.clone()
        spoiled[:, 0] = torch.inf  # the first direction of client 0
        spoiled[:, 2::6] = torch.nan  # the third of everyone
        return spoiled

    (one,) = iterated(algorithm, objective, 1, partly)
    slopes[:, 1] = Central().slopes(one.values.view(10, -1), 0.01 / 5**0.5).view(2, 5, 3)[:, 1]
    first = (WEIGHTS[1:, None] * slopes[:, 1:, 0, None]).sum(1) / WEIGHTS[1:].sum()
    second = (WEIGHTS[:, None] * slopes[:, :, 1, None]).sum(1)
    expected = (one.before.x - 0.3 * (first * u[:, 0] + second * u[:, 1]) / 2).clamp(0, 1)
    assert_close(one.after.x, expected, rtol=1e-12, atol=1e-12)


def test_runs_resume_to_the_same_end(tmp_path: Any) -> None:
    algorithm = DeComFL(federation=Federation(participating=3), steps=2, number=3)
    problem = FederatedProblem(FederatedQuadratic(dim=4))
    whole = run(algorithm, problem, seeds=2, budget=300, evaluations=2)
    loop = Loop(algorithm, problem, [0, 1], 300, 2, tmp_path, False)
    for _ in range(7):
        loop.iterate()
    loop._flush(lambda *_: None)
    resumed = run(algorithm, problem, seeds=2, budget=300, evaluations=2, out=tmp_path, resume=True)
    assert torch.equal(resumed.parameters, whole.parameters)
    assert resumed.spent.downlink_floats.tolist() == whole.spent.downlink_floats.tolist()
