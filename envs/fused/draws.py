"""`envs.random` for one sequence at a time inside a kernel: the same bits from the same counters."""

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from envs.random import MASK, MULTIPLIERS, ROUNDS, WEYL


@register_jitable
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, words: Any) -> None:
    """`envs.random.philox` for one counter, into words [4]."""
    mask, shift = np.uint64(MASK), np.uint64(32)
    for i in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        round_key0 = (k0 + np.uint64(i) * np.uint64(WEYL[0])) & mask
        round_key1 = (k1 + np.uint64(i) * np.uint64(WEYL[1])) & mask
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ round_key0, p1 & mask, (p0 >> shift) ^ c3 ^ round_key1, p0 & mask
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


@register_jitable
def draw(start: int, lane: int, counter: int, path: int, seed: Any, words: Any, block: int, out: Any) -> int:
    """Uniforms start .. start + out.size of a sequence; `words` holds block `block`. Returns the block held now."""
    for i in range(out.size):
        needed = (start + i) // 4
        if needed != block:
            block = needed
            low, high = np.uint64(seed) & np.uint64(MASK), np.uint64(seed) >> np.uint64(32)
            philox(np.uint64(block), np.uint64(lane), np.uint64(counter), np.uint64(path), low, high, words)
        out[i] = (np.float64(words[(start + i) % 4] >> np.uint64(9)) + 0.5) * 2.0**-23
    return block


@register_jitable
def normal(uniform: Any, i: int) -> float:
    """Normal i of the pairs in `uniform`, as `envs.random.box_muller`."""
    pair = i - i % 2
    radius, angle = math.sqrt(-2.0 * math.log(uniform[pair])), 2.0 * math.pi * uniform[pair + 1]
    return radius * (math.cos(angle) if i % 2 == 0 else math.sin(angle))
