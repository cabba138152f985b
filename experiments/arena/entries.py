"""The contenders by name: ours are whatever is registered, the others are in `experiments.arena.peers`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.arena.contenders import Contender, fitted, ours
from experiments.arena.peers import PEERS
from experiments.describe import describe
from zeroth_order import ALGORITHMS

ONE_BY_ONE = {"pycma": 1}
"""Ours that do not gain from batches: pycma's instances run in turn, and would go on with runs that have stopped."""


class Entry(NamedTuple):
    """A contender that can take part."""

    name: str
    settings: Any
    """JSON data: what decides the outcome."""
    make: Callable[[], Contender]


def default_names() -> list[str]:
    """Everybody: what is registered and needs values only, and all peers. pycma takes part once, with BIPOP."""
    return [name for name in ALGORITHMS if name not in ONE_BY_ONE and not ALGORITHMS[name]().wants_gradients] + [*PEERS]


def entries(names: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The contenders, and the names of those whose library is not installed. Raises ValueError for an unknown name."""
    missing = [name for name in names if name in PEERS and PEERS[name].missing]
    return [_entry(name) for name in names if name not in missing], missing


def _entry(name: str) -> Entry:
    if name in PEERS:
        return Entry(name, PEERS[name].version, PEERS[name].make)
    optimizer = fitted(ALGORITHMS[name]())
    if optimizer.wants_gradients:
        raise ValueError(f"contenders has {name!r}, which wants gradients; the arena tells values")
    return Entry(name, describe(optimizer), lambda: ours(optimizer, ONE_BY_ONE.get(name, 1_000)))
