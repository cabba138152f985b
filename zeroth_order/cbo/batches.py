"""Random batches, and fewer particles as they draw together.

A pass visits every particle once, in a new random order, one batch in every step (Carrillo, Jin, Li, Zhu 2021). Where
the particles' variance has fallen from V to V' during a pass, the next one is made with fewer of them (Fornasier,
Huang, Pareschi, Sünnen, "Consensus-based optimization on the sphere", JMLR 2021, section 4):

    N' = N clip((mu V' + (1 - mu) V) / V, 1 - mu, 1),  rounded to whole batches

Who remains is random. Every step costs one batch, so fewer particles mean shorter passes; runs may differ.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs
from envs.random import Stream
from zeroth_order.cbo.swarm import as_tensor


class Seats(NamedTuple):
    """Whose turn it is, all [R] or [R, N]."""

    order: Tensor
    """[R, N] int64, the permutation that this pass walks through."""
    alive: Tensor
    """[R, N] bool, the particles that remain: the first entries of the order."""
    start: Tensor
    """[R] int64, where the coming batch begins."""
    variance: Tensor
    """[R] V, of the particles at the beginning of the pass."""


def all_seated(particles: Tensor) -> Seats:
    """Before the first pass of particles [R, N, d]."""
    runs, count, _ = particles.shape
    order = torch.arange(count, device=particles.device).expand(runs, count)
    alive = torch.ones_like(order, dtype=torch.bool)
    return Seats(order, alive, torch.zeros_like(order[:, 0]), variance(particles, alive))


def variance(particles: Tensor, alive: Tensor) -> Tensor:
    """Mean squared distance [R] of the living particles to their mean."""
    weight = (alive / alive.sum(-1, keepdim=True)).to(particles.dtype)[..., None]
    mean = (weight * particles).sum(1, keepdim=True)
    return (weight * (particles - mean).square()).sum((1, 2))


def begin_pass(seats: Seats, particles: Tensor, batch: int, reduction: Numeric, stream: Stream) -> Seats:
    """A new order, made of those that remain, for the runs whose pass is over."""
    count = particles.shape[1]
    lane = torch.full((), count, device=particles.device)  # beyond those of the normals
    keys = stream.spread(lane).uniform(count)
    order = torch.where(seats.alive, keys, 2.0).argsort(dim=-1, stable=True)
    alive, now = seats.alive, seats.variance
    if isinstance(reduction, Tensor) or reduction > 0:
        now = variance(particles, alive)
        mu = along_runs(reduction, now)
        share = torch.where(seats.variance > 0, (mu * now + (1 - mu) * seats.variance) / seats.variance, 1.0)
        number = alive.sum(-1) * share.clamp(max=1.0).maximum(as_tensor(1 - reduction, share))
        whole = (number / batch).round().clamp(min=1)[:, None] * batch
        ranks = torch.arange(count, device=particles.device).expand_as(order)
        alive = torch.zeros_like(alive).scatter(1, order, ranks < whole)
    new = seats.start == 0
    return Seats(
        torch.where(new[:, None], order, seats.order),
        torch.where(new[:, None], alive, seats.alive),
        seats.start,
        torch.where(new, now, seats.variance),
    )


def take(whole: Tensor, seats: Seats, batch: int | None) -> Tensor:
    """The coming batch's part [R, n, ...] of what there is of all particles [R, N, ...]; None: all of them."""
    return whole if batch is None else torch.take_along_dim(whole, _members(whole, seats, batch), dim=1)


def put(whole: Tensor, part: Tensor, seats: Seats, batch: int | None) -> Tensor:
    """`whole` [R, N, ...] with the coming batch's part [R, n, ...] put in."""
    return part if batch is None else whole.scatter(1, _members(whole, seats, batch).expand_as(part), part)


def _members(whole: Tensor, seats: Seats, batch: int) -> Tensor:
    lanes = torch.arange(batch, device=whole.device)
    indices = seats.order.gather(1, seats.start[:, None] + lanes)
    return indices.view(*indices.shape, *(1,) * (whole.dim() - 2))


def advance(seats: Seats, batch: int | None) -> Seats:
    """After the batch has moved."""
    if batch is None:
        return seats
    start = seats.start + batch
    return seats._replace(start=torch.where(start < seats.alive.sum(-1), start, 0))
