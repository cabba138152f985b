"""One step of plain CBO in one pass over memory: weighted mean, normals, move and diameter in one numba kernel.

What the plain path writes and reads again (normals, differences, products: about fifteen arrays of R N d numbers) stays
in the first-level cache. A run's particles are read twice, the second time from the second-level cache, and written
once. The normals are those of `envs.random.Stream`, up to rounding: the same Philox words, and logarithm, sine and
cosine by their Taylor series after range reduction, in loops without branches, which compile to vector instructions.

The plain path is the definition; a test holds the two together. Sums run over the particles of one run in order, so a
run is the same alone and among others.
"""

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from numba.extending import register_jitable
from torch import Tensor

from envs.algorithm import Metrics, Numeric
from envs.random import MASK, MULTIPLIERS, WEYL
from zeroth_order.cbo.consensus import softmin
from zeroth_order.cbo.constraints import Unconstrained
from zeroth_order.cbo.correction import NoCorrection
from zeroth_order.cbo.memory import NoMemory
from zeroth_order.cbo.noise import Anisotropic, Euler, Isotropic
from zeroth_order.core import succeeded

if TYPE_CHECKING:
    from zeroth_order.cbo.cbo import CBO, CBOState

SMALLEST = 20_000
"""Numbers N d of a run from which the kernel is used; below, launching it and compiling it once gain little. It must
not depend on R: a run is the same alone and among others."""
BLOCKS = 64
"""Philox blocks, of four normals each, that are drawn at a time; they and their row fit the first-level cache."""
PLAIN = {Unconstrained(), NoCorrection(), NoMemory(), Euler()}

LOG = tuple(2.0 / (2 * n + 1) for n in reversed(range(12)))
"""log((1 + s) / (1 - s)) / s in powers of s^2, |s| < 0.172."""
SIN = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in reversed(range(9)))
"""sin(a) / a in powers of a^2, |a| <= pi / 4."""
COS = tuple((-1.0) ** n / math.factorial(2 * n) for n in reversed(range(9)))
ROOT_HALF = np.float64(math.sqrt(0.5)).view(np.int64)
"""Bits of the smallest mantissa after range reduction."""


def pays(config: "CBO", points: Tensor) -> bool:
    """Whether the kernel covers this configuration and is worth it for points [R, N, d]."""
    plain = {config.constraint, config.correction, config.memory, config.step} == PLAIN
    return (
        points.device.type == "cpu"
        and points.shape[1] * points.shape[2] >= SMALLEST
        and points.dtype in (torch.float32, torch.float64)
        and type(config.noise) in (Isotropic, Anisotropic)
        and config.batch is None
        and not config.wants_gradients
        and plain
    )


def step(config: "CBO", state: "CBOState", values: Tensor) -> tuple[Tensor, Tensor, Metrics]:
    """The particles after a step, [R, N, d], their consensus, [R, d], and the metrics of `CBO.tell`."""
    x = state.particles.contiguous()
    success = succeeded(values)
    weights = torch.nan_to_num(softmin(values, config.alpha.of(state.t, values)).double())
    p, s = config.drift * config.dt, config.sigma(state.t) * config.dt**0.5
    consensus = state.consensus.double().clone(memory_format=torch.contiguous_format)
    moved = torch.from_numpy(np.empty_like(x.numpy()))  # NumPy asks for huge pages: 500 times fewer page faults
    square = torch.empty(x.shape[:2], dtype=torch.float64)
    stream = state.stream
    counters = torch.as_tensor(stream.counter).expand(len(x)).contiguous()
    _kernel(
        x.numpy(), weights.numpy(), success.any(-1).numpy(), _per_run(p, x), _per_run(s, x),
        isinstance(config.noise, Isotropic), stream.seeds.numpy(), counters.numpy(), stream.path,
        consensus.numpy(), moved.numpy(), square.numpy(),
    )  # fmt: skip
    metrics = {"diameter": square.mean(-1).sqrt().to(x.dtype), "failed": 1 - success.to(x.dtype).mean(-1)}
    return moved, consensus.to(x.dtype), metrics


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
    """-log(odd 2^-24) of an odd integer below 2^24: the mantissa is brought to [sqrt(1/2), sqrt(2))."""
    bits = np.float64(odd).view(np.int64)
    exponent = (bits - ROOT_HALF) >> np.int64(52)
    mantissa = np.int64(bits - (exponent << np.int64(52))).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return (24.0 - exponent) * math.log(2.0) - s * _horner(LOG, s * s)


@register_jitable
def _cos_sin(k: Any) -> Any:
    """Cosine and sine of 2 pi (k + 1/2) 2^-23, k in [0, 2^23): the angle is brought to within pi / 4 of an axis."""
    quarter = (k + np.int64(1 << 20)) >> np.int64(21)
    a = (np.float64(k - (quarter << np.int64(21))) + 0.5) * (2.0 * math.pi * 2.0**-23)
    cos, sin = _horner(COS, a * a), a * _horner(SIN, a * a)
    turned = quarter & np.int64(1)
    x, y = (sin, cos) if turned else (cos, sin)
    return (-x if (quarter + 1) & np.int64(2) else x), (-y if quarter & np.int64(2) else y)


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _words(first: Any, lane: Any, counter: Any, path: Any, key0: Any, key1: Any, words: Any) -> None:
    """The upper 23 bits of the words of the Philox blocks `first` and following, into words [4, BLOCKS]."""
    mask, shift, top = np.uint64(MASK), np.uint64(32), np.uint64(9)
    m0, m1, weyl0, weyl1 = (
        np.uint64(MULTIPLIERS[0]),
        np.uint64(MULTIPLIERS[1]),
        np.uint64(WEYL[0]),
        np.uint64(WEYL[1]),
    )
    for b in range(BLOCKS):
        c0, c1, c2, c3 = np.uint64(first + b) & mask, lane & mask, counter & mask, path & mask
        k0, k1 = key0 & mask, key1 & mask
        for _ in range(10):
            p0, p1 = c0 * m0, c2 * m1
            c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & mask, (p0 >> shift) ^ c3 ^ k1, p0 & mask
            k0, k1 = (k0 + weyl0) & mask, (k1 + weyl1) & mask
        words[0, b], words[1, b], words[2, b], words[3, b] = c0 >> top, c1 >> top, c2 >> top, c3 >> top


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _normals(words: Any, apart: Any, xi: Any) -> None:
    """Standard normals [4 BLOCKS] of words [4, BLOCKS], as `envs.random.box_muller`; `apart` [4, BLOCKS] is scratch."""
    for pair in range(2):
        for b in range(BLOCKS):
            radius = math.sqrt(2.0 * _minus_log(np.int64(words[2 * pair, b]) * 2 + 1))
            cos, sin = _cos_sin(np.int64(words[2 * pair + 1, b]))
            apart[2 * pair, b], apart[2 * pair + 1, b] = radius * cos, radius * sin
    for b in range(BLOCKS):
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
def _kernel(  # type: ignore[no-untyped-def]
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
        words, apart, xi = np.empty((4, BLOCKS), np.uint64), np.empty((4, BLOCKS)), np.empty(4 * BLOCKS)
        key0, key1 = np.uint64(seeds[r]) & np.uint64(MASK), np.uint64(seeds[r]) >> np.uint64(32)
        for i in range(count):
            square[r, i] = _square(x[r, i], centre)
            distance, finite = math.sqrt(square[r, i]), alive[r]
            for first in range(0, dim, 4 * BLOCKS):
                _words(first // 4, np.uint64(i), np.uint64(counters[r]), np.uint64(path), key0, key1, words)
                _normals(words, apart, xi)
                part = slice(first, min(first + 4 * BLOCKS, dim))
                finite &= _move(x[r, i, part], centre[part], p[r], s[r], distance, isotropic, xi, moved[r, i, part])
            if not finite:
                moved[r, i] = x[r, i]
