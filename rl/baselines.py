"""Baselines, fitted on the *other* episodes of the batch: no bias, no lag, no state between iterations.

Fitting on the same episodes would bias the gradient; fitting on the previous batch, as is usual, lags behind.
"""

from typing import Protocol

import torch
from torch import Tensor

from envs.rollout import BLOCK, Trajectory

RIDGE = 1e-5
"""Of the linear baseline, as in Duan et al. (2016)."""
CLIP = 10.0
"""Of observations in its features, likewise."""


class Baseline(Protocol):
    """(trajectory, G [R, K, E, T], discount) -> B [R, K, E, T] to subtract from G."""

    __name__: str

    def __call__(self, trajectory: Trajectory, to_go: Tensor, discount: float) -> Tensor:
        """The baseline in the units of G, discounted from time 0."""


def no_baseline(trajectory: Trajectory, to_go: Tensor, discount: float) -> Tensor:
    """0."""
    return torch.zeros_like(to_go)


def time_baseline(trajectory: Trajectory, to_go: Tensor, discount: float) -> Tensor:
    """Mean of G_t over the other episodes that were still running at t; 0 where there are none."""
    alive = trajectory.mask.to(to_go.dtype)
    kept = to_go * alive
    others = alive.sum(2, keepdim=True) - alive
    return (kept.sum(2, keepdim=True) - kept) / others.clamp(min=1.0)


def linear_baseline(trajectory: Trajectory, to_go: Tensor, discount: float) -> Tensor:
    """Ridge regression of the reward-to-go on (obs, obs^2, t, t^2, t^3, 1) over the other episodes.

    Features of Duan et al., "Benchmarking deep reinforcement learning" (ICML 2016), also used by the N-PG-IGT authors.
    Solved in float64: the features are nearly collinear.
    """
    powers = discount ** torch.arange(to_go.shape[-1], dtype=torch.float64, device=to_go.device)
    # Where discount^t underflows, so did the reward-to-go: both are 0.
    target = to_go.to(torch.float64) / powers.clamp(min=torch.finfo(torch.float64).tiny)
    rows = _rows(trajectory, target)
    products = sum(block[..., :-1, :] @ block.mT for block in rows.split(BLOCK, -1))  # see `Trajectory`
    gram, moment = products[..., :-1], products[..., -1]
    ridge = RIDGE * torch.eye(gram.shape[-1], dtype=torch.float64, device=to_go.device)
    gram_of_others = gram.sum(2, keepdim=True) - gram + ridge
    weights = torch.linalg.solve(gram_of_others, moment.sum(2, keepdim=True) - moment)
    return ((weights[..., None, :] @ rows[..., :-1, :])[..., 0, :] * powers).to(to_go.dtype)


def _rows(trajectory: Trajectory, target: Tensor) -> Tensor:
    """Features and, last, target [R, K, E, T]: [R, K, E, 2 O + 5, T] float64, 0 outside the mask."""
    obs = trajectory.obs.mT.to(torch.float64).clamp_(-CLIP, CLIP)
    time = torch.arange(target.shape[-1], dtype=torch.float64, device=obs.device) / 100.0
    clock = torch.stack((time, time**2, time**3, torch.ones_like(time)))
    rows = torch.cat((obs, obs.square(), clock.expand(*obs.shape[:3], 4, -1), target[..., None, :]), -2)
    return rows.mul_(trajectory.mask[..., None, :])


BASELINES: dict[str, Baseline] = {"none": no_baseline, "time": time_baseline, "linear": linear_baseline}
