"""Polarized CBO: every particle has a consensus of its own, so that several minima are found at once.

Bungert, Roith, Wacker, "Polarized consensus-based dynamics for optimization and sampling" (Mathematical Programming
2024). Particles listen to those that are near:

    1  X^i  ~  N(x_0, spread^2 I)
    2  w_ij <- k(X^i, X^j) exp(-alpha_t f(X^j)) / sum_l k(X^i, X^l) exp(-alpha_t f(X^l))
    3  c_i  <- sum_j w_ij X^j
    4  X^i  <- X^i - lambda dt (X^i - c_i) + sigma_t sqrt(dt) D(X^i - c_i) xi^i,  xi^i ~ N(0, I)

A step costs O(N^2 d), and N^2 numbers a run. With an infinitely wide kernel it is CBO. CBXpy by default takes
k^alpha for k. What is recommended is the consensus of the best particle of the last step.
Failures as in `zeroth_order.cbo.cbo`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.noise import Anisotropic, Euler, Noise, Step
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.cbo.swarm import agreed, gaussian, normals, product, report, settle, without_stream
from zeroth_order.core import Invariance, Optimizer, failed_to_inf, succeeded


class Kernel(ABC):
    """k, positive and largest at distance 0."""

    @abstractmethod
    def minus_log(self, distance: Tensor) -> Tensor:
        """-log k of distances [R, N, N]."""


@dataclass(frozen=True)
class Gaussian(Kernel):
    """k(x, y) = exp(-|x - y|^2 / (2 kappa^2))."""

    kappa: Numeric = 1.0
    """Radius of communication, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("kappa", self.kappa, 0.0, open_low=True)

    def minus_log(self, distance: Tensor) -> Tensor:
        """|x - y|^2 / (2 kappa^2)."""
        return (distance / along_runs(self.kappa, distance)).square() / 2


@dataclass(frozen=True)
class Laplace(Kernel):
    """k(x, y) = exp(-|x - y| / kappa)."""

    kappa: Numeric = 1.0
    """Radius of communication, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("kappa", self.kappa, 0.0, open_low=True)

    def minus_log(self, distance: Tensor) -> Tensor:
        """|x - y| / kappa."""
        return distance / along_runs(self.kappa, distance)


def polarized_consensus(points: Tensor, values: Tensor, alpha: Numeric, kernel: Kernel) -> Tensor:
    """c [R, N, d] of points [R, N, d] with values [R, N]; NaN for a run in which all failed."""
    values = failed_to_inf(values)
    regret = values - values.amin(-1, keepdim=True)
    # Differences and not a product of matrices: near particles have small distances, and those have to be exact.
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    exponent = kernel.minus_log(distance) + (along_runs(alpha, regret) * regret).to(points.dtype)[:, None]
    return product(torch.softmax(-exponent, dim=-1), points)  # l.2, l.3


class PolarizedState(NamedTuple):
    """The particles, and what the coming step will use."""

    particles: Tensor
    """[R, N, d] X."""
    best: Tensor
    """[R, d] consensus of the best particle of the last step; x_0 before the first."""
    stream: Stream
    """Of the last ask."""
    t: int


@dataclass(frozen=True)
class PolarizedCBO(Optimizer):
    """Configuration; see the module."""

    id = "polarized-cbo"
    summary = "CBO among neighbours: several minima at once"
    paper = "Bungert, Roith, Wacker, Polarized consensus-based dynamics, Math. Prog. (2024)"

    particles: int = 50
    """N >= 2."""
    drift: Numeric = 1.0
    """lambda > 0. Paper: 1."""
    dt: Numeric = 0.5
    """Time step, > 0. Paper: 0.01; with few queries, long steps find more."""
    sigma: Decay = Schedule(1.0)
    """sigma_t, > 0. Paper: 1."""
    alpha: Alpha = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy."""
    noise: Noise = Anisotropic()
    """D: anisotropic noise grows with each coordinate of X - c, isotropic noise with its norm."""
    kernel: Kernel = Gaussian()
    """k: who listens to whom."""
    step: Step = Euler()
    """Integrator: Euler, or the exact law with the c_i frozen (anisotropic and constant noise)."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        for name in ("drift", "dt", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        self.sigma.check("sigma")
        self.alpha.check("alpha")
        self.step.check(self.noise)

    def init(self, x0: Tensor, stream: Stream) -> PolarizedState:
        """Particles around x0 [R, d]."""
        return PolarizedState(gaussian(x0, self.spread, self.particles, stream), x0, stream, 0)  # l.1

    def ask(self, state: PolarizedState, stream: Stream) -> tuple[Tensor, PolarizedState]:
        """The particles, [R, N, d]."""
        return state.particles, state._replace(stream=stream)

    def tell(self, state: PolarizedState, points: Tensor, feedback: Any) -> tuple[PolarizedState, Metrics]:
        """One step; metrics: diameter (root mean squared distance of the particles to their consensus), failed."""
        success = succeeded(feedback.values)
        alpha = self.alpha.of(state.t, feedback.values)
        consensus = polarized_consensus(points, feedback.values, alpha, self.kernel)
        consensus = torch.where(success.any(-1)[:, None, None], consensus, points)
        xi = normals(state.stream, self.particles, points)
        p, s = along_runs(self.drift * self.dt, points), along_runs(self.sigma(state.t) * self.dt**0.5, points)
        moved = self.step(points, points - consensus, xi, p, s, self.noise)  # l.4
        index = failed_to_inf(feedback.values).argmin(-1)
        best = torch.take_along_dim(consensus, index[:, None, None], dim=1)[:, 0]
        told = PolarizedState(
            settle(points, moved, success), agreed(best, state.best, success), state.stream, state.t + 1
        )
        return told, report(points, consensus, success)

    def recommend(self, state: PolarizedState) -> Tensor:
        """The consensus of the best particle, [R, d]."""
        return state.best

    def pack(self, state: PolarizedState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Of its pieces; the kernel sees distances alone."""
        found = {Invariance.TRANSLATION, self.alpha.invariance}
        return frozenset(found | {Invariance.ROTATION} if self.noise.isotropic else found)
