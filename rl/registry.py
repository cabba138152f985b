"""Policy gradient agents by id."""

from envs.registry import Registry
from rl.ablations import PGIGT, LaggedNPGIGT
from rl.anpg import ANPG
from rl.core import PolicyGradient
from rl.harpg import HARPG, NHARPG
from rl.momentum import NMPG, NSGD
from rl.n_pg_igt import NPGIGT
from rl.npg import NPG
from rl.npg_hm import NPGHM
from rl.page_pg import PAGEPG
from rl.reinforce import REINFORCE
from rl.srvr_pg import SRVRPG
from rl.storm_pg import STORMPG
from rl.svrpg import SVRPG

ALGORITHMS: Registry[type[PolicyGradient]] = Registry(
    "algorithm",
    None,
    {
        agent.id: agent
        for agent in (
            REINFORCE,
            NSGD,
            NMPG,
            NPGIGT,
            HARPG,
            NHARPG,
            NPG,
            ANPG,
            NPGHM,
            STORMPG,
            PAGEPG,
            SVRPG,
            SRVRPG,
            PGIGT,
            LaggedNPGIGT,
        )
    },
)
