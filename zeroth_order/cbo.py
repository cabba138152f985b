"""CBO: consensus-based optimization.

Pinnau, Totzeck, Tse, Martin, "A consensus-based model for global optimization and its mean-field limit" (M3AS 2017);
anisotropic noise and random batches: Carrillo, Jin, Li, Zhu, "A consensus-based global optimization method for high
dimensional machine learning problems" (ESAIM: COCV 2021). Particles drift to a consensus point, a softmin-weighted
mean, and diffuse the more the farther they are from it:

    dX^i = -lambda (X^i - c) dt + sigma D(X^i - c) dB^i,   D(v) = |v| I  or  diag(v)

    1  X^i  ~  N(x_0, spread^2 I),  i = 1 .. N
    2  B    <- the next n of a random permutation of the particles, a new one for every pass      (B = all by default)
    3  w_i  <- exp(-alpha_t f(X^i)) / sum_{j in B} exp(-alpha_t f(X^j)),  i in B
    4  c    <- sum_{i in B} w_i X^i
    5  X^i  <- X^i - lambda dt (X^i - c) + sigma_t sqrt(dt) D(X^i - c) xi^i,  xi^i ~ N(0, I),  i in B

Deviations: the Heaviside factor on the drift in the first paper is left out, as in the second and in practice; so is
the second paper's extra noise when the consensus stalls. Only the batch moves (its partial update), and the batch size
divides N. A particle whose query failed has weight 0 and still drifts; if all of a batch failed, that run stays as it
is. A particle that would leave the range of floating-point numbers stays where it is, so that one diverging run of a
sweep does not end the others.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.core import Optimizer, failed_to_inf, succeeded


@dataclass(frozen=True)
class Growth:
    """t -> min(scale * factor^t, ceiling): a weight that sharpens; at t = 0 it is `scale`."""

    scale: Numeric
    """Value at t = 0, > 0."""
    factor: Numeric = 1.0
    """Growth per iteration, >= 1; 1 keeps it constant."""
    ceiling: float = 1e5
    """Largest value, > 0."""

    def __call__(self, t: int) -> Numeric:
        """Value at iteration t, a number or [R]."""
        try:
            value = self.scale * self.factor**t
        except OverflowError:  # numbers; tensors overflow to inf by themselves
            value = self.scale * math.inf
        return value.clamp(max=self.ceiling) if isinstance(value, Tensor) else min(value, self.ceiling)

    def check(self, name: str) -> None:
        """Raise ValueError naming `name` unless scale > 0, factor >= 1 and ceiling > 0."""
        check_range(f"{name}.scale", self.scale, 0.0, open_low=True)
        check_range(f"{name}.factor", self.factor, 1.0)
        check_range(f"{name}.ceiling", self.ceiling, 0.0, open_low=True)


class Noise(ABC):
    """The diffusion D(v) xi."""

    @abstractmethod
    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """D(X - c) xi, [R, K, d], of the differences to the consensus and of standard normals."""


@dataclass(frozen=True)
class Isotropic(Noise):
    """D(v) = |v| I: explores all directions; the mean-field law contracts only if 2 lambda > d sigma^2."""

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """|X - c| xi."""
        return torch.linalg.vector_norm(difference, dim=-1, keepdim=True) * xi


@dataclass(frozen=True)
class Anisotropic(Noise):
    """D(v) = diag(v): explores along the axes; the mean-field law contracts if 2 lambda > sigma^2, whatever d."""

    def __call__(self, difference: Tensor, xi: Tensor) -> Tensor:
        """(X - c) xi, coordinate by coordinate."""
        return difference * xi


def consensus_point(points: Tensor, values: Tensor, alpha: Numeric) -> Tensor:
    """Softmin-weighted mean [R, d] of `points` [R, K, d]; failed values weigh 0; NaN for a run in which all failed."""
    values = failed_to_inf(values)
    # Relative to the best value: the same weights, and no alpha or scale of f can make all of them vanish.
    regret = values - values.amin(-1, keepdim=True)
    weights = torch.softmax(-along_runs(alpha, values) * regret, dim=-1)  # l.3
    return (weights.to(points.dtype)[..., None] * points).sum(-2)  # l.4


def cbo_step(
    x: Tensor, consensus: Tensor, xi: Tensor, drift: Numeric, sigma: Numeric, dt: Numeric, noise: Noise
) -> Tensor:
    """One Euler-Maruyama step of `x` [R, K, d] towards `consensus` [R, d] with standard normals `xi` [R, K, d]."""
    difference = x - consensus[:, None]
    return x - along_runs(drift * dt, x) * difference + along_runs(sigma * dt**0.5, x) * noise(difference, xi)  # l.5


class CBOState(NamedTuple):
    """The particles, and what the coming step will use."""

    particles: Tensor
    """[R, N, d] X."""
    consensus: Tensor
    """[R, d] c of the last step; x_0 before the first."""
    order: Tensor
    """[R, N] int64, the permutation that this pass walks through."""
    xi: Tensor
    """[R, K, d] normals of the coming step."""
    t: int


@dataclass(frozen=True)
class CBO(Optimizer):
    """Configuration; see the module."""

    id = "cbo"
    summary = "particles that drift to their softmin-weighted mean"
    paper = "Pinnau, Totzeck, Tse, Martin, A consensus-based model for global optimization, M3AS 27 (2017)"

    particles: int = 50
    """N >= 2."""
    batch: int | None = None
    """Batch size n >= 2 that divides N, the queries of one step; None: all particles."""
    drift: Numeric = 1.0
    """lambda > 0. Papers: 1."""
    dt: Numeric = 0.5
    """Time step, > 0. Papers: 0.01 to 0.1; with few queries, long steps find more."""
    sigma: Schedule = Schedule(1.4)
    """sigma_t, > 0. Theory: sigma^2 < 2 lambda (anisotropic) or d sigma^2 < 2 lambda (isotropic); small stops early."""
    alpha: Growth = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy. Papers: constant 30 or more. CBXpy: 1.05^t up to 1e5."""
    noise: Noise = Anisotropic()
    """D: anisotropic noise grows with each coordinate of X - c, isotropic noise with its norm."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        if self.batch is not None:
            check_range("batch", self.batch, low=2, high=self.particles)
            if self.particles % self.batch:
                raise ValueError(f"batch = {self.batch} does not divide particles = {self.particles}")
        for name in ("drift", "dt", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        self.sigma.check("sigma")
        self.alpha.check("alpha")

    def init(self, x0: Tensor, stream: Stream) -> CBOState:
        """Particles around x0 [R, d]."""
        normals = stream.spread(torch.arange(self.particles, device=x0.device)).normal(x0.shape[-1], dtype=x0.dtype)
        particles = x0[:, None] + along_runs(self.spread, normals) * normals  # l.1
        order = torch.arange(self.particles, device=x0.device).expand(particles.shape[:2])
        return CBOState(particles, x0, order, torch.zeros_like(particles[:, : self.batch]), 0)

    def ask(self, state: CBOState, stream: Stream) -> tuple[Tensor, CBOState]:
        """The particles of this step's batch, [R, K, d].

        The step's normals are drawn here and kept in the state, because `tell` has no stream.
        """
        count, device, dtype = self.batch or self.particles, state.particles.device, state.particles.dtype
        xi = stream.spread(torch.arange(count, device=device)).normal(state.particles.shape[-1], dtype=dtype)
        order = state.order
        if self.batch is not None and state.t % (self.particles // self.batch) == 0:
            lane = torch.tensor(self.particles, device=device)  # beyond those of the normals
            order = stream.spread(lane).uniform(self.particles).argsort(dim=-1, stable=True)  # l.2
        state = state._replace(order=order, xi=xi)
        return torch.take_along_dim(state.particles, self._members(state), dim=1), state

    def tell(self, state: CBOState, points: Tensor, feedback: Any) -> tuple[CBOState, Metrics]:
        """One step of the batch.

        Metrics: diameter (root mean squared distance of the batch to its consensus), failed (share of failed values).
        """
        success = succeeded(feedback.values)
        consensus = consensus_point(points, feedback.values, self.alpha(state.t))
        consensus = torch.where(success.any(-1, keepdim=True), consensus, state.consensus)
        moved = cbo_step(points, consensus, state.xi, self.drift, self.sigma(state.t), self.dt, self.noise)
        stays = ~(success.any(-1, keepdim=True) & torch.isfinite(moved).all(-1))
        moved = torch.where(stays[..., None], points, moved)
        particles = state.particles.scatter(1, self._members(state).expand_as(moved), moved)
        distance = torch.linalg.vector_norm(points - consensus[:, None], dim=-1)
        metrics = {"diameter": distance.square().mean(-1).sqrt(), "failed": 1 - success.to(points.dtype).mean(-1)}
        return state._replace(particles=particles, consensus=consensus, t=state.t + 1), metrics

    def recommend(self, state: CBOState) -> Tensor:
        """The consensus point, [R, d]."""
        return state.consensus

    def _members(self, state: CBOState) -> Tensor:
        """Indices [R, K, 1] of this step's batch."""
        count = self.batch or self.particles
        start = state.t % (self.particles // count) * count
        return state.order[:, start : start + count, None]
