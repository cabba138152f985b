"""DeComFL: federated zeroth-order optimization with dimension-free communication.

Li, Ying, Liu, Dong, Yang, "Achieving dimension-free communication in federated learning via zeroth-order optimization"
(ICLR 2025, arXiv 2405.15861). An estimated gradient is a few slopes along random directions, and whoever has the seed
can draw the directions again. So slopes and seeds are all that is ever sent:

    1  S clients are drawn and replay what they missed (line 5);  x_c <- x       at the beginning of a round
    2  u_1 .. u_P  ~  directions, from a seed that is the same for all clients   K times, k = 1 .. K
    3  s_{c,k,p} <- (f_c(x_c + mu u_p) - f_c(x_c)) / mu
       x_c <- P(x_c - step(mean over p of s_{c,k,p} u_p))
    4  s_{k,p} <- sum_c p_c s_{c,k,p}                                            at the end of a round, by the server
    5  x   <- P(x - step(mean over p of s_{k,p} u_p)),  k = 1 .. K               by everyone

Line 2 draws anew in every local step, the same for all clients (the paper has one seed a local step); x_c is thrown
away after line 3. The `step` (Adam, momentum, ..) and its memory are part of line 5, so everyone's stay equal too; the
local steps begin with them. Sent are: K P slopes of a client up; down K seeds, and for each missed round K seeds and
K P mean slopes; x_0 to a client that takes part for the first time.

Deviations: the projection P on the box; weights of the clients in line 4, among those whose slope is finite; a slope
that failed everywhere is left out of line 5. The server replays step by step and not at the end of the round, which is
the same. The paper has Gaussian directions and plain steps.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Request, Schedule, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import without_stream
from zeroth_order.core import Invariance, succeeded
from zeroth_order.federated.broadcast import caught_up, newcomers, nothing_read, unread
from zeroth_order.federated.core import GRADIENT, FederatedOptimizer, floats, for_clients, spread_radius
from zeroth_order.random_directions import Difference, Directions, Forward, Orthonormal, mean_gradient
from zeroth_order.random_directions.descent import of_differences
from zeroth_order.steps import Adam, Step


class DeComFLState(NamedTuple):
    """The server's point, where its replay of the round is, and the clients'."""

    x: Tensor
    """[R, d] at the beginning of the round."""
    ahead: Tensor
    """[R, d] x after the steps of line 5 so far."""
    moments: Tensor
    """[R, slots, d] of the step, at `ahead`."""
    local: Tensor
    """[R, S, d] x_c."""
    local_moments: Tensor
    """[R, S, slots, d] of the step, at x_c."""
    chosen: Tensor
    """[R, S] int64, the clients of the round."""
    read: Tensor
    """[R, C] int64, rounds that each client has replayed; -1: it never took part."""
    stream: Stream
    """Of the last ask: the seed of line 2."""
    t: int
    """Local steps so far."""


@dataclass(frozen=True)
class DeComFL(FederatedOptimizer):
    """Configuration; see the module."""

    id = "decomfl"
    summary = "clients send slopes along directions that all of them know"
    paper = "Li, Ying, Liu, Dong, Yang, Achieving dimension-free communication in federated learning, ICLR (2025)"

    steps: int = 1
    """K >= 1, local steps of a round. Paper: 1 and more."""
    number: int = 5
    """P >= 1, directions of a local step. Paper: 5 to 50."""
    directions: Directions = Orthonormal()
    """Law of the directions. Paper: Gaussian."""
    difference: Difference = Forward()
    """P + 1 queries a local step, or 2 P with central differences. Paper: forward; the authors' code has both."""
    mu: Decay = Schedule(0.01)
    """Distance mu |u| of a round's differences, > 0, in the units of x. Paper: 0.001 for mu itself."""
    gamma: Decay = Schedule(0.01)
    """Step size of a round, > 0."""
    step: Step = Adam()
    """What is done with a gradient. Paper: `Plain`."""

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1)
        check_range("number", self.number, 1)
        self.mu.check("mu")
        self.gamma.check("gamma")

    def init(self, x0: Tensor, stream: Stream) -> DeComFLState:
        """Everyone at x0 [R, d]."""
        size = self.federation.size
        moments = self.step.start(x0)
        return DeComFLState(
            x=x0,
            ahead=x0,
            moments=moments,
            local=x0[:, None].expand(-1, size, -1),
            local_moments=moments[:, None].expand(-1, size, -1, -1),
            chosen=torch.zeros(len(x0), size, dtype=torch.int64, device=x0.device),
            read=nothing_read(x0, self.federation.clients),
            stream=stream,
            t=0,
        )

    def ask(self, state: DeComFLState, stream: Stream) -> tuple[Tensor, DeComFLState]:
        """Points [R, S K, d], K a client: around x_c, along the same directions for all."""
        if self._phase(state) == 0:
            state = self._opened(state, stream)  # l.1
        state = state._replace(stream=stream)
        u = for_clients(self._directions(state), self.federation.size)  # l.2
        points = self.difference.points(state.local.flatten(0, 1), u, self._radius(state))
        return points.view(len(state.x), -1, state.x.shape[-1]), state

    def request(self, state: DeComFLState) -> Request:
        """Slopes go up at the end of a round; seeds, and what was missed, down at its beginning."""
        size, phase = self.federation.size, self._phase(state)
        each = self.difference.queries(self.number)
        up = size * self.steps * self.number if phase == self.steps - 1 else 0
        return Request(
            state.chosen.repeat_interleave(each, 1),
            (GRADIENT,) * (size * each),
            floats(state.x, up),
            self._downlink(state) if phase == 0 else floats(state.x, 0),
        )

    def tell(self, state: DeComFLState, points: Tensor, feedback: Any) -> tuple[DeComFLState, Metrics]:
        """A local step of every client, and the server's replay of it.

        Metrics: rounds (so far), gradient_norm (of the server's estimate), spread (root mean squared distance of the
        clients to x), failed (share of failed slopes).
        """
        size, t, u = self.federation.size, state.t, self._directions(state)
        values = feedback.values.view(len(points) * size, -1)
        slopes = self.difference.slopes(values, self._radius(state)).to(points)
        gamma = self.gamma(self._round(state))
        clients = state.local.flatten(0, 1), state.local_moments.flatten(0, 1), for_clients(u, size)
        local, local_moments = self._followed(  # l.3
            *clients, slopes, for_clients(self.step, size), for_clients(gamma, size), t
        )
        slopes = slopes.unflatten(0, (-1, size))
        scalars = self.federation.mean_of_answers(slopes, state.chosen, succeeded(slopes))  # l.4
        ahead, moments = self._followed(state.ahead, state.moments, u, scalars, self.step, gamma, t)  # l.5
        metrics = {
            "rounds": torch.full_like(state.x[:, 0], self._round(state)),
            "gradient_norm": mean_gradient(u, scalars).norm(dim=-1),
            "spread": (state.local - state.x[:, None]).square().sum(-1).mean(-1).sqrt(),
            "failed": 1 - succeeded(slopes).to(points).mean((1, 2)),
        }
        if self._phase(state) == self.steps - 1:
            state = state._replace(x=ahead, read=caught_up(state.read, state.chosen, self._round(state)))
        return state._replace(
            ahead=ahead,
            moments=moments,
            local=local.view_as(state.local),
            local_moments=local_moments.view_as(state.local_moments),
            t=t + 1,
        ), metrics

    def recommend(self, state: DeComFLState) -> Tensor:
        """x, [R, d]."""
        return state.x

    def pack(self, state: DeComFLState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """As `of_differences`."""
        return self.federation.leaves(of_differences(self.directions, self.step))

    def _opened(self, state: DeComFLState, stream: Stream) -> DeComFLState:
        size = self.federation.size
        return state._replace(
            chosen=self.federation.draw(stream),
            local=state.x[:, None].expand(-1, size, -1),
            local_moments=state.moments[:, None].expand(-1, size, -1, -1),
        )

    def _followed(
        self, x: Tensor, moments: Tensor, directions: Tensor, slopes: Tensor, step: Step, gamma: Numeric, t: int
    ) -> tuple[Tensor, Tensor]:
        """x [R, d] and the step's moments after step t along directions [R, P, d] with slopes [R, P]."""
        gradient, known = mean_gradient(directions, slopes), succeeded(slopes).any(-1)
        moved, after = step.follow(x, gradient, moments, gamma, t, known)
        return self.federation.projected(moved), after

    def _downlink(self, state: DeComFLState) -> Tensor:
        """Seeds of the round, seeds and slopes of the rounds missed, and x_0 to newcomers, [R]."""
        missed = unread(state.read, state.chosen, self._round(state))
        started = newcomers(state.read, state.chosen) * state.x.shape[-1]
        return self.federation.size * self.steps + missed * self.steps * (self.number + 1) + started

    def _directions(self, state: DeComFLState) -> Tensor:
        """Those of the seed, [R, P, d]."""
        return self.directions(state.stream, self.number, state.x)

    def _radius(self, state: DeComFLState) -> Numeric:
        return spread_radius(self.mu(self._round(state)), self.federation.size, state.x.shape[-1])

    def _phase(self, state: DeComFLState) -> int:
        return state.t % self.steps

    def _round(self, state: DeComFLState) -> int:
        return state.t // self.steps
