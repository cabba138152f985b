"""What an attack is to the loop that carries it out: it asks for images and is told their loss.

    R images attacked at the same time, the run axis · K candidates per image and ask

The loop (`zeroth_order.attack.run`) projects every candidate into the ball before it is asked, keeps the books, and
takes images out of the batch when they are done.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from envs.random import Stream
from zeroth_order.attack.balls import Ball


class Attacker(ABC):
    """Base of the attacks: a frozen dataclass of settings."""

    id: ClassVar[str]
    """Name on the command line."""
    summary: ClassVar[str]
    """One line for `zopg list`."""
    paper: ClassVar[str]

    @abstractmethod
    def check(self, images: Tensor, ball: Ball) -> None:
        """Raise ValueError for images [R, C, H, W] or a ball that this attack does not know."""

    @abstractmethod
    def init(self, images: Tensor, values: Tensor, ball: Ball, stream: Stream) -> Any:
        """State for originals [R, C, H, W] with losses [R]: a NamedTuple of tensors with the run axis first."""

    @abstractmethod
    def ask(self, state: Any, ball: Ball, stream: Stream) -> tuple[Tensor, Any]:
        """Candidates [R, K, C, H, W], maybe outside of the ball; `stream` is this iteration's."""

    @abstractmethod
    def tell(self, state: Any, candidates: Tensor, values: Tensor) -> Any:
        """The next state, from candidates [R, K, C, H, W] as they were asked, in the ball, and their losses [R, K]."""

    def stopped(self, state: Any) -> Tensor | None:
        """[R] bool, which images have nothing more to ask for; None: all go on."""
        return None


def rows_of(state: Any, rows: Tensor) -> Any:
    """The part of a state that belongs to the runs `rows` [n]: of tensors the rows, of a stream the seeds.

    A plain tuple holds tensors, or one thing for each run; all else is shared by the runs.
    """
    if isinstance(state, Tensor):
        return state[rows]
    if isinstance(state, Stream):
        counter = state.counter[rows] if isinstance(state.counter, Tensor) else state.counter
        return state._replace(seeds=state.seeds[rows], counter=counter)
    if type(state) is tuple:
        if state and not isinstance(state[0], Tensor):
            return tuple(state[i] for i in rows.tolist())
        return tuple(part[rows] for part in state)
    if isinstance(state, tuple):
        return type(state)(*(rows_of(part, rows) for part in state))
    return state


def placed(values: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """`like` [n, ...] with `values` [m, ...] in the rows [m]."""
    return like.index_copy(0, rows, values.to(like))


def uniforms(stream: Stream, size: int, like: Tensor) -> Tensor:
    """Uniforms in (0, 1), [R, size], of the type of `like`."""
    return stream.spread(torch.zeros((), dtype=torch.int64, device=like.device)).uniform(size, dtype=like.dtype)
