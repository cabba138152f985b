"""The oracle that stands behind an agent on a policy problem: `rl.estimators` applied to sampled trajectories.

Averages are over episodes; an episode with a non-finite observation or reward is left out. Where the fused kernels of
`envs.fused.scores` cover the policy they do the sums over scores; automatic differentiation is the definition.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.autograd import forward_ad

from envs.core import Cost
from envs.fused import scores
from envs.policies import Network
from envs.rollout import BLOCK, Backend, Trajectory
from rl.core import unit
from rl.estimators import Estimator, rewards_to_go, sum_later
from rl.moments import Moments


def without_failures(trajectory: Trajectory) -> tuple[Trajectory, Tensor]:
    """The trajectories with failed episodes masked out, and [R, K, E] bool, True for those that count.

    An episode fails when an observation or reward in it is not finite.
    """
    # Largest sizes first: one fast pass, where `isfinite` of every number takes many times as long.
    sizes = trajectory.obs.abs().amax((-2, -1)), trajectory.reward.abs().amax(-1)
    valid = torch.isfinite(sizes[0]) & torch.isfinite(sizes[1])
    if valid.device.type == "cpu" and valid.all():  # copies cost more than a small gradient; a GPU would have to wait
        return trajectory, valid
    return trajectory._replace(
        obs=torch.where(valid[..., None, None], trajectory.obs, 0.0),
        reward=torch.where(valid[..., None], trajectory.reward, 0.0),
        mask=trajectory.mask & valid[..., None],
    ), valid


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

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """[R, K, d]; with `at` [R, K, d] the gradient there, by per-decision importance weights."""
        if at is None:
            return -self._score_sum(self.params, self._advantage()) / self._divisor()
        weights = self._log_weights(at).exp()
        return -self._score_sum(at, self._advantage(weights)) / self._divisor()

    def log_weights(self, at: Tensor) -> Tensor:
        """Log of each trajectory's likelihood ratio at `at` [R, K, d], [R, K, E]; -inf for failed episodes."""
        return self._log_weights(at)[..., -1].masked_fill(~self.valid, -torch.inf)

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u [R, K, d]; charged one product per trajectory."""
        runs, points, per_point = self.valid.shape
        self.charged.append(Cost.each(runs, u.device, hvps=points * per_point))
        if self.estimator.difference:
            return self._difference(u)
        advantage = self._advantage()
        if self._fused:
            steps = self._steps
            c = scores.directional(self.policy, self.params, u, *steps)
            w = self.estimator.hvp(advantage, c, self.trajectory.mask)
            product = scores.score_sum(self.policy, self.params, u, *steps, w=w, a=advantage)
        else:
            product = self._hvp_by_autograd(u, advantage)
        return -product / self._divisor()

    def fisher_vp(self, v: Tensor) -> Tensor:
        """F v [R, K, d] with F = sum_t discount^t E[s_t s_t'], (1 - discount) times which is the paper's F_rho.

        Scaled like this, F^-1 grad J are the weights of the compatible advantage function (Kakade 2001).
        """
        time = torch.arange(self.trajectory.reward.shape[-1], device=v.device)
        powers = self.discount ** time.to(self.params.dtype)
        return self._score_sum(self.params, powers * self._directional(v)) / self._divisor()

    def observed(self) -> Moments:
        """Of the observations in the episodes that count."""
        return Moments.of(self.trajectory)

    def at_point(self, k: int, copies: int = 1) -> "TrajectoryOracle":
        """The oracle at point k alone, [R, 1, d], with the episodes of its copies k .. k + copies - 1."""
        points = slice(k, k + copies)
        pooled = (part[:, points].flatten(1, 2)[:, None] for part in self.trajectory[:-1])
        return replace(
            self,
            params=self.params[:, k : k + 1],
            trajectory=Trajectory._make((*pooled, self.trajectory.cost)),
            valid=self.valid[:, points].flatten(1, 2)[:, None],
        )

    def _score_sum(self, params: Tensor, weight: Tensor) -> Tensor:
        """Sum over episodes and steps of weight [R, K, E, T] times the score at params, [R, K, d]."""
        if self._fused:
            return scores.score_sum(self.policy, params, None, *self._steps, w=weight, a=weight)
        with torch.enable_grad():
            params = params.detach().requires_grad_()
            (total,) = torch.autograd.grad((weight * self._log_prob(params)).sum(), params)
        return total

    def _directional(self, u: Tensor) -> Tensor:
        """c_t = <s_t, u>, [R, K, E, T], 0 outside the mask."""
        if self._fused:
            return scores.directional(self.policy, self.params, u, *self._steps)
        with forward_ad.dual_level():
            params = forward_ad.make_dual(self.params.detach().contiguous(), u)
            return torch.where(self.trajectory.mask, forward_ad.unpack_dual(self._log_prob(params)).tangent, 0.0)

    def _hvp_by_autograd(self, u: Tensor, advantage: Tensor) -> Tensor:
        """One reverse pass over a forward-mode derivative."""
        mask = self.trajectory.mask
        with torch.enable_grad(), forward_ad.dual_level():
            params = self.params.detach().contiguous().requires_grad_()  # a dual number cannot be an expanded view
            dual = forward_ad.unpack_dual(self._log_prob(forward_ad.make_dual(params, u)))
            c = dual.tangent  # <s_t, u>, differentiable
            w = self.estimator.hvp(advantage, torch.where(mask, c.detach(), 0.0), mask)
            (product,) = torch.autograd.grad((w * dual.primal + advantage * c).sum(), params)
        return product

    def _difference(self, u: Tensor) -> Tensor:
        half = self.estimator.difference
        ahead, behind = (self.gradient(self.params + sign * half * unit(u)) for sign in (1, -1))
        return u.norm(dim=-1, keepdim=True) * (ahead - behind) / (2 * half)

    @property
    def _fused(self) -> bool:
        return self.backend != "plain" and scores.supports(self.policy, self.params)

    @property
    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.trajectory.obs, self.trajectory.action, self.trajectory.mask.sum(-1)

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

    def _log_weights(self, at: Tensor) -> Tensor:
        """log w_t at `at`, [R, K, E, T]: summed in logarithms, as products of many ratios leave the range of floats."""
        mask = self.trajectory.mask
        ratio = torch.where(mask, self._log_prob(at) - self._log_prob(self.params), 0.0)
        limit = self.estimator.weight_limit
        return ratio.cumsum(-1).clamp(max=math.inf if limit is None else math.log(limit))

    def _advantage(self, weights: Tensor | None = None) -> Tensor:
        """A_t [R, K, E, T], 0 outside the mask; for another point with its importance weights w_t."""
        to_go = rewards_to_go(self.trajectory.reward, self.discount)
        baseline = self.estimator.baseline(self.trajectory, to_go, self.discount)
        if weights is not None:
            to_go = rewards_to_go(weights * self.trajectory.reward, self.discount)
            before = torch.nn.functional.pad(weights[..., :-1], (1, 0), value=1.0)
            baseline = weights * baseline + sum_later((weights - before) * baseline)
        return torch.where(self.trajectory.mask, to_go - baseline, 0.0)

    def _divisor(self) -> Tensor:
        """[R, K, 1]."""
        return self.estimator.average(self.valid, self.trajectory.mask)
