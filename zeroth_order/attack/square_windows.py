"""The proposals of the Square attack, for R images [R, C, H, W] at a time.

Linf, Algorithm 2: in a square, each channel is set to one border of the ball. L2, Algorithm 3: in a square, the
perturbation becomes a bump eta plus what was there, with the norm of what two squares had together and of what the
image had left; the second square is emptied. A bump of height h and width w has two halves of opposite signs:

    eta(i, j) = sum_{k = distance}^{n} 1 / (k + 1)^2,  distance = max(|i - h // 2|, |j - w // 2|),  n = max(h, w) // 2
"""

from functools import lru_cache

import torch
from torch import Tensor

from envs.random import Stream
from zeroth_order.attack.core import uniforms
from zeroth_order.attack.target import shape_of

TILES = 5
"""Bumps along a side of the first perturbation."""
SMALLEST = 2 * TILES
"""Pixels of a side that two halves of a bump in each tile take."""
TRIES = 4
UNCHANGED = 1e-7
"""Two pixels are the same up to this."""


def stripes(images: Tensor, epsilon: float, stream: Stream) -> Tensor:
    """Vertical stripes of one pixel, +-epsilon in each channel."""
    runs, channels, _, width = images.shape
    return images + epsilon * _signs(uniforms(stream, channels * width, images)).view(runs, channels, 1, width)


def square_changed(best: Tensor, low: Tensor, high: Tensor, side: int, stream: Stream) -> Tensor:
    """`best` with a square of each channel at `low` or at `high`, the borders of the ball."""
    runs, channels, height, width = best.shape
    side = min(max(side, 1), height - 1 or 1, width - 1 or 1)
    draws = uniforms(stream, 2 + TRIES * channels, best)
    inside = _inside(_places(draws[:, :2], side, (height, width)), side, (height, width))
    up, down = (((border - best).abs() > UNCHANGED).where(inside, False).any(-1).any(-1) for border in (high, low))
    signs = _signs(draws[:, 2:]).view(runs, TRIES, channels)
    changes = torch.where(signs > 0, up[:, None], down[:, None]).any(-1)
    first = changes.to(torch.int8).argmax(-1)
    chosen = torch.where(changes.any(-1)[:, None], signs[torch.arange(runs, device=best.device), first], -signs[:, -1])
    return torch.where(inside, torch.where(chosen[..., None, None] > 0, high, low), best)


def bumps(images: Tensor, epsilon: float, stream: Stream) -> Tensor:
    """A tiling of bumps with random signs for each tile and channel, of norm epsilon."""
    runs, channels, height, width = images.shape
    side = height // TILES
    rows, columns = height // side, width // side
    top = (height - TILES * side) // 2
    draws = uniforms(stream, rows * columns * (channels + 1), images).view(runs, rows * columns, channels + 1)
    perturbation = torch.zeros_like(images)
    for tile in range(rows * columns):
        i, j = top + tile // columns * side, top + tile % columns * side
        bump = _turned(side, draws[:, tile, 0]) * _signs(draws[:, tile, 1:])[..., None, None]
        room = perturbation[:, :, i : i + side, j : j + side]
        room += bump[..., : room.shape[-2], : room.shape[-1]]
    return _at_distance(images, perturbation, epsilon)


def bumps_changed(images: Tensor, best: Tensor, epsilon: float, side: int, stream: Stream) -> Tensor:
    """`best` with a bump in one square and nothing in another."""
    channels, height, width = shape_of(best)
    shorter = min(height, width)
    side = min(max(side, 3) | 1, shorter - 1 + shorter % 2)
    draws = uniforms(stream, 5 + channels, best)
    changed, emptied = (_places(part, side, (height, width)) for part in (draws[:, :2], draws[:, 2:4]))
    one, two = (_inside(places, side, (height, width)) for places in (changed, emptied))
    perturbation = best - images
    square = perturbation.square()
    windows = square.where(one | two, 0.0).sum((2, 3), keepdim=True)
    free = (epsilon**2 - square.sum((1, 2, 3), keepdim=True)).clamp(min=0.0) / channels
    room = _window(changed, channels, side)
    there = perturbation[room]
    shape = _turned(side, draws[:, 4]) * _signs(draws[:, 5:])[..., None, None]
    shape = shape + there / (1e-10 + _norms(there))
    bump = shape / _norms(shape) * (windows + free).sqrt()
    perturbation = perturbation.masked_fill(two, 0.0)
    perturbation[room] = bump
    return _at_distance(images, perturbation, epsilon)


@lru_cache(maxsize=64)
def eta(side: int) -> Tensor:
    """A bump with two halves, one above the other, [side, side] float64 of norm 1."""
    upper = side // 2
    halves = torch.cat((_half(upper, side), -_half(side - upper, side)))
    return halves / halves.square().sum().sqrt()


def _half(height: int, width: int) -> Tensor:
    i, j = torch.arange(height)[:, None], torch.arange(width)
    distance = torch.maximum((i - height // 2).abs(), (j - width // 2).abs())
    terms = 1 / (torch.arange(max(height, width) // 2 + 1, dtype=torch.float64) + 1).square()
    sums = terms.flip(0).cumsum(0).flip(0)[distance]
    return sums / sums.square().sum().sqrt()


def _turned(side: int, draw: Tensor) -> Tensor:
    """The bump, lying on its side where `draw` [R] is above one half, [R, 1, side, side]."""
    bump = eta(side).to(draw)
    return torch.where(draw.view(-1, 1, 1, 1) > 0.5, bump.T, bump)


def _signs(draws: Tensor) -> Tensor:
    """Signs -1 and 1 of uniforms."""
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws)


def _places(draws: Tensor, side: int, extent: tuple[int, int]) -> Tensor:
    """First row and column [R, 2] of squares that fit into `extent` pixels."""
    room = torch.tensor([pixels - side + 1 for pixels in extent], device=draws.device)
    return (draws * room).long()


def _inside(places: Tensor, side: int, extent: tuple[int, int]) -> Tensor:
    """Which pixels lie in the squares, [R, 1, H, W]."""
    along = []
    for axis, pixels in enumerate(extent):
        lanes, begin = torch.arange(pixels, device=places.device), places[:, axis : axis + 1]
        along.append((lanes >= begin) & (lanes < begin + side))
    return (along[0][:, :, None] & along[1][:, None, :])[:, None]


def _window(places: Tensor, channels: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices of the squares [R, C, side, side] in images [R, C, H, W]."""
    lanes = torch.arange(side, device=places.device)
    rows, columns = (places[:, axis, None] + lanes for axis in (0, 1))
    run, channel = (torch.arange(number, device=places.device) for number in (len(places), channels))
    return run[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]


def _norms(windows: Tensor) -> Tensor:
    """Norms [R, C, 1, 1] of each channel."""
    return windows.square().sum((2, 3), keepdim=True).sqrt()


def _at_distance(images: Tensor, perturbation: Tensor, epsilon: float) -> Tensor:
    """The images with the perturbation stretched to norm epsilon, in [0, 1]."""
    norm = perturbation.square().sum((1, 2, 3), keepdim=True).sqrt()
    return (images + perturbation / norm * epsilon).clamp(0.0, 1.0)
