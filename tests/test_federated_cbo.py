"""CBO among clients: messages that merge exactly, runs that are CBO's on F, replays, accounting, what is found."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from oracles import WEIGHTS, Unequal
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from experiments import run
from experiments.federated import FederatedProblem
from experiments.loop import Loop
from zeroth_order import CBO, Growth, Values
from zeroth_order.cbo import EffectiveSamples, Exact, Heaviside, PersonalBest
from zeroth_order.cbo.consensus import consensus_point, softmin
from zeroth_order.federated import FederatedCBO, FederatedObjective, FederatedQuadratic, Federation, PartitionedCBO
from zeroth_order.federated.consensus_message import ConsensusMessage
from zeroth_order.federated.core import client_streams

F64 = torch.float64


@dataclass(frozen=True)
class TwoParabolas(FederatedObjective):
    """f_0 = (x - 0.2)^2 and f_1 = (x - 0.8)^2 + 0.1: F is least at 0.5, the better of the two at 0.2."""

    id = "two-parabolas"

    @property
    def dim(self) -> int:
        """1."""
        return 1

    @property
    def clients(self) -> int:
        """2."""
        return 2

    def client_values(self, points: Tensor, clients: Tensor, stream: Stream) -> Tensor:
        """[R, K]."""
        return (points[..., 0] - 0.2 - 0.6 * clients).square() + 0.1 * clients


def drawn(seed: int, *shape: int) -> Tensor:
    return streams([seed]).spread(torch.arange(torch.Size(shape[:-1]).numel())).normal(shape[-1], dtype=F64).view(shape)


def centralised(points: Tensor, values: Tensor, alpha: float, shares: Tensor) -> Tensor:
    """The consensus [R, d] of everyone's particles [R, S, n, d], those of client c with weight p_c."""
    weighted = values - shares[..., None].log() / alpha
    return consensus_point(points.flatten(1, 2), weighted.flatten(1, 2), alpha)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("offset", [0.0, 1e6, -1e6])
def test_merged_messages_are_those_of_all_particles(alpha: float, offset: float) -> None:
    """To 1e-12, though weights may range over e^(10^5); a fifth of the values failed, and all of one client."""
    points, values = drawn(1, 3, 4, 25, 6), drawn(2, 3, 4, 25) + offset
    values[drawn(3, 3, 4, 25) > 0.84] = torch.nan
    values[0, 2], values[1, 3] = torch.inf, -torch.inf
    ones = torch.ones(3, 4, dtype=F64)
    parts = ConsensusMessage.of(points, values, alpha)
    merged = parts.merged(alpha, ones)
    assert_close(merged.point(), centralised(points, values, alpha, ones), rtol=1e-12, atol=1e-12)
    whole = ConsensusMessage.of(points.flatten(1, 2), values.flatten(1, 2), alpha)
    for part, expected in zip(merged, whole, strict=True):
        assert_close(part, expected, rtol=1e-12, atol=1e-12)

    def pair(a: int, b: int) -> ConsensusMessage:
        those = ConsensusMessage(*(part[:, [a, b]] for part in parts))
        return those.merged(alpha, ones[:, :2])

    tree = ConsensusMessage(*(torch.stack(both, 1) for both in zip(pair(3, 0), pair(1, 2), strict=True)))
    for part, expected in zip(tree.merged(alpha, ones[:, :2]), whole, strict=True):
        assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_clients_weigh_what_they_are_given() -> None:
    points, values = drawn(1, 3, 5, 4, 2), drawn(2, 3, 5, 4)
    shares = WEIGHTS.expand(3, -1)
    merged = ConsensusMessage.of(points, values, 2.0).merged(2.0, shares)
    assert_close(merged.point(), centralised(points, values, 2.0, shares), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(merged.point(), centralised(points, values, 2.0, torch.ones(3, 5, dtype=F64)), atol=1e-3)


def test_what_failed_has_no_weight_and_no_consensus() -> None:
    values = torch.tensor([[[torch.nan, torch.inf], [1.0, -torch.inf]], [[torch.nan] * 2] * 2], dtype=F64)
    points = drawn(1, 2, 2, 2, 3)
    message = ConsensusMessage.of(points, values, 30.0)
    assert message.total.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert not message.weighted.isnan().any()
    found = message.merged(30.0, torch.full((2, 2), 0.5)).point()
    assert_close(found[0], points[0, 1, 0])
    assert found[1].isnan().all()


def asked(algorithm: Any, objective: FederatedObjective, steps: int, spoil: Any = None) -> list[tuple[Any, ...]]:
    """(state before, state asked, points, values, request, state after) of two runs in a problem without a box."""
    root = streams([5, 6])
    state = algorithm.init(root.fold(Purpose.INSTANCE).normal(objective.dim, dtype=F64), root.fold(Purpose.INITIAL))
    found = []
    for t in range(steps):
        points, prepared = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        request = algorithm.request(prepared)
        values = objective.ask_clients(points, request.clients, root).values
        values = values if spoil is None else spoil(values, request.clients)
        after, metrics = algorithm.tell(prepared, points, Values(values))
        assert all(metric.shape == (2,) for metric in metrics.values())
        found.append((state, prepared, points, values, request, after))
        state = after
    return found


def of_problem(algorithm: Any, objective: FederatedObjective) -> Any:
    return replace(algorithm, federation=replace(algorithm.among(objective).federation, box=None))


@pytest.mark.parametrize(
    "cbo",
    [
        CBO(particles=12, alpha=EffectiveSamples(0.3)),
        CBO(particles=12, batch=4, memory=PersonalBest(), step=Exact()),
        CBO(particles=12, correction=Heaviside(), alpha=Growth(3.0)),
        CBO(particles=500, alpha=Growth(3.0)),
    ],
    ids=["plain", "batches and memory", "corrected", "fused"],
)
def test_with_all_clients_it_is_cbo_on_the_mean(cbo: CBO) -> None:
    """To the bit."""
    objective, root = Unequal(dim=5, heterogeneity=50.0), streams([5, 6])
    steps = asked(of_problem(FederatedCBO(cbo=cbo), objective), objective, 9)
    state = cbo.init(root.fold(Purpose.INSTANCE).normal(5, dtype=F64), root.fold(Purpose.INITIAL))
    for t, (*_, after) in enumerate(steps):
        points, state = cbo.ask(state, root.fold(Purpose.ASK).at(t))
        values = objective.client_values(
            points.repeat(1, 5, 1), torch.arange(5).repeat_interleave(points.shape[1]).expand(2, -1), root
        ).unflatten(1, (5, -1))
        shares = of_problem(FederatedCBO(), objective).federation.shares(torch.arange(5).expand(2, -1))
        assert_close((shares[..., None] * values).sum(1), objective.evaluate(points, root).values, rtol=1e-12, atol=0.0)
        state, _ = cbo.tell(state, points, Values((shares[..., None] * values).sum(1) / shares.sum(1, keepdim=True)))
        assert torch.equal(after.swarm.particles, state.particles)
        assert torch.equal(after.swarm.consensus, state.consensus)
    assert not torch.allclose(steps[-1][-1].swarm.consensus, steps[0][0].swarm.consensus, atol=1e-3)


@pytest.mark.parametrize("cbo", [CBO(particles=12), CBO(particles=12, batch=4, correction=Heaviside())])
def test_an_absent_client_catches_up_from_values_alone(cbo: CBO) -> None:
    """Bit for bit, with the ledger's count of them: what it repeats leads to the particles that it is asked for."""
    objective, root = Unequal(dim=4, heterogeneity=5.0), streams([5, 6])
    algorithm = of_problem(FederatedCBO(Federation(participating=2), cbo), objective)
    steps = asked(algorithm, objective, 14)
    mine, read, told = cbo.init(root.fold(Purpose.INSTANCE).normal(4, dtype=F64), root.fold(Purpose.INITIAL)), 0, 0
    last: dict[int, int] = {}
    for t, (_, prepared, points, _, request, _) in enumerate(steps):
        each = prepared.asked
        down = sum(told - last.get(c, 0) + (0 if c in last else 5) for c in prepared.chosen[0].tolist())
        assert request.downlink[0] == down
        assert request.uplink.tolist() == [2 * each] * 2
        last |= dict.fromkeys(prepared.chosen[0].tolist(), told)
        told += each
        if 3 not in prepared.chosen[0].tolist():
            continue
        for missed in range(read, t):
            repeated, mine = cbo.ask(mine, root.fold(Purpose.ASK).at(missed))
            _, before, _, values, *_ = steps[missed]
            values = values.unflatten(1, (2, -1))
            mean = algorithm.federation.mean_of_answers(values, before.chosen, values.isfinite())
            mine, _ = cbo.tell(mine, repeated, Values(mean))
        read = t
        assert torch.equal(cbo.ask(mine, root.fold(Purpose.ASK).at(t))[0][0], points[0, :each])
    assert read > 3


def test_clients_drawn_stand_for_all() -> None:
    """Their weighted mean is what CBO is told: with one client of two, the step is that of CBO on its f_c."""
    objective, cbo = TwoParabolas(), CBO(particles=8, alpha=Growth(10.0))
    algorithm = of_problem(FederatedCBO(Federation(participating=1), cbo), objective)
    for _, prepared, points, _, _, after in asked(algorithm, objective, 4):
        values = objective.client_values(points, prepared.chosen.expand(-1, 8), streams([0]))
        assert_close(after.swarm.consensus, consensus_point(points, values, 10.0), rtol=1e-12, atol=1e-12)


def test_a_client_without_answers_has_not_taken_part_and_a_particle_has_failed_where_one_answer_did() -> None:
    objective, cbo = Unequal(dim=4, heterogeneity=5.0), CBO(particles=6, alpha=Growth(2.0))

    def spoil(values: Tensor, clients: Tensor) -> Tensor:
        spoiled = torch.where(clients == 1, torch.nan, values)
        spoiled[:, 6 * 3 + 2] = torch.inf
        return spoiled

    ((_, _, points, values, _, after),) = asked(of_problem(FederatedCBO(cbo=cbo), objective), objective, 1, spoil)
    others = [0, 2, 3, 4]
    mean = (WEIGHTS[others][:, None] * values.unflatten(1, (5, -1))[:, others]).sum(1)
    weights = softmin(mean / WEIGHTS[others].sum(), 2.0)
    assert (weights[:, 2] == 0).all()
    assert (weights[:, :2] > 0).all()
    expected = (weights[..., None] * points[:, :6]).sum(1)
    assert_close(after.swarm.consensus, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [Exact(), PartitionedCBO().step])
def test_a_step_of_partitioned_swarms_is_that_of_one_swarm(step: Any) -> None:
    """Consensus of all particles, drift and noise of each with its own client's random numbers; who is absent stays."""
    objective = Unequal(dim=3, heterogeneity=5.0)
    algorithm = PartitionedCBO(
        Federation(participating=3), particles=4, alpha=Growth(2.0, 1.1), dt=0.1, sigma=Schedule(0.5), step=step
    )
    algorithm = of_problem(algorithm, objective)
    for t, (before, prepared, points, values, _, after) in enumerate(asked(algorithm, objective, 5)):
        chosen = prepared.chosen
        shares = WEIGHTS[chosen]
        found = centralised(points.unflatten(1, (3, 4)), values.unflatten(1, (3, 4)), 2.0 * 1.1**t, shares)
        assert_close(after.consensus, found, rtol=1e-12, atol=1e-12)
        for r in range(2):
            for i, c in enumerate(chosen[r].tolist()):
                x = before.particles[r, c]
                assert torch.equal(points[r, 4 * i : 4 * i + 4], x)
                own = client_streams(prepared.stream, chosen, 5)
                xi = own.spread(torch.arange(4)).normal(3, dtype=F64)[3 * r + i]
                away = x - found[r]
                euler = x - 0.1 * away + 0.5 * 0.1**0.5 * away * xi
                exact = found[r] + away * torch.exp(-(0.1 + 0.0125) + 0.5 * 0.1**0.5 * xi)
                expected = exact if step == Exact() else euler
                assert_close(after.particles[r, c], expected, rtol=1e-12, atol=1e-12)
            absent = [c for c in range(5) if c not in chosen[r].tolist()]
            assert torch.equal(after.particles[r, absent], before.particles[r, absent])


def test_averaged_values_lead_to_the_best_mean_and_messages_to_the_best_client() -> None:
    """Both are what they say they are: 0.5 of TwoParabolas, and 0.2, to 0.05 in each of eight runs."""
    problem, settings = FederatedProblem(TwoParabolas()), dict[str, Any](dt=0.1, sigma=Schedule(0.9))
    averaged = FederatedCBO(cbo=CBO(particles=40, alpha=Growth(1e3), **settings))
    merged = PartitionedCBO(particles=40, alpha=Growth(1e3), **settings)
    for algorithm, best in ((averaged, 0.5), (merged, 0.2)):
        result = run(algorithm, problem, seeds=8, budget=10_000, evaluations=1)
        assert_close(result.parameters[:, 0], torch.full((8,), best, dtype=F64), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("algorithm", [FederatedCBO(cbo=CBO(particles=6, spread=3.0)), PartitionedCBO(spread=3.0)])
def test_particles_stay_in_the_box(algorithm: Any) -> None:
    objective = FederatedQuadratic(dim=4)
    for _, _, points, _, _, after in asked(algorithm.among(objective), objective, 5):
        assert ((points >= 0) & (points <= 1)).all()
        assert ((algorithm.recommend(after) >= 0) & (algorithm.recommend(after) <= 1)).all()
    assert ((points == 0) | (points == 1)).any()


@pytest.mark.parametrize(
    ("algorithm", "queries", "uplink", "downlink"),
    [
        (FederatedCBO(cbo=CBO(particles=7)), 3 * 35, 3 * 35, 5 * (6 + 1) + 2 * 35),
        (PartitionedCBO(particles=7), 3 * 35, 3 * 5 * 8, 5 * 6 + 3 * 5 * 6),
        (PartitionedCBO(Federation(participating=5), particles=2), 3 * 10, 3 * 5 * 8, 5 * 6 + 3 * 5 * 6),
    ],
    ids=["federated", "partitioned", "partitioned, small"],
)
def test_every_float_and_query_is_in_the_ledger(algorithm: Any, queries: int, uplink: int, downlink: int) -> None:
    """Three steps of five clients in six dimensions."""
    result = run(algorithm, FederatedProblem(FederatedQuadratic(dim=6)), seeds=2, budget=queries, evaluations=1)
    assert {name: part.tolist() for name, part in result.by_purpose.items()} == {"particles": [queries] * 2}
    assert result.spent.queries.tolist() == [queries] * 2
    assert result.spent.uplink_floats.tolist() == [uplink] * 2
    assert result.spent.downlink_floats.tolist() == [downlink] * 2


def test_newcomers_of_partitioned_cbo_are_told_the_start_once() -> None:
    met: list[set[int]] = [set(), set()]
    algorithm = PartitionedCBO(Federation(participating=2), particles=3)
    for _, prepared, _, _, request, _ in asked(algorithm, FederatedQuadratic(dim=4), 8):
        for r in range(2):
            new = set(prepared.chosen[r].tolist()) - met[r]
            assert request.downlink[r] == 2 * 4 + 4 * len(new)
            met[r] |= new


@pytest.mark.parametrize(
    "algorithm",
    [
        FederatedCBO(Federation(participating=3), CBO(particles=8, batch=4, correction=Heaviside())),
        PartitionedCBO(Federation(participating=3), particles=4),
    ],
)
def test_runs_resume_to_the_same_end(algorithm: Any, tmp_path: Any) -> None:
    problem = FederatedProblem(FederatedQuadratic(dim=4))
    whole = run(algorithm, problem, seeds=2, budget=300, evaluations=2)
    loop = Loop(algorithm, problem, [0, 1], 300, 2, tmp_path, False)
    for _ in range(7):
        loop.iterate()
    loop._flush(lambda *_: None)
    resumed = run(algorithm, problem, seeds=2, budget=300, evaluations=2, out=tmp_path, resume=True)
    assert torch.equal(resumed.parameters, whole.parameters)
    assert resumed.spent.downlink_floats.tolist() == whole.spent.downlink_floats.tolist()


@pytest.mark.parametrize("algorithm", [FederatedCBO(cbo=CBO(particles=8, batch=4)), PartitionedCBO(particles=4)])
def test_runs_that_stopped_stay_as_they_were(algorithm: Any) -> None:
    """The swarm too, which is not a tensor of the state's own."""
    steps = asked(algorithm, FederatedQuadratic(dim=4), 3)
    before, after = steps[-1][0], steps[-1][-1]
    kept = algorithm.keep(torch.tensor([True, False]), after, before)
    parts = [algorithm.pack(state) for state in (kept, after, before)]
    differ = 0
    for name, part in parts[0].items():
        if isinstance(part, Tensor):
            assert torch.equal(part[0], parts[1][name][0]), name
            assert torch.equal(part[1], parts[2][name][1]), name
            differ += not torch.equal(parts[1][name], parts[2][name])
    assert differ >= 2
