"""What the members of the family share: how particles begin, what they draw, when they stay, and what is reported."""

from typing import Any

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, along_runs
from envs.random import Stream
from zeroth_order.core import succeeded


def as_tensor(value: Numeric, like: Tensor) -> Tensor:
    """A hyper-parameter, a number or [R], as a tensor that broadcasts with `like` [R, ...], in its precision."""
    if isinstance(value, Tensor):
        return torch.as_tensor(along_runs(value, like))
    # Filled in and not copied, for which a GPU would be waited for.
    return torch.full((), value, dtype=like.dtype, device=like.device)


def normals(stream: Stream, count: int, like: Tensor, first: int = 0) -> Tensor:
    """Standard normals [R, count, d] of the iteration, one lane per particle from `first` on; d and type of `like`."""
    lanes = torch.arange(first, first + count, device=like.device)
    return stream.spread(lanes).normal(like.shape[-1], dtype=like.dtype)


def gaussian(centre: Tensor, spread: Numeric, count: int, stream: Stream) -> Tensor:
    """Points [R, count, d] of N(centre, spread^2 I), centre [R, d]."""
    xi = normals(stream, count, centre)
    return centre[:, None] + along_runs(spread, xi) * xi


def stored(values: Tensor, like: Tensor) -> Tensor:
    """Values of the type of `like`, for a state, in which every number is finite: a failed one becomes the largest."""
    values = values.to(like)
    return torch.where(succeeded(values), values, torch.finfo(like.dtype).max)


def recalled(values: Tensor) -> Tensor:
    """Stored values, with +inf for a failed one."""
    return torch.where(values < torch.finfo(values.dtype).max, values, torch.inf)


def settle(x: Tensor, moved: Tensor, success: Tensor) -> Tensor:
    """`moved` [R, K, d], but x where the step left the floating-point numbers or all of a run's values failed."""
    stays = ~(success.any(-1, keepdim=True) & torch.isfinite(moved).all(-1))
    return torch.where(stays[..., None], x, moved)


def agreed(found: Tensor, before: Tensor, success: Tensor) -> Tensor:
    """The consensus [R, d] found, but the one from before where all of a run's values failed."""
    return torch.where(success.any(-1, keepdim=True), found, before)


def report(points: Tensor, consensus: Tensor, success: Tensor) -> Metrics:
    """diameter: root mean squared distance of the points [R, K, d] to their consensus; failed: share of failed values.

    The consensus is [R, d], or [R, K, d] where every point has its own.
    """
    centre = consensus[:, None] if consensus.dim() == 2 else consensus
    return metrics_of(torch.linalg.vector_norm(points - centre, dim=-1).square(), success)


def metrics_of(square: Tensor, success: Tensor) -> Metrics:
    """The same, of squared distances [R, K]."""
    return {"diameter": square.mean(-1).sqrt(), "failed": 1 - success.to(square.dtype).mean(-1)}


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [R, M, K] times b [R, K, d], with the same bits for a run alone and among others."""
    rows, columns = a.shape[-2], b.shape[-1]
    return (whole_lines(a) @ whole_lines(b))[..., :rows, :columns]


def whole_lines(matrices: Tensor) -> Tensor:
    """Matrices [R, M, K] filled up with zeros, so that each of them begins with a cache line.

    The order in which BLAS and LAPACK sum depends on where in memory a matrix begins, and on whether it is a vector.
    """
    return torch.nn.functional.pad(matrices, (0, -matrices.shape[-1] % 16, 0, -matrices.shape[-2] % 16))


def without_stream(state: Any) -> dict[str, Tensor | int | float]:
    """The parts of a state but for its stream, which the next ask brings again."""
    return {name: part for name, part in state._asdict().items() if name != "stream"}
