"""What clients have seen, and which of it their surrogates are made of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zeroth_order.federated.windows import nearest


class History(NamedTuple):
    """The last H points of every client, the newest last."""

    points: Tensor
    """[R, C, H, d]"""
    values: Tensor
    """[R, C, H], the largest number where there is nothing yet, or a query failed: a state holds no NaN."""

    def appended(self, points: Tensor, values: Tensor, chosen: Tensor) -> "History":
        """With points [R, S, K, d] and values [R, S, K] of the clients `chosen` [R, S]; the oldest are lost.

        A value that is not finite takes no place: those of the history stay in its stead.
        """
        mine = self.of(chosen)
        points, values = torch.cat((mine.points, points), -2), torch.cat((mine.values, values), -1)
        unknown = torch.finfo(values.dtype).max
        order = (values.abs() < unknown).to(torch.int8).argsort(dim=-1, stable=True)[..., -self.values.shape[-1] :]
        values = torch.nan_to_num(values.gather(-1, order), unknown, unknown, unknown)
        points = torch.take_along_dim(points, order[..., None], dim=-2)
        index = chosen[..., None].expand_as(values)
        return History(
            self.points.scatter(1, index[..., None].expand_as(points), points), self.values.scatter(1, index, values)
        )

    def of(self, chosen: Tensor) -> "History":
        """That of the clients `chosen` [R, S]."""
        index = chosen[..., None].expand(-1, -1, self.values.shape[-1])
        points = self.points.gather(1, index[..., None].expand(-1, -1, -1, self.points.shape[-1]))
        return History(points, self.values.gather(1, index))

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
