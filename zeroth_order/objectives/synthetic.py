"""Test functions with a known minimum: Sphere, Ackley, Rastrigin, Rosenbrock, Griewank, Levy.

Each is g(z) with minimum 0 at z* = (c, ..., c), evaluated at z = Q (x - shift) + z*, so that the minimiser is
x* = shift whatever the rotation Q. Formulas as in the collection of Surjanovic and Bingham (Simon Fraser University,
2013).
Everything is differentiable torch code and runs on the device and in the precision of the points.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.core import Cost, Evaluation
from envs.random import Purpose, Stream, streams
from zeroth_order.core import Bounds, Objective, Optimum


def random_rotation(dim: int, seed: int) -> Tensor:
    """A random orthogonal matrix [d, d], float64, uniform (Haar) on the orthogonal group.

    QR decomposition of a Gaussian matrix with the signs of R's diagonal moved into Q (Mezzadri 2007).
    """
    rows = streams([seed]).fold(Purpose.INSTANCE).spread(torch.arange(dim))
    q, r = torch.linalg.qr(rows.normal(dim, dtype=torch.float64)[0])
    return q * torch.sign(torch.diagonal(r))


@dataclass(frozen=True)
class Synthetic(Objective):
    """Base of the test functions; a subclass gives g, c and the usual box."""

    dim: int = 10
    """Dimension d >= `smallest_dim`."""
    shift: float | Tensor | None = None
    """Minimiser x*: one number for all coordinates or [d], inside the box; None: where the literature has it."""
    rotation: int | None = None
    """Seed of the rotation Q; None: no rotation."""

    box: ClassVar[tuple[float, float]]
    minimiser: ClassVar[float] = 0.0
    """c, a coordinate of z*."""
    smallest_dim: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.dim < self.smallest_dim:
            raise ValueError(f"dim = {self.dim} of {self.id!r} is not >= {self.smallest_dim}")
        if isinstance(self.shift, Tensor) and self.shift.shape not in ((), (self.dim,)):
            raise ValueError(f"shift has shape {tuple(self.shift.shape)}, a number or [{self.dim}] is needed")
        low, high = self.box
        if not bool(((self._shift >= low) & (self._shift <= high)).all()):
            raise ValueError(f"shift = {self.shift} does not lie in the box [{low:g}, {high:g}] of {self.id!r}")
        if self.rotation is not None and self.rotation < 0:
            raise ValueError(f"rotation = {self.rotation} is a seed and has to be >= 0")

    @abstractmethod
    def g(self, z: Tensor) -> Tensor:
        """The plain function, [..., d] -> [...]."""

    @property
    def bounds(self) -> Bounds:
        """The usual box, float64; neither shift nor rotation moves it."""
        low, high = self.box
        return torch.full((self.dim,), low, dtype=torch.float64), torch.full((self.dim,), high, dtype=torch.float64)

    @property
    def optimum(self) -> Optimum:
        """x* = shift, f* = 0."""
        return self._shift.clone(), 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x [..., d], [...]; differentiable."""
        z = x - (self._on("shift", x) if isinstance(self.shift, Tensor) else self._number)
        if self.rotation is not None:
            # A sum and not a matrix product: its order cannot depend on how many points are evaluated together.
            z = (z[..., None, :] * self._on("rotation", x)).sum(-1)
        return self.g(z + self.minimiser)

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        """Values at `points` [R, K, d]; the function is deterministic, so `stream` is not used."""
        self.check_points(points)
        runs, count, _ = points.shape
        return Evaluation(self(points), Cost.each(runs, points.device, queries=count), {})

    @property
    def _number(self) -> float | Tensor:
        return self.minimiser if self.shift is None else self.shift

    @cached_property
    def _shift(self) -> Tensor:
        return torch.as_tensor(self._number, dtype=torch.float64, device="cpu").expand(self.dim)

    @cached_property
    def _rotation(self) -> Tensor:
        return random_rotation(self.dim, self.rotation or 0)

    @cached_property
    def _copies(self) -> dict[tuple[str, torch.device, torch.dtype], Tensor]:
        return {}

    def _on(self, part: Literal["shift", "rotation"], x: Tensor) -> Tensor:
        """With the place and type of x; copied there once, as a GPU would have to wait for it."""
        key = (part, x.device, x.dtype)
        if key not in self._copies:
            self._copies[key] = (self._shift if part == "shift" else self._rotation).to(x)
        return self._copies[key]


class Sphere(Synthetic):
    """sum z_i^2: convex, separable, perfectly conditioned."""

    id = "sphere"
    summary = "sum of squares, the easiest convex function"
    source = "De Jong (1975), F1"
    box = (-5.12, 5.12)

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        return (z**2).sum(-1)


class Ackley(Synthetic):
    """A nearly flat outside with many ripples and one hole; not differentiable at its minimiser."""

    id = "ackley"
    summary = "a hole in a rippled, nearly flat plane"
    source = "Ackley (1987), a = 20, b = 0.2, c = 2 pi"
    box = (-32.768, 32.768)

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        radius, ripple = torch.sqrt((z**2).mean(-1)), torch.cos(2 * math.pi * z).mean(-1)
        return -20 * torch.expm1(-0.2 * radius) - math.e * torch.expm1(ripple - 1)


@dataclass(frozen=True)
class Rastrigin(Synthetic):
    """A parabola with about 11^d regularly placed local minima."""

    amplitude: float = 10.0
    """Of the ripples, >= 0: sum z_i^2 + amplitude (1 - cos 2 pi z_i). Riedl et al. (arXiv 2306.09778): 2.5."""

    id = "rastrigin"
    summary = "a parabola with regularly placed local minima"
    source = "Rastrigin (1974); Muehlenbein, Schomisch, Born (1991)"
    box = (-5.12, 5.12)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("amplitude", self.amplitude, low=0.0)

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        return (z**2 + self.amplitude * (1 - torch.cos(2 * math.pi * z))).sum(-1)


class Rosenbrock(Synthetic):
    """A curved, narrow valley that is easy to find and hard to follow."""

    id = "rosenbrock"
    summary = "a curved, narrow valley"
    source = "Rosenbrock (1960)"
    box = (-5.0, 10.0)
    minimiser = 1.0
    smallest_dim = 2

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        head, tail = z[..., :-1], z[..., 1:]
        return (100 * (tail - head**2) ** 2 + (1 - head) ** 2).sum(-1)


class Griewank(Synthetic):
    """A wide parabola with shallow ripples that couple all coordinates."""

    id = "griewank"
    summary = "a wide parabola with coupled shallow ripples"
    source = "Griewank (1981)"
    box = (-600.0, 600.0)

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        frequency = torch.arange(1, self.dim + 1, dtype=z.dtype, device=z.device).rsqrt()
        return (z**2).sum(-1) / 4000 + (1 - torch.cos(z * frequency).prod(-1))


class Levy(Synthetic):
    """Ripples along a slope in every coordinate."""

    id = "levy"
    summary = "ripples along a slope"
    source = "Levy and Montalvo (1985)"
    box = (-10.0, 10.0)
    minimiser = 1.0

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        w = 1 + (z - 1) / 4
        first, middle, last = w[..., 0], w[..., :-1], w[..., -1]
        ripples = ((middle - 1) ** 2 * (1 + 10 * torch.sin(math.pi * middle + 1) ** 2)).sum(-1)
        slope = (last - 1) ** 2 * (1 + torch.sin(2 * math.pi * last) ** 2)
        return torch.sin(math.pi * first) ** 2 + ripples + slope


SYNTHETIC: dict[str, type[Synthetic]] = {
    objective.id: objective for objective in (Sphere, Ackley, Rastrigin, Rosenbrock, Griewank, Levy)
}
"""id -> class."""
