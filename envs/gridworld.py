"""GridWorld-v0: find the goal and avoid the trap on a slippery square, a finite process with a known exact return.

    . . . . .        The agent moves up, right, down or left. With probability `slip` it goes to a side of where it
    . . . . .        wanted, half of that to each; a move into the wall stays. From the goal G (reward 1) and the trap T
    . . . . .        (reward -1) every action leads back to a start, uniform over the other cells, so that episodes
    . . . T .        follow each other within the horizon and every cell keeps being visited.
    . . . . G

Slips as in Russell and Norvig, "Artificial Intelligence: A Modern Approach", section 17.1. Cells are numbered row by
row, and observations are one-hot.
"""

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.tabular import TabularMDP

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left: rows, columns."""


def landing(size: int) -> Tensor:
    """Cell [S, 4] that each move leads to from each cell, int64."""
    cells = torch.arange(size * size)
    rows, columns = cells // size, cells % size
    return torch.stack(
        [(rows + down).clamp(0, size - 1) * size + (columns + right).clamp(0, size - 1) for down, right in MOVES], -1
    )


class GridWorld(TabularMDP):
    """The environment; see the module. Built by `create`."""

    @classmethod
    def create(  # type: ignore[override]  # options differ from class to class, see `Env.create`
        cls, device: torch.device, dtype: torch.dtype, size: int = 5, slip: float = 0.1
    ) -> Self:
        """The square of size x size cells, with horizon 6 size.

        Raises ValueError for size < 3 or slip outside [0, 1].
        """
        check_range("size", size, 3)
        check_range("slip", slip, 0.0, 1.0)
        cells, goal = size * size, size * size - 1
        trap = goal - size - 1
        exact = torch.nn.functional.one_hot(landing(size), cells).double()
        P = (1.0 - slip) * exact + 0.5 * slip * (exact.roll(1, 1) + exact.roll(-1, 1))
        rho, r = torch.full((cells,), 1.0 / (cells - 2), dtype=torch.float64), torch.zeros(cells, 4)
        rho[[goal, trap]] = 0.0
        P[[goal, trap]] = rho
        r[goal], r[trap] = 1.0, -1.0
        env = cls.of(P, r, rho, device, dtype)
        spec = replace(
            env.spec,
            id="GridWorld-v0",
            summary="slippery square with a goal and a trap, one-hot observations; the exact return is known",
            source="own construction; slips as in Russell and Norvig, section 17.1",
            horizon=6 * size,
        )
        return replace(env, spec=spec)
