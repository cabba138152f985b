"""Rounds of local steps along finite differences: the iteration that FedZO, FedProx and SCAFFOLD share.

    1  S clients are drawn;  x_c <- x                                          at the beginning of a round
    2  g_c <- mean over q of (f_c(x_c + mu u_q) - f_c(x_c)) / mu * u_q         T times, E u u' = I
    3  x_c <- P(x_c + step(g_c + correction_c))
    4  x   <- x + gamma_server sum_c p_c (x_c - x)                             at the end of a round

P projects on the box. A direction of which a value failed is dropped; a client of which all failed stays where it is.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Request, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.core import succeeded
from zeroth_order.federated.core import CONTROL, GRADIENT, FederatedOptimizer, client_streams, floats
from zeroth_order.random_directions import Difference, Directions, Forward, Orthonormal, mean_gradient
from zeroth_order.steps import Adam, Step


class RoundState(NamedTuple):
    """The server's point, the clients', and what they remember."""

    x: Tensor
    """[R, d] the server's."""
    local: Tensor
    """[R, S, d] x_c."""
    moments: Tensor
    """[R, C, slots, d] of every client's step."""
    chosen: Tensor
    """[R, S] int64, the clients of the round."""
    controls: Tensor
    """[R, C, d] what a correction keeps of every client; [R, 0, d] where it keeps nothing."""
    sums: Tensor
    """[R, S, d] sum of the round's local gradients."""
    t: int
    """Asks so far."""


@dataclass(frozen=True)
class Rounds(FederatedOptimizer):
    """Base of the algorithms that only choose a correction."""

    steps: int = 10
    """T >= 1, local steps of a round."""
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
    step: Step = Adam()
    """What a client does with a gradient."""
    forgets: bool = True
    """Whether the step's moments begin anew in every round."""

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1)
        check_range("number", self.number, 1)
        self.mu.check("mu")
        self.gamma.check("gamma")
        check_range("server", self.server, 0.0, 2.0, open_low=True)

    @property
    def asks_for_controls(self) -> bool:
        """Whether a round begins with differences at x, for the correction."""
        return False

    @property
    def control_floats(self) -> int:
        """Vectors [d] besides the iterate that a client sends, and receives, in a round."""
        return 0

    @abstractmethod
    def corrected(self, state: RoundState, gradient: Tensor) -> Tensor:
        """g_c + correction_c, [R, S, d]."""

    def closed(self, state: RoundState) -> Tensor:
        """What is kept of every client after a round, [R, C, d]; `state` has the round's sums."""
        return state.controls

    def init(self, x0: Tensor, stream: Stream) -> RoundState:
        """Server and clients at x0 [R, d]."""
        clients, size = self.federation.clients, self.federation.size
        moments = self.step.start(x0)[:, None].expand(-1, clients, -1, -1)
        chosen = torch.zeros(len(x0), size, dtype=torch.int64, device=x0.device)
        local = x0[:, None].expand(-1, size, -1)
        kept = clients if self.control_floats else 0
        return RoundState(x0, local, moments, chosen, x0.new_zeros(len(x0), kept, x0.shape[1]), 0 * local, 0)

    def ask(self, state: RoundState, stream: Stream) -> tuple[Tensor, RoundState]:
        """Points [R, S K, d], K a client: around x_c, or, for controls, around x."""
        if self._phase(state) == 0:
            state = self._opened(state, stream)  # l.1
        own = client_streams(stream, state.chosen, self.federation.clients)
        x = state.local.flatten(0, 1)
        u = self.directions(own, self.number, x)
        points = self.difference.points(x, u, self._radius(state))
        return points.view(len(state.x), -1, x.shape[-1]), state

    def request(self, state: RoundState) -> Request:
        """The iterate goes to the clients at the beginning of a round and comes back at its end."""
        size, dim = self.federation.size, state.x.shape[-1]
        each = self.difference.queries(self.number)
        sent = size * dim * (1 + self.control_floats)
        purpose = CONTROL if self._is_control(state) else GRADIENT
        last = self._phase(state) == self._phases - 1
        return Request(
            state.chosen.repeat_interleave(each, 1),
            (purpose,) * (size * each),
            floats(state.x, sent if last else 0),
            floats(state.x, sent if self._phase(state) == 0 else 0),
        )

    def tell(self, state: RoundState, points: Tensor, feedback: Any) -> tuple[RoundState, Metrics]:
        """A local step of every client, the last one of a round with the server's.

        Metrics: rounds (so far), gradient_norm (of the clients' mean estimate), spread (root mean squared distance of
        the clients to the server), failed (share of failed directions).
        """
        size = self.federation.size
        mu = self._radius(state)
        blocks = points.unflatten(1, (size, -1)).flatten(0, 1)
        slopes = self.difference.slopes(feedback.values.view(len(blocks), -1), mu).to(points.dtype)
        gradient = mean_gradient(self.difference.directions(blocks, mu), slopes).unflatten(0, (-1, size))  # l.2
        counts = succeeded(slopes).any(-1).view(-1, size)
        metrics = {
            "rounds": torch.full_like(state.x[:, 0], self._round(state)),
            "gradient_norm": self.federation.mean(gradient, state.chosen).norm(dim=-1),
            "spread": (state.local - state.x[:, None]).square().sum(-1).mean(-1).sqrt(),
            "failed": 1 - succeeded(slopes).to(points.dtype).view(len(state.x), -1).mean(-1),
        }
        state = state._replace(sums=state.sums + gradient)
        if self._is_control(state):
            return state._replace(controls=self._kept(state, gradient), sums=0 * state.sums, t=state.t + 1), metrics
        state = self._stepped(state, self.corrected(state, gradient), counts)  # l.3
        if self._phase(state) == self._phases - 1:
            moved = self.federation.mean(state.local - state.x[:, None], state.chosen)
            x = self.federation.projected(state.x + along_runs(self.server, moved) * moved)  # l.4
            state = state._replace(controls=self.closed(state), x=x)
        return state._replace(t=state.t + 1), metrics

    def recommend(self, state: RoundState) -> Tensor:
        """The server's point, [R, d]."""
        return state.x

    def _opened(self, state: RoundState, stream: Stream) -> RoundState:
        chosen = self.federation.draw(stream)
        local = state.x[:, None].expand(-1, self.federation.size, -1)
        moments = torch.zeros_like(state.moments) if self.forgets else state.moments
        return state._replace(local=local, chosen=chosen, moments=moments, sums=torch.zeros_like(state.sums))

    def _stepped(self, state: RoundState, gradient: Tensor, counts: Tensor) -> RoundState:
        """Line 3 for all clients as if they were runs."""
        index = state.chosen[..., None, None].expand(-1, -1, *state.moments.shape[2:])
        moments = state.moments.gather(1, index)
        gamma, t = self._per_client(self.gamma(self._round(state))), self._steps_taken(state)
        displacement, after = self.step(gradient.flatten(0, 1), moments.flatten(0, 1), gamma, t)
        moved = self.federation.projected(state.local + displacement.view_as(state.local))
        moves = (counts & torch.isfinite(moved).all(-1))[..., None]
        local = torch.where(moves, moved, state.local)
        after = torch.where(moves[..., None], after.view_as(moments), moments)
        return state._replace(local=local, moments=state.moments.scatter(1, index, after))

    def _kept(self, state: RoundState, parts: Tensor) -> Tensor:
        """What is kept of every client, [R, C, d], with the parts [R, S, d] of the round's put in."""
        return state.controls.scatter(1, state.chosen[..., None].expand_as(parts), parts)

    def _of_round(self, state: RoundState) -> Tensor:
        """What is kept of the clients of the round, [R, S, d]."""
        return state.controls.gather(1, state.chosen[..., None].expand_as(state.local))

    def _radius(self, state: RoundState) -> Numeric:
        """mu for [R S] clients: directions are d^(1/2) long on average."""
        return self._per_client(self.mu(self._round(state))) / state.x.shape[-1] ** 0.5

    def _per_client(self, value: Numeric) -> Numeric:
        """A hyper-parameter for [R S] clients."""
        return value.repeat_interleave(self.federation.size) if isinstance(value, Tensor) else value

    @property
    def _phases(self) -> int:
        """Asks of a round."""
        return self.steps + self.asks_for_controls

    def _phase(self, state: RoundState) -> int:
        return state.t % self._phases

    def _round(self, state: RoundState) -> int:
        return state.t // self._phases

    def _is_control(self, state: RoundState) -> bool:
        return self.asks_for_controls and self._phase(state) == 0

    def _steps_taken(self, state: RoundState) -> int:
        """Local steps since the moments began."""
        in_round = self._phase(state) - self.asks_for_controls
        return in_round if self.forgets else self._round(state) * self.steps + in_round
