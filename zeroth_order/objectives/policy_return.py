"""Policy return as a black box: an environment and a policy become an objective f(theta) = -J(theta).

Derivative-free policy search as in Salimans et al. (2017) and Mania, Guy, Recht (2018).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.core import Env, Evaluation
from envs.policies import Network
from envs.random import Stream
from envs.rollout import returns
from zeroth_order.core import Objective


@dataclass(frozen=True)
class PolicyReturn(Objective):
    """Negative mean discounted return over `episodes` episodes; NaN where all of them failed."""

    id: ClassVar[str] = "policy-return"
    summary: ClassVar[str] = "negative return of a policy in any environment (name it with --env)"
    source: ClassVar[str] = "Salimans et al. 2017; Mania, Guy, Recht 2018"
    differentiable: ClassVar[bool] = False

    env: Env
    policy: Network
    discount: float = 0.99
    episodes: int = 1
    common: bool = True
    """Whether the K points of a run see the same random numbers."""

    @property
    def dim(self) -> int:
        """Parameters of the policy."""
        return self.policy.dim

    def evaluate(self, points: Tensor, stream: Stream) -> Evaluation:
        """Roll out at points [R, K, d]; `aux` holds "failed", int64 [R] episodes."""
        found = returns(self.env, self.policy, points, self.episodes, stream, self.discount, self.common)
        failed = (~torch.isfinite(found.episodes)).sum((1, 2))
        return Evaluation(-found.values, found.cost, {"failed": failed})
