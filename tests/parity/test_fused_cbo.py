"""The fused step of CBO against the plain one."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from zeroth_order import CBO, Anisotropic, Growth, Isotropic, Values
from zeroth_order.cbo import (
    EffectiveSamples,
    Exact,
    Heaviside,
    LogCooling,
    Noise,
    Penalty,
    PersonalBest,
    TruncatedIsotropic,
    fused,
)

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def values_at(points: Tensor, t: int) -> Tensor:
    values = (points**2).sum(-1)
    values[:, t % values.shape[1]] = torch.nan
    if len(values) > 1:
        values[1, :] = torch.inf
    return values


def run(
    monkeypatch: pytest.MonkeyPatch, algorithm: CBO, seeds: list[int], dim: int, dtype: torch.dtype, smallest: int
) -> list[Any]:
    """States and metrics of a few steps, with the kernel from `smallest` numbers of a run on."""
    monkeypatch.setattr(fused, "SMALLEST", smallest)
    root, found = streams(seeds), []
    x0 = root.fold(Purpose.INSTANCE).normal(dim, dtype=dtype)
    state = algorithm.init(x0, root.fold(Purpose.INITIAL))
    for t in range(4):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, metrics = algorithm.tell(state, points, Values(values_at(points, t)))
        found.append((state.particles, state.consensus, metrics["diameter"], metrics["failed"]))
    return found


PLAIN, FUSED = 10**12, 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [Isotropic(), Anisotropic()])
@pytest.mark.parametrize("dim", [1, 2, 7, 256, 259, 601])
def test_the_same_steps(monkeypatch: pytest.MonkeyPatch, noise: Noise, dim: int, dtype: torch.dtype) -> None:
    """With values that fail, alone and all of a run; coordinates within and beyond a block of normals."""
    sweep = torch.tensor([0.5, 0.4, 0.2], dtype=dtype)
    algorithm = CBO(particles=6, noise=noise, dt=sweep, drift=0.9, sigma=LogCooling(0.3), alpha=Growth(0.01, 1.5))
    plain = run(monkeypatch, algorithm, [3, 2**40 + 5, 7], dim, dtype, PLAIN)
    found = run(monkeypatch, algorithm, [3, 2**40 + 5, 7], dim, dtype, FUSED)
    for one, other in zip(plain, found, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            scale = a.abs().max().clamp(min=1.0)
            assert_close(b / scale, a / scale, rtol=0.0, atol=TOLERANCE[dtype])
    assert not torch.equal(found[-1][0], found[0][0])
    assert torch.equal(found[-1][0][1], found[0][0][1])  # all of its values failed


def test_a_run_is_the_same_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, seeds = CBO(particles=6, alpha=EffectiveSamples(0.5)), [4, 9, 1, 12]
    together = run(monkeypatch, algorithm, seeds, 300, torch.float64, FUSED)
    for r in (0, 2, 3):
        alone = run(monkeypatch, algorithm, [seeds[r]], 300, torch.float64, FUSED)
        for one, other in zip(together, alone, strict=True):
            assert all(torch.equal(a[r], b[0]) for a, b in zip(one, other, strict=True))


def test_a_particle_that_would_leave_the_numbers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, CBO(particles=6, sigma=Schedule(1e200)), [0], 40, torch.float64, FUSED)
    assert torch.isfinite(found[-1][0]).all()
    assert found[0][0].abs().max() > 1e100
    assert torch.equal(found[-1][0], found[-2][0])


def test_where_the_kernel_is_worth_it() -> None:
    """It must not depend on the number of runs."""
    large, small = torch.zeros(1, fused.SMALLEST // 50), torch.zeros(1000, fused.SMALLEST // 50 - 1)
    assert fused.pays(large, 50)
    assert fused.pays(large.double(), 50)
    assert not fused.pays(small, 50)
    assert not fused.pays(large.to("meta"), 50)
    assert not fused.pays(large.half(), 50)


def refuse(*_: Any) -> Any:
    raise RuntimeError("the kernel")


@pytest.mark.parametrize("noise", [Isotropic(), Anisotropic()])
def test_the_step_is_used_for_plain_cbo(monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    monkeypatch.setattr(fused, "step", refuse)
    with pytest.raises(RuntimeError, match="the kernel"):
        run(monkeypatch, CBO(particles=50, noise=noise), [0], 40, torch.float32, fused.SMALLEST)


@pytest.mark.parametrize(
    "pieces",
    [
        {"step": Exact()},
        {"noise": TruncatedIsotropic()},
        {"batch": 10},
        {"memory": PersonalBest()},
        {"correction": Heaviside()},
        {"constraint": Penalty()},
    ],
)
def test_the_step_is_not_used_with_other_pieces(monkeypatch: pytest.MonkeyPatch, pieces: dict[str, Any]) -> None:
    monkeypatch.setattr(fused, "step", refuse)
    (first, *_), *_, (last, *_) = run(monkeypatch, CBO(particles=50, **pieces), [0], 40, torch.float32, fused.SMALLEST)
    assert torch.isfinite(last).all()
    assert not torch.equal(last, first)


def test_the_number_of_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    run(monkeypatch, CBO(particles=6), [0, 1], 300, torch.float32, FUSED)
    assert torch.get_num_threads() == before
