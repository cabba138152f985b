"""OpenAI-ES: evolution strategies with a fixed isotropic Gaussian, as in reinforcement learning at scale.

Salimans, Ho, Chen, Sidor, Sutskever, "Evolution strategies as a scalable alternative to reinforcement learning"
(arXiv 1703.03864, 2017), Algorithm 1 with its section 2.1: antithetic samples, centred ranks, Adam, weight decay.
It descends the smoothed function F(x) = E f(x + sigma eps), eps ~ N(0, I):

    1  eps_j ~ N(0, I),  j = 1 .. n;  evaluate f at x + sigma_t eps_j and x - sigma_t eps_j
    2  u+_j, u-_j <- centred ranks of the 2 n values, or the values
    3  g <- 1 / (2 n sigma_t) sum_j (u+_j - u-_j) eps_j
    4  g <- g + weight_decay x
    5  x <- x + a step of Adam with step size gamma_t along -g

Deviations: the weight decay is 0 by default, because it moves the minimum of whatever is not a network. A pair of which
a member failed is dropped; with no pair left nothing changes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import normals
from zeroth_order.core import Invariance, Optimizer
from zeroth_order.evolution.pairs import around, paired
from zeroth_order.steps import Adam, Step


class OpenAIESState(NamedTuple):
    """The search point and what its step remembers."""

    x: Tensor
    """[R, d]"""
    moments: Tensor
    """[R, slots, d] of the step."""
    t: int


@dataclass(frozen=True)
class OpenAIES(Optimizer):
    """Configuration; see the module."""

    id = "openai-es"
    summary = "gradient of the Gaussian-smoothed function, ranks and Adam"
    paper = "Salimans et al., Evolution strategies as a scalable alternative to RL, arXiv 1703.03864 (2017)"

    pairs: int = 10
    """n >= 1, pairs of symmetric points: 2 n queries a step. Paper: thousands."""
    gamma: Decay = Schedule(0.01)
    """Step size gamma_t > 0. The paper's released settings: 0.01."""
    sigma: Decay = Schedule(0.02)
    """Standard deviation sigma_t > 0 of the samples, in the units of x. The paper's released settings: 0.02."""
    ranks: bool = True
    """Centred ranks instead of values. Paper: ranks."""
    weight_decay: Numeric = 0.0
    """L2 coefficient, >= 0, added to the gradient before the step. The paper's released settings: 0.005."""
    step: Step = Adam()
    """What is done with the gradient. Paper: Adam."""

    def __post_init__(self) -> None:
        check_range("pairs", self.pairs, 1)
        self.gamma.check("gamma")
        self.sigma.check("sigma")
        check_range("weight_decay", self.weight_decay, 0.0)

    def init(self, x0: Tensor, stream: Stream) -> OpenAIESState:
        """The search point is x0 [R, d]."""
        return OpenAIESState(x0, self.step.start(x0), 0)

    def ask(self, state: OpenAIESState, stream: Stream) -> tuple[Tensor, OpenAIESState]:
        """Points [R, 2 n, d]: all x + sigma eps_j, then all x - sigma eps_j."""
        eps = normals(stream, self.pairs, state.x)
        return around(state.x, along_runs(self.sigma(state.t), eps) * eps), state  # l.1

    def tell(self, state: OpenAIESState, points: Tensor, feedback: Any) -> tuple[OpenAIESState, Metrics]:
        """One step; metrics: gradient_norm (before the weight decay), step_norm, failed (share of dropped pairs)."""
        found = paired(points, feedback.values, self.ranks)  # l.2
        gradient = found.slope() / along_runs(self.sigma(state.t), state.x) ** 2  # l.3
        decayed = gradient + along_runs(self.weight_decay, state.x) * state.x  # l.4
        gamma = self.gamma(state.t)
        x, moments = self.step.follow(state.x, decayed, state.moments, gamma, state.t, found.known)  # l.5
        metrics = {
            "gradient_norm": gradient.norm(dim=-1),
            "step_norm": (x - state.x).norm(dim=-1),
            "failed": found.failed,
        }
        return OpenAIESState(x, moments, state.t + 1), metrics

    def recommend(self, state: OpenAIESState) -> Tensor:
        """x, [R, d]."""
        return state.x

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Of the utilities; rotations if the step has them, translations if nothing pulls to the origin."""
        found = {Invariance.MONOTONE if self.ranks else Invariance.OFFSET}
        if self.step.isotropic:
            found.add(Invariance.ROTATION)
        if not isinstance(self.weight_decay, Tensor) and self.weight_decay == 0:
            found.add(Invariance.TRANSLATION)
        return frozenset(found)
