"""What derivative-free optimizers are given, and what they are run on.

    R runs · K points per run and ask · d dimension

Everything minimises. A value that is NaN or infinite is a failed query: it was charged, it never counts.
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from envs.algorithm import Algorithm
from envs.core import Evaluation
from envs.random import Stream

Bounds: TypeAlias = tuple[Tensor, Tensor]
"""Lower and upper bounds, [d] each."""

Optimum: TypeAlias = tuple[Tensor, float]
"""A global minimiser x* [d] and its value f*."""


class Values(NamedTuple):
    """The feedback of an optimizer."""

    values: Tensor
    """[R, K], lower is better; NaN or inf = failed."""
    gradients: Tensor | None = None
    """[R, K, d], for optimizers that want them."""


class Invariance(Enum):
    """What may be done to a problem without changing the course of an optimizer, but for the same thing done to it.

    The last three are about values, each of them implied by the next: an optimizer claims the strongest.
    """

    TRANSLATION = "f(x - a), started at x_0 + a: every point is shifted by a"
    ROTATION = "f(Q'x), Q orthogonal, started at Q x_0: every point is turned by Q, in law"
    OFFSET = "f + b: nothing changes"
    AFFINE = "a f + b, a > 0: nothing changes"
    MONOTONE = "g(f), g strictly increasing: nothing changes, to the last bit"


class Optimizer(Algorithm):
    """Base of the derivative-free optimizers: `tell` reads `feedback.values` [R, K] and nothing else of the feedback.

    A run whose values all failed keeps its recommendation; a value that failed alone never enters a mean, a ranking
    or a best-so-far as if it were a number.
    """

    @property
    def wants_gradients(self) -> bool:
        """Whether `tell` reads `feedback.gradients` too; they are charged like queries, where they can be told."""
        return False

    @property
    def invariances(self) -> frozenset[Invariance]:
        """What this configuration is invariant under, up to rounding; `tests/conformance` holds it to that."""
        return frozenset()


class Objective(ABC):
    """A function to minimise, queried at R x K points at a time."""

    id: ClassVar[str]
    """Name on the command line."""
    summary: ClassVar[str]
    """One line for `zopg list`."""
    source: ClassVar[str]
    """Paper or reference implementation."""
    differentiable: ClassVar[bool] = True
    """Whether torch can differentiate what `evaluate` answers."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension d."""

    @property
    def bounds(self) -> Bounds | None:
        """The box in which the function is usually minimised, None where there is none. It is not enforced."""
        return None

    @property
    def optimum(self) -> Optimum | None:
        """A global minimiser and the minimum, None where they are not known."""
        return None

    @abstractmethod
    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        """Values at `points` [R, K, d]; each point costs one query. Raises ValueError as `check_points` does."""

    def check_points(self, points: Tensor) -> None:
        """Raise ValueError unless `points` is floating-point [R, K, d]; a point that is not finite just fails."""
        if points.dim() != 3 or points.shape[-1] != self.dim or not points.is_floating_point():
            raise ValueError(
                f"points of shape {tuple(points.shape)} and type {points.dtype} given to {self.id!r}: "
                f"floating-point [R, K, {self.dim}] is needed"
            )


def succeeded(values: Tensor) -> Tensor:
    """Which values are numbers, bool of the same shape."""
    return torch.isfinite(values)


def failed_to_inf(values: Tensor) -> Tensor:
    """Values with +inf, the worst there is, in place of every failed one (NaN, inf and -inf)."""
    return torch.where(succeeded(values), values, torch.inf)
