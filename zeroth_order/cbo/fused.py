"""Kernels for large swarms on a CPU: normals, and one step of plain CBO in one pass over memory.

The normals are those of `envs.random.Stream` up to rounding: the same Philox words, and logarithm, sine and cosine by
their Taylor series after range reduction, in loops without branches, which compile to vector instructions.

The step draws them where it needs them, so what the plain path writes and reads again (normals, differences, products:
about fifteen arrays of R N d numbers) stays in the first-level cache. A run's particles are read twice, the second time
from a cache, and written once. Sums run over the particles of one run in order, so a run is the same alone and among
others. The plain path is the definition; a test holds the two together.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import register_jitable
from torch import Tensor

from envs.algorithm import Numeric
from envs.random import MASK, MULTIPLIERS, ROUNDS, WEYL, Stream

SMALLEST = 2_000
"""Numbers of a run, particles times dimension, from which the kernels are used: below, eager torch is fast enough and
nothing has to be compiled. It must not depend on the number of runs: a run is the same alone and among others."""
BLOCKS = 64
"""Philox blocks, of four normals each, that are drawn at a time; they fit the first-level cache."""

LOG = tuple(2.0 / (2 * n + 1) for n in reversed(range(10)))
"""log((1 + s) / (1 - s)) / s in powers of s^2, |s| < 0.172."""
SIN = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in reversed(range(8)))
"""sin(a) / a in powers of a^2, |a| <= pi / 4."""
COS = tuple((-1.0) ** n / math.factorial(2 * n) for n in reversed(range(9)))
ROOT_HALF = np.float32(math.sqrt(0.5)).view(np.int32)
"""Bits of the smallest mantissa after range reduction."""


def pays(like: Tensor, count: int) -> bool:
    """Whether the kernels cover `count` particles with the place, type and last axis of `like`, and are worth it."""
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    return known and count * like.shape[-1] >= SMALLEST


def normals(stream: Stream, first: int, count: int, like: Tensor) -> Tensor:
    """Standard normals [R, count, d] from the lanes `first` and following; d and type of `like`."""
    drawn = _empty((len(stream.seeds), count, like.shape[-1]), like.dtype)
    _draw(*_keys(stream), first, drawn.numpy())
    return drawn


def step(
    x: Tensor, before: Tensor, weights: Tensor, p: Numeric, s: Numeric, isotropic: bool, stream: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Euler's step of particles x [R, N, d] with `weights` [R, N]; p = lambda dt and s = sigma sqrt(dt), or [R] each.

    Returns the particles, their consensus [R, d] and their squared distances to it [R, N]. Where the weights of a run
    are NaN its particles stay, and the consensus is `before` [R, d].
    """
    x, moved = x.contiguous(), _empty(x.shape, x.dtype)
    consensus = before.double().clone(memory_format=torch.contiguous_format)
    square = torch.empty(x.shape[:2], dtype=torch.float64)
    _step(
        x.numpy(), weights.double().numpy(), torch.isfinite(weights).all(-1).numpy(), _per_run(p, x), _per_run(s, x),
        isotropic, *_keys(stream), consensus.numpy(), moved.numpy(), square.numpy(),
    )  # fmt: skip
    return moved, consensus.to(x.dtype), square.to(x.dtype)


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """NumPy asks the system for huge pages: 500 times fewer page faults where the memory is new."""
    return torch.from_numpy(np.empty(shape, np.float32 if dtype == torch.float32 else np.float64))


def _keys(stream: Stream) -> tuple[np.ndarray, np.ndarray, int]:
    counters = torch.as_tensor(stream.counter).expand(len(stream.seeds)).contiguous()
    return stream.seeds.contiguous().numpy(), counters.numpy(), stream.path


def _per_run(value: Numeric, x: Tensor) -> np.ndarray:
    return torch.as_tensor(value, dtype=torch.float64).expand(len(x)).contiguous().numpy()


@register_jitable
def _horner(coefficients: Any, x: Any) -> Any:
    total = 0.0
    for coefficient in coefficients:
        total = total * x + coefficient
    return total


@register_jitable
def _minus_log(odd: Any) -> Any:
    """-log(odd 2^-24) of an odd int32 below 2^24, exact in float32: the mantissa is brought to [sqrt(1/2), sqrt(2))."""
    bits = np.float32(odd).view(np.int32)
    exponent = np.int32(bits - ROOT_HALF) >> np.int32(23)
    mantissa = np.float64(np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32))
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return (24.0 - np.float64(exponent)) * math.log(2.0) - s * _horner(LOG, s * s)


@register_jitable
def _cos_sin(k: Any) -> Any:
    """Cosine and sine of 2 pi (k + 1/2) 2^-23, int32 k in [0, 2^23): the angle is brought to pi / 4 from an axis."""
    quarter = np.int32(k + np.int32(1 << 20)) >> np.int32(21)
    a = (np.float64(np.int32(k - np.int32(quarter << np.int32(21)))) + 0.5) * (2.0 * math.pi * 2.0**-23)
    cos, sin = _horner(COS, a * a), a * _horner(SIN, a * a)
    x, y = (sin, cos) if quarter & np.int32(1) else (cos, sin)
    return (-x if np.int32(quarter + np.int32(1)) & np.int32(2) else x), (-y if quarter & np.int32(2) else y)


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _words(first: int, number: int, lane: Any, counter: Any, path: Any, key0: Any, key1: Any, words: Any) -> None:
    """The upper 23 bits of the words of Philox blocks first .. first + number, into words [4, BLOCKS]."""
    mask, shift, top = np.uint64(MASK), np.uint64(32), np.uint64(9)
    m0, m1, weyl0, weyl1 = (
        np.uint64(MULTIPLIERS[0]),
        np.uint64(MULTIPLIERS[1]),
        np.uint64(WEYL[0]),
        np.uint64(WEYL[1]),
    )
    for b in range(number):
        c0, c1, c2, c3 = np.uint64(first + b) & mask, lane & mask, counter & mask, path & mask
        k0, k1 = key0 & mask, key1 & mask
        for _ in range(ROUNDS):
            p0, p1 = c0 * m0, c2 * m1
            c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & mask, (p0 >> shift) ^ c3 ^ k1, p0 & mask
            k0, k1 = (k0 + weyl0) & mask, (k1 + weyl1) & mask
        words[0, b], words[1, b] = np.int32(c0 >> top), np.int32(c1 >> top)
        words[2, b], words[3, b] = np.int32(c2 >> top), np.int32(c3 >> top)


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _normals(number: int, words: Any, apart: Any, xi: Any) -> None:
    """Standard normals [4 BLOCKS] of words [4, BLOCKS], as `envs.random.box_muller`; `apart` [4, BLOCKS] is scratch."""
    for pair in range(2):
        for b in range(number):
            radius = math.sqrt(2.0 * _minus_log(np.int32(words[2 * pair, b] << np.int32(1) | np.int32(1))))
            cos, sin = _cos_sin(words[2 * pair + 1, b])
            apart[2 * pair, b], apart[2 * pair + 1, b] = radius * cos, radius * sin
    for b in range(number):
        xi[4 * b], xi[4 * b + 1], xi[4 * b + 2], xi[4 * b + 3] = apart[0, b], apart[1, b], apart[2, b], apart[3, b]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _square(x: Any, centre: Any) -> float:
    """|x - centre|^2."""
    total = 0.0
    for j in range(x.size):
        total += (x[j] - centre[j]) ** 2
    return total


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _move(x: Any, centre: Any, p: float, s: float, distance: float, isotropic: bool, xi: Any, moved: Any) -> bool:
    """Euler's step of some coordinates; whether all of them are finite."""
    finite = True
    for j in range(x.size):
        difference = x[j] - centre[j]
        moved[j] = x[j] - p * difference + s * (distance if isotropic else difference) * xi[j]
        finite &= moved[j] - moved[j] == 0
    return finite


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _draw(seeds, counters, path, first_lane, out):  # type: ignore[no-untyped-def]
    runs, count, dim = out.shape
    for r in numba.prange(runs):
        words, apart, xi = np.empty((4, BLOCKS), np.int32), np.empty((4, BLOCKS)), np.empty(4 * BLOCKS)
        key0, key1 = np.uint64(seeds[r]) & np.uint64(MASK), np.uint64(seeds[r]) >> np.uint64(32)
        for i in range(count):
            lane = np.uint64(first_lane + i)
            for first in range(0, dim, 4 * BLOCKS):
                last = min(first + 4 * BLOCKS, dim)
                number = (last - first + 3) // 4
                _words(first // 4, number, lane, np.uint64(counters[r]), np.uint64(path), key0, key1, words)
                _normals(number, words, apart, xi)
                for j in range(first, last):
                    out[r, i, j] = xi[j - first]


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _step(  # type: ignore[no-untyped-def]
    x, weights, alive, p, s, isotropic, seeds, counters, path, consensus, moved, square
):  # fmt: skip
    runs, count, dim = x.shape
    for r in numba.prange(runs):
        centre = consensus[r]
        if alive[r]:
            centre[:] = 0.0
            for i in range(count):
                for j in range(dim):
                    centre[j] += weights[r, i] * x[r, i, j]
        words, apart, xi = np.empty((4, BLOCKS), np.int32), np.empty((4, BLOCKS)), np.empty(4 * BLOCKS)
        key0, key1 = np.uint64(seeds[r]) & np.uint64(MASK), np.uint64(seeds[r]) >> np.uint64(32)
        for i in range(count):
            square[r, i] = _square(x[r, i], centre)
            distance, finite = math.sqrt(square[r, i]), alive[r]
            for first in range(0, dim, 4 * BLOCKS):
                last = min(first + 4 * BLOCKS, dim)
                number = (last - first + 3) // 4
                _words(first // 4, number, np.uint64(i), np.uint64(counters[r]), np.uint64(path), key0, key1, words)
                _normals(number, words, apart, xi)
                part = slice(first, last)
                finite &= _move(x[r, i, part], centre[part], p[r], s[r], distance, isotropic, xi, moved[r, i, part])
            if not finite:
                moved[r, i] = x[r, i]
