"""CMA-ES in torch: its pieces against their definitions, failures, restarts. Against pycma: tests/parity."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.random import Purpose, Stream, streams
from zeroth_order import BIPOP, CMAES, IPOP, SepCMAES, Values, minimize
from zeroth_order.evolution import Cholesky, Diagonal, NoRestarts, SymmetricRoot, triangular
from zeroth_order.evolution.cma_es import Adaptation
from zeroth_order.evolution.cma_state import CMAESState
from zeroth_order.evolution.covariance import Covariance
from zeroth_order.evolution.restarts import Regime

F64 = torch.float64


def sphere(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def terraces(x: Tensor) -> Tensor:
    """Flat in places, where runs end after few generations."""
    return torch.round(sphere(x))


def rastrigin(x: Tensor) -> Tensor:
    return (x.square() - 10 * torch.cos(2 * torch.pi * x) + 10).sum(-1)


def begin(algorithm: Adaptation, seeds: Any = (0, 1), dim: int = 4) -> tuple[CMAESState, Stream]:
    stream = streams(list(seeds))
    return algorithm.init(stream.fold(Purpose.INSTANCE).normal(dim, dtype=F64), stream), stream


def advance(
    algorithm: Adaptation, state: CMAESState, stream: Stream, steps: range, f: Any = sphere
) -> tuple[CMAESState, list[CMAESState]]:
    states = []
    for t in steps:
        points, asked = algorithm.ask(state, stream.at(t))
        state, _ = algorithm.tell(asked, points, Values(f(points)))
        states.append(state)
    return state, states


def some_factor(covariance: Covariance, dim: int) -> Tensor:
    """Of three runs, after an update that makes every entry of C differ from 0."""
    z = streams([1, 2, 3]).spread(torch.arange(2 * dim)).normal(dim, dtype=F64)
    weights = torch.linspace(0.1, 1.0, 2 * dim, dtype=F64).expand(3, -1)
    like = torch.zeros(3, dim, dtype=F64)
    return covariance.adapted(covariance.identity(like), z, weights, torch.ones(3, dtype=F64))


# Covariances.


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
@pytest.mark.parametrize("covariance", [Cholesky(), SymmetricRoot(), Diagonal()])
def test_an_update_of_the_factor_is_one_of_the_matrix(covariance: Covariance, dim: int) -> None:
    """Negative weights included; samples have covariance C, and `whiten` undoes `color`."""
    factor, like = some_factor(covariance, dim), torch.zeros(3, dim, dtype=F64)
    before = covariance.matrix(factor, like)
    z = streams([4, 5, 6]).spread(torch.arange(7)).normal(dim, dtype=F64)
    weights = torch.tensor([0.3, 0.2, 0.0, 0.1, 0.05, -0.01, -0.02], dtype=F64) * torch.tensor([[1.0], [0.5], [0.0]])
    decay = torch.tensor([0.8, 0.9, 1.0], dtype=F64)
    y = covariance.color(factor, z)
    expected = decay[:, None, None] * before + (weights[..., None] * y).mT @ y
    if covariance == Diagonal():
        expected = torch.diag_embed(expected.diagonal(dim1=-2, dim2=-1))
    after = covariance.adapted(factor, z, weights, decay)
    assert_close(covariance.matrix(after, like), expected, rtol=1e-12, atol=1e-12)
    assert_close(covariance.whiten(factor, y[:, 0]), z[:, 0], rtol=1e-11, atol=1e-11)
    assert_close(covariance.deviations(factor).square(), before.diagonal(dim1=-2, dim2=-1), rtol=1e-12, atol=1e-12)
    condition = torch.linalg.cond(before)
    assert (covariance.condition(factor) <= condition * (1 + 1e-10)).all()
    if covariance != Cholesky():
        assert_close(covariance.condition(factor), condition, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dim", [1, 3, 40])
def test_the_kernels_are_the_plain_path(dim: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    covariance, factor = Cholesky(), some_factor(Cholesky(), dim).to(dtype)
    z = streams([4, 5, 6]).spread(torch.arange(9)).normal(dim, dtype=dtype)
    weights, decay = torch.full((3, 9), 0.02, dtype=dtype), torch.full((3,), 0.9, dtype=dtype)

    def results() -> list[Tensor]:
        y = covariance.color(factor, z)
        return [y, covariance.whiten(factor, y[:, 0]), covariance.adapted(factor, z, weights, decay)]

    fast = results()
    monkeypatch.setattr(triangular, "covers", lambda factor: False)
    tolerance = 1e-13 if dtype == F64 else 1e-5
    for ours, plain in zip(fast, results(), strict=True):
        assert_close(ours, plain, rtol=tolerance, atol=tolerance)
    assert torch.equal(fast[2], fast[2].tril())


def test_a_factor_survives_where_the_matrix_would_not() -> None:
    """float32, condition of C beyond 1e10, where the Cholesky decomposition of C itself fails from 1e7 on."""
    weights = 10.0 ** torch.linspace(0, 11, 6)
    state, stream = begin(CMAES(), range(3), dim=6)
    state = CMAES().init(state.mean.float(), stream)
    state, _ = advance(CMAES(), state, stream, range(600), lambda x: (weights * x.square()).sum(-1))
    assert (CMAES().covariance.condition(state.factor) > 1e9).all()
    assert ((weights * state.mean.square()).sum(-1) < 1e-3).all()


# Failures.


@pytest.mark.parametrize("algorithm", [CMAES(popsize=10), SepCMAES(popsize=10)], ids=lambda algorithm: algorithm.id)
def test_what_failed_does_not_belong_to_the_population(algorithm: Adaptation) -> None:
    """Ten points of which the last four fail are a population of six, to the last bit but for the order of sums."""
    smaller = type(algorithm)(popsize=6)
    (state, stream), (other, _) = begin(algorithm), begin(smaller)

    def fails(points: Tensor) -> Tensor:
        return torch.where(torch.arange(10) < 6, sphere(points), torch.nan)

    state, _ = advance(algorithm, state, stream, range(8), fails)
    other, _ = advance(smaller, other, stream, range(8))
    for name in ("mean", "sigma", "factor", "p_sigma", "p_c", "median", "worst", "best", "generation"):
        assert_close(getattr(state, name), getattr(other, name), rtol=1e-12, atol=1e-13)


def test_one_point_alone_teaches_nothing() -> None:
    algorithm = CMAES(popsize=6)
    before, stream = begin(algorithm)
    before, _ = advance(algorithm, before, stream, range(3))
    after, _ = advance(
        algorithm, before, stream, range(3, 4), lambda x: torch.where(torch.arange(6) == 2, sphere(x), torch.inf)
    )
    for name in ("mean", "sigma", "factor", "p_sigma", "p_c", "generation", "recent", "median", "flat", "best"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_half_of_the_points_cost_twice_the_evaluations_at_most() -> None:
    """Of 10 points 5 fail at random; after 60 generations each of 20 runs is as far as after 30 with all of them, with
    a margin of a factor of 100 in values that fall by 1e-5 in that time."""
    algorithm = CMAES(sigma0=0.5, popsize=10)
    state, stream = begin(algorithm, range(20), dim=5)
    sound, _ = advance(algorithm, state, stream, range(30))
    coins = streams(range(20)).fold(Purpose.EVALUATE).spread(torch.arange(600)).uniform(1)[..., 0] < 0.5
    turn = iter(range(60))

    def fails(points: Tensor) -> Tensor:
        t = next(turn)
        return torch.where(coins[:, 10 * t : 10 * t + 10], torch.nan, sphere(points))

    halved, _ = advance(algorithm, state, stream, range(60), fails)
    assert sphere(halved.mean).median() < 100 * sphere(sound.mean).median()
    assert sphere(sound.mean).median() < 1e-3


# Restarts.


@pytest.mark.parametrize("restarts", [IPOP(restarts=3, spread=2.0), BIPOP(restarts=3, spread=2.0)])
def test_a_run_is_the_same_alone_and_among_others_through_restarts(restarts: Any) -> None:
    """They restart at different times; and a run that is saved in the middle of a generation does not notice."""
    algorithm = CMAES(0.5, popsize=4, restarts=restarts)
    state, stream = begin(algorithm, range(3), dim=2)
    together, states = advance(algorithm, state, stream, range(120), terraces)
    assert len({(state.growths[0].item(), state.small[0].item()) for state in states}) > 2
    assert any(len(set(state.multiple.tolist())) > 1 for state in states)
    for seed in range(3):
        alone, _ = begin(algorithm, [seed], dim=2)
        alone, _ = advance(algorithm, alone, streams([seed]), range(120), terraces)
        for name, leaf in together._asdict().items():
            if isinstance(leaf, Tensor):
                assert torch.equal(leaf[seed], getattr(alone, name)[0]), name
    middle = next(t for t in range(60, 120) if (states[t].filled > 0).any())
    restored = algorithm.unpack(state, algorithm.pack(states[middle]))
    restored, _ = advance(algorithm, restored, stream, range(middle + 1, 120), terraces)
    for name, part in restored._asdict().items():
        assert isinstance(part, Stream) or torch.equal(part, getattr(together, name)), name


def test_ipop_doubles_the_population_and_begins_again() -> None:
    algorithm = CMAES(0.5, popsize=4, restarts=IPOP(restarts=3, spread=2.0))
    state, stream = begin(algorithm, range(4), dim=2)
    start = state.mean
    _, states = advance(algorithm, state, stream, range(240), terraces)
    for before, after in pairwise(states):
        for r in (after.growths > before.growths).nonzero()[:, 0].tolist():
            assert after.multiple[r] == 2 * before.multiple[r] == 2 ** after.growths[r]
            assert torch.equal(after.factor[r], torch.eye(2, dtype=F64))
            assert after.sigma[r] == 0.5
            assert after.generation[r] == after.filled[r] == after.evaluations[r] == 0
            assert 0 < (after.mean - start)[r].abs().max() < 2.0
            assert not after.p_c[r].any()
            assert not after.p_sigma[r].any()
    assert states[-1].growths.tolist() == [3] * 4
    reported = [bool(torch.stack(list(algorithm.stop(s).values())).any()) for s in states]
    last = [bool(s.last.any()) for s in states]
    assert reported[-1]
    assert all(final for final, stopped in zip(last, reported, strict=True) if stopped)


def test_a_large_generation_is_one_of_a_large_population() -> None:
    """Four asks of 6 points: the update of a population of 24 with the same normals."""
    algorithm = CMAES(popsize=6, restarts=IPOP(restarts=2))
    state, stream = begin(algorithm)
    state = state._replace(multiple=torch.tensor([4, 1]))
    after, states = advance(algorithm, state, stream, range(4))
    assert torch.equal(states[2].mean[0], state.mean[0])
    assert not torch.equal(states[2].mean[1], state.mean[1])
    assert states[2].filled.tolist() == [3, 0]

    class Together(Stream):
        """24 lanes of one counter are the 6 lanes of four."""

        def normal(self, size: int, start: int = 0, dtype: torch.dtype = F64) -> Tensor:
            parts = [stream.at(t).spread(torch.arange(6)).normal(size, start, dtype) for t in range(4)]
            return torch.cat(parts, 1)

    whole = CMAES(popsize=24)
    other, _ = begin(whole)
    points, asked = whole.ask(other, Together(*stream))
    other, _ = whole.tell(asked, points, Values(sphere(points)))
    for name in ("mean", "sigma", "factor", "p_sigma", "p_c", "median", "worst", "best"):
        assert_close(getattr(after, name)[0], getattr(other, name)[0], rtol=1e-12, atol=1e-13)


def test_bipop_spends_as_much_on_small_populations() -> None:
    """By hand: the first run counts as small; then whichever kind has spent less, small ones limited."""
    restarts, one = BIPOP(restarts=2), torch.ones(1, dtype=F64)
    regime, uniform = restarts.begin(2 * one), torch.tensor([[0.5, 0.25]], dtype=F64)

    def after(regime: Regime, evaluations: int) -> Regime:
        return restarts.following(regime._replace(evaluations=torch.tensor([evaluations])), 2 * one, uniform)

    large = after(regime, 100)
    assert (large.multiple.item(), large.small.item(), large.sigma0.item(), large.last.item()) == (2, False, 2, False)
    small = after(large, 1000)
    assert (small.multiple.item(), small.small.item(), small.limit.item()) == (1, True, 500)
    assert small.sigma0.item() == pytest.approx(2 * 10**-0.5)
    again = after(small, 500)
    assert (again.small.item(), again.spent_small.item(), again.spent_large.item()) == (True, 600, 1000)
    final = after(again, 450)
    assert (final.multiple.item(), final.small.item(), final.last.item()) == (4, False, True)
    bigger = final._replace(last=torch.tensor([False]), evaluations=torch.tensor([10_000]))
    fraction = BIPOP(restarts=9).following(bigger, 2 * one, torch.tensor([[0.9, 0.0]], dtype=F64))
    assert fraction.multiple.item() == round(2**0.81)
    assert fraction.sigma0.item() == 2


def test_the_best_run_is_recommended() -> None:
    """By the median of its last generation; a new run is recommended once it is better."""
    algorithm = CMAES(restarts=IPOP())
    state, _ = begin(algorithm)
    best, value = torch.full_like(state.mean, 7.0), torch.tensor([1.0, 3.0], dtype=F64)
    state = state._replace(best_mean=best, best_median=value, median=torch.tensor([2.0, 2.0], dtype=F64))
    assert torch.equal(algorithm.recommend(state), torch.stack((best[0], state.mean[1])))


@pytest.mark.parametrize(
    ("restarts", "solved"), [(IPOP(restarts=5, spread=5.0), 4), (BIPOP(restarts=5, spread=5.0), 2)]
)
def test_restarts_solve_rastrigin_where_one_run_does_not(restarts: Any, solved: int) -> None:
    """d = 2: one run ends in a local minimum, for all of the 4 seeds; within 3900 evaluations restarts do not."""
    found = []
    for algorithm, asks in ((CMAES(2.0), 100), (CMAES(2.0, restarts=restarts), 650)):
        stream = streams(range(4))
        x0 = 10 * stream.fold(Purpose.INSTANCE).uniform(2, dtype=F64) - 5
        state, _ = advance(algorithm, algorithm.init(x0, stream), stream, range(asks), rastrigin)
        found.append(int((rastrigin(algorithm.recommend(state)) < 1e-6).sum()))
    assert found == [0, solved]


def test_without_restarts_nothing_is_kept_for_them() -> None:
    state, _ = begin(CMAES(restarts=NoRestarts()))
    assert state.values.shape == (2, 8)
    assert state.counters.shape == (2, 1)
    assert state.last.all()


def test_minimize_with_restarts() -> None:
    best = minimize(
        lambda x: float(np.sum(x**2 - 10 * np.cos(2 * np.pi * x) + 10)),
        x0=[3.3, -4.2],
        algorithm=CMAES(2.0, restarts=BIPOP(spread=5.0)),
        budget=20_000,
        target=1e-8,
    )
    assert best.fun <= 1e-8
    assert best.queries < 20_000
