"""Gradient and Hessian-vector estimators from trajectories: one core for every agent here.

With G_t = sum_{h >= t} gamma^h r_h (discount counted from time 0), a baseline B_t that does not depend on this
episode's actions from t on, A_t = G_t - B_t and scores s_t = grad log pi(a_t | s_t):

    g     = sum_t A_t s_t                                                 E[g] = grad J
    B u   = sum_t W_t s_t + sum_t A_t (grad^2 log pi_t) u                 E[B] = grad^2 J
    paper    W_t = A_t sum_k c_k                                          c_k = <s_k, u>
    causal   W_t = A_t sum_{k <= t} c_k + sum_{k > t} A_k c_k

The paper's form is Fatkhullin et al. (2023), section 2, with B_t = 0; causal leaves out terms of mean zero and has less
variance. Both are unbiased with any baseline above, which the tests show by enumeration.

At another point theta', from trajectories of theta, with the likelihood ratio w_t of the first t + 1 actions and scores
s'_t at theta' (per-decision weights: Precup, Sutton, Singh 2000):

    g'  = sum_t A'_t s'_t                                                 E[g'] = grad J(theta')
    A'_t = sum_{h >= t} w_h gamma^h r_h - w_t B_t - sum_{k > t} (w_k - w_{k-1}) B_k

whose last sum has mean zero given the past, as in doubly robust estimation (Jiang, Li 2016). The derivative of g' along
u at theta' = theta is the causal B u, which is what `Estimator.difference` uses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from envs.algorithm import check_range
from rl.baselines import Baseline, no_baseline

HVPWeights: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(A [..., E, T], c [..., E, T], mask [..., E, T]) -> W [..., E, T]; A and c are 0 outside the mask."""
Average: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(valid [R, K, E], mask [R, K, E, T]) -> what the sum over all episodes is divided by, [R, K, 1]."""


def rewards_to_go(reward: Tensor, discount: float) -> Tensor:
    """G_t = sum_{h >= t} discount^h r_h for reward [..., T]."""
    powers = discount ** torch.arange(reward.shape[-1], dtype=reward.dtype, device=reward.device)
    return (reward * powers).flip(-1).cumsum(-1).flip(-1)


def sum_later(x: Tensor) -> Tensor:
    """sum_{k > t} x_k for x [..., T]."""
    return x.flip(-1).cumsum(-1).flip(-1) - x


def paper(advantage: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    """W of the paper's Hessian estimator."""
    return advantage * c.cumsum(-1)[..., -1:]


def causal(advantage: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    """W of the causal Hessian estimator: a reward only meets scores that came before it."""
    return advantage * c.cumsum(-1) + sum_later(advantage * c)


def official(advantage: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    """W of the authors' published code, an ablation: its cross term has the wrong sign and scale, so B is biased.

    It takes the product of two means over all time steps of the batch, both of which carry a minus sign.
    """
    return -advantage * c.sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True).clamp(min=1)


def over_episodes(valid: Tensor, mask: Tensor) -> Tensor:
    """The paper's average, over trajectories; where none is left the estimate is NaN, which stops that run."""
    return valid.sum(-1, keepdim=True)


def over_steps(valid: Tensor, mask: Tensor) -> Tensor:
    """The published code's average, an ablation: over time steps, so batches of short episodes weigh more."""
    return mask.sum((-2, -1))[..., None]


@dataclass(frozen=True)
class Estimator:
    """How a point's gradient is estimated."""

    episodes: int = 1
    """Trajectories per point, E >= 1. Paper: 1."""
    baseline: Baseline = no_baseline
    """What is subtracted from the rewards-to-go. Paper: nothing."""
    hvp: HVPWeights = paper
    """Form of the Hessian-vector product."""
    difference: float = 0.0
    """> 0: products by central differences of the importance-weighted gradient, with this half-step in parameter
    space, instead of `hvp` (Shen et al. 2019 use differences too). Paper: 0."""
    weight_limit: float | None = None
    """Importance weights are cut at this value, > 1, which biases the estimate; None: they are not."""
    average: Average = over_episodes
    """What sums over the batch are divided by. Paper: trajectories."""

    def __post_init__(self) -> None:
        check_range("difference", self.difference, 0.0)
        if self.weight_limit is not None:
            check_range("weight_limit", self.weight_limit, 1.0, open_low=True)
        if self.episodes < 1:
            raise ValueError(f"episodes = {self.episodes} must be >= 1")
        if self.baseline is not no_baseline and self.episodes < 2:
            raise ValueError(
                f"episodes = {self.episodes} must be >= 2 for baseline {self.baseline.__name__}: "
                "it is fitted on the other episodes of the batch"
            )
