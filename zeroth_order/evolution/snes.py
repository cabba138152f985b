"""SNES: separable natural evolution strategy.

Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber, "Natural evolution strategies" (JMLR 15, 2014), Algorithm 6;
Schaul, Glasmachers, Schmidhuber, "High dimensions and heavy tails for natural evolution strategies" (GECCO 2011). The
natural gradient of the expected utility, in the parameters mu and log sigma of N(mu, diag sigma^2):

    1  z_k ~ N(0, I),  x_k <- mu + sigma z_k,  k = 1 .. n
    2  u_k   <- utility of the rank of f(x_k):  max(0, ln(n/2 + 1) - ln k) / sum - 1 / n for the k-th best
    3  mu    <- mu + eta_mu sigma sum_k u_k z_k
    4  sigma <- sigma exp(eta_sigma / 2 sum_k u_k (z_k^2 - 1))

Deviations: equal values share the mean of their utilities, so does whatever failed, on the last ranks; if all failed,
nothing changes.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import normals
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.evolution.population import default_popsize
from zeroth_order.evolution.shaping import utilities


class SNESState(NamedTuple):
    """The search distribution, and what the last points were made of."""

    mu: Tensor
    """[R, d]"""
    sigma: Tensor
    """[R, d] > 0"""
    normals: Tensor
    """[R, n, d] z of the last ask; 0 before the first."""


@dataclass(frozen=True)
class SNES(Optimizer):
    """Configuration; see the module."""

    id = "snes"
    summary = "natural gradient of a Gaussian with one deviation per coordinate"
    paper = "Wierstra et al., Natural evolution strategies, JMLR 15 (2014)"

    popsize: int | None = None
    """n >= 2, the points of a step; None: 4 + floor(3 ln d), the paper's."""
    sigma0: Numeric = 1.0
    """Standard deviation at the start, > 0, in the units of x."""
    eta_mu: Numeric = 1.0
    """Learning rate of mu, > 0. Paper: 1."""
    eta_sigma: Numeric = 1.0
    """Learning rate of log sigma, > 0, in units of the paper's (3 + ln d) / (5 d^(1/2))."""

    def __post_init__(self) -> None:
        if self.popsize is not None:
            check_range("popsize", self.popsize, 2)
        for name in ("sigma0", "eta_mu", "eta_sigma"):
            check_range(name, getattr(self, name), 0.0, open_low=True)

    def init(self, x0: Tensor, stream: Stream) -> SNESState:
        """N(x0, sigma0^2 I) at x0 [R, d]."""
        runs, dim = x0.shape
        sigma = along_runs(self.sigma0, x0) * torch.ones_like(x0)
        return SNESState(x0, sigma, x0.new_zeros(runs, self.popsize or default_popsize(dim), dim))

    def ask(self, state: SNESState, stream: Stream) -> tuple[Tensor, SNESState]:
        """Points [R, n, d]."""
        z = normals(stream, state.normals.shape[1], state.mu)
        return (state.sigma[:, None] * z).add_(state.mu[:, None]), state._replace(normals=z)  # l.1

    def tell(self, state: SNESState, points: Tensor, feedback: Any) -> tuple[SNESState, Metrics]:
        """One step; metrics: sigma (mean over the coordinates), step_norm (of mu), failed (share of failed values)."""
        dim = state.mu.shape[-1]
        u = utilities(feedback.values).to(state.mu)[..., None]  # l.2
        weighted = u * state.normals
        mu = state.mu + along_runs(self.eta_mu, state.mu) * state.sigma * weighted.sum(1)  # l.3
        growth = (weighted.mul_(state.normals).sum(1) - u.sum(1)) / 2
        eta_sigma = self.eta_sigma * (3 + math.log(dim)) / (5 * math.sqrt(dim))
        sigma = state.sigma * torch.exp(along_runs(eta_sigma, growth) * growth)  # l.4
        metrics = {
            "sigma": state.sigma.mean(-1),
            "step_norm": (mu - state.mu).norm(dim=-1),
            "failed": 1 - succeeded(feedback.values).to(mu.dtype).mean(-1),
        }
        return SNESState(mu, sigma, state.normals), metrics

    def recommend(self, state: SNESState) -> Tensor:
        """mu, [R, d]."""
        return state.mu

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations and whatever keeps the order of values; not rotations, which mix the deviations."""
        return frozenset({Invariance.TRANSLATION, Invariance.MONOTONE})
