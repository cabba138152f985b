"""Square attack and SimBA as they are published: schedule, proposals, order, queries of a step."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.random import streams
from zeroth_order.attack import L2, CosineBasis, Linf, PixelBasis, SimBA, SquareAttack
from zeroth_order.attack.simba import Basis
from zeroth_order.attack.square_windows import bumps, bumps_changed, eta, square_changed, stripes

ONE = streams([0])


def grey(number: int, shape: tuple[int, int, int], level: float = 0.5) -> Tensor:
    return torch.full((number, *shape), level, dtype=torch.float64)


def test_the_schedule_of_the_squares_side() -> None:
    """p is halved after 10, 50, 200, 500, 1k, 2k, 4k, 6k, 8k iterations of 10k: the paper's appendix."""
    attack = SquareAttack(p_init=0.8)
    published = [(0, 1), (10, 1), (11, 2), (50, 2), (51, 4), (200, 4), (201, 8), (500, 8), (501, 16), (1000, 16)]
    published += [(1001, 32), (2000, 32), (2001, 64), (4000, 64), (4001, 128), (6000, 128), (6001, 256), (8000, 256)]
    published += [(8001, 512), (9999, 512), (20_000, 512)]
    assert [attack.share(i, 0.05) for i, _ in published] == [0.8 / halved for _, halved in published]
    short = SquareAttack(iterations=1_000)
    assert [short.share(i, 0.05) for i in (1, 2, 5, 6, 999)] == [0.05, 0.025, 0.025, 0.0125, 0.05 / 512]


def test_stripes_are_vertical_and_at_the_border() -> None:
    change = stripes(grey(3, (2, 9, 40)), 0.1, streams(range(3))) - 0.5
    assert_close(change.abs(), torch.full_like(change, 0.1))
    assert torch.equal(change, change[:, :, :1].expand_as(change))
    assert (change[:, :, 0] > 0).double().mean().item() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_square_changes_something_and_only_there(channels: int, level: float) -> None:
    """Black and white images clip one of the colours to what is there already: it would be no change."""
    images = grey(200, (channels, 12, 8), level)
    low, high = Linf(0.1).bounds(images)
    stream = streams(range(200))
    best = images
    for t in range(3):
        changed = square_changed(best, low, high, 3, stream.at(t))
        moved = ((changed - best).abs() > 1e-7).flatten(2)
        assert bool(moved.flatten(1).any(1).all())
        where = (changed != best).any(1)
        assert int(where.any(2).sum(1).max()) <= 3
        assert int(where.any(1).sum(1).max()) <= 3
        assert bool((((changed - low).abs() < 1e-12) | ((changed - high).abs() < 1e-12) | (changed == best)).all())
        best = changed
    first = (square_changed(images, low, high, 3, stream) != images).any(1)
    rows, columns = first.any(2).double().argmax(1), first.any(1).double().argmax(1)
    assert set(rows.tolist()) == set(range(10))
    assert set(columns.tolist()) == set(range(6))


def test_bumps_by_hand() -> None:
    """Side 3: the upper half is 1 x 3 around (0, 1) with n = 1, the lower one 2 x 3 around (1, 1)."""
    two = 1 + 1 / 4
    upper = torch.tensor([[1 / 4, two, 1 / 4]], dtype=torch.float64)
    lower = torch.tensor([[1 / 4, 1 / 4, 1 / 4], [1 / 4, two, 1 / 4]], dtype=torch.float64)
    expected = torch.cat((upper / upper.norm(), -lower / lower.norm())) / math.sqrt(2)
    assert_close(eta(3), expected)
    for side in (2, 5, 11):
        assert_close(eta(side).norm().item(), 1.0)


def test_the_first_l2_perturbation_tiles_the_image_and_reaches_the_border() -> None:
    images = grey(4, (3, 28, 32))
    start = bumps(images, 0.5, streams(range(4)))
    assert_close(L2(0.5).distance(images, start), torch.full((4,), 0.5, dtype=torch.float64))
    touched = (start != images).any(1)
    assert bool(touched[:, 1:26, 1:26].all())
    assert not bool(touched[:, 0].any())


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_an_l2_square_moves_the_norm_of_two_windows_into_one(side: int) -> None:
    """Of each channel; what lies in neither stays, one of them is emptied unless the other covers it."""
    images = grey(50, (2, 16, 14))
    stream = streams(range(50))
    best = bumps(images, 0.5, stream)
    after = bumps_changed(images, best, 0.5, side, stream.at(1))
    assert_close(L2(0.5).distance(images, after), torch.full((50,), 0.5, dtype=torch.float64), rtol=1e-9, atol=0.0)
    before, now = best - images, after - images
    odd = max(side, 3) | 1 if side < 14 else 13
    assert_close(now.flatten(2).norm(dim=2), before.flatten(2).norm(dim=2), rtol=1e-9, atol=0.0)
    changed = (~torch.isclose(now, before, rtol=1e-9, atol=1e-12)).any(1)
    emptied = (now == 0).all(1) & (before != 0).any(1)
    filled = changed & ~emptied
    for window in (emptied, filled):
        assert bool((window.flatten(1).sum(1) <= odd**2).all())
        assert bool((window.any(2).sum(1) <= odd).all())
        assert bool((window.any(1).sum(1) <= odd).all())
    assert int(filled.flatten(1).sum(1).min()) > odd**2 // 2
    assert bool(emptied.any())


def told(attack: SimBA, state, value: float):
    candidates, state = attack.ask(state, Linf(1.0), ONE)
    return candidates[0, 0], attack.tell(state, candidates, torch.tensor([[value]], dtype=torch.float64))


@pytest.mark.parametrize("basis", [PixelBasis(), CosineBasis(2, 1)])
def test_simba_takes_at_most_two_queries_a_step(basis: Basis) -> None:
    """Backwards first; forwards only where that was no better; then the next direction from the better place."""
    attack, image = SimBA(basis, alpha=0.25), grey(1, (1, 4, 3))
    state = attack.init(image, torch.tensor([1.0], dtype=torch.float64), Linf(1.0), ONE)
    order = state.order[0]
    q = basis.directions(order[:3], (1, 4, 3), torch.float64)
    back, state = told(attack, state, 2.0)
    assert_close(back, image[0] - 0.25 * q[0])
    assert state.step.tolist() == [0]
    forth, state = told(attack, state, 1.0)  # equal is not better
    assert_close(forth, image[0] + 0.25 * q[0])
    assert torch.equal(state.current, image)
    assert state.step.tolist() == [1]
    back, state = told(attack, state, 0.5)
    assert_close(back, image[0] - 0.25 * q[1])
    assert_close(state.current[0], back)
    assert state.step.tolist() == [2]
    third, state = told(attack, state, 0.7)
    assert_close(third, back - 0.25 * q[2])
    fourth, state = told(attack, state, 0.4)
    assert_close(fourth, back + 0.25 * q[2])
    assert_close(state.current[0], fourth)
    assert (state.step.tolist(), state.value.tolist()) == ([3], [0.4])


@pytest.mark.parametrize("basis", [PixelBasis(), CosineBasis(2, 2)])
def test_bases_are_orthonormal_and_gone_through_once(basis: Basis) -> None:
    shape = (2, 5, 4)
    vectors = basis.directions(torch.arange(40), shape, torch.float64).flatten(1)
    assert_close(vectors @ vectors.T, torch.eye(40, dtype=torch.float64), rtol=0.0, atol=1e-12)
    order = basis.order(torch.rand(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64), shape)
    assert torch.equal(order.sort(1).values, torch.arange(40).expand(3, -1))
    assert not torch.equal(order[0], order[1])


def test_low_frequencies_come_first() -> None:
    """A block of 2 x 2 in each channel, then frames of width 2."""
    draws = torch.rand(4, 72, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = CosineBasis(2, 2).order(draws, (2, 6, 6))
    highest = torch.maximum(order // 6 % 6, order % 6)
    assert bool((highest[:, :8] < 2).all())
    assert bool(((highest[:, 8:32] >= 2) & (highest[:, 8:32] < 4)).all())
    assert bool((highest[:, 32:] >= 4).all())


def test_bad_settings_are_refused() -> None:
    for make in (
        lambda: SquareAttack(p_init=0.0),
        lambda: SquareAttack(p_init=1.5),
        lambda: SquareAttack(iterations=0),
        lambda: SimBA(alpha=0.0),
        lambda: CosineBasis(frequencies=0),
        lambda: CosineBasis(stride=0),
    ):
        with pytest.raises(ValueError, match="is not in"):
            make()
