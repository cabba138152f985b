"""xNES: exponential natural evolution strategy.

Glasmachers, Schaul, Sun, Wierstra, Schmidhuber, "Exponential natural evolution strategies" (GECCO 2010); Wierstra et
al., "Natural evolution strategies" (JMLR 15, 2014), Algorithm 5. N(mu, A A') with A = sigma B, det B = 1, moves along
the natural gradient in the local coordinates (delta, M) -> (mu + A delta, A exp(M / 2)), in which the Fisher matrix is
the identity:

    1  z_k ~ N(0, I),  x_k <- mu + sigma B z_k,  k = 1 .. n
    2  u_k     <- utility of the rank of f(x_k):  max(0, ln(n/2 + 1) - ln k) / sum - 1 / n for the k-th best
    3  G_delta <- sum_k u_k z_k,   G_M <- sum_k u_k (z_k z_k' - I)
    4  G_sigma <- tr(G_M) / d,     G_B <- G_M - G_sigma I
    5  mu      <- mu + eta_mu sigma B G_delta
    6  sigma   <- sigma exp(eta_sigma / 2 G_sigma)
    7  B       <- B exp(eta_b / 2 G_B),  the exponential of a matrix and not of its entries

Deviations: equal values share the mean of their utilities, so does whatever failed, on the last ranks; if all failed,
nothing changes. B is not kept symmetric, so lines 1 and 5 have the same B (a transpose in one of them would be another
distribution).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import normals, product, whole_lines
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.evolution.population import default_popsize
from zeroth_order.evolution.shaping import utilities

HALVINGS, ORDER = 8, 7
"""Of `expm1`: relative errors are those of rounding up to a norm of 10 and 1e-8 at 50; a step's is about 1 at most."""


class XNESState(NamedTuple):
    """The search distribution, and what the last points were made of."""

    mu: Tensor
    """[R, d]"""
    sigma: Tensor
    """[R] > 0"""
    B: Tensor
    """[R, d, d], determinant 1."""
    normals: Tensor
    """[R, n, d] z of the last ask; 0 before the first."""


@dataclass(frozen=True)
class XNES(Optimizer):
    """Configuration; see the module."""

    id = "xnes"
    summary = "natural gradient of a Gaussian with any covariance"
    paper = "Glasmachers et al., Exponential natural evolution strategies, GECCO (2010)"

    popsize: int | None = None
    """n >= 2, the points of a step; None: 4 + floor(3 ln d), the paper's."""
    sigma0: Numeric = 1.0
    """Standard deviation at the start, > 0, in the units of x."""
    eta_mu: Numeric = 1.0
    """Learning rate of mu, > 0. Paper: 1."""
    eta_sigma: Numeric = 1.0
    """Learning rate of log sigma, > 0, in units of the paper's (9 + 3 ln d) / (5 d^(3/2))."""
    eta_b: Numeric = 1.0
    """Learning rate of log B, > 0, in the same units."""

    def __post_init__(self) -> None:
        if self.popsize is not None:
            check_range("popsize", self.popsize, 2)
        for name in ("sigma0", "eta_mu", "eta_sigma", "eta_b"):
            check_range(name, getattr(self, name), 0.0, open_low=True)

    def init(self, x0: Tensor, stream: Stream) -> XNESState:
        """N(x0, sigma0^2 I) at x0 [R, d]."""
        runs, dim = x0.shape
        identity = torch.eye(dim, dtype=x0.dtype, device=x0.device).repeat(runs, 1, 1)
        sigma = along_runs(self.sigma0, x0[:, 0]) * torch.ones_like(x0[:, 0])
        return XNESState(x0, sigma, identity, x0.new_zeros(runs, self.popsize or default_popsize(dim), dim))

    def ask(self, state: XNESState, stream: Stream) -> tuple[Tensor, XNESState]:
        """Points [R, n, d]."""
        z = normals(stream, state.normals.shape[1], state.mu)
        deviations = state.sigma[:, None, None] * product(z, state.B.mT)
        return state.mu[:, None] + deviations, state._replace(normals=z)  # l.1

    def tell(self, state: XNESState, points: Tensor, feedback: Any) -> tuple[XNESState, Metrics]:
        """One step; metrics: sigma, step_norm (of mu), failed (share of failed values)."""
        dim, z = state.mu.shape[-1], state.normals
        identity = torch.eye(dim, dtype=z.dtype, device=z.device)
        u = utilities(feedback.values).to(z)[..., None]  # l.2
        G_delta = (u * z).sum(1)
        G_M = product((u * z).mT, z) - u.sum(1, keepdim=True) * identity  # l.3
        G_sigma = G_M.diagonal(dim1=1, dim2=2).sum(-1) / dim
        G_B = G_M - G_sigma[:, None, None] * identity  # l.4
        rate = (9 + 3 * math.log(dim)) / (5 * dim * math.sqrt(dim))
        step = state.sigma[:, None] * product(state.B, G_delta[..., None])[..., 0]
        mu = state.mu + along_runs(self.eta_mu, step) * step  # l.5
        sigma = state.sigma * torch.exp(along_runs(self.eta_sigma * rate / 2, G_sigma) * G_sigma)  # l.6
        B = state.B + product(state.B, expm1(along_runs(self.eta_b * rate / 2, G_B) * G_B))  # l.7
        metrics = {
            "sigma": state.sigma,
            "step_norm": (mu - state.mu).norm(dim=-1),
            "failed": 1 - succeeded(feedback.values).to(z.dtype).mean(-1),
        }
        return XNESState(mu, sigma, B, z), metrics

    def recommend(self, state: XNESState) -> Tensor:
        """mu, [R, d]."""
        return state.mu

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations and whatever keeps the order of values."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, Invariance.MONOTONE})


def expm1(M: Tensor) -> Tensor:
    """exp(M) - I of matrices [R, d, d]: Taylor's series of M / 2^8, then (I + E)^2 - I = 2 E + E^2 eight times.

    `torch.linalg.matrix_exp` sums in an order that depends on the other matrices of the batch, and waits for a GPU.
    """
    small = whole_lines(M) / 2**HALVINGS  # so all matrices below begin with a cache line, as `product` needs it
    E = small / ORDER
    for k in range(ORDER - 1, 0, -1):
        E = (small + small @ E) / k
    for _ in range(HALVINGS):
        E = 2 * E + E @ E
    return E[..., : M.shape[-1], : M.shape[-1]]
