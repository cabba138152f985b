"""How the covariance matrix of CMA-ES is held and adapted: by a factor A, C = A A^T, one small piece for each kind.

    y = A z,  z ~ N(0, I)                           a sample of N(0, C)
    A <- A S^(1/2)                                  S = decay I + sum over k of w_k z_k z_k^T, z_k = A^-1 y_k

is C <- decay C + sum over k of w_k y_k y_k^T. With CMA-ES's weights every eigenvalue of S stays in a range that depends
on the learning rates alone, so no decomposition fails and C stays positive definite at any condition number.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from zeroth_order.cbo.swarm import product, whole_lines
from zeroth_order.evolution import triangular


class Covariance(ABC):
    """A kind of factor. Its shape begins with the run axis."""

    turns: ClassVar[bool]
    """Whether the factor of Q C Q^T is Q A Q^T for every rotation Q."""

    @abstractmethod
    def identity(self, like: Tensor) -> Tensor:
        """The factor of C = I for x [R, d]."""

    @abstractmethod
    def color(self, factor: Tensor, z: Tensor) -> Tensor:
        """A z_k of z [R, n, d]."""

    @abstractmethod
    def whiten(self, factor: Tensor, y: Tensor) -> Tensor:
        """A^-1 y of y [R, d]."""

    @abstractmethod
    def adapted(self, factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
        """The factor of A S A^T for z [R, n, d], weights [R, n] and decay [R]."""

    def matrix(self, factor: Tensor, like: Tensor) -> Tensor:
        """C [R, d, d], of the size of x [R, d]."""
        root = self.color(factor, Cholesky().identity(like)).mT
        return product(root, root.mT)

    @abstractmethod
    def deviations(self, factor: Tensor) -> Tensor:
        """The square roots of the diagonal of C, [R, d]."""

    @abstractmethod
    def condition(self, factor: Tensor) -> Tensor:
        """The condition number of C, or a lower bound of it, [R]."""

    def speed(self, dim: int) -> float:
        """By how much faster it is learnt than a full matrix."""
        return 1.0


@dataclass(frozen=True)
class Cholesky(Covariance):
    """A full matrix with a triangular factor, fast; on a CPU by kernels, see `triangular`.

    Krause, Arbones, Igel, "CMA-ES with optimal covariance update and storage complexity" (NeurIPS 2016). A differs from
    the symmetric root by a rotation, which the path of the step size sees. A [R, d, d].
    """

    turns = False

    def identity(self, like: Tensor) -> Tensor:
        """I."""
        return torch.eye(like.shape[1], dtype=like.dtype, device=like.device).repeat(len(like), 1, 1)

    def color(self, factor: Tensor, z: Tensor) -> Tensor:
        """A z."""
        return triangular.color(factor, z) if triangular.covers(factor) else z @ factor.mT

    def whiten(self, factor: Tensor, y: Tensor) -> Tensor:
        """By substitution."""
        if triangular.covers(factor):
            return triangular.whiten(factor, y)
        return torch.linalg.solve_triangular(factor, y[..., None], upper=False)[..., 0]

    def adapted(self, factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
        """A times the Cholesky factor of S, which is the Cholesky factor of A S A^T."""
        if triangular.covers(factor):
            return triangular.adapted(factor, z, weights, decay)
        return factor @ torch.linalg.cholesky_ex(_changes(z, weights, decay)).L

    def deviations(self, factor: Tensor) -> Tensor:
        """Norms of the rows."""
        return torch.linalg.vector_norm(factor, dim=-1)

    def condition(self, factor: Tensor) -> Tensor:
        """Of the diagonal of A, squared: a lower bound, below the condition of C by a factor of at most about d^2."""
        diagonal = factor.diagonal(dim1=-2, dim2=-1)
        return (diagonal.amax(-1) / diagonal.amin(-1)).square()


@dataclass(frozen=True)
class SymmetricRoot(Covariance):
    """A full matrix with its symmetric root A = B D B^T by eigendecomposition, as in the tutorial and in pycma, slow.

    The factor is B, with D below it, [R, d + 1, d]; it is decomposed in every generation.
    """

    turns = True

    def identity(self, like: Tensor) -> Tensor:
        """B = I, D = 1."""
        return torch.cat((Cholesky().identity(like), torch.ones_like(like)[:, None]), 1)

    def color(self, factor: Tensor, z: Tensor) -> Tensor:
        """B D B^T z."""
        return product(product(z, factor[:, :-1]) * factor[:, -1:], factor[:, :-1].mT)

    def whiten(self, factor: Tensor, y: Tensor) -> Tensor:
        """B D^-1 B^T y."""
        return product(product(y[:, None], factor[:, :-1]) / factor[:, -1:], factor[:, :-1].mT)[:, 0]

    def adapted(self, factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
        """B and D of A S A = B D^2 B^T. D stays above rounding errors of its largest entry."""
        dim = z.shape[-1]
        matrix = self.color(factor, self.color(factor, _changes(z, weights, decay)).mT)
        squares, axes = torch.linalg.eigh(whole_lines((matrix + matrix.mT) / 2))  # what it is filled with comes first
        squares = squares[:, -dim:].maximum(torch.finfo(z.dtype).eps * squares[:, -1:])
        return torch.cat((axes[:, :dim, -dim:], squares.sqrt()[:, None]), 1)

    def deviations(self, factor: Tensor) -> Tensor:
        """Norms of the rows of B D."""
        return torch.linalg.vector_norm(factor[:, :-1] * factor[:, -1:], dim=-1)

    def condition(self, factor: Tensor) -> Tensor:
        """Of D, squared."""
        return (factor[:, -1].amax(-1) / factor[:, -1].amin(-1)).square()


@dataclass(frozen=True)
class Diagonal(Covariance):
    """Variances alone, learnt (d + 2) / 3 times as fast: Ros, Hansen, "A simple modification in CMA-ES achieving linear
    time and space complexity" (PPSN 2008). A [R, d]."""

    turns = False

    def identity(self, like: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(like)

    def color(self, factor: Tensor, z: Tensor) -> Tensor:
        """A z."""
        return factor[:, None] * z

    def whiten(self, factor: Tensor, y: Tensor) -> Tensor:
        """y / A."""
        return y / factor

    def adapted(self, factor: Tensor, z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
        """A times the root of the diagonal of S."""
        return factor * (decay[:, None] + (weights[..., None] * z.square()).sum(1)).sqrt()

    def deviations(self, factor: Tensor) -> Tensor:
        """A."""
        return factor

    def condition(self, factor: Tensor) -> Tensor:
        """Of A, squared."""
        return (factor.amax(-1) / factor.amin(-1)).square()

    def speed(self, dim: int) -> float:
        """(d + 2) / 3."""
        return (dim + 2) / 3


def _changes(z: Tensor, weights: Tensor, decay: Tensor) -> Tensor:
    """S, [R, d, d]."""
    changes = product((weights[..., None] * z).mT, z)
    changes.diagonal(dim1=-2, dim2=-1).add_(decay[:, None])
    return changes
