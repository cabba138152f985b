"""A policy's weights in the order in which the kernels read them: as they stream best from a cache.

Blocks of 64, 32 or 16 units, or whole rows for the few outputs of a wide layer.
"""

from typing import Any

import numpy as np

from envs.fused.lanes import FEW, LANES, compiled
from envs.fused.shuffles import transpose_few

WIDEST = 4 * LANES
"""Units of a block: so many, or half or a quarter of it where fewer are left."""


@compiled
def block_width(left: int) -> int:
    """Units of the next block, where `left` of the layer are left."""
    if left > 2 * LANES:
        return WIDEST
    return 2 * LANES if left > LANES else LANES


@compiled
def in_rows(n_in: int, n_out: int) -> bool:
    """Whether inputs, rather than units, lie side by side in a layer's weights."""
    return n_out <= 4 and n_in >= 2 * LANES and n_in % LANES == 0


@compiled
def packed_size(sizes: Any) -> int:
    """Numbers of a packed policy."""
    total = 0
    for layer in range(sizes.size - 1):
        n_in, n_out, o = sizes[layer], sizes[layer + 1], 0
        if in_rows(n_in, n_out):
            total += n_out * n_in + LANES
        else:
            while o < n_out:
                width = block_width(n_out - o)
                total, o = total + (n_in + 1) * width, o + width
    return total


@compiled
def pack(params: Any, sizes: Any, bias: bool, weights: Any) -> None:
    """A policy's flat vector in the order of `forward_episodes` and `forward_units`; what is left over is 0.

    Matrices [out, in] become blocks [1 + in, units], the first row of biases, so that units lie side by side; or rows
    [out, in] as they are, then biases.
    """
    source, at = 0, 0
    for layer in range(sizes.size - 1):
        n_in, n_out, o = sizes[layer], sizes[layer + 1], 0
        biases = source + n_in * n_out
        if in_rows(n_in, n_out):
            for i in range(n_in * n_out):
                weights[np.uint64(at + i)] = params[np.uint64(source + i)]
            _copy_biases(params, biases, n_out, bias, weights, at + n_in * n_out, LANES)
            at += n_in * n_out + LANES
        else:
            while o < n_out:
                width = block_width(n_out - o)
                units = min(width, n_out - o)
                _copy_biases(params, biases + o, units, bias, weights, at, width)
                _transpose(params, source + o * n_in, n_in, units, weights, at + width, width)
                at, o = at + (n_in + 1) * width, o + width
        source = biases + (n_out if bias else 0)


@compiled
def _copy_biases(params: Any, source: int, units: int, bias: bool, weights: Any, at: int, width: int) -> None:
    for u in range(width):
        weights[np.uint64(at + u)] = params[np.uint64(source + u)] if bias and u < units else 0.0


@compiled
def _transpose(params: Any, source: int, n_in: int, units: int, weights: Any, at: int, width: int) -> None:
    """Params [units, in] from `source` on into weights [in, width] from `at` on, in squares as far as they go."""
    square_in, square_units = n_in // FEW * FEW, units // FEW * FEW
    for u in range(0, square_units, FEW):
        for i in range(0, square_in, FEW):
            transpose_few(params, source + u * n_in + i, n_in, weights, at + i * width + u, width)
    for u in range(units):
        for i in range(square_in if u < square_units else 0, n_in):
            weights[np.uint64(at + i * width + u)] = params[np.uint64(source + u * n_in + i)]
    for i in range(n_in):
        for u in range(units, width):
            weights[np.uint64(at + i * width + u)] = 0.0
