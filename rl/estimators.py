"""Gradient and Hessian-vector estimators from trajectories: one core for every agent here.

With G_t = sum_{h >= t} gamma^h r_h (discount counted from time 0), a baseline B_t that does not depend on this
episode's actions from t on, A_t = G_t - B_t and scores s_t = grad log pi(a_t | s_t):

    g     = sum_t A_t s_t                                                 E[g] = grad J
    B u   = sum_t W_t s_t + sum_t A_t (grad^2 log pi_t) u                 E[B] = grad^2 J
    paper    W_t = A_t sum_k c_k                                          c_k = <s_k, u>
    causal   W_t = A_t sum_{k <= t} c_k + sum_{k > t} A_k c_k

The paper's form is Fatkhullin et al. (2023), section 2, with B_t = 0; causal leaves out terms of mean zero and has less
variance. Both are unbiased with any baseline above, which the tests show by enumeration.
Averages are over episodes (never over time steps); an episode with a non-finite observation or reward is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from envs.core import Cost
from envs.fused import scores
from envs.policies import Network
from envs.rollout import BLOCK, Backend, Trajectory
from rl.baselines import Baseline, no_baseline

HVPWeights: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(A [..., T], c [..., T]) -> W [..., T]."""


def rewards_to_go(reward: Tensor, discount: float) -> Tensor:
    """G_t = sum_{h >= t} discount^h r_h for reward [..., T]."""
    powers = discount ** torch.arange(reward.shape[-1], dtype=reward.dtype, device=reward.device)
    return (reward * powers).flip(-1).cumsum(-1).flip(-1)


def paper(advantage: Tensor, c: Tensor) -> Tensor:
    """W of the paper's Hessian estimator."""
    return advantage * c.cumsum(-1)[..., -1:]


def causal(advantage: Tensor, c: Tensor) -> Tensor:
    """W of the causal Hessian estimator: a reward only meets scores that came before it."""
    weighted = advantage * c
    later = weighted.flip(-1).cumsum(-1).flip(-1) - weighted
    return advantage * c.cumsum(-1) + later


@dataclass(frozen=True)
class Estimator:
    """How a point's gradient is estimated."""

    episodes: int = 1
    """Trajectories per point, E >= 1. Paper: 1."""
    baseline: Baseline = no_baseline
    """What is subtracted from the rewards-to-go. Paper: nothing."""
    hvp: HVPWeights = paper
    """Form of the Hessian-vector product."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes = {self.episodes} must be >= 1")
        if self.baseline is not no_baseline and self.episodes < 2:
            raise ValueError(
                f"episodes = {self.episodes} must be >= 2 for baseline {self.baseline.__name__}: "
                "it is fitted on the other episodes of the batch"
            )


def without_failures(trajectory: Trajectory) -> tuple[Trajectory, Tensor]:
    """The trajectories with failed episodes masked out, and [R, K, E] bool, True for those that count.

    An episode fails when an observation or reward in it is not finite.
    """
    largest_obs = torch.linalg.vector_norm(trajectory.obs, torch.inf, (-2, -1))
    largest_reward = torch.linalg.vector_norm(trajectory.reward, torch.inf, -1)
    valid = torch.isfinite(largest_obs) & torch.isfinite(largest_reward)
    mask = trajectory.mask & valid[..., None]
    obs = trajectory.obs.masked_fill(~mask[..., None], 0.0)
    return trajectory._replace(obs=obs, reward=trajectory.reward.masked_fill(~mask, 0.0), mask=mask), valid


@dataclass(frozen=True)
class TrajectoryOracle:
    """Derivatives of f = -J at params [R, K, d], estimated from the trajectories sampled there."""

    policy: Network
    params: Tensor
    trajectory: Trajectory
    """Without failures."""
    valid: Tensor
    """[R, K, E] bool, the episodes that count."""
    discount: float
    estimator: Estimator
    backend: Backend = "auto"
    """As for `rollout`: the fused kernel on a CPU, automatic differentiation elsewhere."""
    charged: list[Cost] = field(default_factory=list)
    """Hessian-vector products made so far; `at_point` shares the list."""

    @staticmethod
    def of(
        policy: Network,
        params: Tensor,
        trajectory: Trajectory,
        discount: float,
        estimator: Estimator,
        backend: Backend = "auto",
    ) -> "TrajectoryOracle":
        """The oracle for freshly sampled trajectories, failed episodes included."""
        return TrajectoryOracle(policy, params, *without_failures(trajectory), discount, estimator, backend)

    def gradient(self) -> Tensor:
        """[R, K, d]."""
        weight = self._advantage()
        if self._fused:
            total = scores.score_sum(self.policy, self.params, None, *self._steps, w=weight, a=weight)
        else:
            with torch.enable_grad():
                params = self.params.detach().requires_grad_()
                (total,) = torch.autograd.grad((weight * self._log_prob(params)).sum(), params)
        return -total / self._episodes()

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u [R, K, d]; charged one product per trajectory."""
        weight = self._advantage()
        if self._fused:
            c = scores.directional(self.policy, self.params, u, *self._steps)
            w = self.estimator.hvp(weight, c)
            product = scores.score_sum(self.policy, self.params, u, *self._steps, w=w, a=weight)
        else:
            product = self._hvp_by_autograd(u, weight)
        runs, points, per_point = self.valid.shape
        self.charged.append(Cost.each(runs, u.device, hvps=points * per_point))
        return -product / self._episodes()

    def _hvp_by_autograd(self, u: Tensor, weight: Tensor) -> Tensor:
        """One reverse pass over a forward-mode derivative."""
        with torch.enable_grad(), forward_ad.dual_level():
            params = self.params.detach().contiguous().requires_grad_()  # a dual number cannot be an expanded view
            dual = forward_ad.unpack_dual(self._log_prob(forward_ad.make_dual(params, u)))
            c = dual.tangent  # <s_t, u>, differentiable
            w = self.estimator.hvp(weight, torch.where(self.trajectory.mask, c.detach(), 0.0))
            (product,) = torch.autograd.grad((w * dual.primal + weight * c).sum(), params)
        return product

    @property
    def _fused(self) -> bool:
        return self.backend != "plain" and scores.supports(self.policy, self.params)

    @property
    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.trajectory.obs, self.trajectory.action, self.trajectory.mask.sum(-1)

    def at_point(self, k: int) -> "TrajectoryOracle":
        """The oracle at point k alone, [R, 1, d]."""
        point = slice(k, k + 1)
        trajectory = Trajectory._make((*(part[:, point] for part in self.trajectory[:-1]), self.trajectory.cost))
        return replace(self, params=self.params[:, point], trajectory=trajectory, valid=self.valid[:, point])

    def _log_prob(self, params: Tensor) -> Tensor:
        """log pi(a_t | s_t) at params, [R, K, E, T]; by time blocks, see `Trajectory`."""
        blocks = zip(self.trajectory.obs.split(BLOCK, 3), self.trajectory.action.split(BLOCK, 3), strict=True)
        return torch.cat(
            [
                self.policy.log_prob(params, obs.flatten(2, 3), action.flatten(2, 3)).view(obs.shape[:-1])
                for obs, action in blocks
            ],
            -1,
        )

    def _advantage(self) -> Tensor:
        """A_t [R, K, E, T], 0 outside the mask."""
        to_go = rewards_to_go(self.trajectory.reward, self.discount)
        baseline = self.estimator.baseline(self.trajectory, to_go, self.discount)
        return torch.where(self.trajectory.mask, to_go - baseline, 0.0)

    def _episodes(self) -> Tensor:
        """How many count, [R, K, 1]; none makes the estimate NaN, which stops that run."""
        return self.valid.sum(-1, keepdim=True)
