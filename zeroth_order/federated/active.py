"""What a client asks besides its iterate: candidates around it, those where the surrogate's gradient is least certain.

Shu, Lin, Dai, Low (arXiv 2308.04077), section 5.2; certainty is the trace of the gradient's covariance, given what the
client has seen, and not what it is about to see.
"""

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs
from envs.random import Stream
from zeroth_order.core import succeeded
from zeroth_order.federated.gaussian_process import Posterior


def around(centre: Tensor, radius: Numeric, count: int, stream: Stream) -> Tensor:
    """Uniform points [R, S, count, d] in the cubes [-radius, radius]^d around the centres [R, S, d].

    `radius` is a number or [R]; `stream` has a seed for each of the [R S] clients.
    """
    lanes = torch.arange(count, device=centre.device)
    offsets = 2 * stream.spread(lanes).uniform(centre.shape[-1], dtype=centre.dtype) - 1
    offsets = offsets.unflatten(0, centre.shape[:2])
    return centre[:, :, None] + along_runs(radius, offsets) * offsets


def least_certain(posterior: Posterior, candidates: Tensor, number: int) -> Tensor:
    """The `number` of the candidates [R, S, P, d] where the gradient is least certain, [R, S, number, d]."""
    index = posterior.uncertainty(candidates).topk(number, dim=-1).indices
    return torch.take_along_dim(candidates, index[..., None], dim=2)


def differences(points: Tensor, values: Tensor) -> Tensor:
    """The part of the gradient [R, S, d] that lies along the differences of points [R, S, K, d] to the first of them.

    sum_k (f(x_k) - f(x_0)) / |x_k - x_0| e_k with unit vectors e_k, which in many dimensions are almost orthogonal. A
    point whose value [R, S, K] failed is left out; it is 0 where there is no other.
    """
    offsets = points[:, :, 1:] - points[:, :, :1]
    squares = offsets.square().sum(-1)
    rise = values[..., 1:] - values[..., :1]
    slopes = torch.where(succeeded(rise) & (squares > 0), rise / squares, 0.0)
    return (slopes[..., None] * offsets).sum(2)
