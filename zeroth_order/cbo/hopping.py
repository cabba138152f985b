"""Consensus Hopping: sample around the consensus, and hop to the softmin-weighted mean.

Riedl, Klock, Geldhauser, Fornasier, "Gradient is all you need?" (arXiv 2306.09778), the scheme CH; as a limit of
Consensus Freezing and a (1, lambda) evolution strategy: Fornasier, Huang, Klemenc, Malaspina (arXiv 2602.11677).

    1  V_k   ~  N(c_t, sigma_t^2 I),  k = 1 .. N
    2  c_{t+1} <- sum_k w_k V_k,  w_k proportional to exp(-alpha_t f(V_k))

With many samples the hop is a mean under the density proportional to exp(-alpha [f(v) + |v - c|^2 / (2 tau)]),
tau = alpha sigma^2: for large alpha the proximal step of f with step size tau, for small alpha a step of -tau times the
gradient of f smoothed by the Gaussian (the NES gradient with the mean as baseline).

Deviations: a hop in which all values failed is not made; failed values weigh 0.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from envs.algorithm import Decay, Metrics, Schedule, check_range
from envs.random import Stream
from zeroth_order.cbo.consensus import consensus_point
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.cbo.swarm import agreed, gaussian, report
from zeroth_order.core import Invariance, Optimizer, succeeded


class HoppingState(NamedTuple):
    """Where the next samples are drawn."""

    consensus: Tensor
    """[R, d] c_t."""
    t: int


@dataclass(frozen=True)
class ConsensusHopping(Optimizer):
    """Configuration; see the module."""

    id = "consensus-hopping"
    summary = "hop to the softmin-weighted mean of Gaussian samples"
    paper = "Riedl, Klock, Geldhauser, Fornasier, Gradient is all you need?, arXiv 2306.09778 (2023)"

    particles: int = 50
    """N >= 2. Paper: 200."""
    sigma: Decay = Schedule(0.7, 0.5)
    """sigma_t, > 0, in the units of x. Paper: 0.7, constant; in a variant times 0.98 every 100 hops (`StepCooling`)."""
    alpha: Alpha = Growth(100.0)
    """alpha_t, > 0, in 1 / units of f. Paper: 100."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        self.sigma.check("sigma")
        self.alpha.check("alpha")

    def init(self, x0: Tensor, stream: Stream) -> HoppingState:
        """The first consensus is x0 [R, d]."""
        return HoppingState(x0, 0)

    def ask(self, state: HoppingState, stream: Stream) -> tuple[Tensor, HoppingState]:
        """Samples [R, N, d] around the consensus."""
        return gaussian(state.consensus, self.sigma(state.t), self.particles, stream), state  # l.1

    def tell(self, state: HoppingState, points: Tensor, feedback: Any) -> tuple[HoppingState, Metrics]:
        """One hop; metrics: diameter (root mean squared distance of the samples to the new consensus), failed."""
        success = succeeded(feedback.values)
        consensus = consensus_point(points, feedback.values, self.alpha.of(state.t, feedback.values))  # l.2
        consensus = agreed(consensus, state.consensus, success)
        return HoppingState(consensus, state.t + 1), report(points, consensus, success)

    def recommend(self, state: HoppingState) -> Tensor:
        """c_t, [R, d]."""
        return state.consensus

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations and those of the weights."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, self.alpha.invariance})
