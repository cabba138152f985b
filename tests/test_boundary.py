"""Boundaries: always in the box, continuous, the interior left alone; and what they do to a minimum on the border."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zeroth_order import Boundary, Penalty, Projection, PyCMA, Reflection, Search, Transformation
from zeroth_order.core import Bounds

ALL = [Projection(), Reflection(), Transformation(), Transformation(0.4), Penalty(10.0)]
INF = math.inf
BOX = (torch.tensor([-1.0, 0.0, -INF, 1e3, -INF]).double(), torch.tensor([2.0, INF, -7.0, 1e3 + 0.5, INF]).double())
"""Two sides, one, one, two close to each other far out, none."""


@pytest.fixture(params=ALL, ids=str, name="boundary")
def _boundary(request: pytest.FixtureRequest) -> Boundary:
    return request.param


def lines(dtype: torch.dtype, count: int = 4001) -> Tensor:
    """Points [1, count, 5] that cross the borders, coordinate by coordinate, at all scales."""
    wide = torch.linspace(-12, 12, count, dtype=torch.float64)
    big = torch.sign(wide) * 10.0 ** (30 * wide.abs() / 12)
    middle = torch.tensor([0.5, 0.0, -7.0, 1000.25, 0.0], dtype=torch.float64)
    return torch.cat((middle + wide[:, None], middle + big[:, None])).to(dtype)[None]


def box(dtype: torch.dtype) -> Bounds:
    return BOX[0].to(dtype), BOX[1].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_real_point_becomes_one_of_the_box(boundary: Boundary, dtype: torch.dtype) -> None:
    low, high = box(dtype)
    found = boundary.feasible(lines(dtype), (low, high))
    assert found.dtype == dtype
    assert ((found >= low) & (found <= high)).all()
    huge = torch.tensor([1e300, -1e300, 1.7e308, -1.7e308]).double()[None, :, None].expand(1, 4, 5)
    found = boundary.feasible(huge, BOX)
    assert ((found >= BOX[0]) & (found <= BOX[1])).all()
    assert boundary.feasible(torch.full_like(huge, torch.nan), BOX).isnan().all()


def test_the_interior_stays_bit_for_bit(boundary: Boundary) -> None:
    low, high = BOX
    lengths = torch.tensor([3.0, 1.0, 7.0, 0.5, 1.0]).double()
    margin = (boundary.margin if isinstance(boundary, Transformation) else 0.0) * lengths
    points = lines(torch.float64)
    inside = (points >= low + margin) & (points <= high - margin)
    assert inside.any(1).all()
    assert torch.equal(boundary.feasible(points, BOX)[inside], points[inside])
    assert torch.equal(boundary.search_point(points, BOX)[inside], points[inside])


def test_maps_are_continuous(boundary: Boundary) -> None:
    """None stretches a distance, across borders and folds alike."""
    points = lines(torch.float64)[:, :4001]
    moved, found = points.diff(dim=1), boundary.feasible(points, BOX).diff(dim=1)
    assert (found.abs() <= moved.abs() + 1e-12).all()


@pytest.mark.parametrize("boundary", [Projection(), Reflection(), Penalty()], ids=str)
def test_what_is_in_the_box_stays(boundary: Boundary) -> None:
    once = boundary.feasible(lines(torch.float64), BOX)
    assert torch.equal(boundary.feasible(once, BOX), once)


def test_a_search_point_leads_back(boundary: Boundary) -> None:
    shares = torch.linspace(0, 1, 101).double()[:, None]
    finite = torch.tensor([-1.0, 0.0, -20.0, 1e3, -3.0]).double(), torch.tensor([2.0, 9.0, -7.0, 1000.5, 3.0]).double()
    points = (finite[0] + shares * (finite[1] - finite[0])).clamp(*finite)[None]
    again = boundary.feasible(boundary.search_point(points, BOX), BOX)
    torch.testing.assert_close(again, points, rtol=1e-15, atol=1e-15)


def test_reflection_by_hand() -> None:
    def at(x: float, low: float, high: float) -> float:
        bounds = torch.tensor([low]).double(), torch.tensor([high]).double()
        return Reflection().feasible(torch.tensor([[[x]]]).double(), bounds).item()

    assert [at(x, -1, 1) for x in (1.25, 3.25, -1.5, -5.5, 4.0)] == [0.75, -0.75, -0.5, -0.5, 0.0]
    assert [at(x, -1, INF) for x in (-1.25, -9.0, 1e6)] == [-0.75, 7.0, 1e6]
    assert [at(x, -INF, 1) for x in (1.25, 9.0, -1e6)] == [0.75, -7.0, -1e6]


def test_transformation_by_hand() -> None:
    """a = 0.2 in [0, 2]: low + (x + a)^2 / 4a, flat at -0.2 and 2.2, slope 1 at 0.2 and 1.8, even about -0.2."""
    bounds = torch.zeros(1).double(), torch.full((1,), 2.0).double()
    x = torch.tensor([-0.2, 0.0, 0.1, 0.2, 1.9, 2.2, 2.3, -0.5]).double()
    found = Transformation(0.1).feasible(x[None, :, None], bounds)[0, :, 0]
    expected = torch.tensor([0.0, 0.05, 0.1125, 0.2, 2 - 0.1125, 2.0, 2 - 0.0125, 0.1125]).double()
    torch.testing.assert_close(found, expected)
    h = 1e-4
    slopes = [Transformation(0.1).feasible(x[None, :, None] + s, bounds) for s in (-h, h)]
    slope = ((slopes[1] - slopes[0]) / (2 * h))[0, :4, 0]
    torch.testing.assert_close(slope, torch.tensor([0.0, 0.5, 0.75, 1.0]).double(), rtol=0, atol=2e-4)


def test_only_a_penalty_changes_values() -> None:
    bounds = torch.tensor([0.0, 0.0]), torch.tensor([2.0, INF])
    points = torch.tensor([[[1.0, 5.0], [3.0, -2.0], [4.0, 1.0], [4.0, 1.0]]])
    values = torch.tensor([[1.0, 1.0, torch.nan, -torch.inf]]).double()
    told = Penalty(8.0).told(values, points, bounds)
    assert told[0].tolist()[:2] == [1.0, 1.0 + 8 * (0.5**2 + 2**2)]
    assert not torch.isfinite(told[0, 2:]).any()
    for boundary in (Projection(), Reflection(), Transformation()):
        assert boundary.told(values, points, bounds) is values


def test_settings_may_differ_from_run_to_run() -> None:
    points = lines(torch.float64).repeat(2, 1, 1)
    margins, weights = torch.tensor([0.1, 0.4]).double(), torch.tensor([1.0, 5.0]).double()
    together = Transformation(margins).feasible(points, BOX)
    told = Penalty(weights).told(points[..., 0], points, BOX)
    for r in range(2):
        one = slice(r, r + 1)
        assert torch.equal(together[one], Transformation(float(margins[r])).feasible(points[one], BOX))
        assert torch.equal(told[one], Penalty(float(weights[r])).told(points[one, :, 0], points[one], BOX))


@pytest.mark.parametrize("make", [lambda: Transformation(0.0), lambda: Transformation(0.6), lambda: Penalty(0.0)])
def test_bad_settings_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="is not in"):
        make()  # type: ignore[operator]


CENTRES = {"inside": [0.3, -0.2, 0.6], "border": [3.0, 0.1, 0.2], "corner": [2.0, 3.0, -4.0]}


@pytest.mark.parametrize("place", CENTRES)
@pytest.mark.parametrize("boundary", [Projection(), Reflection(), Transformation(), Penalty()], ids=str)
def test_cma_es_finds_a_minimum_anywhere_in_the_box(boundary: Boundary, place: str) -> None:
    """Within 1e-6 of the minimum; from the middle, because projection loses the way from elsewhere."""
    centre = np.array(CENTRES[place])
    best = np.clip(centre, -1, 1)

    def f(points: np.ndarray) -> np.ndarray:
        return ([1.0, 4.0, 9.0] * (points - centre) ** 2).sum(-1)

    least = f(best[None])[0]
    search = Search(PyCMA(sigma0=0.3), np.zeros(3), (-1, 1), seed=1, target=least + 1e-6, boundary=boundary)
    result = search.optimize(f, vectorized=True)
    assert result.fun - least <= 1e-6
    assert result.queries < 1_000
    assert np.abs(result.x - best).max() <= (1e-3 if place != "corner" else 1e-6)


def test_the_default_finds_it_where_projection_loses_the_way() -> None:
    """f is flat outside along the face's normal, so a mean that has left the box does not come back."""
    centre = np.full(6, 0.3)
    scale = 10.0 ** np.linspace(0, 3, 6)

    def solved(boundary: Boundary) -> int:
        search = Search(PyCMA(sigma0=0.5), None, (-1, 1), 6, range(3), 1_500, 1e-6, boundary)
        results = search.optimize(lambda points: (scale * (points - centre) ** 2).sum(-1), vectorized=True)
        return sum("target" in result.stop for result in results)

    assert solved(Transformation()) == 3
    assert solved(Projection()) < 3
