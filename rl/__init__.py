"""Policy gradient agents, one a file, on one estimator core."""

from rl.ablations import PGIGT, LaggedNPGIGT
from rl.anpg import ANPG
from rl.baselines import BASELINES, linear_baseline, no_baseline, time_baseline
from rl.core import Oracle, PolicyGradient, unit
from rl.estimators import Estimator, causal, official, over_episodes, over_steps, paper
from rl.harpg import HARPG, NHARPG
from rl.momentum import NMPG, NSGD
from rl.n_pg_igt import NPGIGT
from rl.npg import NPG
from rl.npg_hm import NPGHM
from rl.page_pg import PAGEPG
from rl.registry import ALGORITHMS
from rl.reinforce import REINFORCE
from rl.sb3 import A2C, EXTERNAL, PPO, TRPO, External
from rl.srvr_pg import SRVRPG
from rl.storm_pg import STORMPG
from rl.svrpg import SVRPG
from rl.trajectory_oracle import TrajectoryOracle

__all__ = [
    "A2C",
    "ALGORITHMS",
    "ANPG",
    "BASELINES",
    "EXTERNAL",
    "HARPG",
    "NHARPG",
    "NMPG",
    "NPG",
    "NPGHM",
    "NPGIGT",
    "NSGD",
    "PAGEPG",
    "PGIGT",
    "PPO",
    "REINFORCE",
    "SRVRPG",
    "STORMPG",
    "SVRPG",
    "TRPO",
    "Estimator",
    "External",
    "LaggedNPGIGT",
    "Oracle",
    "PolicyGradient",
    "TrajectoryOracle",
    "causal",
    "linear_baseline",
    "no_baseline",
    "official",
    "over_episodes",
    "over_steps",
    "paper",
    "time_baseline",
    "unit",
]
