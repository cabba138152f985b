"""CBO and its relatives against CBXpy 1.0.4, with the same particles, the same normals and the same batches.

Defects of CBXpy 1.0.4 that are not reproduced, those with a star shown below:
  its seed does not seed the initial particles; the dimension check spends queries;
  * one NaN value poisons the whole ensemble;
  * the effective sample size is sought by bisecting alpha linearly, and missed;
  * the Heaviside factor also multiplies the noise (Pinnau et al. 2017 have it on the drift alone), and f(c) is counted
    once for each run of the ensemble in every run; with batches it crashes, as memory does;
  * the log-barrier map divides 0 by 0 at the centre of the box;
  covariance noise of PolarCBO crashes for more than one run; PSO's drift has the wrong sign (it is not offered here);
  RegCombinationCBO's guard against NaN does nothing (its penalty is compared, its implicit step is not offered here).
Of DriftConstrainedCBO the sign of the normals differs, which changes no law: they are injected with the other sign.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cbx.dynamics import CBO as CBXpy  # noqa: N811
from cbx.dynamics import CBS as CBXpyCBS  # noqa: N811
from cbx.dynamics import AdamCBO as CBXpyAdam
from cbx.dynamics import CBOMemory, DriftConstrainedCBO, PolarCBO
from cbx.dynamics import MirrorCBO as CBXpyMirror
from cbx.dynamics.regcombinationcbo import RegCombinationCBO
from cbx.scheduler import effective_sample_size
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from zeroth_order import CBO, CBS, AdamCBO, Anisotropic, DeltaCBO, Growth, Isotropic, MirrorCBO, PolarizedCBO, Values
from zeroth_order.cbo import (
    Ball,
    BarrierBox,
    Constant,
    DriftConstraint,
    EffectiveSamples,
    ElasticNet,
    Euler,
    Gaussian,
    Heaviside,
    Laplace,
    Noise,
    Penalty,
    PersonalBest,
    Plane,
    Simplex,
    SmoothHeaviside,
    SphereShell,
    SphereSurface,
    consensus_point,
    effective_samples,
    softmin,
)
from zeroth_order.cbo.swarm import normals

RUNS, PARTICLES, DIM = 3, 12, 4
ALPHA = Growth(2.0, 1.3, 50.0)
NOISES = pytest.mark.parametrize(
    ("noise", "name"), [(Isotropic(), "isotropic"), (Anisotropic(), "anisotropic"), (Constant(), "constant")]
)


def rastrigin(x: np.ndarray) -> np.ndarray:
    return (x**2 + 2.5 * (1 - np.cos(2 * np.pi * x))).sum(-1)


def begin(algorithm: Any) -> tuple[Any, Stream]:
    root = streams(range(RUNS))
    x0 = 3 * root.fold(Purpose.INSTANCE).normal(DIM, dtype=torch.float64)
    return algorithm.init(x0, root.fold(Purpose.INITIAL)), root.fold(Purpose.ASK)


class Injected:
    """A sampler for the peer that returns what it was given, in turn."""

    def __init__(self) -> None:
        self.waiting: list[np.ndarray] = []

    def __call__(self, size: tuple[int, ...]) -> np.ndarray:
        assert self.waiting[0].shape == tuple(size)
        return self.waiting.pop(0)


def peer_of(kind: Any, state: Any, sampler: Injected, f: Callable[..., np.ndarray] = rastrigin, **settings: Any) -> Any:
    common = {"f_dim": "3D", "check_f_dims": False, "dt": 0.05, "lamda": 1.5, "sigma": 0.8, "verbosity": 0}
    return kind(f, x=state.particles.numpy().copy(), sampler=sampler, **(common | settings))


def told(algorithm: Any, state: Any, points: Tensor) -> Any:
    return algorithm.tell(state, points, Values(torch.as_tensor(rastrigin(points.numpy()))))[0]


def steps(algorithm: Any, peer: Any, sampler: Injected, state: Any, stream: Stream, number: int = 30) -> Iterator[Any]:
    """Both make steps from the same particles, so that rounding cannot grow; yields our state after each of them."""
    for t in range(number):
        points, state = algorithm.ask(state, stream.at(t))
        sampler.waiting = [normals(state.stream, PARTICLES, points).numpy()]
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        peer.x = state.particles.numpy().copy()
        peer.step()
        state = told(algorithm, state, points)
        yield state
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)


def settings(**more: Any) -> dict[str, Any]:
    return {"drift": 1.5, "dt": 0.05, "sigma": Schedule(0.8), "alpha": ALPHA, "spread": 2.0} | more


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("batch", [None, 4])
@NOISES
def test_every_step_of_a_trajectory_is_cbxpys(noise: Noise, name: str, batch: int | None, full: bool) -> None:
    algorithm = CBO(PARTICLES, batch, noise=noise, full=full, **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(CBXpy, state, sampler, noise=name, batch_args={"size": batch, "partial": not full})
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(t))
        moving = PARTICLES if full or batch is None else batch
        sampler.waiting = [normals(state.stream, moving, points).numpy()]
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        if batch and t % (PARTICLES // batch) == 0:
            peer.indices = state.order.numpy()
        peer.x = state.particles.numpy().copy()
        peer.step()
        state = told(algorithm, state, points)
        assert_close(state.consensus, torch.as_tensor(peer.consensus[:, 0]), rtol=1e-12, atol=1e-12)
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)


def test_delta_cbo_is_cbxpys_constant_noise() -> None:
    algorithm = DeltaCBO(PARTICLES, drift=1.5, dt=0.05, delta=Schedule(0.8), alpha=ALPHA, spread=2.0)
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(CBXpy, state, sampler, noise="constant")
    assert len(list(steps(algorithm, peer, sampler, state, stream))) == 30


@pytest.mark.parametrize(
    ("correction", "name"), [(Heaviside(), "heavi_side"), (SmoothHeaviside(0.7), "heavi_side_reg")]
)
def test_correction(correction: Any, name: str) -> None:
    """The peer's noise is given the uncorrected drift, as in the paper; see the module."""
    algorithm = CBO(PARTICLES, noise=Isotropic(), correction=correction, **settings())
    state, stream = begin(algorithm)
    xi: dict[str, np.ndarray] = {}

    def noise(peer: Any) -> np.ndarray:
        distance = np.linalg.norm(peer.x - peer.consensus, axis=-1, keepdims=True)
        return np.sqrt(peer.dt) * distance * xi["xi"]

    peer = peer_of(CBXpy, state, Injected(), noise=noise, correction=name, correction_eps=0.7)
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(2 * t))
        state = told(algorithm, state, points)
        consensus, state = algorithm.ask(state, stream.at(2 * t + 1))
        assert consensus.shape == (RUNS, 1, DIM)
        xi["xi"] = normals(state.stream, PARTICLES, points).numpy()
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        peer.x = points.numpy().copy()
        peer.step()
        state = told(algorithm, state, consensus)
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)
    assert (peer.num_f_eval == 30 * (PARTICLES + RUNS)).all(), "counted; ours are 30 (PARTICLES + 1)"


@pytest.mark.parametrize(("noise", "name"), [(Isotropic(), "isotropic"), (Anisotropic(), "anisotropic")])
def test_memory(noise: Noise, name: str) -> None:
    algorithm = CBO(PARTICLES, noise=noise, memory=PersonalBest(0.6, 0.3), **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(CBOMemory, state, sampler, noise=name, lamda_memory=0.6, sigma_memory=0.3)
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(t))
        later = normals(state.stream, PARTICLES, points, first=PARTICLES + 1)
        sampler.waiting = [normals(state.stream, PARTICLES, points).numpy(), later.numpy()]
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        peer.x = state.particles.numpy().copy()
        best = torch.as_tensor(peer.y.copy())
        peer.step()
        state = told(algorithm, state, points)
        assert_close(state.best, best, rtol=1e-12, atol=1e-12)
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)
    assert not torch.equal(state.best, state.particles)


@pytest.mark.parametrize(("kernel", "name"), [(Gaussian(1.7), "Gaussian"), (Laplace(1.7), "Laplace")])
def test_polarized(kernel: Any, name: str) -> None:
    algorithm = PolarizedCBO(PARTICLES, noise=Isotropic(), kernel=kernel, **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(PolarCBO, state, sampler, noise="isotropic", kernel=name, kappa=1.7, kernel_factor_mode="const")
    for state in steps(algorithm, peer, sampler, state, stream):  # noqa: B020
        best = peer.consensus[np.arange(RUNS), peer.energy.argmin(-1)]
        assert_close(state.best, torch.as_tensor(best), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sampling", "mode"), [(True, "sampling"), (False, "optimize")])
def test_cbs(sampling: bool, mode: str) -> None:
    """Our root U of the covariance is another than the peer's symmetric one, C^(1/2): C^(-1/2) U' turns our normals
    into the peer's. That this is a rotation is checked, and makes both laws the same."""
    soft = Growth(0.02, 1.2, 0.1)  # so that the covariance has an inverse
    algorithm = CBS(PARTICLES, dt=0.05, alpha=soft, sampling=sampling, step=Euler(), spread=2.0)
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(CBXpyCBS, state, sampler, mode=mode, lamda=1.0)
    for t in range(10):
        points, state = algorithm.ask(state, stream.at(t))
        values, alpha = torch.as_tensor(rastrigin(points.numpy())), soft(t)
        after = told(algorithm, state, points)
        difference = points - consensus_point(points, values, alpha)[:, None]
        covariance = torch.einsum("rk,rki,rkj->rij", softmin(values, alpha), difference, difference)
        scale = (2 * 0.05 * (1 + alpha if sampling else 1)) ** 0.5
        noise = (after.particles - points + 0.05 * difference) / scale
        squares, vectors = torch.linalg.eigh(covariance)
        theirs = torch.einsum("rij,rj,rlj,rkl->rki", vectors, squares.rsqrt(), vectors, noise)
        ours = normals(state.stream, PARTICLES, points)
        assert_close(theirs.norm(dim=-1), ours.norm(dim=-1), rtol=1e-6, atol=1e-6)  # C is inverted

        sampler.waiting = [theirs.numpy()]
        peer.alpha = np.full((RUNS, 1), alpha)
        peer.x = points.numpy().copy()
        peer.step()
        state = after
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("mirror", "peers"),
    [
        (Ball(2.0), {"name": "ProjectionBall", "radius": 2.0}),
        (SphereShell(2.0), {"name": "ProjectionSphere", "r": 2.0}),
        (ElasticNet(0.5, 0.8), {"name": "ElasticNet", "delta": 0.5, "lamda": 0.8}),
        (BarrierBox(-1.0, 1.0), {"name": "LogBarrierBox"}),
        (Simplex(), {"name": "EntropySimplex"}),
    ],
)
def test_mirror(mirror: Any, peers: dict[str, Any]) -> None:
    algorithm = MirrorCBO(PARTICLES, noise=Isotropic(), map=mirror, **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = CBXpyMirror(
        rastrigin, f_dim="3D", check_f_dims=False, x=mirror.to_primal(state.duals).numpy(), mirrormap=peers, dt=0.05,
        sigma=0.8, lamda=1.5, noise="isotropic", sampler=sampler, verbosity=0,
    )  # fmt: skip
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(t))
        sampler.waiting = [normals(state.stream, PARTICLES, points).numpy()]
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        peer.x, peer.y = points.numpy().copy(), state.duals.numpy().copy()
        peer.step()
        state = told(algorithm, state, points)
        assert_close(state.duals, torch.as_tensor(peer.y), rtol=1e-12, atol=1e-12)
        assert_close(mirror.to_primal(state.duals), torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)
    inside = (state.duals.abs() < 20).all(-1)
    dual = torch.as_tensor(peer.mirrormap.grad(peer.x))[inside]
    assert_close(mirror.to_dual(mirror.to_primal(state.duals))[inside], dual, rtol=1e-10, atol=1e-10)


def test_the_barrier_is_defined_at_the_centre() -> None:
    with np.errstate(all="ignore"):
        assert np.isnan(CBXpyMirror(rastrigin, d=2, mirrormap="LogBarrierBox").mirrormap.grad_conj(np.zeros(2))).all()
    assert BarrierBox(-1.0, 1.0).to_primal(torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]


def test_adam() -> None:
    """The peer's noise holds a factor sqrt(dt)."""
    algorithm = AdamCBO(
        PARTICLES, Schedule(1.0), eps=0.01, sigma=Schedule(0.8 * 0.05**0.5), alpha=ALPHA, noise=Isotropic(), spread=2.0
    )
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(CBXpyAdam, state, sampler, noise="isotropic", lamda=1.0, eps=0.01)
    for state in steps(algorithm, peer, sampler, state, stream):  # noqa: B020
        assert_close(state.first, torch.as_tensor(peer.m), rtol=1e-12, atol=1e-12)
        assert_close(state.second, torch.as_tensor(peer.v), rtol=1e-12, atol=1e-12)


NORMAL = (1.0, -2.0, 0.5, 3.0)


@pytest.mark.parametrize(
    ("surface", "peers"),
    [
        (SphereSurface(2.0), {"name": "sphere", "r": 2.0}),
        (Plane(NORMAL, 0.7), {"name": "plane", "a": np.array(NORMAL), "b": 0.7}),
    ],
)
def test_constraint_by_drift(surface: Any, peers: dict[str, Any]) -> None:
    constraint = DriftConstraint(surface, eps=0.3)
    algorithm = CBO(PARTICLES, noise=Isotropic(), constraint=constraint, **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peer = peer_of(DriftConstrainedCBO, state, sampler, noise="isotropic", constraints=[peers], eps=0.3)
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(t))
        sampler.waiting = [-normals(state.stream, PARTICLES, points).numpy()]
        peer.alpha = np.full((RUNS, 1), ALPHA(t))
        peer.x = state.particles.numpy().copy()
        peer.step()
        state = told(algorithm, state, points)
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)


def test_constraint_by_penalty() -> None:
    penalty = Penalty(Plane(NORMAL, 0.7), weight=1 / 0.25)
    algorithm = CBO(PARTICLES, noise=Isotropic(), constraint=penalty, **settings())
    state, stream = begin(algorithm)
    sampler = Injected()
    peers = [{"name": "plane", "a": np.array(NORMAL), "b": 0.7}]
    peer = peer_of(RegCombinationCBO, state, sampler, noise="isotropic", constraints=peers, eps=1e16, nu=0.25)
    assert len(list(steps(algorithm, peer, sampler, state, stream))) == 30


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e5])
def test_consensus_is_cbxpys(alpha: float) -> None:
    x = streams(range(RUNS)).spread(torch.arange(PARTICLES)).normal(DIM, dtype=torch.float64)
    values = rastrigin(x.numpy())
    peer, _ = CBXpy(rastrigin, f_dim="3D", x=x.numpy(), verbosity=0)._compute_consensus(values, x.numpy(), alpha)
    assert_close(
        consensus_point(x, torch.as_tensor(values), alpha), torch.as_tensor(peer[:, 0]), rtol=1e-12, atol=1e-12
    )


def test_the_effective_sample_size_is_found() -> None:
    x = 3 * streams(range(RUNS)).spread(torch.arange(PARTICLES)).normal(DIM, dtype=torch.float64)
    values = rastrigin(x.numpy())
    peer = CBXpy(rastrigin, f_dim="3D", check_f_dims=False, x=x.numpy(), verbosity=0)
    peer.energy = values
    effective_sample_size(eta=0.5).update(peer)
    theirs = effective_samples(softmin(torch.as_tensor(values), torch.as_tensor(peer.alpha[:, 0]))) / PARTICLES
    assert (theirs < 0.2).all()
    ours = EffectiveSamples(0.5).of(0, torch.as_tensor(values))
    found = effective_samples(softmin(torch.as_tensor(values), ours)) / PARTICLES
    assert_close(found, torch.full_like(found, 0.5), rtol=1e-12, atol=1e-12)


def test_one_failed_value_does_not_poison_the_ensemble() -> None:
    def failing(x: np.ndarray) -> np.ndarray:
        values = rastrigin(x)
        values[:, 0] = np.nan
        return values

    algorithm = CBO(PARTICLES)
    state, stream = begin(algorithm)
    peer = CBXpy(failing, f_dim="3D", check_f_dims=False, x=state.particles.numpy(), verbosity=0)
    peer.step()
    assert (peer.x == 1e8).all()
    points, state = algorithm.ask(state, stream)
    told, _ = algorithm.tell(state, points, Values(torch.as_tensor(failing(points.numpy()))))
    rest = consensus_point(points[:, 1:], torch.as_tensor(rastrigin(points.numpy())[:, 1:]), 30.0)
    assert_close(told.consensus, rest, rtol=1e-14, atol=1e-14)
    assert torch.isfinite(told.particles).all()
