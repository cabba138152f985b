"""Agents, outside baselines and optimizers in one registry, open to third parties by the group `zopg.algorithms`."""

import rl
import zeroth_order
from envs.algorithm import Algorithm
from envs.registry import Registry

ALGORITHMS: Registry[type[Algorithm]] = Registry(
    "algorithm", "zopg.algorithms", {**rl.ALGORITHMS, **rl.EXTERNAL, **zeroth_order.ALGORITHMS}
)
