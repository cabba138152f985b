"""Mirror maps: inverses, gradients, feasibility; and MirrorCBO on problems whose solution the constraint decides."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from zeroth_order import Growth, Isotropic, MirrorCBO, Values
from zeroth_order.cbo import Ball, BarrierBox, Box, ElasticNet, Simplex, SphereShell

LAM = torch.tensor([0.3, 0.8], dtype=torch.float64)


def square(x: Tensor) -> Tensor:
    return (x**2).sum(-1) / 2


def barrier(x: Tensor) -> Tensor:
    """Of (-1, 3): u = (x - 1) / 2; a length of 1 in u is 2 in x, and so is the gradient scaled."""
    u = (x - 1) / 2
    return -2 * torch.log1p(-(u**2)).sum(-1)


def elastic(x: Tensor) -> Tensor:
    return (x**2).sum(-1) / (2 * 0.5) + LAM[:, None] * x.abs().sum(-1)


MAPS: list[tuple[Any, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
    (Box(-0.5, torch.tensor([0.2, 1.0]).double()), square, lambda x: (x >= -0.5) & (x[..., :1] * 0 + x <= 1.0)),
    (Ball(0.8), square, lambda x: x.norm(dim=-1) <= 0.8 + 1e-12),
    (SphereShell(1.3), square, lambda x: (x.norm(dim=-1) - 1.3).abs() < 1e-12),
    (Simplex(), lambda x: (x * x.log()).sum(-1), lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-12)),
    (ElasticNet(0.5, LAM), elastic, lambda x: torch.ones_like(x, dtype=torch.bool)),
    (BarrierBox(-1.0, 3.0), barrier, lambda x: (x > -1.0) & (x < 3.0)),
]
"""Map, phi, whether a point [2, K, 3] is feasible."""
EACH = pytest.mark.parametrize(("mirror", "phi", "feasible"), MAPS, ids=[type(row[0]).__name__ for row in MAPS])


def duals() -> Tensor:
    return 1.5 * streams([0, 1]).spread(torch.arange(20)).normal(3, dtype=torch.float64)


@EACH
def test_there_and_back(mirror: Any, phi: Any, feasible: Any) -> None:
    """grad phi* grad phi x = x for feasible x."""
    x = mirror.to_primal(duals())
    assert_close(mirror.to_primal(mirror.to_dual(x)), x, rtol=1e-12, atol=1e-14)


@EACH
def test_it_is_the_gradient_of_the_conjugate(mirror: Any, phi: Any, feasible: Any) -> None:
    """phi*(y) = <y, x> - phi(x) at the maximiser x, and its gradient is x."""
    y = duals().requires_grad_()
    x = mirror.to_primal(y)
    (gradient,) = torch.autograd.grad(((y * x).sum(-1) - phi(x)).sum(), y)
    assert_close(gradient, x.detach(), rtol=1e-10, atol=1e-10)


@EACH
def test_no_feasible_point_is_better(mirror: Any, phi: Any, feasible: Any) -> None:
    """The image of y maximises <y, x> - phi(x) among those of other duals."""
    y = duals()
    x = mirror.to_primal(y)
    value = (y * x).sum(-1) - phi(x)
    others = mirror.to_primal(2 * duals().flip(1))[:, None]
    assert (value[..., None] >= (y[:, :, None] * others).sum(-1) - _each(phi, others) - 1e-12).all()


def _each(phi: Any, points: Tensor) -> Tensor:
    return phi(points.flatten(1, 2)).view(points.shape[:-1])


@pytest.mark.parametrize(
    ("mirror", "phi"), [(MAPS[3][0], MAPS[3][1]), (MAPS[4][0], MAPS[4][1]), (MAPS[5][0], MAPS[5][1]), (Ball(), square)]
)
def test_to_dual_is_the_gradient(mirror: Any, phi: Any) -> None:
    x = mirror.to_primal(duals()).requires_grad_()
    (gradient,) = torch.autograd.grad(phi(x).sum(), x)
    assert_close(mirror.to_dual(x), gradient, rtol=1e-9, atol=1e-9)


@EACH
@pytest.mark.parametrize("noise", [0.7, 1e3])
def test_every_particle_is_feasible(mirror: Any, phi: Any, feasible: Any, noise: float) -> None:
    """Whatever the steps, and from a start that is not."""
    algorithm, root = MirrorCBO(particles=10, map=mirror, sigma=Schedule(noise)), streams([0, 1])
    state = algorithm.init(torch.full((2, 3), -7.0, dtype=torch.float64), root.fold(Purpose.INITIAL))
    for t in range(20):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        assert torch.isfinite(points).all()
        within = (points >= -1.0) & (points <= 3.0) if isinstance(mirror, BarrierBox) else feasible(points)
        assert within.all()  # an open box is closed in floating point
        state, _ = algorithm.tell(state, points, Values(square(points - 1)))


def solved(mirror: Any, f: Callable[[Tensor], Tensor], **settings: Any) -> Tensor:
    algorithm, root = MirrorCBO(map=mirror, alpha=Growth(30.0, 1.05), **settings), streams(range(6))
    state = algorithm.init(torch.full((6, 3), 0.4, dtype=torch.float64), root.fold(Purpose.INITIAL))
    for t in range(200):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, _ = algorithm.tell(state, points, Values(f(points)))
    return algorithm.recommend(state)


CENTRE = torch.tensor([2.0, 0.1, -3.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("mirror", "centre", "solution"),
    [
        (Box(-1.0, 1.0), CENTRE, [1.0, 0.1, -1.0]),
        (Ball(1.0), CENTRE, (CENTRE / CENTRE.norm()).tolist()),
        (SphereShell(1.0), CENTRE, (CENTRE / CENTRE.norm()).tolist()),
        (Simplex(), CENTRE, [1.0, 0.0, 0.0]),
        (BarrierBox(-1.0, 1.0), CENTRE / 5, (CENTRE / 5).tolist()),
    ],
)
def test_constrained_minima(mirror: Any, centre: Tensor, solution: list[float]) -> None:
    """The feasible point nearest to the centre. Where distances differ in the dual space, its images need room."""
    roomy: dict[str, Any] = {"spread": 3.0, "dt": 0.1, "sigma": Schedule(0.7), "noise": Isotropic()}
    settings = roomy if isinstance(mirror, Simplex | BarrierBox) else {}
    found = solved(mirror, lambda points: square(points - centre), **settings)
    assert_close(found, torch.tensor([solution] * 6, dtype=torch.float64), rtol=0.0, atol=0.05)


def test_a_mean_of_points_of_a_sphere_is_brought_back_to_it() -> None:
    algorithm, root = MirrorCBO(particles=10, map=SphereShell(2.0)), streams([0, 1])
    state = algorithm.init(torch.ones(2, 3, dtype=torch.float64), root)
    points, state = algorithm.ask(state, root)
    state, _ = algorithm.tell(state, points, Values(square(points)))
    assert_close(algorithm.recommend(state).norm(dim=-1), torch.full((2,), 2.0, dtype=torch.float64))
    assert (points.mean(1).norm(dim=-1) < 1.9).all()


def test_an_elastic_net_finds_zeros() -> None:
    """Exact ones, for a coordinate that hardly matters."""
    settings: dict[str, Any] = {"noise": Isotropic(), "dt": 0.5, "sigma": Schedule(0.7)}
    found = solved(ElasticNet(1.0, 1.0), lambda points: square(points - CENTRE), **settings)
    assert (found[:, 1] == 0).all()
    assert_close(found[:, ::2], CENTRE[::2].expand(6, 2), rtol=0.0, atol=0.05)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Box(1.0, 1.0), "low"),
        (lambda: Box(float("nan"), 1.0), "low"),
        (lambda: BarrierBox(0.0, torch.tensor([1.0, -1.0])), "low"),
        (lambda: Ball(0.0), "radius"),
        (lambda: SphereShell(-1.0), "radius"),
        (lambda: ElasticNet(delta=0.0), "delta"),
        (lambda: ElasticNet(lam=-1.0), "lam"),
    ],
)
def test_bad_maps_are_named(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = "):
        make()
