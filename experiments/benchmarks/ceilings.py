"""What one core of this machine does at most, measured beside the sides: matrix products, tanh, copies.

The best of many short calls in a process of its own, because a ceiling is what nothing disturbs. Arrays that fit the
second-level cache show the units and not the memory, except for the copy that is meant to show it.
"""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from experiments.benchmarks.processes import child

CODE = "from experiments.benchmarks.ceilings import print_ceilings; print_ceilings()"
SECONDS = 0.5
"""Of the calls for each ceiling."""


class Ceilings(NamedTuple):
    """Per second, on one core."""

    flops: float
    """float32 operations of a matrix product, a fused multiply-add being two."""
    tanh: float
    """float32 values of `rational_tanh`."""
    cached_bytes: float
    """Read and written by copying 256 KiB."""
    memory_bytes: float
    """Read and written by copying 64 MiB."""


def measure_ceilings(repeats: int) -> Ceilings:
    """The best of `repeats` processes."""
    return Ceilings(*map(max, zip(*(child(CODE)["found"] for _ in range(repeats)), strict=True)))


NUMERATOR = tuple(map(np.float32, (1, 378, 17325, 135135)))
DENOMINATOR = tuple(map(np.float32, (28, 3150, 62370, 135135)))
EDGE = np.float32(4.97)


@numba.njit(fastmath=True, error_model="numpy", cache=True)
def rational_tanh(x: Any, out: Any) -> None:
    """Lambert's continued fraction cut at x^7, right to 2e-4: less work than any tanh that is right to float32.

    `x` and `out` [n] are float32.
    """
    for i in range(x.size):
        v = min(max(x[i], -EDGE), EDGE)
        square = v * v
        above, below = NUMERATOR[0], DENOMINATOR[0]
        for k in range(1, 4):
            above, below = above * square + NUMERATOR[k], below * square + DENOMINATOR[k]
        out[i] = v * above / below


def print_ceilings() -> None:
    """Print JSON: the ceilings in the order of the fields."""
    import torch

    torch.set_num_threads(1)
    side, fewest, few, many = 256, 1 << 13, 1 << 16, 1 << 24
    a, out = torch.rand(side, side), torch.empty(side, side)
    cached, memory = torch.rand(few), torch.rand(many)
    cached_to, memory_to = torch.empty(few), torch.empty(many)
    x, y = np.linspace(-6, 6, fewest, dtype=np.float32), np.empty(fewest, np.float32)
    rational_tanh(x, y)  # compiles
    found = Ceilings(
        best(lambda: torch.mm(a, a, out=out), 2 * side**3),
        best(lambda: rational_tanh(x, y), fewest),
        best(lambda: cached_to.copy_(cached), 8 * few),
        best(lambda: memory_to.copy_(memory), 8 * many),
    )
    print(json.dumps({"found": found}))


def best(call: Callable[[], object], amount: float) -> float:
    """The largest `amount` per second of the calls that fit SECONDS, of at least one."""
    least, ends = float("inf"), time.perf_counter() + SECONDS
    while True:
        started = time.perf_counter()
        call()
        now = time.perf_counter()
        least = min(least, now - started)
        if now >= ends:
            return amount / least


def ceilings_table(ceilings: Ceilings) -> str:
    """One line for each."""
    return (
        "| ceiling of one core | per second |\n|---|---:|\n"
        f"| matrix products, float32 | {ceilings.flops / 1e9:.0f} GFLOP |\n"
        f"| tanh, float32 | {ceilings.tanh / 1e9:.2f} G |\n"
        f"| copy of 256 KiB, read and written | {ceilings.cached_bytes / 1e9:.1f} GB |\n"
        f"| copy of 64 MiB, read and written | {ceilings.memory_bytes / 1e9:.1f} GB |"
    )
