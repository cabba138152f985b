"""Exponential and hyperbolic tangent for loops over lanes: polynomials without branches, which compile to vectors.

Accurate to a few units in the last place of float64; callers are compiled with `error_model="numpy"`.
"""

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

SERIES = tuple(1.0 / math.factorial(n) for n in range(13, 0, -1))
"""(exp(r) - 1) / r in powers of r, |r| <= log(2) / 2."""
LOG2_E = 1.0 / math.log(2.0)
LN2_HIGH = 0.693147180369123816490
"""log(2) cut after 32 bits, so that its multiples by exponents are exact; the rest is LN2_LOW."""
LN2_LOW = 1.90821492927058770002e-10
ROUNDER = 1.5 * 2.0**52
"""Added to a number it leaves the nearest integer in the last bits."""
BIAS, MANTISSA = np.int64(1023), np.int64(52)
SMALLEST = -708.0
"""exp of less is taken for exp of this, about 1e-308."""


@register_jitable
def _parts(x: Any) -> tuple[float, float]:
    """(2^k, 2^k (exp(r) - 1)) with x = k log(2) + r for x <= 0; NaN stays NaN."""
    x = SMALLEST if x < SMALLEST else x
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = x - k * LN2_HIGH - k * LN2_LOW
    total = 0.0
    for coefficient in SERIES:
        total = total * r + coefficient
    power = np.int64((np.float64(shifted).view(np.int64) + BIAS) << MANTISSA).view(np.float64)
    return power, power * (total * r)


@register_jitable
def exp_negative(x: Any) -> float:
    """exp(x) for x <= 0."""
    power, rest = _parts(x)
    return power + rest


@register_jitable
def tanh(x: Any) -> float:
    """tanh(x), also for small x to relative precision: -m / (m + 2) with m = exp(-2 |x|) - 1."""
    power, rest = _parts(-2.0 * abs(x))
    m = (power - 1.0) + rest
    size = -m / (m + 2.0)
    return size if x > 0.0 else -size
