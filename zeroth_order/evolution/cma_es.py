"""CMA-ES: covariance matrix adaptation evolution strategy, batched over runs.

Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772, 2016), with the defaults of pycma 4.5 (Hansen,
Akimoto, Baudis, Zenodo 2019) and its negative weights. C = A A^T; all but the mean and p_c is in the coordinates of z:

    1  z_k     ~  N(0, I),  x_k <- m + sigma A z_k,  k = 1 .. n;  evaluate f(x_k)
    2  w_k     <- the weight of the rank of f(x_k); positive ones sum to 1, mu_eff = 1 / sum of w_k^2 over these
    3  z_w     <- sum over w_k > 0 of w_k z_k,  y_w <- A z_w,  m <- m + sigma y_w
    4  p_sigma <- (1 - c_sigma) p_sigma + (c_sigma (2 - c_sigma) mu_eff)^(1/2) z_w
    5  h       <- 1 if |p_sigma|^2 / (1 - (1 - c_sigma)^(2 g)) < (2 + 4 / (d + 1)) d, else 0;  g counts generations
    6  p_c     <- (1 - c_c) p_c + h (c_c (2 - c_c) mu_eff)^(1/2) y_w
    7  w'_k    <- w_k d / |z_k|^2 where w_k < 0,  c'_1 <- c_1 (1 - (1 - h) c_c (2 - c_c))
    8  C       <- (1 - c'_1 - c_mu sum of w_k) C + c_1 p_c p_c^T + c_mu sum of w'_k y_k y_k^T,  y_k = A z_k
    9  sigma   <- sigma exp(min(1, c_sigma / d_sigma (|p_sigma| / E|N(0, I)| - 1)))
   10  a criterion to stop is met: restart with another population, if there are restarts

SepCMAES has a diagonal C (Ros, Hansen, PPSN 2008). A generation of a population that restarts have made m times as
large takes m asks.

Deviations: A is the Cholesky factor of C (Krause, Arbones, Igel, NeurIPS 2016), `SymmetricRoot` is the tutorial's. No
mirrored samples when n < 6, and CSA for every d (pycma: TPA from d = 300 on). What failed does not belong to the
population: weights and rates are those of the points that are left; with fewer than two nothing is learnt.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import recalled, stored, without_stream
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.evolution import stopping
from zeroth_order.evolution.cma_state import CMAESState, gathered
from zeroth_order.evolution.covariance import Cholesky, Covariance, Diagonal
from zeroth_order.evolution.population import default_popsize
from zeroth_order.evolution.restarts import NoRestarts, Regime, Restarts
from zeroth_order.evolution.rows import part_of, put, taken
from zeroth_order.evolution.selection import expected_norm, weights_and_rates
from zeroth_order.evolution.stopping import History


@dataclass(frozen=True)
class Adaptation(Optimizer, ABC):
    """What CMA-ES is for every kind of covariance."""

    sigma0: Numeric = 1.0
    """Initial step size, > 0, in the units of x; pycma advises a quarter of the range where the optimum is expected."""
    popsize: int | None = None
    """lambda >= 3, the K of an ask and the population before restarts; None: 4 + floor(3 ln d)."""
    restarts: Restarts = NoRestarts()
    """What follows when a criterion to stop is met."""

    def __post_init__(self) -> None:
        check_range("sigma0", self.sigma0, low=0.0, open_low=True)
        if self.popsize is not None:
            check_range("popsize", self.popsize, low=3)

    @property
    @abstractmethod
    def covariance(self) -> Covariance:
        """How C is held and adapted."""

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations where the factor of C turns with it; restarts compare differences of values with thresholds."""
        found = {Invariance.TRANSLATION} | ({Invariance.MONOTONE} if self.restarts.largest == 1 else set())
        return frozenset(found | {Invariance.ROTATION} if self.covariance.turns else found)

    @property
    def uniform(self) -> bool:
        """Without restarts: they change the population."""
        return self.restarts.largest == 1

    def init(self, x0: Tensor, stream: Stream) -> CMAESState:
        """N(x0, sigma0^2 I) at x0 [R, d]."""
        zeros, sigma = torch.zeros_like(x0), self._sigma0(x0)
        popsize, most = self.popsize or default_popsize(x0.shape[1]), self.restarts.largest
        counters = x0.new_zeros(len(x0), most, dtype=torch.int64)
        values = x0.new_zeros(len(x0), most * popsize)
        history, regime = stopping.begin(x0, popsize), self.restarts.begin(sigma)
        return CMAESState(
            start=x0, mean=x0, sigma=sigma, factor=self.covariance.identity(x0), p_sigma=zeros, p_c=zeros,
            z=x0.new_zeros(len(x0), popsize if most == 1 else 0, x0.shape[1]), filled=counters[:, 0],
            counters=counters, values=values, best_mean=x0, best_median=history.median,
            **history._asdict(), **regime._asdict(), stream=stream,
        )  # fmt: skip

    def ask(self, state: CMAESState, stream: Stream) -> tuple[Tensor, CMAESState]:
        """The next K points [R, K, d] of the generation."""
        z = self._normals(state, stream)
        points = state.mean[:, None] + state.sigma[:, None, None] * self.covariance.color(state.factor, z)  # l.1
        return points, state._replace(stream=stream, z=z if self.restarts.largest == 1 else state.z)

    def tell(self, state: CMAESState, points: Tensor, feedback: Any) -> tuple[CMAESState, Metrics]:
        """One generation, where it is complete; with restarts the host looks where it is.

        Metrics: sigma, axis_ratio (root of the condition of C, or of a lower bound), failed (share of failed values).
        """
        state = gathered(state, stored(feedback.values, state.values))
        state = self._generation(state, state.z) if self.restarts.largest == 1 else self._generations(state)
        metrics = {
            "sigma": state.sigma,
            "axis_ratio": self.covariance.condition(state.factor).sqrt(),
            "failed": 1 - succeeded(feedback.values).to(points.dtype).mean(-1),
        }
        return state, metrics

    def recommend(self, state: CMAESState) -> Tensor:
        """The mean, or the last mean before a restart, the one whose last generation had the best median; [R, d]."""
        return torch.where((state.best_median < state.median)[:, None], state.best_mean, state.mean)

    def stop(self, state: CMAESState) -> dict[str, Tensor]:
        """pycma's criteria, in runs after which there is no restart."""
        met = self._criteria(state, self.restarts.largest)
        return {name: reason & state.last for name, reason in met.items()}

    def pack(self, state: CMAESState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    def _sigma0(self, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, 0]) * along_runs(self.sigma0, x[:, 0])

    def _popsize(self, state: CMAESState) -> int:
        """K."""
        return state.values.shape[1] // self.restarts.largest

    def _normals(self, state: CMAESState, stream: Stream) -> Tensor:
        """z, K of them for each of the stream's runs."""
        lanes = torch.arange(self._popsize(state), device=state.mean.device)
        return stream.spread(lanes).normal(state.mean.shape[1], dtype=state.mean.dtype)

    def _drawn_again(self, state: CMAESState, multiple: int) -> Tensor:
        """z [R, n, d] of the last `multiple` asks."""
        counters = state.counters[:, :multiple].flatten()
        stream = state.stream._replace(seeds=state.stream.seeds.repeat_interleave(multiple), counter=counters)
        return self._normals(state, stream).view(len(state.mean), -1, state.mean.shape[1])

    def _generation(self, state: CMAESState, z: Tensor) -> CMAESState:
        """The state after a generation of z [R, n, d]."""
        values = recalled(state.values[:, : z.shape[1]])
        counts = succeeded(values)
        ordered, order = values.sort(dim=-1, stable=True)
        history = stopping.extended(part_of(History, state), ordered, counts.sum(-1))
        state = self._adapted(state, z, order.argsort(-1), counts)
        return state._replace(**history._asdict(), filled=torch.zeros_like(state.filled))

    def _adapted(self, state: CMAESState, z: Tensor, rank: Tensor, counts: Tensor) -> CMAESState:
        """The distribution after z [R, n, d] of rank [R, n], of which some count, [R, n] bool."""
        dim, covariance, sigma = z.shape[-1], self.covariance, state.sigma[:, None]
        weights, rates = weights_and_rates(rank, counts, covariance.speed(dim), z)  # l.2
        mueff, c_sigma, damping, c_c, c_1, c_mu = rates
        z_w = (weights.clamp(min=0)[..., None] * z).sum(1)  # l.3
        y_w = covariance.color(state.factor, z_w[:, None])[:, 0]
        p_sigma = (1 - c_sigma) * state.p_sigma + (c_sigma * (2 - c_sigma) * mueff).sqrt() * z_w  # l.4
        square = p_sigma.square().sum(-1, keepdim=True)
        settled = 1 - (1 - c_sigma) ** (2 * (state.generation + 1)[:, None])
        h = (square / settled < (2 + 4 / (dim + 1)) * dim).to(z)  # l.5
        p_c = (1 - c_c) * state.p_c + h * (c_c * (2 - c_c) * mueff).sqrt() * y_w  # l.6
        length = torch.linalg.vector_norm(z, dim=-1) + 1e-9
        scaled = torch.where(weights < 0, weights * dim / length.square(), weights)  # l.7
        decay = 1 - c_1 * (1 - (1 - h) * c_c * (2 - c_c)) - c_mu * weights.sum(-1, keepdim=True)
        vectors = torch.cat((covariance.whiten(state.factor, p_c)[:, None], z), 1)
        factor = covariance.adapted(state.factor, vectors, torch.cat((c_1, c_mu * scaled), 1), decay[:, 0])  # l.8
        growth = c_sigma / damping * (square.sqrt() / expected_norm(dim) - 1)
        return state._replace(
            mean=state.mean + sigma * y_w,
            sigma=(sigma * growth.clamp(max=1).exp())[:, 0],  # l.9
            factor=factor,
            p_sigma=p_sigma,
            p_c=p_c,
        )

    def _criteria(self, state: CMAESState, multiple: int) -> dict[str, Tensor]:
        deviations, condition = self.covariance.deviations(state.factor), self.covariance.condition(state.factor)
        popsize, history = multiple * self._popsize(state), part_of(History, state)
        return stopping.criteria(history, popsize, state.sigma, state.sigma0, deviations, state.p_c, condition)

    def _generations(self, state: CMAESState) -> CMAESState:
        """The generations that are complete, one size of population after the other, and what follows them."""
        done = state.filled == state.multiple
        ended = torch.zeros_like(done)
        for multiple in state.multiple[done].unique().tolist():
            rows = (done & (state.multiple == multiple)).nonzero()[:, 0]
            some = taken(state, rows)
            some = self._generation(some, self._drawn_again(some, multiple))
            met = torch.stack(list(self._criteria(some, multiple).values())).any(0) | (some.evaluations >= some.limit)
            state, ended = put(state, some, rows), ended.index_copy(0, rows, met & ~some.last)
        return self.keep(ended, self._restarted(state), state) if bool(ended.any()) else state  # l.10

    def _restarted(self, state: CMAESState) -> CMAESState:
        """Every run after a restart."""
        popsize, dim = self._popsize(state), state.mean.shape[1]
        after_z = torch.tensor(popsize, device=state.mean.device)
        uniform = state.stream.spread(after_z).uniform(dim + 2, dtype=state.mean.dtype)
        regime = self.restarts.following(part_of(Regime, state), self._sigma0(state.mean), uniform[:, dim:])
        mean, zeros = self.restarts.place(state.start, uniform[:, :dim]), torch.zeros_like(state.mean)
        return state._replace(
            mean=mean, sigma=regime.sigma0, factor=self.covariance.identity(mean), p_sigma=zeros, p_c=zeros,
            best_mean=self.recommend(state), best_median=state.best_median.minimum(state.median),
            **stopping.begin(mean, popsize)._asdict(), **regime._asdict(),
        )  # fmt: skip


@dataclass(frozen=True)
class CMAES(Adaptation):
    """Configuration; see the module."""

    id = "cma-es"
    summary = "covariance matrix adaptation evolution strategy"
    paper = "Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772 (2016)"

    covariance: Covariance = Cholesky()
    """How C is held: Cholesky, fast, SymmetricRoot, slow, as in the tutorial, or Diagonal."""


@dataclass(frozen=True)
class SepCMAES(Adaptation):
    """Configuration; see the module."""

    id = "sep-cma-es"
    summary = "CMA-ES with a diagonal covariance matrix"
    paper = "Ros, Hansen, A simple modification in CMA-ES achieving linear time and space complexity, PPSN 2008"

    @property
    def covariance(self) -> Covariance:
        """Diagonal."""
        return Diagonal()
