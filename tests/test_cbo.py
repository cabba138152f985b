"""CBO's pieces: the step, the weights, the batches, the growth of alpha, and a run that diverges."""

import pytest
import torch
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import streams
from zeroth_order import CBO, Anisotropic, Growth, Isotropic, Values
from zeroth_order.cbo import cbo_step, consensus_point


def test_without_noise_a_step_is_a_fraction_of_the_way() -> None:
    x = streams([0]).spread(torch.arange(5)).normal(2, dtype=torch.float64)
    consensus = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    step = cbo_step(x, consensus, torch.zeros_like(x), 2.0, 1.0, 0.25, Isotropic())
    assert_close(step, 0.5 * x + 0.5 * consensus[:, None])


def test_noise_scales_with_the_distance() -> None:
    difference, xi = torch.tensor([[[3.0, -4.0]]]), torch.tensor([[[1.0, 2.0]]])
    assert Isotropic()(difference, xi).tolist() == [[[5.0, 10.0]]]
    assert Anisotropic()(difference, xi).tolist() == [[[3.0, -8.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [[0.0, 1e30, -1e30], [3e38, 2e38, 1e38], [-1e-30, 0.0, -1e-5]])
def test_large_alpha_picks_the_best_at_any_scale(values: list[float], dtype: torch.dtype) -> None:
    points = torch.eye(3, dtype=dtype)[None]
    picked = consensus_point(points, torch.tensor([values], dtype=dtype), 1e8)
    assert torch.equal(picked[0], points[0, min(range(3), key=values.__getitem__)])


def test_small_alpha_averages_what_succeeded() -> None:
    points = torch.tensor([[[1.0], [2.0], [6.0], [100.0]]], dtype=torch.float64)
    values = torch.tensor([[5.0, -3.0, 1.0, torch.nan]], dtype=torch.float64)
    assert_close(consensus_point(points, values, 1e-12), torch.tensor([[3.0]], dtype=torch.float64))


def test_every_pass_visits_every_particle_once_and_moves_only_those_asked() -> None:
    algorithm, stream = CBO(particles=12, batch=4, alpha=Growth(0.1)), streams([0, 1])
    state = algorithm.init(torch.zeros(2, 3, dtype=torch.float64), stream)
    passes = []
    for _ in range(2):
        original = state.particles
        asked = []
        for _ in range(3):
            before = state.particles
            points, state = algorithm.ask(state, stream.at(state.t))
            asked.append(points)
            state, _ = algorithm.tell(state, points, Values((points**2).sum(-1)))
            assert ((state.particles != before).any(-1).sum(-1) == 4).all()
        rows = torch.cat(asked, 1)
        for r in range(2):
            assert torch.equal(rows[r][rows[r, :, 0].argsort()], original[r][original[r, :, 0].argsort()])
        passes.append(state.order)
    assert not torch.equal(passes[0][0], passes[0][1])
    assert not torch.equal(passes[0], passes[1])


def test_growth() -> None:
    assert [Growth(2.0, 3.0, 20.0)(t) for t in range(4)] == [2.0, 6.0, 18.0, 20.0]
    assert Growth(0.5)(1000) == 0.5
    assert Growth(1.0, 1.05)(10**6) == 1e5
    factors = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)
    assert Growth(1.0, factors, 7.0)(2).tolist() == [1.0, 4.0, 7.0]
    assert Growth(1.0, factors)(10**6).tolist() == [1.0, 1e5, 1e5]


def test_a_diverging_run_does_not_end_the_others() -> None:
    """Its particles stay within the range of float32; a bounded function never fails, so nothing else stops them."""
    algorithm, stream = CBO(sigma=Schedule(torch.tensor([1.4, 1e6]))), streams([0, 1])
    state = algorithm.init(torch.ones(2, 2), stream)
    for t in range(60):
        points, state = algorithm.ask(state, stream.at(t))
        assert torch.isfinite(points).all()
        state, _ = algorithm.tell(state, points, Values(torch.tanh(points.abs().sum(-1))))
    assert state.particles[1].abs().max() > 1e30
    assert torch.isfinite(state.consensus).all()
    assert state.consensus[0].abs().max() < 0.5
