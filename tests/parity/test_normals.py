"""The kernel of normals against its definition, Box-Muller of the stream's uniforms."""

import pytest
import torch
from torch.testing import assert_close

from envs.fused import normals as kernel
from envs.random import Purpose, Stream, box_muller, streams

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def definition(stream: Stream, size: int, start: int, dtype: torch.dtype) -> torch.Tensor:
    return box_muller(stream.uniform(size + size % 2, start, torch.float64))[..., :size].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("start", [0, 12])
@pytest.mark.parametrize("size", [1, 2, 7, 256, 259, 601])
def test_the_same_normals(size: int, start: int, dtype: torch.dtype) -> None:
    """Of any lanes, of seeds of more than 32 bits, and of counters that differ between runs."""
    root = streams([3, 2**40 + 5, 7]).fold(Purpose.ASK).at(torch.tensor([5, 2**31, 0]))
    stream = root.spread(torch.tensor([[4, 5, 6], [0, 2**32 - 1, 17]]))
    found = stream.normal(size, start, dtype)
    assert found.dtype == dtype
    assert found.shape == (3, 2, 3, size)
    assert_close(found, definition(stream, size, start, dtype), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_the_extreme_uniforms() -> None:
    """Logarithm and turn at both ends, at the eighths of the circle and at the powers of 2, within 4e-15."""
    ends = [k for i in range(24) for k in (2**i - 1, 2**i, 2**i + 1) if k < 2**23]
    eighths = [k + e for k in range(0, 2**23, 2**20) for e in (-1, 0, 1) if 0 <= k + e < 2**23]
    words = torch.tensor(sorted({*ends, *eighths, 2**23 - 1}), dtype=torch.int32)
    pairs = torch.cartesian_prod(words, words)
    pairs = torch.cat((pairs, pairs[: -len(pairs) % (2 * kernel.BLOCKS)]))
    for block in pairs.view(-1, kernel.BLOCKS, 2, 2):
        xi, apart = torch.empty(4 * kernel.BLOCKS, dtype=torch.float64), torch.empty(4, kernel.BLOCKS).double()
        kernel.normals_of(kernel.BLOCKS, block.flatten(1).T.contiguous().numpy(), apart.numpy(), xi.numpy())
        expected = box_muller((block.flatten(1).double() + 0.5) * 2.0**-23)
        assert_close(xi, expected.flatten(), rtol=0.0, atol=4e-15)


def test_lanes_that_are_not_contiguous_and_a_single_lane() -> None:
    stream = streams([1, 2])
    assert stream.normal(5).shape == (2, 5)
    lanes = torch.arange(12).view(3, 4).T
    assert torch.equal(
        stream.spread(lanes).normal(5), stream.spread(torch.arange(12)).normal(5).view(2, 3, 4, 5).transpose(1, 2)
    )


def test_a_start_within_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="start = 2 is not a multiple of 4"):
        streams([0]).normal(4, start=2)
