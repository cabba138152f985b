"""FZooS: federated zeroth-order optimization with trajectory-informed surrogate gradients.

Shu, Lin, Dai, Low (arXiv 2308.04077), Algorithm 1. Every client has a Gaussian process of its own function, made of all
it has been asked, whose gradient costs no query; the clients' processes, as vectors of random features, are averaged by
the server, and correct every client's gradient towards that of F where the client is.

    1  S clients are drawn;  x_c <- x;  client c queries x                     at the beginning of a round
    2  g_c <- grad mu_c(x_c) + gamma (grad mu_w(x_c) - grad mu_{w_c}(x_c))     T times
    3  x_c <- P(x_c + step(g_c)),  and client c queries x_c
    4  and the `active` of `candidates` points around x_c where grad mu_c is least certain        (not after the last)
    5  x   <- x + sum_c p_c (x_c - x)                                          at the end of a round
    6  accept x only if F(x) is lower, one query of every client               (`monotone`)
    7  client c queries x and the `closing` of `closing_candidates` points around it
    8  w_c <- features of its process, and a linear term;  w <- sum_c p_c w_c

Where mu_c knows little at x, g_c is made of the differences that client c asked for last (`least_known`).
mu_c: `zeroth_order.federated.gaussian_process`; w: `zeroth_order.federated.random_features`; gamma:
`zeroth_order.federated.gamma`. Two settings have names: `faithful()` is what the official code does, but for its
defects, and the default is ours: see fzoos.md.

Deviations of both: every query is charged, the tests of line 6 too; the length-scale is found by a search around the
last one, once a round, and not by twenty restarts in every step: it goes up with x_c, and the median of all clients'
comes down with x, because only features of the same length-scale may be averaged; active queries are scored by the
trace of the gradient's covariance, conditioned on the client's points and not on each other; a client whose last
queries all failed takes no step.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Metrics
from envs.random import Stream
from zeroth_order.cbo.swarm import stored
from zeroth_order.core import succeeded
from zeroth_order.federated.active import differences
from zeroth_order.federated.core import ACCEPTANCE, ACTIVE, GRADIENT
from zeroth_order.federated.fzoos_base import FZooSBase, FZooSClient, FZooSServer
from zeroth_order.federated.gaussian_process import Posterior
from zeroth_order.federated.history import History
from zeroth_order.federated.local import distance
from zeroth_order.federated.random_features import Features
from zeroth_order.federated.stages import Message, Stage, Turn


def surrogate(weights: Tensor, clients: FZooSClient, features: Features) -> Tensor:
    """Gradients at x_c [R, S, d] of the surrogates that are sent, with weights [R, S, W] or without the linear term."""
    gradient = features.gradient(weights[..., : features.number], clients.local, clients.shared)
    linear = weights[..., features.number :]
    return gradient + linear if linear.shape[-1] else gradient


@dataclass(frozen=True)
class Part(Stage):
    """What the stages of a round have in common."""

    settings: FZooSBase

    @property
    def asks(self) -> int:
        """One."""
        return 1

    def tell(self, clients: FZooSClient, turn: Turn, points: Tensor, values: Tensor) -> tuple[FZooSClient, Metrics]:
        """The points become part of the history; metrics: spread (distances to the server), length (length-scales)."""
        seen = History(clients.points, clients.values).appended(points, values.to(points))
        found = differences(points, values.to(points))
        slope = torch.where((found != 0).any(-1, keepdim=True), found, clients.slope)
        answered = succeeded(values).any(-1)
        clients = clients._replace(points=seen.points, values=seen.values, slope=slope, answered=answered)
        return clients, {"spread": distance(clients), "length": clients.length}


@dataclass(frozen=True)
class Steps(Part):
    """Lines 1 to 5."""

    down: ClassVar[dict[str, str]] = {"x": "x", "mean": "mean", "length": "shared"}
    up: ClassVar[tuple[str, ...]] = ("local", "length")

    @property
    def asks(self) -> int:
        """T, and one before."""
        return self.settings.steps + 1

    def purposes(self, turn: Turn) -> tuple[str, ...]:
        """Of x_c, and of what else is asked."""
        if turn.ask == 0:
            return (GRADIENT,) * (1 + self._initial(turn))
        return (GRADIENT, *(ACTIVE,) * self._active(turn))

    def begun(self, clients: FZooSClient, turn: Turn) -> FZooSClient:
        """Line 1."""
        return self.settings.at_server(clients)  # l.1

    def ask(self, clients: FZooSClient, turn: Turn, stream: Stream) -> tuple[Tensor, FZooSClient]:
        """Lines 1 to 4."""
        if turn.ask == 0:
            first = self.settings.around(clients, turn.round, self._initial(turn), stream)
            return torch.cat((clients.local[:, :, None], first), 2), clients  # l.1
        settings = self.settings
        posterior = settings.process.posterior(settings.window(clients))
        t = turn.ask - 1
        clients = self._judged(clients, posterior, turn) if t == 0 else clients
        own, sent = posterior.gradient(clients.local), surrogate(clients.weights, clients, turn.common)
        correction = surrogate(clients.mean, clients, turn.common) - sent
        corrected = own + settings.gamma(t, correction, own - sent, settings.federation.size) * correction  # l.2
        gradient = torch.where(clients.trusted[..., None], corrected, clients.slope)
        clients = settings.stepped(clients, gradient, clients.answered, settings.rate, turn.round, t)  # l.3
        count = self._active(turn)
        return settings.points_at(clients, posterior, turn.round, count, settings.candidates, stream), clients  # l.4

    def tell(self, clients: FZooSClient, turn: Turn, points: Tensor, values: Tensor) -> tuple[FZooSClient, Metrics]:
        """As always, and f_c(x) is kept for line 6."""
        clients, metrics = super().tell(clients, turn, points, values)
        if turn.ask == 0:
            clients = clients._replace(before=stored(values[..., 0], points))
        return clients, metrics

    def ended(self, clients: FZooSClient, turn: Turn) -> FZooSClient:
        """The length-scale of what has been seen by now."""
        return clients._replace(length=self.settings.likeliest_length(clients).to(clients.length))

    def merge(self, server: FZooSServer, sent: Message, chosen: Tensor) -> FZooSServer:
        """Line 5, and the length-scale of line 8."""
        lengths = server.lengths.scatter(1, chosen, sent["length"])
        length = server.length if self.settings.feature_length else lengths.median(-1).values
        federation = self.settings.federation
        moved = federation.mean(sent["local"] - server.x[:, None], chosen)
        proposed = federation.projected(server.x + moved)  # l.5
        return server._replace(proposed=proposed, lengths=lengths, length=length)

    def _judged(self, clients: FZooSClient, posterior: Posterior, turn: Turn) -> FZooSClient:
        """Whether the surrogate knows enough directions at x, of as many as were asked along last."""
        share = 1 - posterior.uncertainty(clients.local[:, :, None])[..., 0] / posterior.prior_uncertainty()
        dim = clients.x.shape[-1]
        knows = share * dim >= self.settings.least_known * min(self._asked_last(turn), dim)
        return clients._replace(trusted=knows | (clients.slope == 0).all(-1))

    def _asked_last(self, turn: Turn) -> int:
        settings = self.settings
        return settings.initial if turn.round == 0 else settings.closing or settings.active

    def _initial(self, turn: Turn) -> int:
        return self.settings.initial if turn.round == 0 else 0

    def _active(self, turn: Turn) -> int:
        return self.settings.active if turn.ask < self.settings.steps else 0


@dataclass(frozen=True)
class Acceptance(Part):
    """Line 6."""

    down: ClassVar[dict[str, str]] = {"proposed": "x"}
    up: ClassVar[tuple[str, ...]] = ("before", "after")

    def purposes(self, turn: Turn) -> tuple[str, ...]:
        """One query."""
        return (ACCEPTANCE,)

    def begun(self, clients: FZooSClient, turn: Turn) -> FZooSClient:
        """At the proposed x."""
        return clients._replace(local=clients.x)

    def ask(self, clients: FZooSClient, turn: Turn, stream: Stream) -> tuple[Tensor, FZooSClient]:
        """The proposed x."""
        return clients.local[:, :, None], clients

    def tell(self, clients: FZooSClient, turn: Turn, points: Tensor, values: Tensor) -> tuple[FZooSClient, Metrics]:
        """As always, and f_c is kept to be sent."""
        clients, metrics = super().tell(clients, turn, points, values)
        return clients._replace(after=stored(values[..., 0], points)), metrics

    def merge(self, server: FZooSServer, sent: Message, chosen: Tensor) -> FZooSServer:
        """x, or the proposed one where F is lower there, over the clients that could tell both."""
        both = torch.stack((sent["before"], sent["after"]), -1)
        told = (both < torch.finfo(both.dtype).max).all(-1, keepdim=True).expand_as(both)
        before, after = self.settings.federation.mean_of_answers(both, chosen, told).unbind(-1)
        x = torch.where((after < before)[:, None], server.proposed, server.x)  # l.6
        return server._replace(x=x, proposed=x)


@dataclass(frozen=True)
class Closing(Part):
    """Lines 7 and 8."""

    down: ClassVar[dict[str, str]] = {"proposed": "x", "length": "shared"}
    up: ClassVar[tuple[str, ...]] = ("weights",)

    def purposes(self, turn: Turn) -> tuple[str, ...]:
        """Of x, and of what else is asked."""
        return (GRADIENT, *(ACTIVE,) * self.settings.closing)

    def begun(self, clients: FZooSClient, turn: Turn) -> FZooSClient:
        """At the server's new x."""
        return clients._replace(local=clients.x)

    def ask(self, clients: FZooSClient, turn: Turn, stream: Stream) -> tuple[Tensor, FZooSClient]:
        """Line 7."""
        settings = self.settings
        count, among = settings.closing, settings.closing_candidates
        return settings.points_at(clients, None, turn.round, count, among, stream), clients  # l.7

    def ended(self, clients: FZooSClient, turn: Turn) -> FZooSClient:
        """The weights, as much of them as goes up."""
        settings, window = self.settings, self.settings.window(clients)
        weights = turn.common.weights(settings.process, window, clients.shared.double())
        if settings.linear:
            missing = settings.process.posterior(window).gradient(clients.local)
            missing = missing - surrogate(weights, clients, turn.common)
            weights = torch.cat((weights, missing), -1)
        sent, memory = settings.compression.send(weights, clients.memory)
        return clients._replace(weights=sent, memory=memory)  # l.8

    def merge(self, server: FZooSServer, sent: Message, chosen: Tensor) -> FZooSServer:
        """Line 8, and x counts from now on."""
        return server._replace(x=server.proposed, mean=self.settings.federation.mean(sent["weights"], chosen))  # l.8

    def uplink(self, clients: FZooSClient) -> int:
        """As the compression says."""
        return self.settings.compression.floats(clients.weights.shape[-1])


@dataclass(frozen=True)
class FZooS(FZooSBase):
    """Configuration; see the module."""

    id = "fzoos"
    summary = "surrogate gradients from all that clients have seen"
    paper = "Shu, Lin, Dai, Low, Federated ZOO using trajectory-informed surrogate gradients, arXiv 2308.04077"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Lines 1 to 5, 6, 7 and 8."""
        return (Steps(self), Acceptance(self), Closing(self)) if self.monotone else (Steps(self), Closing(self))
