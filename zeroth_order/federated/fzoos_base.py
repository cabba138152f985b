"""What FZooS is configured with, what server and clients remember, and what a client makes of it.

`zeroth_order.federated.fzoos` has the algorithm; line numbers are its.
"""

from abc import ABC
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from envs.algorithm import Decay, Schedule, check_range
from envs.random import Stream
from zeroth_order.federated.active import around, least_certain
from zeroth_order.federated.compression import Compression, Whole
from zeroth_order.federated.core import FederatedObjective
from zeroth_order.federated.gamma import Decaying, Gamma, Observed
from zeroth_order.federated.gaussian_process import GaussianProcess, Posterior, Window
from zeroth_order.federated.history import History, Latest, Nearest, Selection
from zeroth_order.federated.kernels import Kernel, SquaredExponential
from zeroth_order.federated.local import LocalSteps
from zeroth_order.federated.random_features import Features, RandomFeatures
from zeroth_order.federated.scaling import MinMax
from zeroth_order.random_directions import Gain


class FZooSServer(NamedTuple):
    """What the server has."""

    x: Tensor
    """[R, d]"""
    proposed: Tensor
    """[R, d] x of line 5, before it counts."""
    mean: Tensor
    """[R, W] w."""
    lengths: Tensor
    """[R, C] length-scale of every client as it was last sent."""
    length: Tensor
    """[R] length-scale of all features."""


class FZooSClient(NamedTuple):
    """What the clients have."""

    x: Tensor
    """[R, C, d] the server's."""
    local: Tensor
    """[R, C, d] x_c."""
    moments: Tensor
    """[R, C, slots, d] of the step."""
    points: Tensor
    """[R, C, H, d], see `History`."""
    values: Tensor
    """[R, C, H]"""
    length: Tensor
    """[R, C] length-scale of mu_c, in the units of x."""
    shared: Tensor
    """[R, C] that of all features."""
    weights: Tensor
    """[R, C, W] w_c, as the server has it."""
    memory: Tensor
    """[R, C, k, W] of the compression of w_c."""
    mean: Tensor
    """[R, C, W] w."""
    slope: Tensor
    """[R, C, d] differences of f_c at the last point that others were asked around."""
    trusted: Tensor
    """[R, C] bool, whether mu_c is used in this round, or the differences are."""
    answered: Tensor
    """[R, C] bool, whether any of the last queries was."""
    before: Tensor
    """[R, C] f_c at the x of line 1, as in a `History`."""
    after: Tensor
    """[R, C] f_c at the x of line 5, likewise."""


@dataclass(frozen=True)
class FZooSBase(LocalSteps, ABC):
    """All but the lines."""

    forgets: bool = False
    """Whether the step's moments begin anew in every round, as in the official code."""
    process: GaussianProcess = GaussianProcess(noise=1e-8, capacity=400)
    """Of the local surrogate. Official code: Matern-5/2, noise 1e-6, 150 points."""
    selection: Selection = Latest()
    """Which points of the history it is made of. Official code: the nearest."""
    history: int = 400
    """H >= 1, points that a client remembers. Official code: all."""
    reach: float = 2.0
    """Factor > 1 by which a client's length-scale may change in a round, either way."""
    searches: int = 3
    """Steps >= 0 of the search for it, of a factorization each, besides four."""
    features: RandomFeatures = RandomFeatures(1_000)
    """Of the surrogate that is averaged. Paper: 10,000."""
    linear: bool = True
    """Whether w_c has a linear term besides, d floats more, with which its gradient at x is that of mu_c."""
    feature_kernel: Kernel | None = None
    """Its kernel; None: that of the local surrogate. Official code: squared exponential."""
    feature_length: float | None = None
    """Its length-scale, > 0, in the units of x; None: the median of the clients'. Official code: 1."""
    compression: Compression = Whole()
    """What goes up of w_c."""
    gamma: Gamma = Observed()
    """Weight of the correction. Official code: 1 / (t + 1)."""
    least_known: float = 0.5
    """A client whose surrogate knows fewer directions at x than this share, in [0, 1], of those it has asked along last
    uses their differences in that round; 0: never. It knows d (1 - trace dSigma / trace of the prior's)."""
    rate: Decay = Gain(0.21, 1.0, 20.0)
    """Step size of a round, > 0; 0.01 in the first, half of it after 21 more. Official code: 0.01 in all."""
    initial: int = 10
    """Points >= 0 around the start that a client queries before its first round. Official code: 10."""
    radius: Decay = Gain(0.21, 1.0, 20.0)
    """Half the side of the cube around a point from which a round's candidates are drawn, > 0, in the units of x: as
    long as a step. Official code: 0.01, and half the mean distance of clients and server in line 7."""
    active: int = 5
    """Points >= 0 queried after a local step where the gradient is least certain. Official code: 5."""
    candidates: int = 5
    """Points among which they are chosen, >= `active`; if equal, all are. Official code: 100."""
    closing: int = 50
    """The same at the end of a round. Official code: 50."""
    closing_candidates: int = 50
    """>= `closing`. Official code: 200."""
    projects: bool = True
    """Whether all points are projected on the box. The official code lets them leave it, and f is flat there."""
    monotone: bool = False
    """Line 6, as in the official code; it freezes where clients differ much."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("history", self.history, 1)
        check_range("reach", self.reach, 1.0, open_low=True)
        check_range("searches", self.searches, 0)
        check_range("least_known", self.least_known, 0.0, 1.0)
        check_range("initial", self.initial, 0)
        check_range("active", self.active, 0)
        check_range("candidates", self.candidates, self.active)
        check_range("closing", self.closing, 0)
        check_range("closing_candidates", self.closing_candidates, self.closing)
        if self.feature_length is not None:
            check_range("feature_length", self.feature_length, 0.0, open_low=True)
        self.radius.check("radius")
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
            "linear": False,
            "reach": 4.0,
            "searches": 10,
            "least_known": 0.0,
            "candidates": 100,
            "closing_candidates": 200,
            "gamma": Decaying(),
            "radius": Schedule(0.01),
            "rate": Schedule(0.01),
            "forgets": True,
            "projects": False,
            "monotone": True,
        }
        return cls(**settings | changes)

    def among(self, objective: FederatedObjective) -> Self:
        """As for every federated optimizer, but without a box where points are not projected."""
        found = super().among(objective)
        return found if self.projects else replace(found, federation=replace(found.federation, box=None))

    def server_at(self, x0: Tensor) -> FZooSServer:
        """At x0 [R, d]."""
        runs, dim = x0.shape
        lengths = x0.new_full((runs, self.federation.clients), dim**0.5)
        length = x0.new_full((runs,), self.feature_length or dim**0.5)
        return FZooSServer(x0, x0, x0.new_zeros(runs, self._weights(dim)), lengths, length)

    def clients_at(self, x0: Tensor, count: int) -> FZooSClient:
        """At x0 [R, d], having seen nothing."""
        runs, dim = x0.shape
        everywhere = x0[:, None].expand(-1, count, -1)
        history, weights = History.empty(everywhere, self.history), x0.new_zeros(runs, count, self._weights(dim))
        return FZooSClient(
            everywhere,
            everywhere,
            self.moments_at(x0, count),
            history.points,
            history.values,
            length=x0.new_full((runs, count), dim**0.5),
            shared=x0.new_zeros(runs, count),
            weights=weights,
            memory=self.compression.memory(weights),
            mean=weights,
            slope=torch.zeros_like(everywhere),
            trusted=torch.ones(runs, count, dtype=torch.bool, device=x0.device),
            answered=torch.zeros(runs, count, dtype=torch.bool, device=x0.device),
            before=x0.new_zeros(runs, count),
            after=x0.new_zeros(runs, count),
        )

    def common(self, x0: Tensor, stream: Stream) -> Features:
        """Frequencies and phases."""
        return self.features.draw(self.feature_kernel or self.process.kernel, stream, x0)

    def window(self, clients: FZooSClient) -> Window:
        """The points that the clients' surrogates are made of, to be used at x_c."""
        seen = History(clients.points, clients.values)
        return self.process.fit(*self.selection(seen, clients.local, self.process.capacity), clients.length)

    def likeliest_length(self, clients: FZooSClient) -> Tensor:
        """That of what the clients have seen by now, [R, S] float64."""
        return self.process.likeliest_length(self.window(clients), self.reach, self.searches)

    def around(self, clients: FZooSClient, rounds: int, count: int, stream: Stream) -> Tensor:
        """Points [R, S, count, d] around x_c, within the box."""
        return self.federation.projected(around(clients.local, self.radius(rounds), count, stream))

    def points_at(
        self, clients: FZooSClient, posterior: Posterior | None, rounds: int, count: int, among: int, stream: Stream
    ) -> Tensor:
        """x_c, and the `count` of `among` candidates around it where the gradient is least certain, [R, S, K, d].

        The posterior is found where it is needed, and not given.
        """
        here, candidates = clients.local[:, :, None], self.around(clients, rounds, among if count else 0, stream)
        if count < candidates.shape[2]:
            posterior = posterior or self.process.posterior(self.window(clients))
            candidates = least_certain(posterior, candidates, count)
        return torch.cat((here, candidates), 2)

    def _weights(self, dim: int) -> int:
        """W, floats of a surrogate that is sent."""
        return self.features.number + self.linear * dim
