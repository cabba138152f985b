"""alpha_t and sigma_t: growth, the effective sample size, cooling."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from envs.random import streams
from zeroth_order import Values
from zeroth_order.cbo import CBO, EffectiveSamples, Growth, LogCooling, StepCooling, effective_samples, softmin


def draws(runs: int = 4, count: int = 50) -> torch.Tensor:
    return streams(range(runs)).normal(count, dtype=torch.float64)


def test_growth() -> None:
    assert [Growth(2.0, 3.0, 20.0)(t) for t in range(4)] == [2.0, 6.0, 18.0, 20.0]
    assert Growth(0.5)(1000) == 0.5
    assert Growth(1.0, 1.05)(10**6) == 1e5
    assert Growth(3.0, 2.0).of(2, draws()) == 12.0
    factors = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)
    assert Growth(1.0, factors, 7.0)(2).tolist() == [1.0, 4.0, 7.0]
    assert Growth(1.0, factors)(10**6).tolist() == [1.0, 1e5, 1e5]


def test_cooling() -> None:
    assert [LogCooling(3.0, 2)(t) for t in (0, 1, 2, 3, 12)] == [
        3.0,
        3.0,
        3.0 / 1.584962500721156,
        3.0 / 1.584962500721156,
        1.0,
    ]
    assert [StepCooling(8.0, 0.5, 3)(t) for t in (0, 2, 3, 6, 8)] == [8.0, 8.0, 4.0, 2.0, 2.0]
    assert LogCooling(torch.tensor([1.0, 2.0]), 1)(2).tolist() == [0.5, 1.0]


def test_alpha_doubles_every_epoch() -> None:
    """As Carrillo, Jin, Li, Zhu (2021) do, in m steps."""
    assert_close(Growth(50.0, 2 ** (1 / 10))(30), 400.0)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, torch.tensor([0.05, 0.3, 0.5, 0.9], dtype=torch.float64)])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_effective_sample_size_is_hit_at_any_scale(scale: float, share: Any) -> None:
    """Also where one value is far from the others, in either direction."""
    values = draws() * scale
    values[2, 0], values[3, 1] = 1e6 * scale, -3 * scale
    alpha = EffectiveSamples(share).of(0, values)
    found = effective_samples(softmin(values, alpha)) / 50
    assert_close(found, torch.as_tensor(share, dtype=torch.float64).expand(4), rtol=1e-9, atol=0.0)


def test_the_share_is_of_those_that_succeeded() -> None:
    values = draws()
    values[:, :20] = torch.tensor([torch.nan, torch.inf, -torch.inf, torch.nan])[:, None]
    found = effective_samples(softmin(values, EffectiveSamples(0.4).of(0, values)))
    assert_close(found, torch.full((4,), 0.4 * 30, dtype=torch.float64), rtol=1e-9, atol=0.0)


def test_single_precision() -> None:
    values = draws().float()
    found = effective_samples(softmin(values, EffectiveSamples(0.3).of(0, values))) / 50
    assert_close(found, torch.full((4,), 0.3), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_for_which_no_alpha_will_do(dtype: torch.dtype) -> None:
    """All equal, most of them equally best, one success, none: alpha is finite, and weights what they have to be."""
    values = torch.zeros(4, 10, dtype=dtype)
    values[1, 8:] = 1.0
    values[2, 1:] = torch.nan
    values[3] = torch.inf
    alpha = EffectiveSamples(0.5).of(0, values)
    assert torch.isfinite(alpha).all()
    assert (alpha > 0).all()
    weights = softmin(values, alpha)
    assert_close(weights[0], torch.full((10,), 0.1, dtype=dtype))
    assert_close(weights[1, :8], torch.full((8,), 1 / 8, dtype=dtype))
    assert weights[2].tolist() == [1.0] + [0.0] * 9


def test_scaling_the_objective_changes_nothing() -> None:
    """With the effective sample size no scale of f has to be known."""
    x0 = torch.ones(2, 3, dtype=torch.float64)
    algorithm, root = CBO(particles=20, alpha=EffectiveSamples(0.3)), streams([0, 1])
    consensus = []
    for scale in (1.0, 1e12):
        state = algorithm.init(x0, root)
        for t in range(10):
            points, state = algorithm.ask(state, root.at(t))
            state, _ = algorithm.tell(state, points, Values(scale * (points**2).sum(-1)))
        consensus.append(state.consensus)
    assert_close(consensus[0], consensus[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (EffectiveSamples(0.0), r"^x\.share = 0.0 is not in \(0, 1\]"),
        (EffectiveSamples(1.0), r"^x\.share = 1.0 is not in"),
        (EffectiveSamples(ceiling=0.0), r"^x\.ceiling = 0.0"),
        (EffectiveSamples(halvings=0), r"^x\.halvings = 0"),
        (Growth(0.0), r"^x\.scale = 0.0"),
        (LogCooling(0.0), r"^x\.scale = 0.0"),
        (LogCooling(1.0, 0), r"^x\.period = 0"),
        (StepCooling(-1.0), r"^x\.scale = -1.0"),
        (StepCooling(1.0, 1.1), r"^x\.factor = 1.1"),
        (StepCooling(1.0, 0.5, 0), r"^x\.period = 0"),
    ],
)
def test_bad_schedules_are_named(schedule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.check("x")
