"""Polarized CBO, CBS, Adam-CBO, delta-CBO, Consensus Freezing and Consensus Hopping against values by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from zeroth_order import (
    CBO,
    CBS,
    AdamCBO,
    ConsensusFreezing,
    ConsensusHopping,
    DeltaCBO,
    Growth,
    Isotropic,
    MirrorCBO,
    PolarizedCBO,
    Values,
)
from zeroth_order.cbo import Constant, EffectiveSamples, Exact, Gaussian, Laplace, consensus_point, polarized_consensus
from zeroth_order.cbo.swarm import normals

X0 = torch.tensor([[1.0, -2.0, 0.5], [0.5, 3.0, -1.0]], dtype=torch.float64)


def sphere(points: Tensor) -> Tensor:
    return (points**2).sum(-1)


def begin(algorithm: Any, x0: Tensor = X0) -> tuple[Any, Any]:
    root = streams(range(len(x0)))
    return algorithm.init(x0, root.fold(Purpose.INITIAL)), root.fold(Purpose.ASK)


def advance(algorithm: Any, x0: Tensor, number: int, f: Any = sphere) -> Any:
    state, stream = begin(algorithm, x0)
    for t in range(number):
        points, state = algorithm.ask(state, stream.at(t))
        state, _ = algorithm.tell(state, points, Values(f(points)))
    return state


def one_step(algorithm: Any) -> tuple[Tensor, Tensor, Any]:
    """The points asked, the values, and the state after them."""
    state, stream = begin(algorithm)
    points, state = algorithm.ask(state, stream)
    values = sphere(points)
    return points, values, algorithm.tell(state, points, Values(values))[0]


# Polarized CBO.


def test_kernels() -> None:
    distance = torch.tensor([[[3.0]], [[3.0]]])
    kappa = torch.tensor([1.0, 2.0])
    assert Gaussian(kappa).minus_log(distance).flatten().tolist() == [4.5, 1.125]
    assert Laplace(kappa).minus_log(distance).flatten().tolist() == [3.0, 1.5]


@pytest.mark.parametrize("kernel", [Gaussian, Laplace])
def test_polarized_consensus_by_hand(kernel: Any) -> None:
    points = torch.tensor([[[0.0], [1.0], [3.0]]], dtype=torch.float64)
    values = torch.tensor([[1.0, 0.5, torch.nan]], dtype=torch.float64)
    found = polarized_consensus(points, values, 2.0, kernel(1.5))[0, :, 0]
    for i, x in enumerate([0.0, 1.0, 3.0]):
        weights = [
            math.exp(-(abs(x - y) ** 2 / 4.5 if kernel is Gaussian else abs(x - y) / 1.5) - 2.0 * value)
            for y, value in ((0.0, 1.0), (1.0, 0.5))
        ]
        assert float(found[i]) == pytest.approx(weights[1] / sum(weights), rel=1e-12)


def test_a_wide_kernel_makes_it_cbo() -> None:
    points, values, _ = one_step(PolarizedCBO(particles=6))
    everywhere = polarized_consensus(points, values, 0.7, Gaussian(1e9))
    assert_close(everywhere, consensus_point(points, values, 0.7)[:, None].expand_as(everywhere), rtol=1e-9, atol=1e-9)


def test_polarized_cbo_finds_both_minima() -> None:
    """Of two wells of the same depth at -3 and 3; CBO can hold only one."""

    def wells(points: Tensor) -> Tensor:
        return torch.minimum(sphere(points - 3), sphere(points + 3))

    start = torch.zeros(4, 2, dtype=torch.float64)
    common: dict[str, Any] = {"dt": 0.1, "sigma": Schedule(0.7), "spread": 3.0, "alpha": Growth(10.0)}
    polarized = advance(PolarizedCBO(particles=60, kernel=Gaussian(1.0), **common), start, 300, wells).particles
    plain = advance(CBO(particles=60, **common), start, 300, wells).particles
    for centre in (-3.0, 3.0):
        assert (((polarized - centre).norm(dim=-1) < 1.0).sum(-1) >= 3).all()
    assert (((plain - 3.0).norm(dim=-1) < 1.0).any(-1) ^ ((plain + 3.0).norm(dim=-1) < 1.0).any(-1)).all()


# CBS.


def test_cbs_is_invariant_under_affine_maps_of_the_law() -> None:
    """Its noise has the weighted covariance: U' U = C, seen through the step of many particles at one place."""
    algorithm = CBS(particles=12, dt=100.0, alpha=Growth(0.05))  # a = 0: X is m + U' xi
    points, values, after = one_step(algorithm)
    weights = torch.softmax(-0.05 * values, -1)
    mean = (weights[..., None] * points).sum(1)
    assert_close(algorithm.recommend(after), mean)
    xi = normals(after.stream, 12, torch.empty(2, 12, 16, dtype=torch.float64))[..., :3]
    root = torch.linalg.lstsq(xi, after.particles - mean[:, None]).solution
    assert_close(xi @ root, after.particles - mean[:, None])  # a linear map of the normals
    covariance = torch.einsum("rk,rki,rkj->rij", weights, points - mean[:, None], points - mean[:, None])
    assert_close(root.mT @ root, covariance)


@pytest.mark.parametrize("sampling", [False, True])
def test_the_step_of_cbs_by_hand(sampling: bool) -> None:
    """a = e^-dt, and noise of variance (1 - a^2) C / lam."""
    one, far = (one_step(CBS(particles=12, dt=dt, alpha=Growth(0.05), sampling=sampling))[2] for dt in (0.3, 100.0))
    points = begin(CBS(particles=12))[0].particles
    a = math.exp(-0.3)
    mean = one.mean[:, None]
    expected = mean + a * (points - mean) + math.sqrt(1 - a * a) * (far.particles - mean)
    assert_close(one.particles, expected)
    without = one_step(CBS(particles=12, dt=100.0, alpha=Growth(0.05)))[2]
    scale = math.sqrt(1.05) if sampling else 1.0
    assert_close(far.particles - mean, scale * (without.particles - mean))


def test_cbs_stays_in_the_space_of_fewer_particles_than_dimensions() -> None:
    """And nothing is divided by 0 there."""
    state = advance(CBS(particles=3), torch.ones(1, 10, dtype=torch.float64), 20)
    first, _ = begin(CBS(particles=3), torch.ones(1, 10, dtype=torch.float64))
    basis = torch.linalg.qr((first.particles[0] - first.particles[0].mean(0)).T).Q[:, :2]
    offset = (state.particles - first.particles[0].mean(0))[0]
    assert torch.isfinite(state.particles).all()
    assert_close(offset @ basis @ basis.T, offset, rtol=0.0, atol=1e-9)


# Adam-CBO.


def test_adam_by_hand() -> None:
    """Bias correction makes M / V^(1/2) of the first step the sign of the drift; the second has both moments."""
    algorithm = AdamCBO(particles=4, drift=Schedule(0.3), sigma=Schedule(1e-15), beta1=0.8, beta2=0.95, eps=0.01)
    state, stream = begin(algorithm)
    differences = []
    x = state.particles
    for t in range(2):
        points, state = algorithm.ask(state, stream.at(t))
        values = sphere(points)
        state, _ = algorithm.tell(state, points, Values(values))
        differences.append(points - consensus_point(points, values, 30.0 * 1.05**t)[:, None])
        one, two = differences[0], differences[-1]
        if t == 0:
            x = x - 0.3 * one / (one.abs() + 0.01)
        else:
            first = (0.8 * 0.2 * one + 0.2 * two) / (1 - 0.8**2)
            second = (0.95 * 0.05 * one**2 + 0.05 * two**2) / (1 - 0.95**2)
            x = x - 0.3 * first / (second.sqrt() + 0.01)
        assert_close(state.particles, x, rtol=1e-12, atol=1e-12)


# delta-CBO, Consensus Freezing, Consensus Hopping.


def test_delta_cbo_by_hand() -> None:
    points, values, after = one_step(DeltaCBO(particles=5, drift=1.5, dt=0.2, delta=Schedule(0.4), alpha=Growth(2.0)))
    consensus = consensus_point(points, values, 2.0)[:, None]
    xi = normals(after.stream, 5, X0)
    assert_close(after.particles, points - 1.5 * 0.2 * (points - consensus) + 0.4 * math.sqrt(0.2) * xi)


def test_freezing_by_hand() -> None:
    algorithm = ConsensusFreezing(particles=5, drift=1.5, dt=0.2, delta=Schedule(0.4), alpha=Growth(2.0))
    points, values, after = one_step(algorithm)
    consensus = consensus_point(points, values, 2.0)[:, None]
    xi = normals(after.stream, 5, X0)
    decay = math.exp(-1.5 * 0.2)
    noise = 0.4 * math.sqrt((1 - decay**2) / (2 * 1.5))
    assert_close(after.particles, consensus + decay * (points - consensus) + noise * xi)


def test_both_are_cbo_with_constant_noise() -> None:
    freezing = advance(ConsensusFreezing(particles=6, delta=Schedule(0.4), alpha=Growth(2.0)), X0, 10)
    cbo = CBO(particles=6, noise=Constant(), step=Exact(), sigma=Schedule(0.4), alpha=Growth(2.0))
    assert torch.equal(freezing.particles, advance(cbo, X0, 10).particles)


def test_long_freezing_is_hopping() -> None:
    """Particles forget where they were: N(c, delta^2 / (2 lambda) I)."""
    freezing = ConsensusFreezing(particles=8, drift=2.0, dt=1e6, delta=Schedule(0.6), alpha=Growth(3.0))
    hopping = ConsensusHopping(particles=8, sigma=Schedule(0.6 / math.sqrt(4.0)), alpha=Growth(3.0))
    _, _, state = one_step(freezing)
    stream = begin(freezing)[1]
    hop = begin(hopping)[0]._replace(consensus=freezing.recommend(state))
    points, _ = hopping.ask(hop, stream)
    assert_close(state.particles, points)


def test_hopping_by_hand() -> None:
    """Samples around the consensus with the standard deviation of the iteration."""
    algorithm = ConsensusHopping(particles=5, sigma=Schedule(0.7, 0.5), alpha=Growth(2.0, 3.0))
    state, stream = begin(algorithm)
    for t in range(3):
        centre = algorithm.recommend(state)
        points, state = algorithm.ask(state, stream.at(t))
        assert_close(points, centre[:, None] + 0.7 * math.sqrt(2 / (t + 2)) * normals(stream.at(t), 5, X0))
        state, _ = algorithm.tell(state, points, Values(sphere(points)))
        assert_close(algorithm.recommend(state), consensus_point(points, sphere(points), 2.0 * 3**t))


def test_delta_cbo_does_not_come_to_rest_and_freezing_does_not_explode() -> None:
    start = torch.ones(4, 3, dtype=torch.float64)
    for algorithm in (DeltaCBO(dt=0.1, delta=Schedule(0.5)), ConsensusFreezing(dt=50.0, delta=Schedule(0.5))):
        particles = advance(algorithm, start, 200).particles
        assert (particles.std(1) > 0.2).all()
        assert (particles.std(1) < 0.6).all()
    assert advance(CBO(dt=0.1, sigma=Schedule(0.5)), start, 200).particles.std(1).max() < 1e-3


SAMPLES = 400_000


@pytest.mark.parametrize("alpha", [0.01, 1.0, 50.0])
def test_a_hop_on_a_quadratic_is_a_proximal_step(alpha: float) -> None:
    """f = (v - b)' H (v - b) / 2: the tilted Gaussian has the mean (I + tau H)^-1 (c + tau H b), tau = alpha sigma^2.

    The error of the weighted mean is that of n_eff samples of the tilted Gaussian: asserted within 5 standard errors,
    an error rate below 1e-5 with its 9 comparisons.
    """
    H = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]], dtype=torch.float64)
    b, sigma = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64), 0.4
    algorithm = ConsensusHopping(particles=SAMPLES, sigma=Schedule(sigma), alpha=Growth(alpha))
    centre = torch.tensor([[0.5, -0.5, 0.4]], dtype=torch.float64)
    state, stream = begin(algorithm, centre)
    points, state = algorithm.ask(state, stream)
    values = ((points - b) @ H * (points - b)).sum(-1) / 2
    state, _ = algorithm.tell(state, points, Values(values))
    tau = alpha * sigma**2
    inverse = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + tau * H)
    expected = inverse @ (centre[0] + tau * H @ b)
    weights = torch.softmax(-alpha * values, -1)[0]
    error = ((weights**2)[:, None] * (points[0] - expected) ** 2).sum(0).sqrt()
    assert ((algorithm.recommend(state)[0] - expected).abs() < 5 * error).all()
    assert (error < 0.01).all()


def test_a_small_alpha_makes_the_hop_the_nes_gradient() -> None:
    """c' - mean V = -alpha Cov(V, f) + O(alpha^2), the search gradient with the mean as baseline, times alpha."""
    changes = []
    for alpha in (1e-3, 1e-6):
        points, values, after = one_step(ConsensusHopping(particles=20, alpha=Growth(alpha)))
        centred = values - values.mean(-1, keepdim=True)
        gradient = (centred[..., None] * points).mean(1)
        changes.append(((after.consensus - points.mean(1)) / -alpha - gradient).abs().max() / gradient.abs().max())
    assert changes[0] < 0.1
    assert changes[1] < 1e-4


# All of them.


@pytest.mark.parametrize("make", [CBO, PolarizedCBO, CBS, AdamCBO, MirrorCBO, DeltaCBO, ConsensusFreezing])
def test_where_all_values_fail_the_particles_stay(make: Any) -> None:
    """In that run alone."""
    algorithm = make(particles=10)
    state, stream = begin(algorithm)
    for t in range(3):
        points, state = algorithm.ask(state, stream.at(t))
        state, _ = algorithm.tell(state, points, Values(sphere(points)))
    before, state = algorithm.ask(state, stream.at(3))
    values = torch.where(torch.tensor([[True], [False]]), torch.nan, sphere(before))
    state, metrics = algorithm.tell(state, before, Values(values))
    after, _ = algorithm.ask(state, stream.at(4))
    assert torch.equal(after[0], before[0])
    assert (after[1] != before[1]).any()
    assert metrics["failed"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: PolarizedCBO(particles=10, noise=Isotropic()),
        lambda: CBS(particles=10, alpha=Growth(0.5)),
        lambda: CBS(particles=10, alpha=EffectiveSamples(0.4), sampling=True),
        lambda: AdamCBO(particles=10, alpha=Growth(0.5)),
        lambda: DeltaCBO(particles=10, alpha=Growth(0.5)),
        lambda: ConsensusFreezing(particles=10, alpha=Growth(0.5)),
        lambda: ConsensusHopping(particles=10, alpha=Growth(0.5)),
    ],
)
def test_translation_invariance(make: Any) -> None:
    shift = torch.tensor([3.0, -1.0, 100.0], dtype=torch.float64)
    algorithm = make()
    here = advance(algorithm, X0, 8)
    there = advance(algorithm, X0 + shift, 8, lambda points: sphere(points - shift))
    assert_close(algorithm.recommend(there), algorithm.recommend(here) + shift, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: PolarizedCBO(particles=1), "particles"),
        (lambda: PolarizedCBO(kernel=Gaussian(0.0)), "kappa"),
        (lambda: PolarizedCBO(kernel=Laplace(-1.0)), "kappa"),
        (lambda: PolarizedCBO(noise=Isotropic(), step=Exact()), "step"),
        (lambda: PolarizedCBO(dt=0.0), "dt"),
        (lambda: CBS(particles=1), "particles"),
        (lambda: CBS(dt=-1.0), "dt"),
        (lambda: CBS(alpha=EffectiveSamples(2.0)), r"alpha\.share"),
        (lambda: AdamCBO(particles=1), "particles"),
        (lambda: AdamCBO(beta1=1.0), "beta1"),
        (lambda: AdamCBO(beta2=-0.1), "beta2"),
        (lambda: AdamCBO(eps=0.0), "eps"),
        (lambda: AdamCBO(drift=Schedule(0.0)), r"drift\.scale"),
        (lambda: DeltaCBO(delta=Schedule(0.0)), r"delta\.scale"),
        (lambda: DeltaCBO(dt=0.0), "dt"),
        (lambda: ConsensusFreezing(particles=1), "particles"),
        (lambda: ConsensusHopping(particles=1), "particles"),
        (lambda: ConsensusHopping(sigma=Schedule(0.0)), r"sigma\.scale"),
        (lambda: ConsensusHopping(alpha=Growth(0.0)), r"alpha\.scale"),
    ],
)
def test_bad_hyper_parameters_are_named(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = "):
        make()
