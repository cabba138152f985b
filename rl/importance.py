"""What is recorded of importance weights: how much the trajectories of one policy still say about another.

The weights themselves, and the gradients that use them, are the oracle's (`rl.trajectory_oracle`).
"""

import torch
from torch import Tensor

from envs.algorithm import Metrics


def weight_metrics(log_weights: Tensor) -> Metrics:
    """Diagnostics, [R] each, of log weights [R, K, E] pooled over points and episodes; -inf marks failed episodes.

    effective_sample_size   (sum w)^2 / sum w^2 (Kish 1965), in trajectories: their number where all weights are the
                            same, 1 where one of them outweighs the rest
    largest_weight          at most the largest finite number

    Both are 0 where every episode failed. Weights of any size are compared by their logarithms.
    """
    pooled = log_weights.flatten(1)
    # Shares of the total weight, which are 0 / 0 where every weight is 0.
    size = 1.0 / pooled.softmax(-1).square().sum(-1)
    largest = pooled.amax(-1).exp().clamp(max=torch.finfo(pooled.dtype).max)
    return {"effective_sample_size": size.nan_to_num(nan=0.0), "largest_weight": largest}
