"""Clients with different functions whose mean does not depend on how different they are.

Shu, Lin, Dai, Low, "Federated zeroth-order optimization using trajectory-informed surrogate gradients" (arXiv
2308.04077), section 6.1, with z = 20 x - 10 for x in [0, 1]^d:

    f_c(x) = (0.1 / d) (sum_j a_cj z_j^2 + sum_j b_cj z_j + 1),   a_cj = 1 + C (D_cj - 1/N),   b_cj likewise

D_.j ~ Dirichlet(1/N, ..., 1/N) over the N clients, so the deviations of a coordinate have sum 0 and F is the same for
every C. Here also with another g in place of the parabola: f_c = (0.1 / d) (g(z) + the deviations' quadratic).

As in the published code f is that of the nearest point of the box, so it is flat outside.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from scipy.special import gammaincinv
from torch import Tensor

from envs.algorithm import check_range
from envs.random import Purpose, Stream, streams
from zeroth_order.core import Bounds, Optimum
from zeroth_order.federated.core import FederatedObjective
from zeroth_order.objectives.synthetic import Ackley, Levy

ACKLEY, LEVY = Ackley(), Levy()


def dirichlet(concentration: float, parts: int, dim: int, seed: int) -> Tensor:
    """[parts, dim] float64: `dim` draws of the symmetric Dirichlet law, each with sum 1. By inversion."""
    lanes = torch.arange(parts)
    uniform = streams([seed]).fold(Purpose.INSTANCE).spread(lanes).uniform(dim, dtype=torch.float64)[0]
    gamma = torch.from_numpy(gammaincinv(concentration, uniform.numpy()))
    return gamma / gamma.sum(0)


@dataclass(frozen=True)
class FederatedSynthetic(FederatedObjective):
    """Base of the test functions; a subclass gives g and its minimum."""

    dim: int = 300
    """d >= 1."""
    clients: int = 5
    """N >= 2."""
    heterogeneity: float = 0.5
    """C >= 0: 0 makes all clients equal. Paper: 0.5, 5, 50."""
    instance: int = 0
    """Seed of the deviations."""

    scale: ClassVar[float] = 0.1
    """Of the whole, times 1 / d. Paper: 0.1."""

    def __post_init__(self) -> None:
        check_range("dim", self.dim, 1)
        check_range("clients", self.clients, 2)
        check_range("heterogeneity", self.heterogeneity, 0.0)
        check_range("instance", self.instance, 0)

    @abstractmethod
    def g(self, z: Tensor) -> Tensor:
        """The common part, [..., d] -> [...]."""

    @property
    def bounds(self) -> Bounds:
        """[0, 1]^d."""
        return torch.zeros(self.dim, dtype=torch.float64), torch.ones(self.dim, dtype=torch.float64)

    def client_values(self, points: Tensor, clients: Tensor, stream: Stream) -> Tensor:
        """[R, K]; noise-free."""
        z = 20 * points.clamp(0, 1) - 10
        square, slope = (table.to(points)[clients] for table in self._deviations)
        return self.scale / self.dim * (self.g(z) + ((square * z + slope) * z).sum(-1))

    @cached_property
    def _deviations(self) -> tuple[Tensor, Tensor]:
        """C (D - 1/N) of the squares and of the slopes, [N, d] each."""
        both = dirichlet(1 / self.clients, self.clients, 2 * self.dim, self.instance)
        square, slope = (self.heterogeneity * (both - 1 / self.clients)).chunk(2, -1)
        return square, slope


class FederatedQuadratic(FederatedSynthetic):
    """g = sum z^2 + sum z + 1."""

    id = "federated-quadratic"
    summary = "quadratics that differ between clients, their mean does not"
    source = "Shu et al., arXiv 2308.04077, section 6.1"

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        return ((z + 1) * z).sum(-1) + 1

    @property
    def optimum(self) -> Optimum:
        """z = -1/2, F* = (0.1 / d) (1 - d / 4)."""
        return torch.full((self.dim,), 9.5 / 20, dtype=torch.float64), self.scale / self.dim * (1 - self.dim / 4)


class FederatedAckley(FederatedSynthetic):
    """g = d Ackley(z), so that the hole is as deep as the deviations are wide."""

    id = "federated-ackley"
    summary = "Ackley's function and quadratics that differ between clients"
    source = "Shu et al., arXiv 2308.04077; Ackley (1987)"

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        return self.dim * ACKLEY.g(z)

    @property
    def optimum(self) -> Optimum:
        """z = 0."""
        return torch.full((self.dim,), 0.5, dtype=torch.float64), 0.0


class FederatedLevy(FederatedSynthetic):
    """g = Levy(z)."""

    id = "federated-levy"
    summary = "Levy's function and quadratics that differ between clients"
    source = "Shu et al., arXiv 2308.04077; Levy and Montalvo (1985)"

    def g(self, z: Tensor) -> Tensor:
        """[..., d] -> [...]."""
        return LEVY.g(z)

    @property
    def optimum(self) -> Optimum:
        """z = 1."""
        return torch.full((self.dim,), 0.55, dtype=torch.float64), 0.0
