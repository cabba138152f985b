"""The Grand Canyon: its formula, its minimum, and the wall, where its gradient has no jump."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as polish
from torch import Tensor
from torch.testing import assert_close

from envs.random import streams
from zeroth_order import GrandCanyon

F64 = torch.float64
CANYON = GrandCanyon()


def gradient(x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(CANYON(x).sum(), x)[0]


def uniform_in_box(count: int) -> Tensor:
    low, high = CANYON.bounds
    return low + (high - low) * streams([0]).spread(torch.arange(count)).uniform(2, dtype=F64)[0]


def formula(x: float, y: float) -> float:
    """As the paper writes it, with max and sign."""
    v, b = y - (2 / 16 * (x - 1) * (x - 4) ** 2 + 2), -x - 0.5 * 3.2 * y
    canyon = 25 * (1 - math.exp(-1.4 * v**2 * math.exp(-0.002 * x**4)))
    ripples = 1.1625 * sum(1 - math.cos(0.75 * math.pi * z) for z in (x, y))
    wall = 4 * math.exp(1 - 2 * v**4) * max((1 - math.exp(-9 * b**2)) * float(np.sign(b)), 0)
    return canyon + 0.4 * x**2 + 0.2 * y**2 + ripples + wall


def test_formula() -> None:
    points = torch.cat((uniform_in_box(50), torch.tensor([[-1.0, -1.0], [-0.5, 0.4], [0.1, -0.3]], dtype=F64)))
    assert_close(CANYON(points), torch.tensor([formula(*row) for row in points.tolist()], dtype=F64))
    wall = points[:, 0] + 1.6 * points[:, 1] < 0
    assert wall.any()
    assert not wall.all()


def test_the_minimum_is_attained_and_unbeaten() -> None:
    """Also by local searches from 60 points, most of which end in other minima."""
    x, value = CANYON.optimum
    assert CANYON(x).item() == value == 0.0
    assert torch.equal(gradient(x), torch.zeros(2, dtype=F64))
    assert (CANYON(uniform_in_box(2000)) > 0).all()

    def f(z: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.as_tensor(z)
        return CANYON(point).item(), gradient(point).numpy()

    ends = [polish(f, start.numpy(), jac=True, method="L-BFGS-B") for start in uniform_in_box(60)]
    found = np.array([[*end.x, end.fun] for end in ends])
    near = np.abs(found[:, :2]).max(axis=1) < 0.1
    assert near.any()
    assert (found[near, 2] < 1e-6).all()
    assert (found[~near, 2] > 1.0).all()


def test_gradient_agrees_with_differences_on_both_sides_of_the_wall() -> None:
    edge = torch.tensor([[1.6, -1.0], [0.8, -0.5], [0.0, 0.0]], dtype=F64)  # b = 0
    points, h = torch.cat((uniform_in_box(30), edge, edge - 0.05)), 1e-6
    for axis in torch.eye(2, dtype=F64):
        difference = (CANYON(points + h * axis) - CANYON(points - h * axis)) / (2 * h)
        assert_close(gradient(points) @ axis, difference, rtol=1e-5, atol=1e-3)


def test_it_has_two_dimensions() -> None:
    with pytest.raises(ValueError, match="dim = 3 of 'grand-canyon' is not 2"):
        GrandCanyon(dim=3)


def test_shift_moves_the_minimum() -> None:
    moved = GrandCanyon(shift=1.5, rotation=3)
    assert moved(moved.optimum[0]).item() == pytest.approx(0.0, abs=1e-12)
    assert moved.optimum[0].tolist() == [1.5, 1.5]
