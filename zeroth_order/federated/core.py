"""Several clients, one server: what federated optimizers are given, and what they are run on.

    R runs · C clients · S of them in a round · Q queries of a client and ask · d dimension

    min over x of  F(x) = sum_c p_c f_c(x),     client c answers with values of f_c alone

All clients of all runs advance as one batch: an ask is S blocks of Q points, client by client, [R, S Q, d].
"""

from abc import abstractmethod
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from envs.algorithm import Numeric, Request, check_range
from envs.core import Cost, Evaluation
from envs.random import Stream
from zeroth_order.boundary import Projection
from zeroth_order.core import Bounds, Invariance, Objective, Optimizer

GRADIENT, ACTIVE, CONTROL, ACCEPTANCE = "gradient", "active", "control", "acceptance"
"""Purposes of queries: local steps; where the surrogate is uncertain; control variates; tests of the server's point."""

PARTICLES = "particles"
"""The purpose of a swarm's queries."""


class FederatedObjective(Objective):
    """F, and its clients' f_c. A query of F costs one query of each client."""

    @property
    @abstractmethod
    def clients(self) -> int:
        """C."""

    @property
    def weights(self) -> Tensor:
        """[C] float64 p_c, positive, with sum 1."""
        return torch.full((self.clients,), 1 / self.clients, dtype=torch.float64)

    @abstractmethod
    def client_values(self, points: Tensor, clients: Tensor, stream: Stream) -> Tensor:
        """f_c [R, K] at `points` [R, K, d] for the clients [R, K] int64 in [0, C)."""

    def ask_clients(self, points: Tensor, clients: Tensor, stream: Stream) -> Evaluation:
        """One query each of `points` [R, K, d] to the clients [R, K]; of client -1 none, and its value is NaN."""
        self.check_points(points)
        asked = clients >= 0
        values = self.client_values(points, clients.clamp(min=0), stream)
        cost = Cost.each(len(points), points.device, queries=asked.sum(-1))
        return Evaluation(torch.where(asked, values, torch.nan), cost, {})

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        """F [R, K] at `points` [R, K, d]."""
        self.check_points(points)
        runs, count, _ = points.shape
        everyone = torch.arange(self.clients, device=points.device).repeat_interleave(count).expand(runs, -1)
        values = self.client_values(points.repeat(1, self.clients, 1), everyone, stream)
        weights = self.weights.to(values)[:, None]
        total = (weights * values.unflatten(1, (self.clients, count))).sum(1)
        return Evaluation(total, Cost.each(runs, points.device, queries=self.clients * count), {})


@dataclass(frozen=True)
class Federation:
    """Who takes part. The number of clients, their weights and the box are the problem's, and set by it."""

    clients: int = field(default=5, repr=False)
    """C >= 1."""
    participating: int | None = None
    """S in [1, C], clients drawn without replacement in every round; None: all."""
    weights: Tensor | None = field(default=None, repr=False)
    """[C] p_c > 0; None: all equal."""
    box: Bounds | None = field(default=None, repr=False)
    """[d] each, where the objective has bounds."""

    def __post_init__(self) -> None:
        check_range("clients", self.clients, 1)
        if self.participating is not None:
            check_range("participating", self.participating, 1, self.clients)

    @property
    def size(self) -> int:
        """S."""
        return self.participating or self.clients

    def draw(self, stream: Stream) -> Tensor:
        """The clients of a round, [R, S] int64 ascending."""
        runs, device = len(stream.seeds), stream.seeds.device
        if self.participating is None:
            return torch.arange(self.clients, device=device).expand(runs, -1)
        lane = torch.tensor(2**32 - 1, device=device)  # beyond those of the directions
        order = stream.spread(lane).uniform(self.clients).argsort(dim=-1, stable=True)
        return order[:, : self.size].sort(dim=-1).values

    def shares(self, chosen: Tensor) -> Tensor:
        """[R, S] weights of the clients of a round, with sum 1; float64."""
        if self.weights is None:
            return torch.full(chosen.shape, 1 / self.size, dtype=torch.float64, device=chosen.device)
        weights = self.weights.to(chosen.device)[chosen]
        return weights / weights.sum(-1, keepdim=True)

    def mean(self, parts: Tensor, chosen: Tensor) -> Tensor:
        """Weighted mean [R, ...] of what the clients of a round have, [R, S, ...]."""
        shares = self.shares(chosen).to(parts)
        return (shares.view(*shares.shape, *(1,) * (parts.dim() - 2)) * parts).sum(1)

    def mean_of_answers(self, parts: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
        """Weighted mean [R, n] of those parts [R, S, n] that count, bool of the same shape; NaN where none does.

        Where a client gave no answer, the others stand for it as if they alone had been drawn.
        """
        shares = torch.where(counts, self.shares(chosen).to(parts)[..., None], 0.0)
        return (shares * torch.where(counts, parts, 0.0)).sum(1) / shares.sum(1)

    def projected(self, points: Tensor) -> Tensor:
        """The nearest points [..., d] of the box, where there is one."""
        if self.box is None:
            return points
        low, high = self.box
        return Projection().feasible(points, (low.to(points), high.to(points)))

    def leaves(self, found: frozenset[Invariance]) -> frozenset[Invariance]:
        """Which invariances are left in the box, where there is one: it neither moves nor turns with a problem."""
        return found if self.box is None else found - {Invariance.TRANSLATION, Invariance.ROTATION}


@dataclass(frozen=True)
class FederatedOptimizer(Optimizer):
    """Base of the federated optimizers; `request` says who evaluates what was asked, and what is sent."""

    federation: Federation = Federation()
    """Number of clients, participation, weights, box."""

    @property
    def uniform(self) -> bool:
        """Rounds have stages."""
        return False

    @abstractmethod
    def request(self, state: Any) -> Request:
        """Of the points just asked."""

    def among(self, objective: FederatedObjective) -> Self:
        """The same algorithm with the clients, weights and box of an objective."""
        federation = replace(
            self.federation, clients=objective.clients, weights=objective.weights, box=objective.bounds
        )
        return replace(self, federation=federation)


def client_streams(stream: Stream, chosen: Tensor, clients: int) -> Stream:
    """A stream for each client of a round, as if clients [R, S] were runs: [R S] seeds.

    A client draws the same numbers whoever else takes part.
    """
    counter = torch.as_tensor(stream.counter, device=chosen.device).expand(len(chosen))
    counters = counter[:, None] * clients + chosen
    return stream._replace(seeds=stream.seeds.repeat_interleave(chosen.shape[1]), counter=counters.flatten())


def for_clients(value: Any, size: int) -> Any:
    """What there is of runs for `size` clients of each, as if they were runs: a tensor [R, ...] becomes [R S, ...].

    A number stays, and a piece of a configuration gets its hyper-parameters so.
    """
    if isinstance(value, Tensor):
        return value.repeat_interleave(size, 0)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: for_clients(getattr(value, part.name), size) for part in fields(value)})
    return value


def spread_radius(mu: Numeric, clients: int, dim: int) -> Numeric:
    """mu of differences along directions that are d^(1/2) long on average, for [R S] clients; `mu` a number or [R]."""
    return for_clients(mu, clients) / dim**0.5


def floats(like: Tensor, number: int) -> Tensor:
    """[R] int64, the same number of floats for every run of `like` [R, ...]."""
    return torch.full((like.shape[0],), number, dtype=torch.int64, device=like.device)
