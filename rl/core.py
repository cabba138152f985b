"""What a policy gradient agent sees of the world: an oracle at the points it asked for."""

from abc import abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from envs.algorithm import Algorithm, Metrics
from rl.moments import Moments


class Oracle(Protocol):
    """Derivatives of f = -J at the asked points [R, K, d]; sampled from trajectories, or exact."""

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """[R, K, d], or [R, 1, d] after `at_point`.

        With `at`, of the same shape: the gradient there, from the trajectories sampled at the asked points.
        """

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u, of the same shape as `gradient`."""

    def fisher_vp(self, v: Tensor) -> Tensor:
        """Fisher information sum_t discount^t E[s_t s_t'] times v, of the same shape as `gradient`."""

    def log_weights(self, at: Tensor) -> Tensor:
        """log p(tau | at) / p(tau | asked point) of each trajectory, [R, K, E]; -inf for failed ones."""

    def observed(self) -> Moments:
        """Of the observations in the trajectories at all asked points, each run's own."""

    def at_point(self, k: int, copies: int = 1) -> "Oracle":
        """The oracle at point k alone, with the K axis kept at length 1.

        A batch larger than the problem's is asked for as copies of a point: where points k .. k + copies - 1 are the
        same, their trajectories are pooled.
        """


class PolicyGradient(Algorithm):
    """Base of the agents in this package: `tell` takes an `Oracle`."""

    natural: ClassVar[bool] = False
    """Whether it needs a policy's Fisher information, which a plain objective has not."""

    @abstractmethod
    def tell(self, state: Any, points: Tensor, feedback: Oracle) -> tuple[Any, Metrics]:
        """The next state, and metrics [R].

        Among them "direction" [R, d]: the estimate of grad f, at the iterate before this step, that the step followed.
        """


def unit(v: Tensor) -> Tensor:
    """v / |v| along the last axis; zero stays zero."""
    return torch.nn.functional.normalize(v, dim=-1, eps=torch.finfo(v.dtype).tiny)
