"""Constraints g(x) = 0 that are known functions, so that they cost no query.

    Drift     X <- X + (I + dt / eps Hess g^2)^-1 (step - dt / eps grad g^2)      all at X before the step
    Penalty   f + weight g^2 takes the place of f

Drift: Carrillo, Jin, Zhang, Zhu, "An interacting particle consensus method for constrained global optimization" (arXiv
2405.00891), linearly implicit in the stiff term. Penalty: Borghi, Herty, Pareschi (SIAM J. Optim. 2023), with a
constant weight. For the surfaces here Hess g = h I with a constant h, so that

    I + tau Hess g^2 = (1 + 2 tau g h) I + 2 tau grad g grad g'

has a closed inverse (Sherman, Morrison, 1950) in O(d). It is not definite where 2 tau g h < -1, deep inside a sphere;
a particle whose step is not finite there stays, and the penalty has no such place.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range


class Surface(ABC):
    """The places where g is 0."""

    curvature: ClassVar[float]
    """h: the Hessian of g is h I."""

    @abstractmethod
    def g(self, x: Tensor) -> Tensor:
        """[R, K, d] -> [R, K]."""

    @abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """[R, K, d] -> [R, K, d]."""


@dataclass(frozen=True)
class SphereSurface(Surface):
    """g(x) = |x|^2 - radius^2."""

    radius: Numeric = 1.0
    """> 0, in the units of x."""

    curvature = 2.0

    def __post_init__(self) -> None:
        check_range("radius", self.radius, 0.0, open_low=True)

    def g(self, x: Tensor) -> Tensor:
        """Positive outside."""
        square = x.square().sum(-1)
        return square - along_runs(self.radius, square) ** 2

    def gradient(self, x: Tensor) -> Tensor:
        """2 x."""
        return 2 * x


@dataclass(frozen=True)
class Plane(Surface):
    """g(x) = (a . x - offset) / |a|, the signed distance."""

    normal: tuple[float, ...] = (1.0,)
    """a, [d] and not 0; a single number stands for all coordinates."""
    offset: Numeric = 0.0
    """a . x on the plane, in the units of a times those of x."""

    curvature = 0.0

    def __post_init__(self) -> None:
        if not any(self.normal):
            raise ValueError(f"normal = {self.normal} has to have a coordinate that is not 0")
        check_range("normal", torch.tensor(self.normal))
        check_range("offset", self.offset)

    def g(self, x: Tensor) -> Tensor:
        """The distance, positive on the side of a."""
        a = self._normal(x)
        product = (a * x).sum(-1)
        return (product - along_runs(self.offset, product)) / a.norm()

    def gradient(self, x: Tensor) -> Tensor:
        """a / |a|."""
        a = self._normal(x)
        return (a / a.norm()).expand_as(x)

    def _normal(self, x: Tensor) -> Tensor:
        if len(self.normal) not in (1, x.shape[-1]):
            raise ValueError(f"normal = {self.normal} has {len(self.normal)} numbers, allowed are 1 or {x.shape[-1]}")
        return _vector(self.normal, x.dtype, x.device).expand(x.shape[-1])


@lru_cache(maxsize=64)
def _vector(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copied to a GPU once: it would be waited for."""
    return torch.tensor(numbers, dtype=dtype, device=device)


class Constraint(ABC):
    """How a surface is enforced."""

    @abstractmethod
    def penalised(self, points: Tensor, values: Tensor) -> Tensor:
        """What stands for the values [R, K] at points [R, K, d]."""

    @abstractmethod
    def steer(self, x: Tensor, moved: Tensor, dt: Numeric) -> Tensor:
        """What becomes of a step from x [R, K, d] to `moved` [R, K, d]."""


@dataclass(frozen=True)
class Unconstrained(Constraint):
    """No constraint."""

    def penalised(self, points: Tensor, values: Tensor) -> Tensor:
        """The values."""
        return values

    def steer(self, x: Tensor, moved: Tensor, dt: Numeric) -> Tensor:
        """The step."""
        return moved


@dataclass(frozen=True)
class DriftConstraint(Constraint):
    """A strong drift down g^2, linearly implicit."""

    surface: Surface = SphereSurface()
    """Where g = 0."""
    eps: Numeric = 0.01
    """Relaxation, > 0, in the units of dt times those of the Hessian of g^2: small is strict. CBXpy: 0.01."""

    def __post_init__(self) -> None:
        check_range("eps", self.eps, 0.0, open_low=True)

    def penalised(self, points: Tensor, values: Tensor) -> Tensor:
        """The values."""
        return values

    def steer(self, x: Tensor, moved: Tensor, dt: Numeric) -> Tensor:
        """x + (I + tau Hess g^2)^-1 (moved - x - tau grad g^2), tau = dt / eps."""
        g, gradient = self.surface.g(x)[..., None], self.surface.gradient(x)
        tau = along_runs(dt / self.eps, x)
        right = moved - x - 2 * tau * g * gradient
        scale = 1 + 2 * tau * g * self.surface.curvature
        along = (gradient * right).sum(-1, keepdim=True)
        square = gradient.square().sum(-1, keepdim=True)
        return x + (right - 2 * tau * along * gradient / (scale + 2 * tau * square)) / scale


@dataclass(frozen=True)
class Penalty(Constraint):
    """weight g^2 is added to the values."""

    surface: Surface = SphereSurface()
    """Where g = 0."""
    weight: Numeric = 1.0
    """> 0, in the units of f over those of g^2."""

    def __post_init__(self) -> None:
        check_range("weight", self.weight, 0.0, open_low=True)

    def penalised(self, points: Tensor, values: Tensor) -> Tensor:
        """f + weight g^2."""
        return values + along_runs(self.weight, values) * self.surface.g(points).square().to(values)

    def steer(self, x: Tensor, moved: Tensor, dt: Numeric) -> Tensor:
        """The step."""
        return moved
