"""Agents and optimizers in one registry, open to third parties by the entry-point group `zopg.algorithms`."""

import rl
import zeroth_order
from envs.algorithm import Algorithm
from envs.registry import Registry

ALGORITHMS: Registry[type[Algorithm]] = Registry(
    "algorithm", "zopg.algorithms", {**rl.ALGORITHMS, **zeroth_order.ALGORITHMS}
)
