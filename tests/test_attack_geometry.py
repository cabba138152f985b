"""Balls, spaces and losses of attacks: never outside, exact, orthonormal."""

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.testing import assert_close

from zeroth_order.attack import DCT, L2, CrossEntropy, Linf, LowResolution, Margin, Pixels, Space, Squares, margin
from zeroth_order.attack.balls import Ball, levels
from zeroth_order.attack.spaces import dct_rows

F64 = torch.float64
SHAPE = (3, 8, 6)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def eight_bit(*shape: int, seed: int = 0) -> Tensor:
    """Images with many pixels at 0 and at 255."""
    pixels = torch.randint(-100, 356, shape, generator=torch.Generator().manual_seed(seed)).clamp(0, 255)
    return pixels.float() / 255


@pytest.mark.parametrize("ball", [Linf(0.1), Linf(8 / 255), Linf(0.05), L2(0.5), L2(3.0)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("size", [0.01, 0.3, 30.0])
def test_projections_never_leave_the_ball_or_the_cube(ball: Ball, dtype: torch.dtype, size: float) -> None:
    images = eight_bit(20, 1, *SHAPE).to(dtype)
    found = ball.project(images, images + size * random(20, 4, *SHAPE, dtype=dtype))
    assert found.dtype == dtype
    rounding = 2e-16 if dtype == F64 else 0.0  # of the distance itself
    assert bool((ball.distance(images, found) <= ball.epsilon + rounding).all())
    assert bool(((found >= 0) & (found <= 1)).all())
    again = ball.project(images, found)
    assert_close(again, found, rtol=1e-6, atol=1e-7)


def test_what_is_inside_stays_as_it_is() -> None:
    images = eight_bit(5, *SHAPE) * 0.5 + 0.25
    inside = images + 0.01 * random(5, *SHAPE, dtype=torch.float32).sign()
    for ball in (Linf(0.02), L2(0.2)):
        assert torch.equal(ball.project(images, inside), inside) or isinstance(ball, L2)
        assert_close(ball.project(images, inside), inside, rtol=0.0, atol=1e-7)


def test_the_projection_on_l2_is_the_nearest_allowed_image() -> None:
    """Against a general solver, with bounds that stop a third of the pixels."""
    image, candidate = eight_bit(1, 3, 3).double(), random(1, 3, 3, seed=3)
    ball = L2(0.7)
    found = ball.project(image, candidate)
    x, y = image.flatten().numpy(), candidate.flatten().numpy()
    best = minimize(
        lambda z: ((z - y) ** 2).sum(), x, jac=lambda z: 2 * (z - y), bounds=[(0, 1)] * 9, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda z: 0.49 - ((z - x) ** 2).sum(), "jac": lambda z: -2 * (z - x)},
        options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert_close(found.flatten(), torch.tensor(best.x), rtol=0.0, atol=1e-6)
    assert 0 < int(((found == 0) | (found == 1)).sum()) < 9
    assert_close(float(ball.distance(image, found)), 0.7, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("ball", [Linf(0.05), Linf(8 / 255), Linf(1 / 255), L2(0.4), L2(0.05)])
def test_rounding_to_8_bits_stays_in_the_ball(ball: Ball) -> None:
    images = eight_bit(30, *SHAPE)
    found = ball.project(images, images + random(30, *SHAPE, dtype=torch.float32))
    pixels = ball.pixels(images, found)
    assert pixels.dtype == torch.uint8
    back = pixels.double() / 255
    assert bool((ball.distance(levels(images) / 255, back) <= ball.epsilon * (1 + 1e-12)).all())
    assert bool(((back - found).abs() <= 1 / 255 + 1e-6).all())
    assert not torch.equal(back, levels(images) / 255)


def test_images_that_are_no_8_bit_images_are_refused() -> None:
    assert torch.equal(levels(torch.tensor([0.0, 1 / 255, 1.0])), torch.tensor([0.0, 1.0, 255.0], dtype=F64))
    with pytest.raises(ValueError, match="not 8-bit"):
        levels(torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize("size", [1, 2, 7, 28])
def test_the_cosine_transform_is_orthonormal(size: int) -> None:
    waves = dct_rows(size)
    assert_close(waves @ waves.T, torch.eye(size, dtype=F64), rtol=0.0, atol=1e-13)


def test_the_cosine_transform_is_that_of_scipy() -> None:
    from scipy.fft import idctn

    z = random(2, 3 * 8 * 8)
    expected = torch.tensor(idctn(z.view(2, 3, 8, 8).numpy(), axes=(2, 3), norm="ortho"))
    assert_close(DCT(8).decode(z, (3, 8, 8)), expected, rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("space", [Pixels(), LowResolution(2), DCT(4), Squares(3)])
def test_spaces_fit_and_begin_at_the_image(space: Space) -> None:
    dim = space.dim(SHAPE)
    assert space.decode(random(5, dim), SHAPE).shape == (5, *SHAPE)
    assert not bool(space.decode(torch.zeros(2, dim), SHAPE).any())


@pytest.mark.parametrize("space", [Pixels(), LowResolution(2), DCT(4)])
def test_linear_spaces_keep_the_mean_square(space: Space) -> None:
    """Their columns are orthogonal, all of length (D / d)^(1/2); LowResolution's because 2 divides the sides."""
    dim = space.dim(SHAPE)
    columns = space.decode(torch.eye(dim, dtype=F64), SHAPE).flatten(1)
    assert_close(columns @ columns.T, torch.eye(dim, dtype=F64) * 144 / dim, rtol=0.0, atol=1e-12)
    z = random(4, dim)
    assert_close(space.decode(z, SHAPE).flatten(1), z @ columns, rtol=0.0, atol=1e-12)


def test_squares_are_painted_one_over_the_other() -> None:
    """Two squares with one colour on 8 x 8 pixels, at the upper left and the lower right; the second one wins."""
    z = torch.tensor([[-1.0, -1.0, 1.0, 0.5, 1.0, 1.0, -5.0, -0.25]])
    painted = Squares(2, smallest=0.25, largest=0.75).decode(z, (1, 8, 8))[0, 0]
    expected = torch.zeros(8, 8)
    expected[:6, :6] = 0.5
    expected[6:, 6:] = -0.25
    assert torch.equal(painted, expected)
    over = z.clone()
    over[0, 4:6] = -1.0
    expected = torch.zeros(8, 8)
    expected[:6, :6] = 0.5
    expected[:2, :2] = -0.25
    assert torch.equal(Squares(2, 0.25, 0.75).decode(over, (1, 8, 8))[0, 0], expected)


def test_spaces_that_do_not_fit_are_refused() -> None:
    for space in (LowResolution(7), DCT(7)):
        with pytest.raises(ValueError, match="size = 7 is larger than the images of 8 x 6 pixels"):
            space.dim(SHAPE)
    with pytest.raises(ValueError, match=r"smallest = 0\.6"):
        Squares(3, smallest=0.6)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="epsilon"):
            Linf(bad)


def test_losses_by_hand() -> None:
    scores, classes = torch.tensor([[1.0, 4.0, 2.0], [3.0, 3.0, 0.0]]), torch.tensor([1, 0])
    assert margin(scores, classes, targeted=False).tolist() == [2.0, 0.0]
    assert Margin()(scores, classes, targeted=True).tolist() == [-2.0, 0.0]
    log = torch.tensor([[0.2, 0.5, 0.3]]).log()
    assert_close(CrossEntropy()(log + 7, torch.tensor([2]), targeted=False).exp(), torch.tensor([0.3]))
    assert_close(CrossEntropy()(log, torch.tensor([2]), targeted=True), -torch.tensor([0.3]).log())


def test_losses_take_any_leading_axes() -> None:
    """Clients' models, for example."""
    scores, classes = random(2, 4, 5, 3), torch.arange(40).view(2, 4, 5) % 3
    for loss in (Margin(), CrossEntropy()):
        whole = loss(scores, classes, False)
        assert whole.shape == (2, 4, 5)
        assert torch.equal(whole[1, 2], loss(scores[1, 2], classes[1, 2], False))
