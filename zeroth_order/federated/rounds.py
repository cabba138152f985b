"""Rounds of local steps along finite differences: the iteration that FedZO, FedProx and SCAFFOLD share.

    1  S clients are drawn;  x_c <- x                                          at the beginning of a round
    2  g_c <- mean over q of (f_c(x_c + mu u_q) - f_c(x_c)) / mu * u_q         T times, E u u' = I
    3  x_c <- P(x_c + step(g_c + correction_c))
    4  x   <- x + gamma_server sum_c p_c (x_c - x)                             at the end of a round

P projects on the box. A direction of which a value failed is dropped; a client of which all failed stays where it is.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.core import Invariance, succeeded
from zeroth_order.federated.core import GRADIENT, spread_radius
from zeroth_order.federated.local import LocalSteps, distance
from zeroth_order.federated.stages import Message, Stage, Turn
from zeroth_order.random_directions import Difference, Directions, Forward, Orthonormal, mean_gradient
from zeroth_order.random_directions.descent import of_differences


class RoundServer(NamedTuple):
    """What the server has."""

    x: Tensor
    """[R, d]"""


class RoundClient(NamedTuple):
    """What the clients have."""

    x: Tensor
    """[R, C, d] the server's."""
    local: Tensor
    """[R, C, d] x_c."""
    moments: Tensor
    """[R, C, slots, d] of the step."""


@dataclass(frozen=True)
class Rounds(LocalSteps):
    """Base of the algorithms that only choose a correction."""

    number: int = 20
    """Q >= 1, directions of a local step."""
    directions: Directions = Orthonormal()
    """Law of the directions."""
    difference: Difference = Forward()
    """Q + 1 queries a step, or 2 Q with central differences."""
    mu: Decay = Schedule(0.01)
    """Distance mu |u| of a round's differences, > 0, in the units of x. Shu et al.: 0.01; FedZO: 0.001."""
    gamma: Decay = Schedule(0.01)
    """Step size of a round, > 0."""
    server: Numeric = 1.0
    """gamma_server in (0, 2]: share of the mean displacement that the server follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("number", self.number, 1)
        self.mu.check("mu")
        self.gamma.check("gamma")
        check_range("server", self.server, 0.0, 2.0, open_low=True)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """As `of_differences` where there is no box, which neither moves nor turns with a problem."""
        return self.federation.leaves(of_differences(self.directions, self.step))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One."""
        return (Steps(self),)

    @abstractmethod
    def corrected(self, clients: Any, gradient: Tensor) -> Tensor:
        """g_c + correction_c, [R, S, d]."""

    def server_at(self, x0: Tensor) -> Any:
        """At x0 [R, d]."""
        return RoundServer(x0)

    def clients_at(self, x0: Tensor, count: int) -> Any:
        """At x0 [R, d]."""
        everywhere = x0[:, None].expand(-1, count, -1)
        return RoundClient(everywhere, everywhere, self.moments_at(x0, count))

    def points_around(self, centre: Tensor, rounds: int, stream: Stream) -> Tensor:
        """Where clients ask for the gradients at `centre` [R, S, d], [R, S, K, d]."""
        x = centre.flatten(0, 1)
        u = self.directions(stream, self.number, x)
        return self.difference.points(x, u, self._radius(centre, rounds)).unflatten(0, centre.shape[:2])

    def estimated(self, rounds: int, points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients g_c [R, S, d], and whether there is anything known of them, [R, S] bool."""
        mu, blocks, leading = self._radius(points, rounds), points.flatten(0, 1), points.shape[:2]
        slopes = self.difference.slopes(values.flatten(0, 1), mu).to(points.dtype)
        gradient = mean_gradient(self.difference.directions(blocks, mu), slopes)  # l.2
        return gradient.unflatten(0, leading), succeeded(slopes).any(-1).view(leading)

    def _radius(self, like: Tensor, rounds: int) -> Numeric:
        return spread_radius(self.mu(rounds), like.shape[1], like.shape[-1])


@dataclass(frozen=True)
class Steps(Stage):
    """The local steps of a round: x goes down, x_c comes up."""

    rounds: Rounds

    down: ClassVar[dict[str, str]] = {"x": "x"}
    up: ClassVar[tuple[str, ...]] = ("local",)

    @property
    def asks(self) -> int:
        """T."""
        return self.rounds.steps

    def purposes(self, turn: Turn) -> tuple[str, ...]:
        """All for the gradient."""
        return (GRADIENT,) * self.rounds.difference.queries(self.rounds.number)

    def begun(self, clients: Any, turn: Turn) -> Any:
        """Line 1."""
        return self.rounds.at_server(clients)  # l.1

    def ask(self, clients: Any, turn: Turn, stream: Stream) -> tuple[Tensor, Any]:
        """Points around x_c."""
        return self.rounds.points_around(clients.local, turn.round, stream), clients

    def tell(self, clients: Any, turn: Turn, points: Tensor, values: Tensor) -> tuple[Any, Metrics]:
        """A step of every client; metrics: gradient_norm (of the estimates), spread (distances to the server)."""
        gradient, known = self.rounds.estimated(turn.round, points, values)
        metrics = {"gradient_norm": gradient.norm(dim=-1), "spread": distance(clients)}
        return self.stepped(clients, turn, gradient, known), metrics

    def stepped(self, clients: Any, turn: Turn, gradient: Tensor, known: Tensor) -> Any:
        """Line 3."""
        rounds = self.rounds
        gradient = rounds.corrected(clients, gradient)
        return rounds.stepped(clients, gradient, known, rounds.gamma, turn.round, turn.ask)  # l.3

    def merge(self, server: Any, sent: Message, chosen: Tensor) -> Any:
        """Line 4."""
        federation = self.rounds.federation
        moved = federation.mean(sent["local"] - server.x[:, None], chosen)
        return server._replace(x=federation.projected(server.x + along_runs(self.rounds.server, moved) * moved))  # l.4
