"""The Grand Canyon of "Gradient is all you need?": a winding, rippled valley with a wall across it before its end."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zeroth_order.objectives.synthetic import Synthetic


@dataclass(frozen=True)
class GrandCanyon(Synthetic):
    """A canyon along v = 0, a slope and ripples towards 0, and a wall where b > 0; two-dimensional.

    v = y - ((x - 1) (x - 4)^2 / 8 + 2),  b = -x - 1.6 y
    g = 25 (1 - exp(-1.4 v^2 exp(-0.002 x^4))) + 0.4 x^2 + 0.2 y^2 + 1.1625 sum_j (1 - cos(0.75 pi z_j))
        + 4 exp(1 - 2 v^4) (1 - exp(-9 b^2)) [b > 0]

    Every term is >= 0 and all vanish at 0 alone. Once continuously differentiable: the wall begins as 9 b^2.
    """

    dim: int = 2
    """d = 2 and no other."""

    id = "grand-canyon"
    summary = "a winding, rippled canyon with a wall across it, d = 2"
    source = "Riedl, Klock, Geldhauser, Fornasier (arXiv 2306.09778), the landscape of figures 1 and 2"
    box = (-2.0, 8.0)
    smallest_dim = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim != 2:
            raise ValueError(f"dim = {self.dim} of {self.id!r} is not 2, and it has no other")

    def g(self, z: Tensor) -> Tensor:
        """[..., 2] -> [...]."""
        x, y = z[..., 0], z[..., 1]
        v, b = y - ((x - 1) * (x - 4) ** 2 / 8 + 2), (-x - 1.6 * y).clamp(min=0)
        canyon = -25 * torch.expm1(-1.4 * v**2 * torch.exp(-0.002 * x**4))
        slope = 0.4 * x**2 + 0.2 * y**2
        ripples = 1.1625 * (1 - torch.cos(0.75 * math.pi * z)).sum(-1)
        wall = -4 * torch.exp(1 - 2 * v**4) * torch.expm1(-9 * b**2)
        return canyon + slope + ripples + wall
