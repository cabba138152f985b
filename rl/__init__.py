"""Policy gradient agents, one a file, on one estimator core."""

from rl.baselines import BASELINES, linear_baseline, no_baseline, time_baseline
from rl.core import Oracle, PolicyGradient, unit
from rl.estimators import Estimator, TrajectoryOracle, causal, paper
from rl.harpg import HARPG, NHARPG
from rl.momentum import NMPG, NSGD
from rl.n_pg_igt import NPGIGT
from rl.registry import ALGORITHMS
from rl.reinforce import REINFORCE

__all__ = [
    "ALGORITHMS",
    "BASELINES",
    "HARPG",
    "NHARPG",
    "NMPG",
    "NPGIGT",
    "NSGD",
    "REINFORCE",
    "Estimator",
    "Oracle",
    "PolicyGradient",
    "TrajectoryOracle",
    "causal",
    "linear_baseline",
    "no_baseline",
    "paper",
    "time_baseline",
    "unit",
]
