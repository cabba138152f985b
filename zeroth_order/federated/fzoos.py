"""FZooS: federated zeroth-order optimization with trajectory-informed surrogate gradients.

Shu, Lin, Dai, Low (arXiv 2308.04077), Algorithm 1. Every client has a Gaussian process of its own function, made of all
it has been asked, whose gradient costs no query; the clients' processes, as vectors of random features, are averaged by
the server, and correct every client's gradient towards that of F where the client is.

    1  S clients are drawn;  x_c <- x;  client c queries x                     at the beginning of a round
    2  g_c <- grad mu_c(x_c) + gamma (grad mu_w(x_c) - grad mu_{w_c}(x_c))     T times
    3  x_c <- P(x_c + step(g_c)),  and client c queries x_c
    4  and the `active` of `candidates` points around x_c where grad mu_c is least certain        (not after the last)
    5  x   <- sum_c p_c x_c                                                    at the end of a round
    6  accept x only if F(x) is lower, one query of every client               (`monotone`)
    7  client c queries x and the `closing` of `closing_candidates` points around it
    8  w_c <- features of its process;  w <- sum_c p_c w_c

mu_c: `zeroth_order.federated.gaussian_process`; w: `zeroth_order.federated.random_features`; gamma:
`zeroth_order.federated.gamma`. Two settings have names: `faithful()` is what the official code does, but for its
defects, and the default is ours: see fzoos.md.

Deviations of both: every query is charged, the tests of line 6 too; the length-scale is found by a search around the
last one, once a round, and not by twenty restarts in every step; active queries are scored by the trace of the
gradient's covariance, conditioned on the client's points and not on each other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Request, Schedule, check_range
from envs.random import Stream
from zeroth_order.core import succeeded
from zeroth_order.federated.compression import Compression, Whole
from zeroth_order.federated.core import (
    ACCEPTANCE,
    ACTIVE,
    GRADIENT,
    FederatedOptimizer,
    client_streams,
    floats,
)
from zeroth_order.federated.gamma import Decaying, Gamma, Observed
from zeroth_order.federated.gaussian_process import GaussianProcess, Posterior
from zeroth_order.federated.history import History, Latest, Nearest, Selection
from zeroth_order.federated.kernels import Kernel, SquaredExponential
from zeroth_order.federated.random_features import Features, RandomFeatures
from zeroth_order.federated.scaling import MinMax
from zeroth_order.steps import Adam, Step


class FZooSState(NamedTuple):
    """The server's point and weights, and what every client has seen."""

    x: Tensor
    """[R, d] the server's."""
    value: Tensor
    """[R] F(x) as the clients of the round told it."""
    local: Tensor
    """[R, S, d] x_c; in the last part of a round all the server's."""
    moments: Tensor
    """[R, C, slots, d] of every client's step."""
    chosen: Tensor
    """[R, S] int64, the clients of the round."""
    points: Tensor
    """[R, C, H, d], see `History`."""
    values: Tensor
    """[R, C, H]"""
    length: Tensor
    """[R, C] length-scales, in the units of x."""
    weights: Tensor
    """[R, C, M] w_c."""
    mean: Tensor
    """[R, M] w."""
    t: int
    """Asks so far."""
    features: Features
    """The same for all clients of a run; drawn again, not saved."""


@dataclass(frozen=True)
class FZooS(FederatedOptimizer):
    """Configuration; see the module."""

    id = "fzoos"
    summary = "surrogate gradients from all that clients have seen"
    paper = "Shu, Lin, Dai, Low, Federated ZOO using trajectory-informed surrogate gradients, arXiv 2308.04077"

    steps: int = 10
    """T >= 1, local steps of a round. Paper: 10; attacks 5."""
    process: GaussianProcess = GaussianProcess(capacity=400)
    """Of the local surrogate. Official code: Matern-5/2, noise 1e-6, 150 points."""
    selection: Selection = Latest()
    """Which points of the history it is made of. Official code: the nearest."""
    history: int = 400
    """H >= 1, points that a client remembers. Official code: all."""
    features: RandomFeatures = RandomFeatures(2_000)
    """Of the surrogate that is averaged. Paper: 10,000."""
    feature_kernel: Kernel | None = None
    """Its kernel; None: that of the local surrogate. Official code: squared exponential."""
    feature_length: float | None = None
    """Its length-scale, > 0, in the units of x; None: the median of the clients'. Official code: 1."""
    compression: Compression = Whole()
    """What goes up of w_c."""
    gamma: Gamma = Observed()
    """Weight of the correction. Official code: 1 / (t + 1)."""
    rate: Decay = Schedule(0.01)
    """Step size of a round, > 0. Official code: 0.01."""
    step: Step = Adam()
    """What a client does with its gradient. Paper: Adam."""
    forgets: bool = False
    """Whether the step's moments begin anew in every round, as in the official code."""
    initial: int = 10
    """Points >= 0 around the start that a client queries before its first round. Official code: 10."""
    radius: float = 0.01
    """Half the side of the cube around a point from which candidates are drawn, > 0, in the units of x."""
    active: int = 5
    """Points >= 0 queried after a local step where the gradient is least certain. Official code: 5."""
    candidates: int = 100
    """Points among which they are chosen, >= `active`. Official code: 100."""
    closing: int = 50
    """The same at the end of a round. Official code: 50."""
    closing_candidates: int = 200
    """>= `closing`. Official code: 200."""
    monotone: bool = False
    """Line 6, as in the official code; it freezes where clients differ much."""

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1)
        check_range("history", self.history, 1)
        check_range("initial", self.initial, 0)
        check_range("radius", self.radius, 0.0, open_low=True)
        check_range("active", self.active, 0)
        check_range("candidates", self.candidates, self.active)
        check_range("closing", self.closing, 0)
        check_range("closing_candidates", self.closing_candidates, self.closing)
        if self.feature_length is not None:
            check_range("feature_length", self.feature_length, 0.0, open_low=True)
        self.rate.check("rate")

    @classmethod
    def faithful(cls, **changes: Any) -> Self:
        """The official code's procedure: see the fields."""
        settings: dict[str, Any] = {
            "process": GaussianProcess(capacity=150, scaling=MinMax()),
            "selection": Nearest(),
            "history": 1_500,
            "features": RandomFeatures(10_000),
            "feature_kernel": SquaredExponential(),
            "feature_length": 1.0,
            "gamma": Decaying(),
            "forgets": True,
            "monotone": True,
        }
        return cls(**settings | changes)

    def init(self, x0: Tensor, stream: Stream) -> FZooSState:
        """Server and clients at x0 [R, d], nothing seen."""
        runs, dim = x0.shape
        clients, unknown = self.federation.clients, torch.finfo(x0.dtype).max
        features = self.features.draw(self.feature_kernel or self.process.kernel, stream, x0)
        return FZooSState(
            x=x0,
            value=x0.new_full((runs,), unknown),
            local=x0[:, None].expand(-1, self.federation.size, -1),
            moments=self.step.start(x0)[:, None].expand(-1, clients, -1, -1),
            chosen=torch.zeros(runs, self.federation.size, dtype=torch.int64, device=x0.device),
            points=x0.new_zeros(runs, clients, self.history, dim),
            values=x0.new_full((runs, clients, self.history), unknown),
            length=x0.new_full((runs, clients), dim**0.5),
            weights=x0.new_zeros(runs, clients, self.features.number),
            mean=x0.new_zeros(runs, self.features.number),
            t=0,
            features=features,
        )

    def ask(self, state: FZooSState, stream: Stream) -> tuple[Tensor, FZooSState]:
        """Points [R, S K, d]: what every client of the round queries in this part of it."""
        phase = self._phase(state)
        if phase == 0:
            state = self._opened(state, stream)  # l.1
        own = client_streams(stream, state.chosen, self.federation.clients)
        if phase == 0:
            points = torch.cat((state.local[:, :, None], self._around(state.local, self._extra(state), own)), 2)
        elif phase <= self.steps:
            posterior = self._posterior(state)
            state = self._stepped(state, posterior, phase - 1)
            points = self._with_active(state, posterior, own, self.candidates)
        else:
            if phase == self.steps + 1:
                x = self.federation.mean(state.local, state.chosen)  # l.5
                state = state._replace(local=x[:, None].expand_as(state.local))
            points = self._with_active(state, self._posterior(state), own, self.closing_candidates)
        return points.flatten(1, 2), state

    def request(self, state: FZooSState) -> Request:
        """The iterate and the mean weights go down at the beginning of a round; iterates, then weights go up."""
        phase, size, dim = self._phase(state), self.federation.size, state.x.shape[-1]
        first = ACCEPTANCE if self._is_test(phase) else GRADIENT
        purposes = (first, *(GRADIENT if phase == 0 else ACTIVE,) * self._extra(state))
        up = {self.steps: dim, self._phases - 1: self.compression.floats(self.features.number)}.get(phase, 0)
        down = {0: dim + self.features.number, self.steps + 1: dim}.get(phase, 0)
        clients = state.chosen.repeat_interleave(len(purposes), 1)
        return Request(clients, purposes * size, floats(state.x, size * up), floats(state.x, size * down))

    def tell(self, state: FZooSState, points: Tensor, feedback: Any) -> tuple[FZooSState, Metrics]:
        """What the clients have seen, and at the end of a round the server's point and weights.

        Metrics: rounds (so far), spread (root mean squared distance of the clients to the server), length (mean
        length-scale), failed (share of failed values).
        """
        size, phase = self.federation.size, self._phase(state)
        values = feedback.values.to(points).unflatten(1, (size, -1))
        seen = History(state.points, state.values).appended(points.unflatten(1, (size, -1)), values, state.chosen)
        metrics = {
            "rounds": torch.full_like(state.x[:, 0], state.t // self._phases),
            "spread": (state.local - state.x[:, None]).square().sum(-1).mean(-1).sqrt(),
            "length": state.length.mean(-1),
            "failed": 1 - succeeded(values).to(points.dtype).flatten(1).mean(-1),
        }
        state = state._replace(points=seen.points, values=seen.values)
        if phase == 0:
            state = state._replace(value=self.federation.mean(values[..., 0], state.chosen))
        elif self._is_test(phase):
            state = self._accepted(state, self.federation.mean(values[..., 0], state.chosen))  # l.6
        elif phase == self._phases - 1:
            state = self._summarised(state if self.monotone else state._replace(x=state.local[:, 0]))  # l.8
        return state._replace(t=state.t + 1), metrics

    def recommend(self, state: FZooSState) -> Tensor:
        """The server's point, [R, d]."""
        return state.x

    def pack(self, state: FZooSState) -> dict[str, Tensor | int | float]:
        """All but the features, which the seeds tell."""
        return {name: part for name, part in state._asdict().items() if name != "features"}

    def _opened(self, state: FZooSState, stream: Stream) -> FZooSState:
        local = state.x[:, None].expand_as(state.local)
        moments = torch.zeros_like(state.moments) if self.forgets else state.moments
        return state._replace(local=local, chosen=self.federation.draw(stream), moments=moments)

    def _posterior(self, state: FZooSState) -> Posterior:
        """The processes of the round's clients, made of what is to be used at their iterates."""
        seen = History(state.points, state.values).of(state.chosen)
        points, values = self.selection(seen, state.local, self.process.capacity)
        return self.process.posterior(self.process.fit(points, values, state.length.gather(1, state.chosen)))

    def _stepped(self, state: FZooSState, posterior: Posterior, t: int) -> FZooSState:
        """Lines 2 and 3: where the clients are to query next."""
        correction = self._correction(state)
        variance = posterior.uncertainty(state.local[:, :, None])[..., 0]
        gradient = posterior.gradient(state.local) + self.gamma(t, correction, variance) * correction  # l.2
        index = state.chosen[..., None, None].expand(-1, -1, *state.moments.shape[2:])
        moments = state.moments.gather(1, index)
        rounds = state.t // self._phases
        rate = self.rate(rounds)
        rate = rate.repeat_interleave(self.federation.size) if isinstance(rate, Tensor) else rate
        taken = t if self.forgets else rounds * self.steps + t
        displacement, after = self.step(gradient.flatten(0, 1), moments.flatten(0, 1), rate, taken)
        moved = self.federation.projected(state.local + displacement.view_as(state.local))  # l.3
        finite = torch.isfinite(moved).all(-1, keepdim=True)
        after = torch.where(finite[..., None], after.view_as(moments), moments)
        return state._replace(
            local=torch.where(finite, moved, state.local), moments=state.moments.scatter(1, index, after)
        )

    def _correction(self, state: FZooSState) -> Tensor:
        """grad mu_w - grad mu_{w_c} [R, S, d], one gradient because it is linear in the weights."""
        index = state.chosen[..., None].expand(-1, -1, state.weights.shape[-1])
        difference = state.mean[:, None] - state.weights.gather(1, index)
        return state.features.gradient(difference, state.local, self._feature_length(state))

    def _feature_length(self, state: FZooSState) -> Tensor:
        """[R, S], the same for all clients: only then may their weights be averaged."""
        if self.feature_length is not None:
            return torch.full_like(state.chosen, self.feature_length, dtype=state.length.dtype)
        return state.length.median(-1, keepdim=True).values.expand(-1, state.chosen.shape[1])

    def _with_active(self, state: FZooSState, posterior: Posterior, own: Stream, among: int) -> Tensor:
        """x_c, and where this part of the round has active queries those of `among` candidates, [R, S, K, d]."""
        here, count = state.local[:, :, None], self._extra(state)
        if count == 0:
            return here
        candidates = self._around(state.local, among, own)
        index = posterior.uncertainty(candidates).topk(count, dim=-1).indices  # l.4, l.7
        return torch.cat((here, torch.take_along_dim(candidates, index[..., None], dim=2)), 2)

    def _around(self, centre: Tensor, count: int, own: Stream) -> Tensor:
        """Uniform points [R, S, count, d] in the cubes around the centres [R, S, d], within the box."""
        lanes = torch.arange(count, device=centre.device)
        offsets = 2 * own.spread(lanes).uniform(centre.shape[-1], dtype=centre.dtype) - 1
        return self.federation.projected(centre[:, :, None] + self.radius * offsets.unflatten(0, centre.shape[:2]))

    def _accepted(self, state: FZooSState, value: Tensor) -> FZooSState:
        better = value < state.value
        x = torch.where(better[:, None], state.local[:, 0], state.x)
        return state._replace(
            x=x, value=torch.where(better, value, state.value), local=x[:, None].expand_as(state.local)
        )

    def _summarised(self, state: FZooSState) -> FZooSState:
        """Line 8: length-scales of what has been seen by now, features, and their mean."""
        seen = History(state.points, state.values).of(state.chosen)
        points, values = self.selection(seen, state.local, self.process.capacity)
        window = self.process.fit(points, values, state.length.gather(1, state.chosen))
        window = self.process.tune(window)
        state = state._replace(length=state.length.scatter(1, state.chosen, window.length.to(state.length)))
        weights = state.features.weights(self.process, window, self._feature_length(state).double())
        index = state.chosen[..., None].expand_as(weights)
        sent = self.compression.received(weights, state.weights.gather(1, index))
        return state._replace(
            weights=state.weights.scatter(1, index, sent), mean=self.federation.mean(sent, state.chosen)
        )

    @property
    def _phases(self) -> int:
        """Asks of a round: its opening, the local steps, the test if there is one, its closing."""
        return self.steps + 2 + self.monotone

    def _phase(self, state: FZooSState) -> int:
        return state.t % self._phases

    def _is_test(self, phase: int) -> bool:
        return self.monotone and phase == self.steps + 1

    def _extra(self, state: FZooSState) -> int:
        """Queries of a client in this part besides that of its iterate."""
        phase = self._phase(state)
        if phase == 0:
            return self.initial if state.t == 0 else 0
        if phase < self.steps:
            return self.active
        return self.closing if phase == self._phases - 1 else 0
