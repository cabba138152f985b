"""Square attack: random squares at the border of the ball, kept when the loss falls.

Andriushchenko, Croce, Flammarion, Hein, "Square attack: a query-efficient black-box adversarial attack via random
search" (ECCV 2020), Algorithm 1 with the proposals of Algorithms 2 (Linf) and 3 (L2):

    1  x_0   <-  the initial perturbation: vertical stripes of +-epsilon (Linf), a 5 x 5 tiling of bumps (L2)
    2  p_i   <-  p_init halved after 10, 50, 200, 500, 1k, 2k, 4k, 6k and 8k of 10k iterations
    3  side  <-  (p_i H W)^(1/2), rounded
    4  x'    <-  x_i with a square of that side changed, at the border of the ball     (`square_windows`)
    5  x_i+1 <-  x' if the loss is lower, else x_i

Deviations: places are drawn from all that fit, as the paper has it (the released code leaves out the last one), and for
each image by itself, also in L2. A square that changes nothing is drawn again up to three times, then its colours are
turned round: the code draws on and on.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.random import Stream
from zeroth_order.attack.balls import L2, Ball, Linf
from zeroth_order.attack.core import Attacker
from zeroth_order.attack.square_windows import SMALLEST, bumps, bumps_changed, square_changed, stripes

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10,000 after which p is halved."""


class SquareState(NamedTuple):
    """The best so far."""

    images: Tensor
    """[R, C, H, W] originals."""
    best: Tensor
    """[R, C, H, W] x_i."""
    value: Tensor
    """[R] its loss; +inf before the first query."""
    t: int


@dataclass(frozen=True)
class SquareAttack(Attacker):
    """Configuration; see the module."""

    id = "square"
    summary = "Square attack: random squares at the border of the ball"
    paper = "Andriushchenko, Croce, Flammarion, Hein, Square attack, ECCV (2020)"

    p_init: float | None = None
    """Share of the pixels that the first square changes, in (0, 1]. Paper: 0.05 (Linf), 0.1 (L2), which None stands
    for; more for robust models."""
    iterations: int = 10_000
    """N >= 1, that the schedule of p is stretched to; the budget. Paper: 10,000."""

    def __post_init__(self) -> None:
        if self.p_init is not None:
            check_range("p_init", self.p_init, 0.0, 1.0, open_low=True)
        check_range("iterations", self.iterations, 1)

    def check(self, images: Tensor, ball: Ball) -> None:
        """Raise ValueError for a ball that is neither Linf nor L2, or, in L2, images too small to be tiled."""
        if not isinstance(ball, Linf | L2):
            raise ValueError(f"the Square attack knows Linf and L2 balls, not {ball}")
        if isinstance(ball, L2) and min(images.shape[-2:]) < SMALLEST:
            height, width = images.shape[-2:]
            raise ValueError(f"images of {height} x {width} pixels are too small for bumps: {SMALLEST} are needed")

    def init(self, images: Tensor, values: Tensor, ball: Ball, stream: Stream) -> SquareState:
        """Nothing is asked yet."""
        return SquareState(images, images, torch.full_like(values, torch.inf), 0)

    def ask(self, state: SquareState, ball: Ball, stream: Stream) -> tuple[Tensor, SquareState]:
        """The initial perturbation, then one square, [R, 1, C, H, W]."""
        linf = isinstance(ball, Linf)
        if state.t == 0:
            first = stripes(state.images, ball.epsilon, stream) if linf else bumps(state.images, ball.epsilon, stream)
            return first[:, None], state  # l.1
        p = self.share(state.t - 1, 0.05 if linf else 0.1)
        height, width = state.images.shape[-2:]
        side = round((p * height * width) ** 0.5)  # l.3
        if isinstance(ball, Linf):
            changed = square_changed(state.best, *ball.bounds(state.images), side, stream)  # l.4
        else:
            changed = bumps_changed(state.images, state.best, ball.epsilon, side, stream)  # l.4
        return changed[:, None], state

    def tell(self, state: SquareState, candidates: Tensor, values: Tensor) -> SquareState:
        """The better of the two."""
        value = values[:, 0].to(state.value)
        better = value < state.value
        best = torch.where(better[:, None, None, None], candidates[:, 0], state.best)  # l.5
        return state._replace(best=best, value=torch.where(better, value, state.value), t=state.t + 1)

    def share(self, iteration: int, published: float) -> float:
        """p in an iteration that counts from 0; `published` is what p_init stands for where it is None."""
        p_init = published if self.p_init is None else self.p_init
        return p_init / 2 ** bisect_left(HALVINGS, iteration * 10_000 // self.iterations)  # l.2
