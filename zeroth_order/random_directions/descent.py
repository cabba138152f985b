"""Descent along estimated gradients: the iteration that all algorithms of this folder share.

    1  u_1 .. u_Q  ~  directions
    2  evaluate f at the points that the difference asks for, mu_t u from x_t
    3  slope_q  <-  the difference of the values over that of the points
    4  g_t      <-  mean of slope_q u_q                                        (or what an algorithm takes instead)
    5  x_{t+1}  <-  x_t + step(g_t, gamma_t)

A direction of which a value failed is dropped from line 4; where none is left, the run stays where it is.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric
from envs.random import Stream
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.random_directions.differences import Difference, mean_gradient
from zeroth_order.random_directions.directions import Directions
from zeroth_order.steps import Step


class DescentState(NamedTuple):
    """The iterate, and what the step remembers."""

    x: Tensor
    """[R, d]"""
    moments: Tensor
    """[R, slots, d] of the step."""
    t: int


class Pieces(NamedTuple):
    """What an iteration is made of."""

    directions: Directions
    number: int
    """Q >= 1."""
    difference: Difference
    mu: Decay
    """Spread radius, > 0, in the units of x."""
    step: Step
    gamma: Decay
    combine: Callable[[Tensor, Tensor], Tensor] = mean_gradient
    """Line 4, from directions [R, Q, d] and slopes [R, Q]."""


class Descent(Optimizer):
    """Base of the algorithms that only choose the pieces."""

    @property
    @abstractmethod
    def pieces(self) -> Pieces:
        """The pieces of the algorithm."""

    def init(self, x0: Tensor, stream: Stream) -> DescentState:
        """State at x0 [R, d]."""
        return DescentState(x0, self.pieces.step.start(x0), 0)

    def ask(self, state: DescentState, stream: Stream) -> tuple[Tensor, DescentState]:
        """Points [R, K, d]: K = Q + 1 for forward and 2 Q for central differences."""
        pieces = self.pieces
        directions = pieces.directions(stream, pieces.number, state.x)  # l.1
        return pieces.difference.points(state.x, directions, pieces.mu(state.t)), state  # l.2

    def tell(self, state: DescentState, points: Tensor, feedback: Any) -> tuple[DescentState, Metrics]:
        """One step; metrics as `follow`."""
        pieces = self.pieces
        mu = pieces.mu(state.t)
        slopes = pieces.difference.slopes(feedback.values, mu).to(points.dtype)  # l.3
        gradient = pieces.combine(pieces.difference.directions(points, mu), slopes)  # l.4
        return follow(state, gradient, succeeded(slopes), pieces.step, pieces.gamma(state.t))  # l.5

    def recommend(self, state: DescentState) -> Tensor:
        """x, [R, d]."""
        return state.x

    @property
    def invariances(self) -> frozenset[Invariance]:
        """As `of_differences`."""
        return of_differences(self.pieces.directions, self.pieces.step)


def of_differences(directions: Directions, step: Step) -> frozenset[Invariance]:
    """Translations, f + b, and rotations if neither directions nor step look at single coordinates."""
    found = {Invariance.TRANSLATION, Invariance.OFFSET}
    return frozenset(found | {Invariance.ROTATION} if directions.isotropic and step.isotropic else found)


def follow(state: Any, gradient: Tensor, counts: Tensor, step: Step, gamma: Numeric) -> tuple[Any, Metrics]:
    """The state after a step against `gradient` [R, d], an estimate from what counts, [R, Q] bool.

    The state has the fields of `DescentState`, and maybe more; where nothing counts, x and moments stay.
    Metrics: gradient_norm (of the estimate), step_norm, failed (share of what does not count).
    """
    x, moments = step.follow(state.x, gradient, state.moments, gamma, state.t, counts.any(-1))
    metrics = {
        "gradient_norm": gradient.norm(dim=-1),
        "step_norm": (x - state.x).norm(dim=-1),
        "failed": 1 - counts.to(x.dtype).mean(-1),
    }
    return state._replace(x=x, moments=moments, t=state.t + 1), metrics
