"""R runs of an optimizer between ask and tell: what waits for a value, what was found, which runs go on."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.random import Purpose, Stream
from zeroth_order.ask_tell.findings import Findings
from zeroth_order.ask_tell.generation import Generation
from zeroth_order.ask_tell.start import check_whole
from zeroth_order.boundary import Boundary
from zeroth_order.core import Bounds, Optimizer, Values, succeeded


class Limits(NamedTuple):
    """What may be spent, and on what."""

    budget: int | None
    """Queries of a run."""
    target: float | None
    """A value at which a run ends."""
    repeats: int
    """Queries of a point."""
    final: int
    """Queries of the budget that are kept for the recommendation."""

    def check(self) -> None:
        """Raise ValueError naming what is no limit."""
        check_whole("repeats", self.repeats, 1)
        check_whole("final", self.final, 0)
        if self.budget is not None:
            check_whole("budget", self.budget, self.repeats + self.final)
        if self.target is not None and math.isnan(self.target):
            raise ValueError(f"target = {self.target} is not a number")


class Runs:
    """The state of an optimizer, the generation that it asks for, and the findings."""

    def __init__(
        self, algorithm: Optimizer, boundary: Boundary, limits: Limits, x0: Tensor, box: Bounds | None, root: Stream
    ) -> None:
        self.algorithm, self.boundary, self.limits, self.x0, self.box = algorithm, boundary, limits, x0, box
        self.root = root
        self.found = Findings(x0)
        self.iteration = 0
        self._state = self._initial()
        self._begin()

    def learn(self, points: Tensor, values: Tensor) -> None:
        """Values [R, k, repeats] of pending points [R, k, d]; of runs that have ended they are ignored.

        Raises ValueError, and nothing has changed, unless the points are pending.
        """
        places = self.generation.places(points)
        means = _means(values)
        self.found.charge(self.active, values.flatten(1))
        self.found.compare(self.active, points, means)
        self.generation.tell(places, means)
        if self.limits.target is not None:
            reached = self.active & (self.found.fun <= self.limits.target)
            self.found.stop(reached, "target", self.found.fun.tolist())
        if bool(self.generation.known.all()):
            self._finish()

    def confirm(self, values: Tensor) -> None:
        """Values [R, n] of queries at the recommendation. Raises ValueError where fewer are left."""
        spent, budget = int(self.found.queries.max()), self.limits.budget
        if budget is not None and spent + values.shape[1] > budget:
            raise ValueError(f"confirm: {values.shape[1]} values after {spent} queries exceed budget = {budget}")
        self.found.charge(torch.ones_like(self.active), values)
        self.found.confirmed = torch.cat((self.found.confirmed, values), 1)

    def recommended(self) -> Tensor:
        """[R, d], in the box."""
        return self._feasible(self.algorithm.recommend(self._state))

    def pack(self) -> dict[str, Any]:
        """Tensors and numbers, from which `unpack` continues bit for bit: the generation is asked for again."""
        parts = {f"algorithm/{name}": part for name, part in self.algorithm.pack(self._state).items()}
        parts |= {f"found/{name}": part for name, part in self.found.pack().items()}
        parts |= {"values": self.generation.values, "known": self.generation.known, "active": self.active}
        return parts | {"iteration": self.iteration}

    def unpack(self, parts: dict[str, Any], reasons: list[dict[str, Any]]) -> None:
        """Continue with what `pack` gave, and the reasons to stop."""

        def under(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}

        self._state = self.algorithm.unpack(self._initial(), under("algorithm/"))
        self.iteration = parts["iteration"]
        self.active = parts["active"]
        if parts["known"].numel():
            self._ask()
        else:
            nothing = self.x0[:, None][:, :0]
            self.generation = Generation(nothing, nothing)
        self.generation.values, self.generation.known = parts["values"], parts["known"]
        self.found.unpack(under("found/"), reasons)

    def _initial(self) -> Any:
        x0 = self.x0 if self.box is None else self.boundary.search_point(self.x0, self.box)
        return self.algorithm.init(x0, self.root.fold(Purpose.INITIAL))

    def _feasible(self, points: Tensor) -> Tensor:
        return points if self.box is None else self.boundary.feasible(points, self.box)

    def _affordable(self, budget: int) -> int:
        """Points that the budget leaves to each run that goes on; all of those have had as many queries."""
        return (budget - self.limits.final - int(self.found.queries.max())) // self.limits.repeats

    def _begin(self) -> None:
        """The next generation, of the runs that go on; what the budget does not cover counts as failed."""
        finite = self._ask()
        self.found.stop(self.found.going & ~finite, "non-finite")
        self.active = self.found.going
        if self.limits.budget is not None:
            self.generation.cut(self._affordable(self.limits.budget))

    def _ask(self) -> Tensor:
        """Ask the algorithm; [R] bool, whose points are finite."""
        points, self._asked = self.algorithm.ask(self._state, self.root.fold(Purpose.ASK).at(self.iteration))
        finite = torch.isfinite(points).flatten(1).all(1)
        points = torch.where(finite[:, None, None], points, 0.0)
        self.generation = Generation(points, self._feasible(points))
        return finite

    def _finish(self) -> None:
        """Tell the algorithm, and see which runs go on."""
        points, values = self.generation.points, self.generation.values
        # `keep` restores what a run had that has ended; a state that moves in place learns nothing from NaN.
        values = torch.where(self.active[:, None], values, torch.nan)
        if self.box is not None:
            values = self.boundary.told(values, points, self.box)
        told, _ = self.algorithm.tell(self._asked, points, Values(values.to(points.dtype)))
        sound = torch.isfinite(self.algorithm.recommend(told)).all(1)
        self._state = self.algorithm.keep(self.active & sound, told, self._state)
        self.found.iterations += self.active
        self.found.forget_confirmed()
        self.iteration += 1
        self._stop(self.active & ~sound)
        if bool(self.found.going.any()):
            self._begin()
        else:
            self.generation = Generation(points[:, :0], points[:, :0])

    def _stop(self, unsound: Tensor) -> None:
        """Reasons at the end of a generation: non-finite numbers, else the budget, else the algorithm's own."""
        self.found.stop(unsound, "non-finite")
        budget = self.limits.budget
        if budget is not None and self._affordable(budget) < 1:
            self.found.stop(self.found.going, "budget", [budget] * len(self.active))
        going = self.found.going
        for reason, met in self.algorithm.stop(self._state).items():
            self.found.stop(going & met, reason)


def _means(values: Tensor) -> Tensor:
    """Means [R, k] of those of the values [R, k, n] that are numbers; NaN where none is."""
    success = succeeded(values)
    return torch.where(success, values, 0.0).sum(-1) / success.sum(-1)
