"""The points of one ask, while their values come in: all at once or in parts, in any order."""

import torch
from torch import Tensor


class Generation:
    """K points per run."""

    def __init__(self, points: Tensor, feasible: Tensor) -> None:
        self.points = points
        """[R, K, d] as the algorithm asked."""
        self.feasible = feasible
        """[R, K, d] where f is evaluated."""
        self.values = torch.full(points.shape[:2], torch.nan, dtype=torch.float64, device=points.device)
        """[R, K] NaN while unknown."""
        self.known = torch.zeros_like(self.values, dtype=torch.bool)
        """[R, K]"""

    def cut(self, count: int) -> None:
        """Ask for the first `count` points alone; the others count as failed."""
        self.known[:, count:] = True

    @property
    def pending(self) -> Tensor:
        """[R, k, d] the feasible points that are still to be told."""
        return self.feasible.take_along_dim(self._free()[..., None], 1)

    def places(self, points: Tensor) -> Tensor:
        """Where the points [R, k, d] belong, [R, k]. Raises ValueError unless each is a pending one.

        Points that are asked several times are told as often, in order.
        """
        count = points.shape[1]
        if torch.equal(points, self.pending[:, :count]):
            return self._free()[:, :count]
        rows = [(points[:, k, None] == self.feasible).all(-1) for k in range(count)]
        same = torch.stack(rows, 1) & ~self.known[:, None]
        twins = torch.stack([(points[:, k, None] == points[:, :k]).all(-1).sum(-1) for k in range(count)], 1)
        match = same & (same.cumsum(-1) == twins[..., None] + 1)
        foreign = ~match.any(-1)
        if bool(foreign.any()):
            run, k = foreign.nonzero()[0].tolist()
            raise ValueError(f"point {k} of run {run}, {points[run, k].tolist()}, is not asked for, or told already")
        return match.to(torch.int8).argmax(-1)

    def tell(self, places: Tensor, values: Tensor) -> None:
        """Values [R, k] of the points at `places`."""
        self.values.scatter_(1, places, values)
        self.known.scatter_(1, places, True)

    def _free(self) -> Tensor:
        """[R, k] the places that are not known, as many in every run."""
        free = ~self.known
        return free.nonzero()[:, 1].view(len(free), int(free[0].sum()))
