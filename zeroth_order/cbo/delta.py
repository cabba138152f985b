"""delta-CBO and Consensus Freezing: noise that never vanishes.

Fornasier, Huang, Klemenc, Malaspina, "From consensus-based optimization to evolution strategies: proof of global
convergence" (arXiv 2602.11677, 2026). CBO's noise dies out as the particles meet, at whatever point that may be. Here
it is constant, and a frozen consensus has a Gaussian around it as its invariant measure:

    dX^i = -lambda (X^i - c) dt + delta dB^i,      N(c, delta^2 / (2 lambda) I)

    1  X^i  ~  N(x_0, spread^2 I)
    2  c    <- sum_i w_i X^i,  w_i proportional to exp(-alpha_t f(X^i))
    3  X^i  <- X^i - lambda dt (X^i - c) + delta_t sqrt(dt) xi^i,  xi^i ~ N(0, I)                        (delta-CBO)
    4  X^i  <- c + e^(-lambda dt) (X^i - c) + delta_t ((1 - e^(-2 lambda dt)) / (2 lambda))^(1/2) xi^i   (Freezing)

Freezing follows the equation exactly while c is frozen for the time dt, and so is stable for any dt; as dt grows, the
particles forget where they were, and it becomes Consensus Hopping with standard deviation delta / (2 lambda)^(1/2).

Both are CBO with constant noise, and nothing else: `CBO(noise=Constant(), sigma=delta, step=Euler() or Exact())`.
Deviations: the normalisation of delta is the one above; it was not compared with the paper's.
"""

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule
from envs.random import Stream
from zeroth_order.cbo.cbo import CBO, CBOState
from zeroth_order.cbo.noise import Constant, Euler, Exact, Step
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.core import Invariance, Optimizer


@dataclass(frozen=True)
class NonVanishing(Optimizer, ABC):
    """What the two share: their settings."""

    paper = "Fornasier, Huang, Klemenc, Malaspina, From CBO to evolution strategies, arXiv 2602.11677 (2026)"
    step: ClassVar[Step]

    particles: int = 50
    """N >= 2."""
    drift: Numeric = 1.0
    """lambda > 0."""
    dt: Numeric = 0.5
    """Time step, > 0."""
    delta: Decay = Schedule(0.5)
    """delta_t, > 0, in the units of x / time^(1/2): where the particles are spread out in the end."""
    alpha: Alpha = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""

    def __post_init__(self) -> None:
        self.delta.check("delta")
        _ = self.dynamics  # which checks the rest

    @property
    def dynamics(self) -> CBO:
        """The same as a configuration of CBO."""
        return CBO(
            self.particles,
            drift=self.drift,
            dt=self.dt,
            sigma=self.delta,
            alpha=self.alpha,
            noise=Constant(),
            spread=self.spread,
            step=self.step,
        )

    def init(self, x0: Tensor, stream: Stream) -> CBOState:
        """Particles around x0 [R, d]."""
        return self.dynamics.init(x0, stream)

    def ask(self, state: CBOState, stream: Stream) -> tuple[Tensor, CBOState]:
        """The particles, [R, N, d]."""
        return self.dynamics.ask(state, stream)

    def tell(self, state: CBOState, points: Tensor, feedback: Any) -> tuple[CBOState, Metrics]:
        """One step; metrics: diameter, failed, as in CBO."""
        return self.dynamics.tell(state, points, feedback)

    def recommend(self, state: CBOState) -> Tensor:
        """The consensus point, [R, d]."""
        return self.dynamics.recommend(state)

    def pack(self, state: CBOState) -> dict[str, Tensor | int | float]:
        """As CBO."""
        return self.dynamics.pack(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """As CBO."""
        return self.dynamics.invariances


@dataclass(frozen=True)
class DeltaCBO(NonVanishing):
    """Line 3: an Euler step."""

    id = "delta-cbo"
    summary = "CBO with noise that never vanishes"
    step = Euler()


@dataclass(frozen=True)
class ConsensusFreezing(NonVanishing):
    """Line 4: the exact law while the consensus is frozen."""

    id = "consensus-freezing"
    summary = "delta-CBO with exact steps of any length"
    step = Exact()
