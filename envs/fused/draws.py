"""`envs.random` inside a kernel: the same bits from the same counters, a sequence per lane."""

from typing import Any

import numpy as np

from envs.fused.functions import normal_pair
from envs.fused.lanes import FEW, LANES, Value, compiled, convert, load_few, row, set_row, store
from envs.random import MASK, MULTIPLIERS, ROUNDS, WEYL

KEY_LOW, KEY_HIGH, LANE, COUNTER = range(4)
"""Rows of the numbers, uint64, that say which sequence a lane draws from."""


@compiled
def set_sequence(sequences: Any, i: int, seed: int, lane: int, counter: int) -> None:
    """Lane i draws for `lane` of a stream."""
    sequences[KEY_LOW, i], sequences[KEY_HIGH, i] = np.uint64(seed) & np.uint64(MASK), np.uint64(seed) >> np.uint64(32)
    sequences[LANE, i], sequences[COUNTER, i] = np.uint64(lane), np.uint64(counter)


@compiled
def philox(block: Value, path: int, sequences: Any, i: int) -> tuple[Value, Value, Value, Value]:
    """`envs.random.philox` of lanes i .. i + FEW, words in the lower halves of uint64, for `block` of uint64.

    A lane beyond 32 bits carries its upper part in the first word into the second round, as the definition does.
    """
    half, m0, m1 = np.uint64(32), np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
    c0, c1, c2 = block, load_few(sequences, LANE * LANES + i), load_few(sequences, COUNTER * LANES + i)
    c3, k0, k1 = 0 * c2 + path, load_few(sequences, KEY_LOW * LANES + i), load_few(sequences, KEY_HIGH * LANES + i)
    for n in range(ROUNDS):
        p0, p1 = (c0 & MASK) * m0, (c2 & MASK) * m1
        if n == 1:
            p0 = p0 + (((c0 >> half) * m0) << half)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1, (p0 >> half) ^ c3 ^ k1, p0
        k0, k1 = k0 + WEYL[0], k1 + WEYL[1]
    return c0, c1, c2, c3


@compiled
def _uniform(word: Value, dtype: Any) -> Value:
    """`Stream.uniform` of its word."""
    return (convert(convert((word & MASK) >> 9, np.int32), dtype) + 0.5) * 2.0**-23


@compiled
def fill_uniforms(blocks: Any, path: int, sequences: Any, out: Any) -> None:
    """Uniforms into rows out [4 n, LANES], of n Philox blocks from blocks [LANES] uint64 on."""
    for b in range(out.shape[0] // 4):
        for i in range(0, LANES, FEW):
            w0, w1, w2, w3 = philox(load_few(blocks, i) + b, path, sequences, i)
            store(out, (4 * b + 0) * LANES + i, _uniform(w0, out.dtype))
            store(out, (4 * b + 1) * LANES + i, _uniform(w1, out.dtype))
            store(out, (4 * b + 2) * LANES + i, _uniform(w2, out.dtype))
            store(out, (4 * b + 3) * LANES + i, _uniform(w3, out.dtype))


@compiled
def to_normals(out: Any) -> None:
    """Standard normals in place of uniforms, pair by pair, as `envs.random.box_muller`."""
    for i in range(0, out.shape[0], 2):
        first, second = normal_pair(row(out, i), row(out, i + 1))
        set_row(out, i, first)
        set_row(out, i + 1, second)
