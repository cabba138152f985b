"""Mirror maps: grad phi takes particles to the dual space, grad phi* brings them back, into the feasible set.

    phi(x) = |x|^2 / 2 on a set     grad phi = identity,  grad phi* = the nearest point of the set
    Legendre functions              grad phi* is the inverse of grad phi

Bungert, Roith, Wacker, "MirrorCBO: a consensus-based optimization method in the spirit of mirror descent" (arXiv
2501.12189), section 2.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range
from zeroth_order.cbo.swarm import as_tensor


class MirrorMap(ABC):
    """phi, by its gradient and that of its convex conjugate; all maps are [R, ..., d] -> [R, ..., d]."""

    def to_dual(self, x: Tensor) -> Tensor:
        """grad phi: x, where phi is quadratic. A point that is not feasible is taken for one nearby that is."""
        return x

    @abstractmethod
    def to_primal(self, y: Tensor) -> Tensor:
        """grad phi*, feasible."""

    def feasible(self, c: Tensor) -> Tensor:
        """What stands for a mean of feasible points; in a convex set it is feasible itself."""
        return c


@dataclass(frozen=True)
class Box(MirrorMap):
    """The nearest point of [low, high]^d."""

    low: Numeric = -5.0
    """Lower bound of every coordinate."""
    high: Numeric = 5.0
    """Upper bound, > low."""

    def __post_init__(self) -> None:
        _check_box(self.low, self.high)

    def to_primal(self, y: Tensor) -> Tensor:
        """y, each coordinate cut to the interval."""
        return y.clamp(as_tensor(self.low, y), as_tensor(self.high, y))


@dataclass(frozen=True)
class Ball(MirrorMap):
    """The nearest point of the ball around 0."""

    radius: Numeric = 1.0
    """> 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("radius", self.radius, 0.0, open_low=True)

    def to_primal(self, y: Tensor) -> Tensor:
        """y / max(1, |y| / radius)."""
        norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        return y / (norm / along_runs(self.radius, norm)).clamp(min=1.0)


@dataclass(frozen=True)
class SphereShell(MirrorMap):
    """The nearest point of the sphere around 0; it is not convex."""

    radius: Numeric = 1.0
    """> 0, in the units of x."""

    def __post_init__(self) -> None:
        check_range("radius", self.radius, 0.0, open_low=True)

    def to_primal(self, y: Tensor) -> Tensor:
        """radius y / |y|; at y = 0, where all are equally near, a pole."""
        pole = torch.zeros_like(y)
        pole[..., 0] = 1.0
        unit = torch.nn.functional.normalize(y, dim=-1, eps=torch.finfo(y.dtype).tiny)
        return along_runs(self.radius, y) * torch.where((y == 0).all(-1, keepdim=True), pole, unit)

    def feasible(self, c: Tensor) -> Tensor:
        """The nearest point of the sphere."""
        return self.to_primal(c)


@dataclass(frozen=True)
class Simplex(MirrorMap):
    """x_j >= 0 that add up to 1; phi is the negative entropy sum x_j log x_j."""

    def to_dual(self, x: Tensor) -> Tensor:
        """1 + log x_j, with the smallest positive number in place of what is not positive."""
        return 1 + x.clamp(min=torch.finfo(x.dtype).tiny).log()

    def to_primal(self, y: Tensor) -> Tensor:
        """exp y_j / sum exp y."""
        return torch.softmax(y, dim=-1)


@dataclass(frozen=True)
class ElasticNet(MirrorMap):
    """Sparse points: phi(x) = |x|^2 / (2 delta) + lam |x|_1."""

    delta: Numeric = 1.0
    """> 0, weight of sparsity against the square."""
    lam: Numeric = 1.0
    """Threshold >= 0, in the units of x / delta."""

    def __post_init__(self) -> None:
        check_range("delta", self.delta, 0.0, open_low=True)
        check_range("lam", self.lam, 0.0)

    def to_dual(self, x: Tensor) -> Tensor:
        """x / delta + lam sign x."""
        return x / along_runs(self.delta, x) + along_runs(self.lam, x) * x.sign()

    def to_primal(self, y: Tensor) -> Tensor:
        """Soft thresholding: delta sign y max(|y| - lam, 0)."""
        return along_runs(self.delta, y) * y.sign() * (y.abs() - along_runs(self.lam, y)).clamp(min=0.0)


@dataclass(frozen=True)
class BarrierBox(MirrorMap):
    """The open box; phi(x) = -sum log(1 - u_j^2), u the box scaled to (-1, 1)^d."""

    low: Numeric = -5.0
    """Lower bound of every coordinate."""
    high: Numeric = 5.0
    """Upper bound, > low."""

    def __post_init__(self) -> None:
        _check_box(self.low, self.high)

    def to_dual(self, x: Tensor) -> Tensor:
        """2 u / (1 - u^2), of a u within (-1, 1)."""
        centre, half = self._scale(x)
        edge = 1 - torch.finfo(x.dtype).eps
        u = ((x - centre) / half).clamp(-edge, edge)
        return 2 * u / ((1 - u) * (1 + u))

    def to_primal(self, y: Tensor) -> Tensor:
        """u = y / (1 + (1 + y^2)^(1/2))."""
        centre, half = self._scale(y)
        return centre + half * (y / (1 + torch.hypot(torch.ones_like(y), y)))

    def _scale(self, x: Tensor) -> tuple[Numeric, Numeric]:
        return along_runs((self.low + self.high) / 2, x), along_runs((self.high - self.low) / 2, x)


def _check_box(low: Numeric, high: Numeric) -> None:
    check_range("low", low)
    check_range("high", high)
    if bool((torch.as_tensor(low) >= torch.as_tensor(high)).any()):
        raise ValueError(f"low = {low} has to be less than high = {high}")
