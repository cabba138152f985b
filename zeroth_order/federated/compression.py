"""What a client sends of a vector that the server has an older version of.

EF21: Richtarik, Sokolov, Fatkhullin, "EF21: a new, simpler, theoretically better, and practically faster error
feedback" (NeurIPS 2021): g <- g + C(v - g), C a contraction. Both sides know g, so only C(v - g) is sent.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from envs.algorithm import check_range


class Compression(ABC):
    """How a vector goes up."""

    @abstractmethod
    def floats(self, size: int) -> int:
        """Numbers sent for a vector of `size`, indices among them."""

    @abstractmethod
    def received(self, vector: Tensor, known: Tensor) -> Tensor:
        """What the server has afterwards [..., M] of `vector` [..., M], where it had `known` [..., M] before."""


@dataclass(frozen=True)
class Whole(Compression):
    """No compression."""

    def floats(self, size: int) -> int:
        """M."""
        return size

    def received(self, vector: Tensor, known: Tensor) -> Tensor:
        """The vector."""
        return vector


@dataclass(frozen=True)
class EF21(Compression):
    """The entries of v - g that are largest in magnitude, with error feedback."""

    share: float = 0.1
    """Of the entries that are sent, in (0, 1]: the contraction is 1 - share or better."""

    def __post_init__(self) -> None:
        check_range("share", self.share, 0.0, 1.0, open_low=True)

    def floats(self, size: int) -> int:
        """A value and an index for each entry."""
        return 2 * self._count(size)

    def received(self, vector: Tensor, known: Tensor) -> Tensor:
        """g + C(v - g)."""
        difference = vector - known
        index = difference.abs().topk(self._count(vector.shape[-1]), dim=-1).indices
        return known.scatter_add(-1, index, difference.gather(-1, index))

    def _count(self, size: int) -> int:
        return max(1, round(self.share * size))
