"""Standard normals of `envs.random.Stream` on a CPU: Philox words and Box-Muller in one kernel.

The same numbers as `envs.random.box_muller` of the stream's uniforms, up to rounding: logarithm, sine and cosine are
their Taylor series after range reduction, in loops without branches, which compile to vector instructions. They are
computed in float64 for either precision. Ten to twenty times faster than eager tensors where many are drawn, and four
times where few are.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import register_jitable
from torch import Tensor

from envs.fused.launch import launch
from envs.random import MASK, MULTIPLIERS, ROUNDS, WEYL, Stream

BLOCKS = 64
"""Philox blocks, of four normals each, that are drawn at a time; they fit the first-level cache."""

SEVERAL_THREADS = 200_000
"""Normals, one or two milliseconds, from which it pays to wake other threads: where cores are busy they come late."""

LOG = tuple(2.0 / (2 * n + 1) for n in reversed(range(10)))
"""log((1 + s) / (1 - s)) / s in powers of s^2, |s| < 0.172."""
SIN = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in reversed(range(8)))
"""sin(a) / a in powers of a^2, |a| <= pi / 4."""
COS = tuple((-1.0) ** n / math.factorial(2 * n) for n in reversed(range(9)))
ROOT_HALF = np.float32(math.sqrt(0.5)).view(np.int32)
"""Bits of the smallest mantissa after range reduction."""


def normals(stream: Stream, size: int, start: int, dtype: torch.dtype) -> Tensor:
    """Standard normals [R, *L, size] of float32 or float64, from the uniforms `start`, a multiple of 4, and following.

    Raises ValueError for another start.
    """
    if start % 4:
        raise ValueError(f"start = {start} is not a multiple of 4, the words of a Philox block")
    lanes = stream.lanes.reshape(-1)
    drawn = empty((len(stream.seeds), len(lanes), size), dtype)
    several = drawn.numel() >= SEVERAL_THREADS
    launch(_draw_runs, "normals", len(drawn), several, *keys(stream), lanes.numpy(), start // 4, drawn.numpy())
    return drawn.view(-1, *stream.lanes.shape, size)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """NumPy asks the system for huge pages: 500 times fewer page faults where the memory is new."""
    return torch.from_numpy(np.empty(shape, np.float32 if dtype == torch.float32 else np.float64))


def keys(stream: Stream) -> tuple[np.ndarray, np.ndarray, int]:
    """Seeds [R], counters [R] and path, for kernels."""
    counters = torch.as_tensor(stream.counter).expand(len(stream.seeds)).contiguous()
    return stream.seeds.contiguous().numpy(), counters.numpy(), stream.path


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
def words_of(first: int, number: int, lane: Any, counter: Any, path: Any, key0: Any, key1: Any, words: Any) -> None:
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
def normals_of(number: int, words: Any, apart: Any, xi: Any) -> None:
    """Standard normals [4 BLOCKS] of words [4, BLOCKS], as `envs.random.box_muller`; `apart` [4, BLOCKS] is scratch."""
    for pair in range(2):
        for b in range(number):
            radius = math.sqrt(2.0 * _minus_log(np.int32(words[2 * pair, b] << np.int32(1) | np.int32(1))))
            cos, sin = _cos_sin(words[2 * pair + 1, b])
            apart[2 * pair, b], apart[2 * pair + 1, b] = radius * cos, radius * sin
    for b in range(number):
        xi[4 * b], xi[4 * b + 1], xi[4 * b + 2], xi[4 * b + 3] = apart[0, b], apart[1, b], apart[2, b], apart[3, b]


@numba.njit(cache=True, error_model="numpy")
def _draw(seed: Any, counter: Any, path: Any, lanes: Any, start: int, out: Any) -> None:
    """Of one run."""
    count, dim = out.shape
    words, apart, xi = np.empty((4, BLOCKS), np.int32), np.empty((4, BLOCKS)), np.empty(4 * BLOCKS)
    key0, key1 = np.uint64(seed) & np.uint64(MASK), np.uint64(seed) >> np.uint64(32)
    for i in range(count):
        lane = np.uint64(lanes[i])
        for first in range(0, dim, 4 * BLOCKS):
            last = min(first + 4 * BLOCKS, dim)
            number = (last - first + 3) // 4
            words_of(start + first // 4, number, lane, np.uint64(counter), np.uint64(path), key0, key1, words)
            normals_of(number, words, apart, xi)
            for j in range(first, last):
                out[i, j] = xi[j - first]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw_runs(first, stride, runs, seeds, counters, path, lanes, start, out):  # type: ignore[no-untyped-def]
    """Every `stride`-th run."""
    for r in range(first, runs, stride):
        _draw(seeds[r], counters[r], path, lanes, start, out[r])
