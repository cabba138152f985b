"""CBS: consensus-based sampling, and optimization with the same dynamics.

Carrillo, Hoffmann, Stuart, Vaes, "Consensus-based sampling" (Studies in Applied Mathematics 2022). The noise has the
weighted covariance of the particles, so the method is invariant under affine maps of x:

    dX^i = -(X^i - m) dt + (2 C / lam)^(1/2) dB^i

    1  X^i  ~  N(x_0, spread^2 I)
    2  w_i  <- exp(-alpha_t f(X^i)) / sum_j exp(-alpha_t f(X^j)),   m <- sum_i w_i X^i
    3  C    <- sum_i w_i (X^i - m) (X^i - m)' = U' U
    4  lam  <- 1 / (1 + alpha_t) to sample from exp(-f);  1 to minimise f
    5  X^i  <- m + a (X^i - m) + ((1 - a^2) / lam)^(1/2) U' xi^i,  a = e^-dt,  xi^i ~ N(0, I)

Line 5 is the exact law with m and C frozen (step `Exact`), for any dt; `Euler` takes a = 1 - dt and 2 dt / lam. To
sample, exp(-f) is reached exactly where it is Gaussian.

Deviations: U is the triangular factor of the weighted particles (QR), not the symmetric root of C: U' xi has the same
law, and no matrix has to be positive. Failures as in `zeroth_order.cbo.cbo`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, check_range
from envs.random import Stream
from zeroth_order.cbo.consensus import softmin
from zeroth_order.cbo.noise import Constant, Exact, Step
from zeroth_order.cbo.schedules import Alpha, EffectiveSamples
from zeroth_order.cbo.swarm import (
    agreed,
    as_tensor,
    gaussian,
    normals,
    product,
    report,
    settle,
    whole_lines,
    without_stream,
)
from zeroth_order.core import Invariance, Optimizer, succeeded


class CBSState(NamedTuple):
    """The particles, and what the coming step will use."""

    particles: Tensor
    """[R, N, d] X."""
    mean: Tensor
    """[R, d] m of the last step; x_0 before the first."""
    stream: Stream
    """Of the last ask."""
    t: int


@dataclass(frozen=True)
class CBS(Optimizer):
    """Configuration; see the module."""

    id = "cbs"
    summary = "noise with the particles' weighted covariance"
    paper = "Carrillo, Hoffmann, Stuart, Vaes, Consensus-based sampling, Stud. Appl. Math. 148 (2022)"

    particles: int = 50
    """N >= 2; more than d + 1, or the particles stay in the space they begin in."""
    dt: Numeric = 0.5
    """Time step, > 0. Paper: a = e^-dt in {0, 0.5, 0.9}."""
    alpha: Alpha = EffectiveSamples()
    """alpha_t, > 0, in 1 / units of f. Paper: so that the effective sample size is N / 2."""
    sampling: bool = False
    """Whether the particles are to sample from exp(-f), and not to gather at its maximum."""
    step: Step = Exact()
    """Integrator with m and C frozen: Exact, or Euler."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        for name in ("dt", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        self.alpha.check("alpha")

    def init(self, x0: Tensor, stream: Stream) -> CBSState:
        """Particles around x0 [R, d]."""
        return CBSState(gaussian(x0, self.spread, self.particles, stream), x0, stream, 0)  # l.1

    def ask(self, state: CBSState, stream: Stream) -> tuple[Tensor, CBSState]:
        """The particles, [R, N, d]."""
        return state.particles, state._replace(stream=stream)

    def tell(self, state: CBSState, points: Tensor, feedback: Any) -> tuple[CBSState, Metrics]:
        """One step; metrics: diameter, failed, as in CBO."""
        success = succeeded(feedback.values)
        alpha = self.alpha.of(state.t, feedback.values)
        weights = softmin(feedback.values, alpha).to(points.dtype)[..., None]  # l.2
        mean = agreed((weights * points).sum(1), state.mean, success)
        difference = points - mean[:, None]
        parts = whole_lines(torch.nan_to_num(weights).sqrt() * difference)
        root = torch.linalg.qr(parts, mode="r").R[..., : points.shape[-1]]  # l.3
        xi = product(normals(state.stream, self.particles, root.mT), root)
        lam = as_tensor(1 / (1 + alpha) if self.sampling else 1.0, points)  # l.4
        dt = as_tensor(self.dt, points)
        moved = self.step(points, difference, xi, dt, (2 * dt / lam).sqrt(), Constant())  # l.5
        told = CBSState(settle(points, moved, success), mean, state.stream, state.t + 1)
        return told, report(points, mean, success)

    def recommend(self, state: CBSState) -> Tensor:
        """The weighted mean, [R, d]."""
        return state.mean

    def pack(self, state: CBSState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations and rotations; to sample from exp(-f), the scale of f counts."""
        of_values = Invariance.OFFSET if self.sampling else self.alpha.invariance
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, of_values})
