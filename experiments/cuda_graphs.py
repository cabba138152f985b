"""A whole iteration of all runs as one CUDA graph: one launch in place of hundreds.

    the first iterations as they are           kernels are compiled, libraries set up, the record gets its columns
    places   <- copies of all that one iteration hands on to the next: state, ledger, record, counters
    graph    <- places <- iteration(places)     recorded, not carried out
    then     graph.replay()

A replay reads and writes the same memory each time, hence the places. Numbers of the host that change from iteration to
iteration (its own, and the time) become tensors among them; those that stay are part of the graph. So an algorithm can
be recorded if its iterations do the same to different numbers, `Algorithm.uniform`. Step sizes are then computed on the
device, and differ from the host's by rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from experiments.loop import Loop

WARM_UP = 3
"""Iterations before the one that is recorded, at least 2."""

Body: TypeAlias = Callable[[list[Tensor]], list[Tensor]]
"""An iteration as a function of what is handed on."""


class Replayed:
    """A loop's iterations, from the fourth on by replaying a recorded one."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.iterations = loop, 0
        self.clock: Tensor | None = None
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        """One iteration."""
        if self.replay is not None and self.clock is not None:
            self.clock.fill_(self.loop.wall)
            self.replay()
            return
        before, wall = pytree.tree_leaves(carried(self.loop)), self.loop.wall
        self.loop.iterate()
        self.iterations += 1
        if self.iterations == WARM_UP:
            carry = Carry(self.loop, before)
            self.clock, self.replay = carry.places[-1], recorded(carry.iteration, carry.places)
            self.loop.wall = wall


class Carry:
    """What an iteration hands on to the next as a list of tensors, the time in seconds being the last."""

    def __init__(self, loop: Loop, before: Sequence[Any]) -> None:
        """`before`: leaves of `carried` from before the last iteration, which tell what numbers change."""
        self.loop = loop
        self.leaves, self.structure = pytree.tree_flatten(carried(loop))
        moving = [i for i, leaf in enumerate(self.leaves[:-1]) if isinstance(leaf, Tensor) or leaf != before[i]]
        self.moving = [*moving, len(self.leaves) - 1]
        self.places = [_place(self.leaves[i], loop.problem.device) for i in self.moving]
        self.put(self.places)

    def iteration(self, tensors: list[Tensor]) -> list[Tensor]:
        """What the loop's iteration makes of the tensors; those that it changes in place are the same objects."""
        self.put(tensors)
        self.loop.iterate()
        leaves, structure = pytree.tree_flatten(carried(self.loop))
        self.put(self.places)
        if structure != self.structure:
            raise RuntimeError(f"an iteration of {self.loop.algorithm.id} changed what it hands on: {structure}")
        return [leaves[i] for i in self.moving]

    def put(self, tensors: Sequence[Tensor]) -> None:
        """Make the loop go on from the tensors."""
        leaves = list(self.leaves)
        for i, tensor in zip(self.moving, tensors, strict=True):
            leaves[i] = tensor
        hand_over(self.loop, pytree.tree_unflatten(leaves, self.structure))


def _place(value: Tensor | float, device: torch.device) -> Tensor:
    exact = torch.float64 if isinstance(value, float) else None
    return torch.as_tensor(value, dtype=exact, device=device).clone(memory_format=torch.contiguous_format)


def carried(loop: Loop) -> list[Any]:
    """Everything that may differ from one iteration to the next, the time at the end."""
    return [loop.state, dict(vars(loop.ledger)), dict(vars(loop.record)), loop.iteration, loop.wall]


def hand_over(loop: Loop, parts: Sequence[Any]) -> None:
    """Make the loop go on from what was `carried`."""
    loop.state, ledger, record, loop.iteration, loop.wall = parts
    vars(loop.ledger).update(ledger)
    vars(loop.record).update(record)


def recorded(iteration: Body, places: list[Tensor]) -> Callable[[], None]:
    """A function that carries out places <- iteration(places)."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # A result may be one of the places (the iterate before is now the last one), so all are read before any write.
        results = [
            (place, result.clone())
            for place, result in zip(places, iteration(places), strict=True)
            if result is not place
        ]
        for place, result in results:
            place.copy_(result)
    return graph.replay
