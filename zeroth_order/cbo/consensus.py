"""Softmin weights, and the means and sample sizes that they make.

    w_i = exp(-alpha f(X^i)) / sum_j exp(-alpha f(X^j)),    c = sum_i w_i X^i

Relative to the best value the weights are the same, and no alpha or scale of f can make all of them vanish. Failed
values weigh 0; where all values of a run failed, its weights and its mean are NaN.
"""

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs
from zeroth_order.core import failed_to_inf


def softmin(values: Tensor, alpha: Numeric) -> Tensor:
    """Weights [R, K] of `values` [R, K] that add up to 1."""
    values = failed_to_inf(values)
    regret = values - values.amin(-1, keepdim=True)
    return torch.softmax(-along_runs(alpha, values) * regret, dim=-1)


def consensus_point(points: Tensor, values: Tensor, alpha: Numeric) -> Tensor:
    """Softmin-weighted mean [R, d] of `points` [R, K, d] with `values` [R, K]."""
    return (softmin(values, alpha).to(points.dtype)[..., None] * points).sum(-2)


def effective_samples(weights: Tensor) -> Tensor:
    """1 / sum w_i^2 of weights [..., K] that add up to 1, in [1, K] (Kish, 1965); [...]."""
    return 1 / weights.square().sum(-1)
