"""Policy search presets: derivative-free optimizers against policy gradient agents, on the axis of environment steps.

Lengths, populations and temperatures were chosen by hand among two to four values each on seeds from 1000 on, the
same for all optimizers of a task where they mean the same; agents have their practical settings, but for the steps
named here. One query is `episodes` episodes of the stochastic policy, on random numbers that a generation shares.
"""

from dataclasses import dataclass, replace

from envs.algorithm import Schedule
from experiments.settings import PRACTICAL, Setting
from rl import REINFORCE
from zeroth_order import CBO, CMAES, PGPE, ClipUp, ConsensusHopping, Growth, RandomSearch
from zeroth_order.evolution import ARS, SNES, OpenAIES

AGENTS = ("reinforce", "n-pg-igt", "n-harpg")
OPTIMIZERS = ("cbo", "consensus-hopping", "cma-es", "snes", "openai-es", "pgpe", "ars", "random-search")


@dataclass(frozen=True)
class SearchTask:
    """One environment."""

    env: str
    budget: int
    """Environment steps of a run."""
    spread: float
    """Standard deviation of the first samples of a policy's parameters."""
    alpha: float
    """Of the softmin weights, in 1 / units of the return."""
    population: int
    """Queries of a generation."""
    episodes: int = 1
    """Of a query."""
    step: float = 0.005
    """REINFORCE's, smaller where returns are larger."""
    batch: int = 4
    """Episodes of an agent's batch."""
    hidden: tuple[int, ...] = (8,)
    horizon: int | None = None
    discount: float = 0.99
    target: float | None = None

    def settings(self) -> dict[str, Setting]:
        """How everybody is run."""
        pairs = self.population // 2
        optimizers = {
            "cbo": CBO(particles=self.population, alpha=Growth(self.alpha), sigma=Schedule(1.4), spread=self.spread),
            "consensus-hopping": ConsensusHopping(
                particles=self.population, sigma=Schedule(self.spread, 0.5), alpha=Growth(self.alpha)
            ),
            "cma-es": CMAES(sigma0=self.spread, popsize=self.population),
            "snes": SNES(sigma0=self.spread, popsize=self.population),
            "openai-es": OpenAIES(pairs=pairs, gamma=Schedule(0.2), sigma=Schedule(0.5)),
            "pgpe": PGPE(pairs=pairs, gamma=Schedule(0.3), step=ClipUp()),
            "ars": ARS(directions=pairs, top=pairs // 2, alpha=Schedule(0.5), nu=0.5),
            "random-search": RandomSearch(points=self.population, spread=self.spread),
        }
        agents = {name: PRACTICAL[name] for name in AGENTS}
        agents["reinforce"] = agents["reinforce"]._replace(algorithm=REINFORCE(gamma=Schedule(self.step)))
        return {
            name: how._replace(estimator=replace(how.estimator, episodes=self.batch)) for name, how in agents.items()
        } | {name: Setting(optimizer, query_episodes=self.episodes) for name, optimizer in optimizers.items()}


SEARCH_TASKS: dict[str, SearchTask] = {
    "policy-search-cartpole": SearchTask(
        "CartPole-v1", 60_000, spread=1.0, alpha=0.5, population=20, horizon=200, target=195.0
    ),
    "policy-search-acrobot": SearchTask("Acrobot-v1", 150_000, spread=1.0, alpha=0.5, population=20, step=0.001),
    "policy-search-pendulum": SearchTask(
        "Pendulum-v1", 500_000, spread=3.0, alpha=0.05, population=100, episodes=2, step=1e-4, batch=8, hidden=(16,),
        target=-300.0,
    ),
    "policy-search-mountain-car": SearchTask(
        "MountainCarContinuous-v0", 500_000, spread=1.0, alpha=0.3, population=50, step=1e-3, discount=1.0
    ),
}  # fmt: skip
"""By the name of their preset."""
