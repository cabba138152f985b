"""The policy's network in lanes: episodes side by side under the same weights, or the units of one episode.

Both ways multiply and add in the same order, so they give the same bits and a kernel may change between them at any
step: the inputs are summed in two parts, so that sums wait less for each other, and in four where few units leave room.
Layers go to and fro between the halves of a scratch array, which is addressed as if it were flat: NumPy's views would
cost more than a small layer.
"""

from typing import Any

import numpy as np

from envs.fused.functions import tanh
from envs.fused.lanes import LANES, Value, compiled, everywhere, fma, load, load_same, store

PADDING = 2 * LANES
"""Numbers after the last weight, and after the units of the widest layer, that are read to no effect."""


@compiled
def pack(params: Any, sizes: Any, bias: bool, weights: Any) -> None:
    """A policy's flat vector with matrices [in, out] in place of [out, in], so that units lie side by side."""
    at = 0
    for layer in range(sizes.size - 1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        for o in range(n_out):
            for i in range(n_in):
                weights[np.uint64(at + i * n_out + o)] = params[np.uint64(at + o * n_in + i)]
        at += n_in * n_out
        if bias:
            for o in range(n_out):
                weights[np.uint64(at + o)] = params[np.uint64(at + o)]
            at += n_out


@compiled
def forward_episodes(weights: Any, sizes: Any, bias: bool, h: Any) -> int:
    """Where in scratch h [2, width, LANES] the outputs begin, for the observations that it begins with.

    Lanes are episodes; the width is that of the widest layer and 3 more.
    """
    at, half, layers, x = 0, h.shape[1] * LANES, sizes.size - 1, 0
    for layer in range(layers):
        n_in, n_out, y = sizes[layer], sizes[layer + 1], half - x
        first_bias, zero = at + n_in * n_out, everywhere(weights.dtype.type(0))
        part = (n_in + 1) // 2 if n_out > LANES else (n_in + 3) // 4
        for o in range(0, n_out, 4):  # four rows, some of them meaningless after the last output
            a, b, c, d = zero, zero, zero, zero
            if bias:
                w = first_bias + o
                a, b = load_same(weights, w), load_same(weights, w + 1)
                c, d = load_same(weights, w + 2), load_same(weights, w + 3)
            for first in range(0, n_in, part):
                p, q, r, s = zero, zero, zero, zero
                for i in range(first, min(first + part, n_in)):
                    w, value = at + i * n_out + o, load(h, x + i * LANES)
                    p, q = fma(value, load_same(weights, w), p), fma(value, load_same(weights, w + 1), q)
                    r, s = fma(value, load_same(weights, w + 2), r), fma(value, load_same(weights, w + 3), s)
                a, b, c, d = a + p, b + q, c + r, d + s
            row = y + o * LANES
            store(h, row, a)
            store(h, row + LANES, b)
            store(h, row + 2 * LANES, c)
            store(h, row + 3 * LANES, d)
        if layer < layers - 1:
            for i in range(y, y + n_out * LANES, LANES):
                store(h, i, tanh(load(h, i)))
        at, x = first_bias + (n_out if bias else 0), y
    return x


@compiled
def forward_units(weights: Any, sizes: Any, bias: bool, h: Any) -> int:
    """Where in scratch h [2, width + PADDING] the outputs begin, for the observation that it begins with.

    Lanes are units.
    """
    at, half, layers, x = 0, h.shape[1], sizes.size - 1, 0
    for layer in range(layers):
        n_in, n_out, y = sizes[layer], sizes[layer + 1], half - x
        first_bias = at + n_in * n_out
        if n_out > LANES:
            for o in range(0, n_out, 2 * LANES):
                a, b = everywhere(weights.dtype.type(0)), everywhere(weights.dtype.type(0))
                if bias:
                    a, b = load(weights, first_bias + o), load(weights, first_bias + o + LANES)
                a, b = _two_blocks(weights, at + o, n_in, n_out, h, x, a, b)
                store(h, y + o, a)
                store(h, y + o + LANES, b)
        else:
            a = load(weights, first_bias) if bias else everywhere(weights.dtype.type(0))
            store(h, y, _block(weights, at, n_in, n_out, h, x, a))
        if layer < layers - 1:
            for i in range(y, y + n_out, LANES):
                store(h, i, tanh(load(h, i)))
        at, x = first_bias + (n_out if bias else 0), y
    return x


@compiled
def _two_blocks(
    weights: Any, at: int, n_in: int, n_out: int, h: Any, x: int, a: Value, b: Value
) -> tuple[Value, Value]:
    """2 LANES units, their inputs in two parts, added to a and b."""
    zero, part = everywhere(weights.dtype.type(0)), (n_in + 1) // 2
    p, q, r, s = zero, zero, zero, zero
    for i in range(n_in - part):
        v, first, second = at + i * n_out, load_same(h, x + i), load_same(h, x + part + i)
        w = v + part * n_out
        p, q = fma(load(weights, v), first, p), fma(load(weights, v + LANES), first, q)
        r, s = fma(load(weights, w), second, r), fma(load(weights, w + LANES), second, s)
    if n_in % 2:
        v, first = at + (part - 1) * n_out, load_same(h, x + part - 1)
        p, q = fma(load(weights, v), first, p), fma(load(weights, v + LANES), first, q)
    return a + p + r, b + q + s


@compiled
def _block(weights: Any, at: int, n_in: int, n_out: int, h: Any, x: int, a: Value) -> Value:
    """LANES units, their inputs in four parts of which the last may be shorter, added to a."""
    zero, part = everywhere(weights.dtype.type(0)), (n_in + 3) // 4
    p, q, r, s = zero, zero, zero, zero
    for i in range(part):
        j, k, m = i + part, i + 2 * part, i + 3 * part
        p = fma(load(weights, at + i * n_out), load_same(h, x + i), p)
        if j < n_in:
            q = fma(load(weights, at + j * n_out), load_same(h, x + j), q)
        if k < n_in:
            r = fma(load(weights, at + k * n_out), load_same(h, x + k), r)
        if m < n_in:
            s = fma(load(weights, at + m * n_out), load_same(h, x + m), s)
    a = a + p
    if n_in > part:
        a = a + q
    if n_in > 2 * part:
        a = a + r
    return a + s if n_in > 3 * part else a
