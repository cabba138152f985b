"""The policy's network in lanes: episodes side by side under the same weights, or the units of one episode.

Both ways multiply and add in the same order, so they give the same bits and a kernel may change between them at any
step. A block of units (`packing.py`) has four sums under way, however wide it is, so that sums wait less for each
other: its inputs are in one, two or four parts.

Layers go to and fro between the halves of a scratch array, which is addressed as if it were flat: NumPy's views would
cost more than a small layer.
"""

from typing import Any

from envs.fused.functions import tanh
from envs.fused.lanes import LANES, compiled, everywhere, fma, load, load_same, store
from envs.fused.packing import WIDEST, block_width, in_rows
from envs.fused.shuffles import halved_sum

PADDING = WIDEST
"""Numbers after the widest layer that are written to no effect."""


@compiled
def forward_episodes(weights: Any, sizes: Any, h: Any) -> int:
    """The half of scratch h [2, width + PADDING, LANES] that begins with the outputs for the observations in the first.

    Lanes are episodes.
    """
    at, half, layers, x = 0, h.shape[1] * LANES, sizes.size - 1, 0
    for layer in range(layers):
        n_in, n_out, y, o = sizes[layer], sizes[layer + 1], half - x, 0
        if in_rows(n_in, n_out):
            for o in range(n_out):
                _episodes_row(weights, at + o * n_in, at + n_out * n_in + o, n_in, h, x, y + o * LANES)
            at += n_out * n_in + LANES
        else:
            while o < n_out:
                width = block_width(n_out - o)
                for k in range(0, min(width, n_out - o), 4):
                    _episodes_units(weights, at + k, width, n_in, h, x, y + (o + k) * LANES)
                at, o = at + (n_in + 1) * width, o + width
        if layer < layers - 1:
            for i in range(y, y + n_out * LANES, LANES):
                store(h, i, tanh(load(h, i)))
        x = y
    return layers % 2


@compiled
def _episodes_units(weights: Any, at: int, width: int, n_in: int, h: Any, x: int, y: int) -> None:
    """Four units, some of them meaningless after the last, of a block whose part from the first of them begins at."""
    a, b, c, d = (
        load_same(weights, at),
        load_same(weights, at + 1),
        load_same(weights, at + 2),
        load_same(weights, at + 3),
    )
    zero, part = everywhere(weights.dtype.type(0)), (n_in * width + WIDEST - 1) // WIDEST
    for first in range(0, n_in, part):
        p, q, r, s = zero, zero, zero, zero
        for i in range(first, min(first + part, n_in)):
            w, value = at + (i + 1) * width, load(h, x + i * LANES)
            p, q = fma(value, load_same(weights, w), p), fma(value, load_same(weights, w + 1), q)
            r, s = fma(value, load_same(weights, w + 2), r), fma(value, load_same(weights, w + 3), s)
        a, b, c, d = a + p, b + q, c + r, d + s
    store(h, y, a)
    store(h, y + LANES, b)
    store(h, y + 2 * LANES, c)
    store(h, y + 3 * LANES, d)


@compiled
def _episodes_row(weights: Any, at: int, bias: int, n_in: int, h: Any, x: int, y: int) -> None:
    """One unit whose weights lie in a row, its partial sums added as `halved_sum` does."""
    for j in range(LANES):
        total = load_same(weights, at + j) * load(h, x + j * LANES)
        for i in range(j + LANES, n_in, LANES):
            total = fma(load_same(weights, at + i), load(h, x + i * LANES), total)
        store(h, y + j * LANES, total)
    count = LANES // 2
    while count > 0:
        for j in range(count):
            store(h, y + j * LANES, load(h, y + j * LANES) + load(h, y + (j + count) * LANES))
        count //= 2
    store(h, y, load_same(weights, bias) + load(h, y))


@compiled
def forward_units(weights: Any, sizes: Any, h: Any) -> int:
    """The half of scratch h [2, width + PADDING] that begins with the outputs for the observation in the first.

    Lanes are units.
    """
    at, half, layers, x = 0, h.shape[1], sizes.size - 1, 0
    for layer in range(layers):
        n_in, n_out, y, o = sizes[layer], sizes[layer + 1], half - x, 0
        if in_rows(n_in, n_out):
            _units_rows(weights, at, n_in, n_out, h, x, y)
            at += n_out * n_in + LANES
        else:
            while o < n_out:
                width = block_width(n_out - o)
                if width == WIDEST:
                    _units_wide(weights, at, n_in, h, x, y + o)
                elif width == 2 * LANES:
                    _units_half(weights, at, n_in, h, x, y + o)
                else:
                    _units_quarter(weights, at, n_in, h, x, y + o)
                at, o = at + (n_in + 1) * width, o + width
        if layer < layers - 1:
            for i in range(y, y + n_out, LANES):
                store(h, i, tanh(load(h, i)))
        x = y
    return layers % 2


@compiled
def _units_rows(weights: Any, at: int, n_in: int, n_out: int, h: Any, x: int, y: int) -> None:
    """Units whose weights lie in rows."""
    for o in range(n_out):
        w = at + o * n_in
        total = load(weights, w) * load(h, x)
        for i in range(LANES, n_in, LANES):
            total = fma(load(weights, w + i), load(h, x + i), total)
        store(h, y + o, weights[at + n_out * n_in + o] + halved_sum(total))


@compiled
def _units_wide(weights: Any, at: int, n_in: int, h: Any, x: int, y: int) -> None:
    """A block of 4 LANES units."""
    zero = everywhere(weights.dtype.type(0))
    p, q, r, s = zero, zero, zero, zero
    for i in range(n_in):
        w, value = at + (i + 1) * WIDEST, load_same(h, x + i)
        p, q = fma(load(weights, w), value, p), fma(load(weights, w + LANES), value, q)
        r, s = fma(load(weights, w + 2 * LANES), value, r), fma(load(weights, w + 3 * LANES), value, s)
    store(h, y, load(weights, at) + p)
    store(h, y + LANES, load(weights, at + LANES) + q)
    store(h, y + 2 * LANES, load(weights, at + 2 * LANES) + r)
    store(h, y + 3 * LANES, load(weights, at + 3 * LANES) + s)


@compiled
def _units_half(weights: Any, at: int, n_in: int, h: Any, x: int, y: int) -> None:
    """A block of 2 LANES units, their inputs in two parts."""
    zero, width, part = everywhere(weights.dtype.type(0)), 2 * LANES, (n_in + 1) // 2
    p, q, r, s = zero, zero, zero, zero
    for i in range(n_in - part):
        v, first, second = at + (i + 1) * width, load_same(h, x + i), load_same(h, x + part + i)
        w = v + part * width
        p, q = fma(load(weights, v), first, p), fma(load(weights, v + LANES), first, q)
        r, s = fma(load(weights, w), second, r), fma(load(weights, w + LANES), second, s)
    if n_in % 2:
        v, first = at + part * width, load_same(h, x + part - 1)
        p, q = fma(load(weights, v), first, p), fma(load(weights, v + LANES), first, q)
    store(h, y, load(weights, at) + p + r)
    store(h, y + LANES, load(weights, at + LANES) + q + s)


@compiled
def _units_quarter(weights: Any, at: int, n_in: int, h: Any, x: int, y: int) -> None:
    """A block of LANES units, their inputs in four parts of which the last may be shorter."""
    zero, part = everywhere(weights.dtype.type(0)), (n_in + 3) // 4
    p, q, r, s = zero, zero, zero, zero
    a, first = load(weights, at), at + LANES
    for i in range(part):
        j, k, m = i + part, i + 2 * part, i + 3 * part
        p = fma(load(weights, first + i * LANES), load_same(h, x + i), p)
        if j < n_in:
            q = fma(load(weights, first + j * LANES), load_same(h, x + j), q)
        if k < n_in:
            r = fma(load(weights, first + k * LANES), load_same(h, x + k), r)
        if m < n_in:
            s = fma(load(weights, first + m * LANES), load_same(h, x + m), s)
    a = a + p
    if n_in > part:
        a = a + q
    if n_in > 2 * part:
        a = a + r
    if n_in > 3 * part:
        a = a + s
    store(h, y, a)
