"""Adam-CBO: consensus-based optimization with adaptive momentum estimation.

Chen, Jin, Lyu, "A consensus-based global optimization method with adaptive momentum estimation" (Communications in
Computational Physics 2022, arXiv 2012.04827). The drift takes the place of the gradient in Adam (Kingma, Ba 2015):

    1  X^i  ~  N(x_0, spread^2 I),   M^i, V^i <- 0
    2  c    <- sum_i w_i X^i,  w_i proportional to exp(-alpha_t f(X^i))
    3  M^i  <- beta_1 M^i + (1 - beta_1) (X^i - c)
    4  V^i  <- beta_2 V^i + (1 - beta_2) (X^i - c)^2
    5  X^i  <- X^i - lambda_t M / (1 - beta_1^t) / ((V / (1 - beta_2^t))^(1/2) + eps) + sigma_t D(X^i - c) xi^i

Every coordinate of a drift is about lambda long, however far the consensus is, so lambda has to fall for the particles
to come to rest. Deviations: all particles move in every step, the paper draws random batches. Failures as in
`zeroth_order.cbo.cbo`; the moments of a run in which all values failed stay.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range, exact
from envs.random import Stream
from zeroth_order.cbo.consensus import consensus_point
from zeroth_order.cbo.noise import Anisotropic, Noise
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.cbo.swarm import agreed, gaussian, normals, report, settle, without_stream
from zeroth_order.core import Invariance, Optimizer, succeeded


class AdamState(NamedTuple):
    """The particles and their moments."""

    particles: Tensor
    """[R, N, d] X."""
    first: Tensor
    """[R, N, d] M."""
    second: Tensor
    """[R, N, d] V."""
    consensus: Tensor
    """[R, d] c of the last step; x_0 before the first."""
    stream: Stream
    """Of the last ask."""
    t: int


@dataclass(frozen=True)
class AdamCBO(Optimizer):
    """Configuration; see the module."""

    id = "adam-cbo"
    summary = "CBO whose drift goes through Adam's moments"
    paper = "Chen, Jin, Lyu, A consensus-based method with adaptive momentum estimation, CiCP 31 (2022)"

    particles: int = 50
    """N >= 2."""
    drift: Decay = Schedule(0.3, 0.5)
    """lambda_t > 0, length of a step in each coordinate, in the units of x. Paper: 0.01 to 0.2."""
    beta1: Numeric = 0.9
    """Decay of the first moment, in [0, 0.9999]. Paper: 0.9."""
    beta2: Numeric = 0.99
    """Decay of the second moment, in [0, 0.9999]. Paper: 0.99."""
    eps: Numeric = 1e-8
    """> 0, in the units of x. Paper: 1e-8."""
    sigma: Decay = Schedule(0.5)
    """sigma_t > 0."""
    alpha: Alpha = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy."""
    noise: Noise = Anisotropic()
    """D: anisotropic noise grows with each coordinate of X - c, isotropic noise with its norm."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        for name in ("beta1", "beta2"):
            check_range(name, getattr(self, name), low=0.0, high=0.9999)
        for name in ("eps", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        self.drift.check("drift")
        self.sigma.check("sigma")
        self.alpha.check("alpha")

    def init(self, x0: Tensor, stream: Stream) -> AdamState:
        """Particles around x0 [R, d]."""
        particles = gaussian(x0, self.spread, self.particles, stream)  # l.1
        zeros = torch.zeros_like(particles)
        return AdamState(particles, zeros, zeros, x0, stream, 0)

    def ask(self, state: AdamState, stream: Stream) -> tuple[Tensor, AdamState]:
        """The particles, [R, N, d]."""
        return state.particles, state._replace(stream=stream)

    def tell(self, state: AdamState, points: Tensor, feedback: Any) -> tuple[AdamState, Metrics]:
        """One step; metrics: diameter, failed, as in CBO."""
        success = succeeded(feedback.values)
        consensus = consensus_point(points, feedback.values, self.alpha.of(state.t, feedback.values))  # l.2
        difference = points - consensus[:, None]
        beta1, beta2 = along_runs(self.beta1, points), along_runs(self.beta2, points)
        first = beta1 * state.first + (1 - beta1) * difference  # l.3
        second = beta2 * state.second + (1 - beta2) * difference.square()  # l.4
        steps = exact(state.t + 1)
        mean, square = first / (1 - beta1**steps), second / (1 - beta2**steps)
        pull = along_runs(self.drift(state.t), points) * mean / (square.sqrt() + along_runs(self.eps, points))
        xi = normals(state.stream, self.particles, points)
        moved = points - pull + along_runs(self.sigma(state.t), points) * self.noise(difference, xi)  # l.5
        consensus = agreed(consensus, state.consensus, success)
        told = AdamState(
            settle(points, moved, success),
            settle(state.first, first, success),
            settle(state.second, second, success),
            consensus,
            state.stream,
            state.t + 1,
        )
        return told, report(points, consensus, success)

    def recommend(self, state: AdamState) -> Tensor:
        """The consensus point, [R, d]."""
        return state.consensus

    def pack(self, state: AdamState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations and those of the weights; the moments treat every coordinate by itself."""
        return frozenset({Invariance.TRANSLATION, self.alpha.invariance})
