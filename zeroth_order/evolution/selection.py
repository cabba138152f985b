"""Recombination weights and learning rates of CMA-ES.

Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772, 2016), Table 1, with the constants of pycma 4.5
where they differ: c_1 has a factor min(1, n / 6), c_mu an offset 1/4, c_sigma is at most 1/2, d_sigma grows with d.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rates(NamedTuple):
    """What depends on the size of a population, for each run [R, 1]."""

    mueff: Tensor
    """Variance-effective number of parents."""
    c_sigma: Tensor
    """Learning rate of the path of the step size."""
    damping: Tensor
    """d_sigma."""
    c_c: Tensor
    """Learning rate of the path of the covariance."""
    c_1: Tensor
    """Learning rate of the rank-one update."""
    c_mu: Tensor
    """Learning rate of the rank-mu update."""


def weights_and_rates(rank: Tensor, counts: Tensor, speed: float, like: Tensor) -> tuple[Tensor, Rates]:
    """Weights [R, n] of the points of rank 0 (best), 1, .. [R, n], and the rates, for and of the type of z [R, n, d].

    Positive weights sum to 1. A population has as many points as count, [R, n] bool; the weight of the others is 0.
    With fewer than 2 all weights and rates are 0. `speed` multiplies c_1 and c_mu.
    """
    size, dim = like.shape[1:]
    row = table(size, dim, speed, like.dtype, like.device)[counts.sum(-1)]
    middle, up, down, *rates = row[:, :, None].unbind(1)
    raw = torch.where(counts, middle - torch.log(rank.to(like) + 1), 0.0)
    return up * raw.clamp(min=0) + down * raw.clamp(max=0), Rates(*rates)


@lru_cache(maxsize=64)
def table(size: int, dim: int, speed: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`constants` of populations of 0 .. size points, [size + 1, 9]."""
    return torch.tensor([constants(n, dim, speed) for n in range(size + 1)], dtype=dtype, device=device)


def constants(n: int, dim: int, speed: float) -> tuple[float, ...]:
    """log((n + 1) / 2), from which log i is subtracted, factors of positive and negative weights, and the `Rates`."""
    if n < 2:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
    raw = math.log((n + 1) / 2) - np.log(np.arange(1, n + 1))
    up, down = raw[: n // 2], raw[n // 2 :]
    mueff = up.sum() ** 2 / (up**2).sum()
    c_sigma = min(0.5, (mueff + 2) / (dim + mueff + 3))
    steep = max(1.0, 3 * (1 - 0.5 ** (dim / 9)))
    damping = 1 + c_sigma + 2 * max(0.0, steep * math.sqrt((mueff - 1) / (dim + 1)) - 1)
    c_c = (4 + mueff / dim) / (dim + 4 + 2 * mueff / dim)
    c_1 = speed * min(1, n / 6) * 2 / ((dim + 1.3) ** 2 + mueff)
    c_mu = min(1 - c_1, speed * 2 * (0.25 + mueff + 1 / mueff - 2) / ((dim + 2) ** 2 + mueff))
    no_decay = 1 + c_1 / c_mu
    no_excess = 1 + 2 * down.sum() ** 2 / (down**2).sum() / (mueff + 2)
    definite = (1 - c_1 - c_mu) / (dim * c_mu)
    negative = min(no_decay, no_excess, definite) / -down.sum()
    return math.log((n + 1) / 2), 1 / up.sum(), negative, mueff, c_sigma, damping, c_c, c_1, c_mu


def expected_norm(dim: int) -> float:
    """E|N(0, I)| in d dimensions: 2^(1/2) Gamma((d + 1) / 2) / Gamma(d / 2)."""
    return math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))
