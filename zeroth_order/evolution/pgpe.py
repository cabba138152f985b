"""PGPE: policy gradients with parameter-based exploration.

Sehnke, Osendorfer, Rueckstiess, Graves, Peters, Schmidhuber, "Parameter-exploring policy gradients" (Neural Networks
2010), with symmetric sampling. The points are drawn from N(mu, diag sigma^2), whose parameters follow the gradient of
the expected value F(mu, sigma) = E f(mu + eps), preconditioned by sigma^2:

    1  eps_j ~ N(0, diag sigma^2),  j = 1 .. n;  evaluate f at mu + eps_j and mu - eps_j
    2  u+_j, u-_j <- the values, or their centred ranks
    3  g_mu    <- mean over j of (u+_j - u-_j) / 2 * eps_j
    4  b_j     <- mean of (u+ + u-) / 2 over the other pairs
    5  g_sigma <- mean over j of ((u+_j + u-_j) / 2 - b_j) (eps_j^2 - sigma^2) / sigma
    6  mu      <- mu - gamma_t g_mu                                   (Plain; values are minimised)
               or a step of ClipUp
    7  sigma   <- sigma - alpha_sigma g_sigma, changed by at most a given share

ClipUp: Toklu, Liskowski, Srivastava, "ClipUp: a simple and powerful optimizer for distribution-based policy evolution"
(PPSN 2020). velocity <- momentum * velocity - gamma_t g_mu / |g_mu|, cut to a largest norm; mu <- mu + velocity.

Deviations: the baseline is the mean of the other pairs of the batch instead of a moving average, and nothing is divided
by the distance to the best reward; centred ranks (as Toklu et al.) make steps independent of the scale of f instead.
The limit on changes of sigma, which keeps it positive, is Toklu et al.'s. A pair of which a member failed is dropped;
with no pair left nothing changes, and with only one sigma stays.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.core import Invariance, Optimizer
from zeroth_order.evolution.pairs import around, paired
from zeroth_order.steps import Plain, Step


class PGPEState(NamedTuple):
    """The search distribution."""

    mu: Tensor
    """[R, d]"""
    sigma: Tensor
    """[R, d] > 0"""
    moments: Tensor
    """[R, slots, d] of the step."""
    t: int


@dataclass(frozen=True)
class PGPE(Optimizer):
    """Configuration; see the module."""

    id = "pgpe"
    summary = "gradient of a Gaussian search distribution, symmetric samples"
    paper = "Sehnke et al., Parameter-exploring policy gradients, Neural Networks 23 (2010)"

    pairs: int = 10
    """n >= 2, pairs of symmetric points: 2 n queries a step."""
    gamma: Schedule = Schedule(0.2)
    """Step size of mu, > 0. Sehnke et al.: alpha_mu = 0.2."""
    alpha_sigma: Numeric = 0.1
    """Step size of sigma, >= 0. Sehnke et al.: 0.1."""
    sigma0: Numeric = 1.0
    """Standard deviation at the start, > 0, in the units of x. Sehnke et al.: 2."""
    max_change: Numeric = 0.2
    """Largest relative change of a standard deviation in a step, in [0, 0.9]. Toklu et al.: 0.2."""
    ranks: bool = True
    """Centred ranks instead of values. Sehnke et al.: values, but divided by their distance to the best."""
    step: Step = Plain()
    """What is done with the gradient: Plain, or ClipUp, which normalizes it and adds momentum."""

    def __post_init__(self) -> None:
        check_range("pairs", self.pairs, 2)
        self.gamma.check("gamma")
        check_range("alpha_sigma", self.alpha_sigma, 0.0)
        check_range("sigma0", self.sigma0, 0.0, open_low=True)
        check_range("max_change", self.max_change, 0.0, 0.9)

    def init(self, x0: Tensor, stream: Stream) -> PGPEState:
        """N(x0, sigma0^2 I) at x0 [R, d]."""
        sigma = along_runs(self.sigma0, x0) * torch.ones_like(x0)
        return PGPEState(x0, sigma, self.step.start(x0), 0)

    def ask(self, state: PGPEState, stream: Stream) -> tuple[Tensor, PGPEState]:
        """Points [R, 2 n, d]: all mu + eps_j, then all mu - eps_j."""
        lanes = torch.arange(self.pairs, device=state.mu.device)
        normals = stream.spread(lanes).normal(state.mu.shape[-1], dtype=state.mu.dtype)
        return around(state.mu, state.sigma[:, None] * normals), state  # l.1

    def tell(self, state: PGPEState, points: Tensor, feedback: Any) -> tuple[PGPEState, Metrics]:
        """One step of mu and sigma.

        Metrics: sigma (mean over the coordinates), step_norm (of mu), failed (share of dropped pairs).
        """
        found = paired(points, feedback.values, self.ranks)  # l.2
        count = found.counts.sum(-1, keepdim=True)
        middle = (found.plus + found.minus) / 2
        baseline = (middle.sum(-1, keepdim=True) - middle) / (count - 1).clamp(min=1)  # l.4
        advantage = torch.where(found.counts & (count > 1), middle - baseline, 0.0)[..., None]
        excess = found.eps.square().sub_(state.sigma[:, None].square())
        g_sigma = found.mean(excess.mul_(advantage)) / state.sigma  # l.5

        gamma = self.gamma(state.t)
        mu, moments = self.step.follow(state.mu, found.slope(), state.moments, gamma, state.t, found.known)  # l.3, l.6
        limit = along_runs(self.max_change, state.sigma) * state.sigma
        change = torch.clamp(along_runs(self.alpha_sigma, g_sigma) * g_sigma, -limit, limit)
        metrics = {"sigma": state.sigma.mean(-1), "step_norm": (mu - state.mu).norm(dim=-1), "failed": found.failed}
        return PGPEState(mu, state.sigma - change, moments, state.t + 1), metrics  # l.7

    def recommend(self, state: PGPEState) -> Tensor:
        """mu, [R, d]."""
        return state.mu

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, and what the utilities are invariant under; not rotations, which mix the deviations."""
        return frozenset({Invariance.TRANSLATION, Invariance.MONOTONE if self.ranks else Invariance.OFFSET})
