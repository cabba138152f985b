"""Elementary functions of lanes without branches: Taylor series after a reduction of the range.

They are within a few units in the last place of the precision that they are called in, and NaN stays NaN. Angles are
reduced exactly up to 6,000 in float32 and 10^6 in float64.
"""

import math
from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.extending import overload

from envs.fused.lanes import Value, by_precision, compiled, fma, reinterpret, sqrt, where


def _series(single: int, double: int, term: Callable[[int], float]) -> Any:
    """The first terms of a power series, fewer of them for float32."""
    return by_precision(*(tuple(term(n) for n in reversed(range(count))) for count in (single, double)))


def _split(value: float, rest: float) -> tuple[Any, Any, Any]:
    """`value` + `rest` as three numbers, the first two so short that their products with small integers are exact."""

    def head(x: float, bits: int) -> float:
        mantissa, exponent = math.frexp(x)
        return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)

    a, c = head(value, 12), head(value, 33)
    b = head(value - a, 12)
    return by_precision((-a,), (-c,)), by_precision((-b,), (c - value,)), by_precision((a + b - value,), (-rest,))


QUARTER_1, QUARTER_2, QUARTER_3 = _split(math.pi / 2, 6.123233995736766e-17)
LN2_1, LN2_2, LN2_3 = _split(math.log(2), 2.3190468138462996e-17)

ROUNDING = by_precision((1.5 * 2**23,), (1.5 * 2**52,))
"""Added to a number of less than half its bits, it leaves the nearest integer in the lowest bits."""
ONE_BITS = by_precision((127 << 23,), (1023 << 52,))
MANTISSA, SIGN_BIT_OF_2 = by_precision((23,), (52,)), by_precision((30,), (62,))
ROOT_HALF = by_precision((math.sqrt(0.5),), (math.sqrt(0.5),))
LARGEST = by_precision((87.0,), (708.0,))
"""Argument beyond which exp is cut."""

SIN = _series(5, 8, lambda n: (-1.0) ** n / math.factorial(2 * n + 1))
"""sin(a) / a in powers of a^2, |a| <= pi / 4."""
COS = _series(6, 9, lambda n: (-1.0) ** n / math.factorial(2 * n))
EXPM1 = _series(7, 13, lambda n: 1.0 / math.factorial(n + 1))
"""(exp(r) - 1) / r in powers of r, |r| <= log(2) / 2."""
LOG = _series(5, 10, lambda n: 2.0 / (2 * n + 1))
"""log((1 + s) / (1 - s)) / s in powers of s^2, |s| < 0.172."""

# A quotient of least maximal relative error on [0, 8.5], 1.2e-8, fitted by iterated weighted least squares.
TANH_ABOVE = by_precision((1.4269186e-08, 2.1251012e-05, 3.5340248e-03, 1.3413245e-01, 1.0), ())
TANH_BELOW = by_precision((8.1451054e-07, 3.3488615e-04, 2.6022743e-02, 4.6746568e-01, 1.0), ())


@compiled
def clip(x: Value, low: Any, high: Any) -> Value:
    """X moved into [low, high]; NaN stays."""
    x = where(x < low, low, x)
    return where(x > high, high, x)


@compiled
def cos_sin(x: Value) -> tuple[Value, Value]:
    """Cosine and sine: the angle is brought to pi / 4 from an axis."""
    shifted = fma(x, 2 / math.pi, ROUNDING(x))
    quarter, n = shifted - ROUNDING(x), reinterpret(shifted)
    a = fma(quarter, QUARTER_3(x), fma(quarter, QUARTER_2(x), fma(quarter, QUARTER_1(x), x)))
    square = a * a
    cos, sin = COS(square), a * SIN(square)
    odd = (n & 1) == 1
    first, second = reinterpret(where(odd, sin, cos)), reinterpret(where(odd, cos, sin))
    shift = SIGN_BIT_OF_2(n)
    return reinterpret(first ^ (((n + 1) & 2) << shift)), reinterpret(second ^ ((n & 2) << shift))


@compiled
def _exp_parts(x: Value) -> tuple[Value, Value]:
    """2^k and exp(x) / 2^k - 1, which is small."""
    shifted = fma(x, 1 / math.log(2), ROUNDING(x))
    k = shifted - ROUNDING(x)
    r = fma(k, LN2_3(x), fma(k, LN2_2(x), fma(k, LN2_1(x), x)))
    n = reinterpret(shifted)
    return reinterpret((n << MANTISSA(n)) + ONE_BITS(n)), r * EXPM1(r)


@compiled
def exp(x: Value) -> Value:
    """Exponential; of arguments whose exponential would overflow or vanish, that of the last one that does not."""
    scale, rest = _exp_parts(clip(x, -LARGEST(x), LARGEST(x)))
    return fma(scale, rest, scale)


@compiled
def _rational_tanh(x: Value) -> Value:
    """Within 5 units in the last place of float32."""
    x = clip(x, -8.5, 8.5)
    square = x * x
    return x * TANH_ABOVE(square) / TANH_BELOW(square)


@compiled
def _exponential_tanh(x: Value) -> Value:
    """By way of e = exp(2x) - 1, which is exact near 0, as e / (e + 2)."""
    scale, rest = _exp_parts(clip(x + x, -40.0, 40.0))
    e = fma(scale, rest, scale - 1.0)
    return e / (e + 2.0)


def tanh(x: Value) -> Value:
    """Hyperbolic tangent; in float32 by a quotient of polynomials, which takes half the time."""
    raise NotImplementedError("lanes exist in compiled functions only")


@overload(tanh)
def _tanh(x: Any) -> Any:
    return _rational_tanh if x.dtype == types.float32 else _exponential_tanh


@compiled
def log(x: Value) -> Value:
    """Natural logarithm of positive normal numbers: the mantissa is brought to [sqrt(1/2), sqrt(2))."""
    bits = reinterpret(x)
    shift = MANTISSA(bits)
    exponent = (bits - reinterpret(ROOT_HALF(x))) >> shift
    mantissa = reinterpret(bits - (exponent << shift))
    power = reinterpret(exponent + reinterpret(ROUNDING(x))) - ROUNDING(x)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return fma(power, math.log(2), s * LOG(s * s))


@compiled
def normal_pair(first: Value, second: Value) -> tuple[Value, Value]:
    """Two standard normals of two uniforms, as `envs.random.box_muller`."""
    radius = sqrt(-2.0 * log(first))
    cos, sin = cos_sin((2.0 * math.pi) * second)
    return radius * cos, radius * sin
