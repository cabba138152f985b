"""CMA-ES behind the common face: it is pycma's, its failures rank last, its reasons to stop are pycma's."""

import cma
import numpy as np
import pytest
import torch
from cma.sigma_adaptation import CMAAdaptSigmaCSA
from torch import Tensor

from envs.random import Stream, streams
from zeroth_order import PyCMA, Values
from zeroth_order.evolution.pycma import PyCMAState


def ellipsoid(points: Tensor) -> Tensor:
    return (points**2 * 10.0 ** torch.arange(points.shape[-1])).sum(-1)


def begin(algorithm: PyCMA, runs: int = 2, dim: int = 4) -> tuple[PyCMAState, Stream]:
    stream = streams(range(runs))
    return algorithm.init(torch.ones(runs, dim, dtype=torch.float64), stream), stream


def test_it_is_pycma() -> None:
    """With the same normals pycma, driven as its manual says, is at the same mean after 40 generations."""
    state, stream = begin(PyCMA(sigma0=0.5), runs=1)
    rows: list[np.ndarray] = []
    options = {"randn": lambda *shape: rows[-1], "seed": np.nan, "verbose": -10, "AdaptSigma": CMAAdaptSigmaCSA}
    peer = cma.CMAEvolutionStrategy(4 * [1.0], 0.5, options)
    lanes = torch.arange(peer.popsize)
    for t in range(40):
        points, state = PyCMA().ask(state, stream)
        rows.append(stream.at(t).spread(lanes).normal(4, dtype=torch.float64)[0].numpy())
        asked = peer.ask()
        assert np.array_equal(points[0].numpy(), asked)
        values = ellipsoid(points)
        state, metrics = PyCMA().tell(state, points, Values(values))
        peer.tell(asked, values[0].tolist())
    assert np.array_equal(state.mean[0].numpy(), peer.result.xfavorite)
    assert metrics["sigma"].item() == peer.sigma


@pytest.mark.parametrize("dim", [1, 2, 5, 300])
def test_population_follows_the_dimension(dim: int) -> None:
    state, stream = begin(PyCMA(), dim=dim)
    points, _ = PyCMA().ask(state, stream)
    assert points.shape == (2, 4 + int(3 * np.log(dim)), dim)


@pytest.mark.parametrize("offset", [0.0, 1.7e308, -1.7e308])
def test_a_failure_ranks_last_whatever_the_scale(offset: float) -> None:
    """NaN in place of the worst value changes nothing; NaN in place of the best one makes it the worst."""
    algorithm = PyCMA(popsize=6)

    def mean(failed: int, worst: float) -> Tensor:
        state, stream = begin(algorithm)
        for _ in range(6):
            points, state = algorithm.ask(state, stream)
            rank = ellipsoid(points).argsort().argsort().double()
            values = torch.where(rank == failed, worst, offset + rank * 1e300)
            state, _ = algorithm.tell(state, points, Values(values))
        return state.mean

    assert torch.equal(mean(5, torch.nan), mean(5, offset + 5e300))
    assert torch.equal(mean(0, torch.nan), mean(0, offset + 9e300))
    assert not torch.equal(mean(0, torch.nan), mean(5, torch.nan))


def test_reasons_to_stop_are_pycmas() -> None:
    algorithm = PyCMA(sigma0=torch.tensor([0.5, 0.5]))
    state, stream = begin(algorithm, dim=2)
    assert algorithm.stop(state) == {}
    for _ in range(150):
        points, state = algorithm.ask(state, stream)
        values = ellipsoid(points)
        values[1] = torch.nan
        state, _ = algorithm.tell(state, points, Values(values))
    reasons = algorithm.stop(state)
    assert {"tolfun", "tolfunhist"} <= reasons.keys()
    assert all(met.tolist() == [True, False] for met in reasons.values())
    restored = algorithm.unpack(begin(algorithm, dim=2)[0], algorithm.pack(state))
    assert {name: met.tolist() for name, met in algorithm.stop(restored).items()} == {
        name: met.tolist() for name, met in reasons.items()
    }


def test_a_frozen_recommendation_survives_a_resume() -> None:
    """Whoever drives an optimizer may keep a run's tensors as they were; the replay does not know."""
    state, stream = begin(PyCMA())
    points, state = PyCMA().ask(state, stream)
    told, _ = PyCMA().tell(state, points, Values(ellipsoid(points)))
    frozen = told._replace(mean=state.mean)
    restored = PyCMA().unpack(begin(PyCMA())[0], PyCMA().pack(frozen))
    assert torch.equal(PyCMA().recommend(restored), state.mean)


@pytest.mark.parametrize("dim", [4, 300])
def test_generations_that_failed_leave_nothing_behind(dim: int) -> None:
    """pycma files what it has sent until it is told, and at d = 300 its own choice of step-size adaptation would not
    allow to ask again; but a run that has stopped is asked for as long as others go on."""
    state, stream = begin(PyCMA(), dim=dim)
    for t in range(20):
        points, state = PyCMA().ask(state, stream)
        values = ellipsoid(points[..., :4]) if t < 4 else torch.full(points.shape[:2], torch.nan)
        state, _ = PyCMA().tell(state, points, Values(values))
    assert all(len(engine.strategy.sent_solutions) == 0 for engine in state.engines)
