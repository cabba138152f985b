"""What clients have seen, and which of it their surrogates are made of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zeroth_order.cbo.swarm import stored
from zeroth_order.federated.windows import nearest


class History(NamedTuple):
    """The last H points of every client, the newest last."""

    points: Tensor
    """[R, S, H, d]"""
    values: Tensor
    """[R, S, H], the largest number where there is nothing yet, or a query failed: a state holds no NaN."""

    @classmethod
    def empty(cls, like: Tensor, capacity: int) -> "History":
        """That of clients `like` [R, S, d] which have seen nothing."""
        points = like.new_zeros(*like.shape[:2], capacity, like.shape[2])
        return cls(points, torch.full_like(points[..., 0], torch.finfo(like.dtype).max))

    def appended(self, points: Tensor, values: Tensor) -> "History":
        """With points [R, S, K, d] and values [R, S, K]; the oldest are lost.

        A value that is not finite takes no place: those of the history stay in its stead.
        """
        points, values = torch.cat((self.points, points), -2), torch.cat((self.values, stored(values, self.values)), -1)
        told = values.abs() < torch.finfo(values.dtype).max
        order = told.to(torch.int8).argsort(dim=-1, stable=True)[..., -self.values.shape[-1] :]
        return History(torch.take_along_dim(points, order[..., None], dim=-2), values.gather(-1, order))

    def known(self) -> Tensor:
        """The values, NaN where there is none."""
        return torch.where(self.values < torch.finfo(self.values.dtype).max, self.values, torch.nan)


class Selection(ABC):
    """Which points of a history a surrogate at x is made of."""

    @abstractmethod
    def __call__(self, history: History, x: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        """At most `capacity` points [R, S, n, d] and values [R, S, n], NaN where there is none, for x [R, S, d]."""


@dataclass(frozen=True)
class Latest(Selection):
    """The newest."""

    def __call__(self, history: History, x: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        """The last of the history."""
        return history.points[..., -capacity:, :], history.known()[..., -capacity:]


@dataclass(frozen=True)
class Nearest(Selection):
    """Those nearest to x, as the official code takes them."""

    def __call__(self, history: History, x: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        """The nearest last."""
        return nearest(history.points, history.known(), x, capacity)
