"""Counter-based random streams: Philox 4x32-10.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A draw is a pure function of
(seed of the run, purpose, counter, lane, position); there is no generator and no hidden state. So run r draws the same
numbers alone or among 64 runs, on any device, in either precision, and after a resume.

    key     = seed of the run, 64 bits
    counter = (position // 4, lane, counter, path of purposes), 32 bits each

The map from what is asked to the counter is injective, so two different draws can never collide.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Purpose(IntEnum):
    """What a stream is for. A path holds up to eight of them, so values stay within 1 .. 15."""

    INITIAL = 1
    ASK = 2
    TRAIN = 3
    EVALUATE = 4
    RESET = 5
    ACTION = 6
    TRANSITION = 7
    INSTANCE = 8


def philox(counter: Sequence[Tensor | int], key: Sequence[Tensor | int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10 on broadcastable int64 tensors that hold 32-bit words.

    `counter` has four words, `key` two; the result is four tensors of the common shape with words in [0, 2^32).
    """
    c0, c1, c2, c3 = (torch.as_tensor(word) for word in counter)
    k0, k1 = (torch.as_tensor(word) for word in key)
    for i in range(ROUNDS):
        # A product of two 32-bit words wraps in int64, but its bits are right: mask the halves.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        round_key0, round_key1 = (k0 + i * WEYL[0]) & MASK, (k1 + i * WEYL[1]) & MASK
        c0 = ((p1 >> 32) & MASK) ^ c1 ^ round_key0
        c1 = p1 & MASK
        c2 = ((p0 >> 32) & MASK) ^ c3 ^ round_key1
        c3 = p0 & MASK
    return c0, c1, c2, c3


def box_muller(uniform: Tensor) -> Tensor:
    """Standard normals [..., n] from uniforms [..., n] in (0, 1), n even, pair by pair (Box and Muller, 1958)."""
    radius, angle = torch.sqrt(-2.0 * torch.log(uniform[..., 0::2])), (2.0 * torch.pi) * uniform[..., 1::2]
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), -1).flatten(-2)


class Stream(NamedTuple):
    """A family of independent sequences of uniforms, one per run and lane."""

    seeds: Tensor
    """[R] int64, one per run."""
    lanes: Tensor
    """[*L] int64 in [0, 2^32): one sequence for each; broadcast over what is drawn for."""
    counter: int | Tensor = 0
    """Iteration, a number or [], or [R] one per run; in [0, 2^32)."""
    path: int = 0
    """Purposes folded in so far, base 16."""

    def fold(self, purpose: Purpose) -> "Stream":
        """The independent stream for a purpose. Raises OverflowError beyond eight nested purposes."""
        path = self.path * 16 + int(purpose)
        if path > MASK:
            raise OverflowError(f"stream path {path:#x} is longer than eight purposes")
        return self._replace(path=path)

    def at(self, counter: int | Tensor) -> "Stream":
        """The stream of iteration `counter`."""
        return self._replace(counter=counter)

    def spread(self, lanes: Tensor) -> "Stream":
        """The stream with one sequence per entry of `lanes` [*L]."""
        return self._replace(lanes=lanes)

    def words(self, size: int, start: int = 0) -> Tensor:
        """Words `start .. start + size` of each sequence, [R, *L, size] int64 in [0, 2^32); `start` in fours."""
        if start % 4:
            raise ValueError(f"start = {start} is not a multiple of 4, the words of a Philox block")
        device = self.seeds.device
        blocks = torch.arange(start // 4, (start + size + 3) // 4, device=device)
        run_axis = (-1,) + (1,) * (self.lanes.dim() + 1)
        seeds = self.seeds.view(run_axis)
        counter = self.counter.view(run_axis) if isinstance(self.counter, Tensor) else self.counter
        words = philox((blocks, self.lanes[..., None], counter, self.path), (seeds & MASK, (seeds >> 32) & MASK))
        return torch.stack(words, -1).flatten(-2)[..., :size]

    def uniform(self, size: int, start: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniforms in the open interval (0, 1), [R, *L, size].

        They have 23 bits and sit in the middle of their cells: exact in float32, so both precisions see the same.
        """
        return ((self.words(size, start) >> 9).to(dtype) + 0.5) * 2.0**-23

    def normal(self, size: int, start: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normals, [R, *L, size], from consecutive pairs of uniforms; on a CPU by a kernel, up to rounding."""
        fits = self.seeds.device.type == "cpu" and dtype in (torch.float32, torch.float64)
        if fits and not bool((self.lanes > MASK).any()):  # the kernel's lanes have 32 bits
            from envs.fused.normals import normals  # it imports this module

            return normals(self, size, start, dtype)
        return box_muller(self.uniform(size + size % 2, start, dtype))[..., :size]


def streams(seeds: Sequence[int] | Tensor, device: torch.device | str = "cpu") -> Stream:
    """The root stream of the given runs. Raises ValueError when a seed is negative."""
    tensor = torch.as_tensor(seeds, dtype=torch.int64, device=device)
    if tensor.dim() != 1 or tensor.numel() == 0:
        raise ValueError(f"seeds must be a non-empty sequence of integers, got shape {tuple(tensor.shape)}")
    if bool((tensor < 0).any()):
        raise ValueError(f"seeds must be >= 0, got {int(tensor.min())}")
    return Stream(tensor, torch.zeros((), dtype=torch.int64, device=device))
