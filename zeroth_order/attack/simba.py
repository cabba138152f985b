"""SimBA: one orthonormal direction at a time, forwards or backwards, kept when the loss falls.

Guo, Gardner, You, Wilson, Weinberger, "Simple black-box adversarial attacks" (ICML 2019), Algorithm 1:

    1  q     <-  the next of the directions Q, in random order, none of them twice
    2  x'    <-  x - alpha q;  if the loss is not lower:  x' <- x + alpha q
    3  x     <-  x' if the loss is lower

At most two queries a step. Q are the pixels (SimBA) or waves of the cosine transform (SimBA-DCT), the lowest first.

Deviations: the paper has no ball, its perturbations grow as the root of the number of steps; here candidates are
projected. The paper begins with x + alpha q, its released code with x - alpha q, as here. When all directions were
tried they are tried again. The paper's loss is the probability of the class: cross-entropy, which orders alike.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.random import Stream
from zeroth_order.attack.balls import Ball
from zeroth_order.attack.core import Attacker, uniforms
from zeroth_order.attack.spaces import dct_rows
from zeroth_order.attack.target import Shape, shape_of


class Basis(ABC):
    """An orthonormal basis of the images [C, H, W], and in which order it is gone through."""

    @abstractmethod
    def order(self, draws: Tensor, shape: Shape) -> Tensor:
        """Numbers of directions [R, D], random by uniforms [R, D]; D = C H W."""

    @abstractmethod
    def directions(self, numbers: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Unit vectors [R, C, H, W] with numbers [R]."""


@dataclass(frozen=True)
class PixelBasis(Basis):
    """One channel of one pixel."""

    def order(self, draws: Tensor, shape: Shape) -> Tensor:
        """All permutations alike."""
        return draws.argsort(dim=-1, stable=True)

    def directions(self, numbers: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        """1 there, 0 elsewhere."""
        return torch.nn.functional.one_hot(numbers, math.prod(shape)).to(dtype).view(-1, *shape)


@dataclass(frozen=True)
class CosineBasis(Basis):
    """A wave in one channel; low frequencies first: a block of them, then frames around it, random within each."""

    frequencies: int = 28
    """Side of the first block, >= 1. Paper's code: 28 for images of 224 pixels, 38 for 299."""
    stride: int = 7
    """Width of a frame, >= 1. Paper's code: 7, and 9."""

    def __post_init__(self) -> None:
        check_range("frequencies", self.frequencies, 1)
        check_range("stride", self.stride, 1)

    def order(self, draws: Tensor, shape: Shape) -> Tensor:
        """By frame, then by draw."""
        channels, height, width = shape
        i, j = (torch.arange(side, device=draws.device) for side in (height, width))
        highest = torch.maximum(i[:, None], j)
        frame = (highest - self.frequencies).div(self.stride, rounding_mode="floor").clamp(min=-1) + 1
        return (frame.expand(channels, -1, -1).flatten() + draws).argsort(dim=-1, stable=True)

    def directions(self, numbers: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        """The outer product of two waves."""
        channels, height, width = shape
        i, j = numbers // width % height, numbers % width
        down, across = (dct_rows(side).to(numbers.device)[k] for side, k in ((height, i), (width, j)))
        channel = torch.nn.functional.one_hot(numbers // (height * width), channels).to(down)
        return (channel[:, :, None, None] * down[:, None, :, None] * across[:, None, None, :]).to(dtype)


class SimBAState(NamedTuple):
    """Where each image is."""

    current: Tensor
    """[R, C, H, W] x."""
    value: Tensor
    """[R] its loss."""
    order: Tensor
    """[R, D] numbers of the directions."""
    step: Tensor
    """[R] int64."""
    second: Tensor
    """[R] bool, whether x + alpha q is what is asked for."""


@dataclass(frozen=True)
class SimBA(Attacker):
    """Configuration; see the module."""

    id = "simba"
    summary = "SimBA: one direction of a basis at a time, kept when the loss falls"
    paper = "Guo, Gardner, You, Wilson, Weinberger, Simple black-box adversarial attacks, ICML (2019)"

    basis: Basis = PixelBasis()
    """Q."""
    alpha: float = 0.2
    """Length of a step, > 0, in units of the pixels' range. Paper: 0.2."""

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0.0, open_low=True)

    def check(self, images: Tensor, ball: Ball) -> None:
        """Any will do."""

    def init(self, images: Tensor, values: Tensor, ball: Ball, stream: Stream) -> SimBAState:
        """At the originals, whose losses are known."""
        shape = shape_of(images)
        order = self.basis.order(uniforms(stream, math.prod(shape), images.double()), shape)  # l.1
        zero = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return SimBAState(images, values, order, zero, zero.bool())

    def ask(self, state: SimBAState, ball: Ball, stream: Stream) -> tuple[Tensor, SimBAState]:
        """One direction, [R, 1, C, H, W]."""
        number = state.order.gather(1, state.step[:, None] % state.order.shape[1])[:, 0]
        q = self.basis.directions(number, shape_of(state.current), state.current.dtype)
        alpha = torch.where(state.second, self.alpha, -self.alpha).to(q)
        return (state.current + alpha[:, None, None, None] * q)[:, None], state  # l.2

    def tell(self, state: SimBAState, candidates: Tensor, values: Tensor) -> SimBAState:
        """Keep it or not; the other way next, or the next direction."""
        value = values[:, 0].to(state.value)
        better = value < state.value
        current = torch.where(better[:, None, None, None], candidates[:, 0], state.current)  # l.3
        done = better | state.second
        return state._replace(
            current=current, value=torch.where(better, value, state.value), step=state.step + done, second=~done
        )
