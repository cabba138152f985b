"""Directions, differences and the algorithms made of them: means by enumeration and quadrature, steps by hand."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import streams
from zeroth_order import SPSA, RAdaZO, RandomGradient, Values, ZoAR, ZOSignSGD
from zeroth_order.random_directions import (
    Central,
    Coordinates,
    Difference,
    Directions,
    Forward,
    Gain,
    Gaussian,
    Orthonormal,
    Rademacher,
    UnitSphere,
    majority_vote,
    mean_gradient,
)
from zeroth_order.random_directions.zoar import policy_gradient
from zeroth_order.steps import Plain, RefinedAdam

F64 = torch.float64
KINDS = [Gaussian(), UnitSphere(), Rademacher(), Orthonormal(), Coordinates()]
EXACT: Any = {"rtol": 1e-10, "atol": 1e-10}


def names(value: Any) -> str:
    return type(value).__name__


def draw(kind: Directions, number: int, dim: int, runs: int = 1, dtype: torch.dtype = F64) -> Tensor:
    return kind(streams(range(runs)), number, torch.zeros(runs, dim, dtype=dtype))


def estimates(difference: Difference, f: Any, x: Tensor, directions: Tensor, mu: float) -> Tensor:
    """The estimate from each direction [Q, d] alone, [Q, d], at x [d]."""
    u = directions[:, None]
    points = difference.points(x.expand(len(u), -1), u, mu)
    return mean_gradient(u, difference.slopes(f(points), mu))


# Directions.


@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_directions_have_mean_zero_and_covariance_identity(kind: Directions) -> None:
    """The first and the last of two blocks, 20000 runs: 60 means a kind within 5 standard errors (rate 6e-7 each)."""
    dim, number, runs = 5, 7, 20_000
    u = draw(kind, number, dim, runs)
    assert u.shape == (runs, number, dim)
    for one in (u[:, 0], u[:, -1]):
        moments = torch.cat((one, (one[:, :, None] * one[:, None]).flatten(1)), 1)
        expected = torch.cat((torch.zeros(dim, dtype=F64), torch.eye(dim, dtype=F64).flatten()))
        error = (moments.mean(0) - expected).abs()
        assert (error <= 5 * moments.std(0) / runs**0.5 + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("number", "dim"), [(3, 5), (5, 5), (13, 5), (4, 1), (33, 40)])
def test_what_each_kind_is(number: int, dim: int, dtype: torch.dtype) -> None:
    tight: Any = {"rtol": 1e-5, "atol": 1e-4}
    for kind in KINDS:
        u = draw(kind, number, dim, 3, dtype)
        assert u.shape == (3, number, dim)
        assert u.dtype == dtype
        for block in u.split(dim, 1):
            gram = block @ block.mT
            if isinstance(kind, UnitSphere | Rademacher):
                assert_close(gram.diagonal(dim1=1, dim2=2), torch.full((3, block.shape[1]), dim, dtype=dtype), **tight)
            if isinstance(kind, Orthonormal | Coordinates):
                assert_close(gram, dim * torch.eye(block.shape[1], dtype=dtype).expand_as(gram), **tight)
        if isinstance(kind, Rademacher):
            assert set(u.flatten().tolist()) == {-1.0, 1.0}
        if isinstance(kind, Coordinates):
            assert ((u != 0).sum(-1) == 1).all()


@pytest.mark.parametrize("kind", KINDS, ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_draws_the_same_alone_and_among_others(kind: Directions, dtype: torch.dtype) -> None:
    """Beyond the dimensions of the conformance tests, where LAPACK works in blocks."""
    together = draw(kind, 70, 45, 4, dtype)
    for r in range(4):
        alone = kind(streams([r]), 70, torch.zeros(1, 45, dtype=dtype))
        assert torch.equal(together[r], alone[0])


# Means: every direction there is, with its probability, instead of a sample.


def signs(dim: int) -> Tensor:
    return torch.tensor(list(product((-1.0, 1.0), repeat=dim)), dtype=F64)


def gaussian_grid(nodes: int, dim: int) -> tuple[Tensor, Tensor]:
    """Standard normals [n^dim, dim] and weights, exact for polynomials of degree 2 n - 1 in each."""
    z, w = (torch.tensor(part, dtype=F64) for part in hermegauss(nodes))
    grid = torch.cartesian_prod(*[z] * dim).view(-1, dim)
    return grid, torch.cartesian_prod(*[w / w.sum()] * dim).view(-1, dim).prod(-1)


def circle(nodes: int) -> Tensor:
    """The circle of radius 2^(1/2), exact for trigonometric polynomials of a degree below the number of nodes."""
    angle = torch.arange(nodes, dtype=F64) * 2 * torch.pi / nodes
    return 2**0.5 * torch.stack((angle.cos(), angle.sin()), -1)


def axes(dim: int) -> Tensor:
    return dim**0.5 * torch.cat((torch.eye(dim, dtype=F64), -torch.eye(dim, dtype=F64)))


def equally(directions: Tensor) -> tuple[Tensor, Tensor]:
    return directions, torch.full((len(directions),), 1 / len(directions), dtype=F64)


LAWS: dict[str, tuple[Tensor, Tensor]] = {
    "gaussian": gaussian_grid(5, 2),
    "unit sphere": equally(circle(12)),
    "rademacher": equally(signs(2)),
    "coordinates": equally(axes(2)),
}


@pytest.mark.parametrize("difference", [Forward(), Central()], ids=names)
@pytest.mark.parametrize("law", LAWS)
def test_the_mean_on_a_quadratic_is_its_gradient(law: str, difference: Difference) -> None:
    """However far apart the points are."""
    directions, weights = LAWS[law]
    A = torch.tensor([[3.0, 0.7], [0.7, 1.5]], dtype=F64)
    b, x = torch.tensor([1.0, -2.0], dtype=F64), torch.tensor([0.4, 0.9], dtype=F64)
    found = estimates(difference, lambda p: ((p @ A) * p).sum(-1) / 2 + p @ b + 5, x, directions, mu=0.8)
    assert_close(weights @ found, A @ x + b, **EXACT)
    assert not torch.allclose(found[0], A @ x + b)


MU = 0.6
SMOOTHED: dict[str, Callable[[float, float], list[float]]] = {
    "gaussian": lambda x, y: [
        (4 * x**3 + 12 * MU**2 * x) * (y**2 + MU**2),
        (x**4 + 6 * MU**2 * x**2 + 3 * MU**4) * 2 * y,
    ],
    "rademacher": lambda x, y: [(4 * x**3 + 4 * MU**2 * x) * (y**2 + MU**2), (x**4 + 6 * MU**2 * x**2 + MU**4) * 2 * y],
    "coordinates": lambda x, y: [(4 * x**3 + 4 * 2 * MU**2 * x) * y**2, x**4 * 2 * y],
}
"""Gradients of x^4 y^2 smoothed as the classes say: means of x^4 and y^2 over the law, 2 MU^2 = (MU d^(1/2))^2."""


@pytest.mark.parametrize("difference", [Forward(), Central()], ids=names)
@pytest.mark.parametrize("law", SMOOTHED)
def test_the_mean_is_the_gradient_of_the_smoothed_function(law: str, difference: Difference) -> None:
    directions, weights = LAWS[law]
    x, y = 0.7, -1.1
    point = torch.tensor([x, y], dtype=F64)
    found = estimates(difference, lambda p: p[..., 0] ** 4 * p[..., 1] ** 2, point, directions, MU)
    assert_close(weights @ found, torch.tensor(SMOOTHED[law](x, y), dtype=F64), **EXACT)


@pytest.mark.parametrize("difference", [Forward(), Central()], ids=names)
def test_the_sphere_smooths_with_a_ball(difference: Difference) -> None:
    """f = x^4 averaged over a ball of radius r in two dimensions is x^4 + 6 x^2 r^2 / 4 + .., here r^2 = 2 MU^2."""
    directions, weights = LAWS["unit sphere"]
    x = torch.tensor([0.7, 0.2], dtype=F64)
    found = weights @ estimates(difference, lambda p: p[..., 0] ** 4, x, directions, MU)
    assert_close(found, torch.tensor([4 * 0.7**3 + 6 * MU**2 * 0.7, 0.0], dtype=F64), **EXACT)


@pytest.mark.parametrize(
    ("kind", "relative"),
    [
        (Gaussian(), lambda q, d: (d + 1) / q),
        (UnitSphere(), lambda q, d: (d - 1) / q),
        (Rademacher(), lambda q, d: (d - 1) / q),
        (Orthonormal(), lambda q, d: d / q - 1),
        (Coordinates(), lambda q, d: d / q - 1),
    ],
    ids=lambda value: names(value),
)
def test_the_squared_error_on_a_slope(kind: Directions, relative: Callable[[int, int], float]) -> None:
    """In units of |grad f|^2 it is as the page says; 20000 runs, 5 standard errors (rate 6e-7 each)."""
    number, dim, runs = 3, 5, 20_000
    gradient = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=F64)
    u = draw(kind, number, dim, runs)
    error = (mean_gradient(u, u @ gradient) - gradient).square().sum(-1) / gradient.square().sum()
    assert abs(error.mean() - relative(number, dim)) < 5 * error.std() / runs**0.5


# Differences.


@pytest.mark.parametrize("difference", [Forward(), Central()], ids=names)
def test_points_tell_their_directions(difference: Difference) -> None:
    u = draw(Gaussian(), 4, 3, 2)
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=F64)
    mu = torch.tensor([0.1, 0.5], dtype=F64)
    points = difference.points(x, u, mu)
    assert points.shape == (2, difference.queries(4), 3)
    assert_close(difference.directions(points, mu), u, **EXACT)
    assert_close(points[:, -1] - x, (-1) ** isinstance(difference, Central) * mu[:, None] * u[:, -1], **EXACT)


def test_one_draw_of_orthonormal_directions_tells_the_whole_gradient() -> None:
    """Of a linear function with forward differences, of a quadratic one with central differences."""
    dim = 6
    b, x = torch.arange(1.0, 7.0, dtype=F64), torch.linspace(-1, 1, dim, dtype=F64)
    for kind in (Orthonormal(), Coordinates()):
        u = draw(kind, dim, dim, 3)
        for difference, curvature in ((Forward(), 0.0), (Central(), 3.0), (Central(), 0.0)):
            points = difference.points(x.expand(3, -1), u, 0.7)
            slopes = difference.slopes(points @ b + curvature * points.square().sum(-1) / 2, 0.7)
            assert_close(mean_gradient(u, slopes), (b + curvature * x).expand(3, -1), **EXACT)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_direction_with_a_failure_is_dropped(bad: float) -> None:
    u = draw(Gaussian(), 4, 3)
    rest = [0, 1, 3]
    for difference, members in ((Forward(), [3]), (Central(), [2, 6])):
        values = (difference.points(torch.ones(1, 3, dtype=F64), u, 0.1) ** 2).sum(-1)
        healthy = mean_gradient(u[:, rest], difference.slopes(values, 0.1)[:, rest])
        for member in members:
            slopes = difference.slopes(values.index_fill(1, torch.tensor([member]), bad), 0.1)
            assert torch.isfinite(slopes).tolist() == [[True, True, False, True]]
            assert_close(mean_gradient(u, slopes), healthy, **EXACT)
            assert majority_vote(u, slopes).equal(majority_vote(u[:, rest], slopes[:, rest]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_without_the_base_point_there_are_no_forward_differences(bad: float) -> None:
    slopes = Forward().slopes(torch.tensor([[bad, 1.0, 2.0]]), 0.1)
    assert not torch.isfinite(slopes).any()
    assert mean_gradient(torch.ones(1, 2, 3), slopes).equal(torch.zeros(1, 3))
    assert majority_vote(torch.ones(1, 2, 3), slopes).equal(torch.zeros(1, 3))


def test_values_too_far_apart_are_dropped() -> None:
    slopes = Central().slopes(torch.tensor([[1e308, 2.0, -1e308, 1.0]], dtype=F64), 0.5)
    assert_close(mean_gradient(torch.ones(1, 2, 1, dtype=F64), slopes), torch.ones(1, 1, dtype=F64))


def test_votes_count_heads_and_not_sizes() -> None:
    u = torch.tensor([[[1.0, 1.0], [2.0, -1.0], [-1.0, -0.5]]])
    slopes = torch.tensor([[-100.0, 1.0, -1.0]])
    assert majority_vote(u, slopes).tolist() == [[1.0, -1.0]]
    assert mean_gradient(u, slopes).sign().tolist() == [[-1.0, -1.0]]


# The algorithms.


def told(algorithm: Any, state: Any, points: Tensor, f: Any) -> tuple[Any, dict[str, Tensor]]:
    return algorithm.tell(state, points, Values(f(points)))


def started(algorithm: Any, x: list[float]) -> Any:
    return algorithm.init(torch.tensor([x], dtype=F64), streams([0]))


@pytest.mark.parametrize(
    ("algorithm", "queries"),
    [
        (RandomGradient(), 2),
        (RandomGradient(number=4), 5),
        (RandomGradient(number=4, difference=Central()), 8),
        (SPSA(), 2),
        (SPSA(estimates=3), 6),
        (ZOSignSGD(number=7), 8),
        (RAdaZO(number=7), 8),
        (ZoAR(number=7), 7),
    ],
    ids=lambda value: names(value),
)
def test_queries_of_an_iteration(algorithm: Any, queries: int) -> None:
    points, _ = algorithm.ask(started(algorithm, [1.0, 2.0]), streams([0]))
    assert points.shape == (1, queries, 2)


def test_with_exact_gradients_it_is_gradient_descent_at_its_linear_rate() -> None:
    """x_t = (I - H / L)^t x_0: the largest curvature is gone after a step, the others fall by 1 - h / L a step."""
    h = torch.tensor([10.0, 5.0, 2.0, 1.0], dtype=F64)
    algorithm = RandomGradient(4, Orthonormal(), Central(), gamma=Schedule(0.1), mu=Schedule(0.5))
    state = started(algorithm, [1.0, -2.0, 3.0, 4.0])
    x0 = state.x
    for t in range(40):
        assert_close(state.x, (1 - h / 10) ** t * x0, **EXACT)
        points, state = algorithm.ask(state, streams([0]).at(t))
        state, metrics = told(algorithm, state, points, lambda p: (h * p.square()).sum(-1) / 2)
        assert_close(metrics["gradient_norm"], (h * (1 - h / 10) ** t * x0).norm(dim=-1), **EXACT)
        assert_close(metrics["step_norm"], metrics["gradient_norm"] / 10, **EXACT)


def test_the_expected_contraction_of_the_two_point_method() -> None:
    """On |x|^2 / 2 a step multiplies E |x|^2 by 1 - 2 h + (d + 2) h^2, least at h = 1 / (d + 2); by quadrature."""
    u, weights = gaussian_grid(5, 2)
    x = torch.tensor([0.3, -0.8], dtype=F64)
    for step in (0.1, 0.25, 0.4):
        algorithm = RandomGradient(difference=Central(), gamma=Schedule(step), mu=Schedule(0.3))
        state = algorithm.init(x.expand(len(u), -1), streams(range(len(u))))
        points = Central().points(state.x, u[:, None], 0.3)
        after, _ = told(algorithm, state, points, lambda p: p.square().sum(-1) / 2)
        shrunk = weights @ after.x.square().sum(-1) / x.square().sum()
        assert_close(shrunk, torch.tensor(1 - 2 * step + 4 * step**2, dtype=F64), **EXACT)


def test_single_precision_points_keep_double_precision_values() -> None:
    """1e6 + 0.01 x has no slope left in single precision."""
    algorithm = RandomGradient(2, Coordinates(), Central(), gamma=Schedule(1.0), mu=Schedule(0.1))
    state = algorithm.init(torch.zeros(1, 2), streams([0]))
    points, state = algorithm.ask(state, streams([0]))
    state, _ = algorithm.tell(state, points, Values(1e6 + 0.01 * points.double().sum(-1)))
    assert_close(state.x, torch.full((1, 2), -0.01), rtol=1e-4, atol=0.0)


def test_gains_of_spsa() -> None:
    """a / (A + k + 1)^0.602 and c / (k + 1)^0.101."""
    assert Gain(0.5, 0.602, 10.0)(0) == pytest.approx(0.5 / 11**0.602)
    assert Gain(0.5, 0.602, 10.0)(99) == pytest.approx(0.5 / 110**0.602)
    assert Gain(0.5, 0.101)(0) == 0.5
    assert Gain(0.5, 0.101)(1023) == pytest.approx(0.5 / 2**1.01)


def test_spsa_by_hand() -> None:
    """f = 3 x + 4 y: along (1, -1) the slope is -1, along (1, 1) it is 7; their mean times the signs is (3, 4)."""
    algorithm = SPSA(estimates=2, gamma=Gain(0.2, 1.0, 1.0), mu=Gain(0.5, 1.0))
    state = started(algorithm, [1.0, 1.0])
    for t, x in enumerate(([0.7, 0.6], [0.7 - 0.2, 0.6 - 0.8 / 3])):
        c = 0.5 / (t + 1)
        asked, _ = algorithm.ask(state, streams([0]))
        assert_close((asked - state.x[:, None]).abs(), torch.full((1, 4, 2), c, dtype=F64), **EXACT)
        offset = c * torch.tensor([[[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]]], dtype=F64)
        state, _ = told(algorithm, state, state.x[:, None] + offset, lambda p: 3 * p[..., 0] + 4 * p[..., 1])
        assert_close(state.x, torch.tensor([x], dtype=F64), **EXACT)


def test_zo_signsgd_moves_every_coordinate_by_gamma() -> None:
    state = started(ZOSignSGD(), [1.0, 1.0])
    u = torch.tensor([[[1.0, 1.0], [2.0, -1.0], [-1.0, -0.5]]], dtype=F64)
    values = torch.tensor([[7.0, 7 - 0.1, 7 + 0.001, 7 - 0.001]], dtype=F64)  # slopes -100, 1, -1
    for vote, x in ((False, [1.1, 1.1]), (True, [0.9, 1.1])):
        algorithm = ZOSignSGD(number=3, gamma=Schedule(0.1), vote=vote)
        after, _ = algorithm.tell(state, Forward().points(state.x, u, 1e-3), Values(values))
        assert_close(after.x, torch.tensor([x], dtype=F64), **EXACT)


def test_r_adazo_by_hand() -> None:
    """f = 3 x: g = 3 in every step, m = 0.3 and 0.57, v = 0.01 m^2 and so on; the root takes eps in."""
    algorithm = RAdaZO(number=2, gamma=Schedule(0.1), step=RefinedAdam(0.9, 0.99, 1e-4))
    state = started(algorithm, [1.0])
    first, second = 0.01 * 0.3**2, 0.99 * 0.01 * 0.3**2 + 0.01 * 0.57**2
    x = 1.0
    for t, (m, v) in enumerate(((0.3, first), (0.57, second))):
        points, state = algorithm.ask(state, streams([0]).at(t))
        state, _ = told(algorithm, state, points, lambda p: 3 * p[..., 0])
        x -= 0.1 * m / (v + 1e-4) ** 0.5
        assert_close(state.x, torch.tensor([[x]], dtype=F64), rtol=1e-9, atol=0.0)
        assert_close(state.moments, torch.tensor([[[m], [v]]], dtype=F64), rtol=1e-9, atol=0.0)


def test_zoar_by_hand() -> None:
    """K = N = 2: iteration 2 takes the values of iteration 1 along, iteration 3 has forgotten them."""
    algorithm = ZoAR(number=2, history=2, gamma=Schedule(0.1), mu=0.5, step=Plain())
    state = started(algorithm, [1.0])
    history: list[tuple[float, float]] = []
    for u, y in (((1.0, -2.0), (4.0, 1.0)), ((0.5, 1.0), (2.0, 7.0)), ((-1.0, 3.0), (0.0, 5.0))):
        history = [*zip(u, y, strict=True), *history][:4]
        baseline = sum(value for _, value in history) / len(history)
        gradient = sum((value - baseline) / 0.5 * one for one, value in history) / (len(history) - 1)
        before = state.x
        points = before[:, None] + 0.5 * torch.tensor([u], dtype=F64)[..., None]
        state, _ = algorithm.tell(state, points, Values(torch.tensor([y], dtype=F64)))
        assert_close(before - state.x, torch.tensor([[0.1 * gradient]], dtype=F64), **EXACT)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_failed_values_are_not_in_the_history(bad: float) -> None:
    """Neither when they come nor later; a generation that failed alone moves nothing."""
    algorithm = ZoAR(number=3, history=3, gamma=Schedule(0.1), step=Plain())
    state = started(algorithm, [1.0, 2.0])
    told_of: list[tuple[Tensor, Tensor]] = []
    for t, values in enumerate(([1.0, bad, 3.0], [bad, bad, bad], [2.0, 5.0, 4.0])):
        points, state = algorithm.ask(state, streams([0]).at(t))
        y = torch.tensor([values], dtype=F64)
        told_of.append(((points - state.x[:, None]) / 0.05, y))
        before = state.x
        state, metrics = algorithm.tell(state, points, Values(y))
        u, y = (torch.cat(parts, 1) for parts in zip(*told_of, strict=True))
        healthy = torch.isfinite(y)[0]
        expected = policy_gradient(u[:, healthy], y[:, healthy]) / 0.05 * (t != 1)
        assert_close(before - state.x, 0.1 * expected, **EXACT)
        assert metrics["failed"].tolist() == [pytest.approx((1 / 3, 1.0, 0.0)[t])]


def test_the_averaged_baseline_leaves_no_bias() -> None:
    """Quadrature over two samples of x^4: the mean is that of the smoothed function, whose gradient is known."""
    z, weights = gaussian_grid(6, 2)
    found = policy_gradient(z[..., None], (0.7 + MU * z) ** 4) / MU
    assert_close(weights @ found, torch.tensor([4 * 0.7**3 + 12 * MU**2 * 0.7], dtype=F64), **EXACT)


def test_one_value_tells_no_slope() -> None:
    values = torch.tensor([[3.0, torch.inf]])
    assert policy_gradient(torch.ones(1, 2, 4), values).equal(torch.zeros(1, 4))
