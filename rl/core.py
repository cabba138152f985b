"""What a policy gradient agent sees of the world: an oracle at the points it asked for."""

from abc import abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from envs.algorithm import Algorithm, Metrics


class Oracle(Protocol):
    """Derivatives of f = -J at the asked points [R, K, d]; sampled from trajectories, or exact."""

    def gradient(self) -> Tensor:
        """[R, K, d], or [R, 1, d] after `at_point`."""

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u, of the same shape as `gradient`."""

    def at_point(self, k: int) -> "Oracle":
        """The oracle at point k alone, with the K axis kept at length 1."""


class PolicyGradient(Algorithm):
    """Base of the agents in this package: `tell` takes an `Oracle`."""

    @abstractmethod
    def tell(self, state: Any, points: Tensor, feedback: Oracle) -> tuple[Any, Metrics]:
        """The next state, and metrics [R]."""


def unit(v: Tensor) -> Tensor:
    """v / |v| along the last axis; zero stays zero."""
    return torch.nn.functional.normalize(v, dim=-1, eps=torch.finfo(v.dtype).tiny)
