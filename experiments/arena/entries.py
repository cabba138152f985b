"""The contenders by name: ours are whatever is registered, the others are in `experiments.arena.peers`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from envs.algorithm import Schedule
from experiments.arena.contenders import Contender, fitted, ours
from experiments.arena.peers import PEERS
from experiments.arena.tasks import START
from experiments.describe import describe
from zeroth_order import ALGORITHMS, BLACK_BOX, CMAES, FederatedOptimizer, Optimizer
from zeroth_order.evolution import ARS, OpenAIES
from zeroth_order.evolution.restarts import BIPOP, IPOP

ONE_BY_ONE = {"pycma": 1}
"""Ours that do not gain from batches: pycma's instances run in turn, and would go on with runs that have stopped."""


SETTINGS: dict[str, Optimizer] = {
    "openai-es": OpenAIES(gamma=Schedule(1.0, 1.0), sigma=Schedule(2.0, 1.0)),
    "ars": ARS(alpha=Schedule(0.1), nu=0.1),
    "cma-es IPOP": CMAES(restarts=IPOP(spread=START)),
    "cma-es BIPOP": CMAES(restarts=BIPOP(spread=START)),
}
"""Ours that do not run with their defaults: lengths made for policies are too short here, and restarts of their own.

The lengths are the best of three or four on the synthetic testbed, d = 5 and 10, instances 101 to 103.
"""


class Entry(NamedTuple):
    """A contender that can take part."""

    name: str
    settings: Any
    """JSON data: what decides the outcome."""
    make: Callable[[], Contender]


def default_names() -> list[str]:
    """Everybody: what is registered and needs values only, and all peers. pycma takes part once, with BIPOP."""
    return list(dict.fromkeys([*(name for name in BLACK_BOX if name not in ONE_BY_ONE), *SETTINGS, *PEERS]))


def entries(names: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The contenders, and the names of those whose library is not installed. Raises ValueError for an unknown name."""
    missing = [name for name in names if name in PEERS and PEERS[name].library.missing]
    return [_entry(name) for name in names if name not in missing], missing


def _entry(name: str) -> Entry:
    if name in PEERS:
        return Entry(name, PEERS[name].library.version, PEERS[name].make)
    optimizer = fitted(SETTINGS[name] if name in SETTINGS else ALGORITHMS[name]())
    if optimizer.wants_gradients:
        raise ValueError(f"contenders has {name!r}, which wants gradients; the arena tells values")
    if isinstance(optimizer, FederatedOptimizer):
        raise ValueError(f"contenders has {name!r}, which needs clients; the arena has none")
    return Entry(name, describe(optimizer), lambda: ours(optimizer, ONE_BY_ONE.get(name, 1_000)))
