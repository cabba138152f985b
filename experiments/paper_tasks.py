"""The experiments of Fatkhullin, Barakat, Kireeva, He (2023) as plain data; `experiments/paper.md` says more.

Networks, horizons, discount and batches are those of the authors' code (aabkn/Stochastic-Policy-Gradient-Methods),
whose MuJoCo environments were the v2 of Gym. Budgets beyond its defaults (1000 iterations of 1000 steps) and everything
about the practical form are ours: nothing numeric is published.
"""

from typing import NamedTuple

OFFICIAL_BATCH = 1000
"""Environment steps that the authors' code samples, "at least", in an iteration."""
MUJOCO_BUDGET = 1_000_000


class PaperTask(NamedTuple):
    """One environment."""

    env: str
    horizon: int
    hidden: tuple[int, ...]
    episodes: int
    """Per point in practical form."""
    step: float | None = None
    """Practical step size of REINFORCE and HARPG, about 0.2 / |gradient at the start|; None leaves all steps alone."""
    budget: int = MUJOCO_BUDGET
    target: float | None = None
    short_budget: int | None = None
    """Of a version for a small machine, where there is one."""
    tuned: tuple[tuple[str, float], ...] = ()
    """(algorithm, gamma.scale) pairs that `zopg tune` chose; `experiments/paper.md` has the commands."""

    @property
    def simulated(self) -> bool:
        """Whether it is one of MuJoCo's."""
        return self.env.startswith("gym:")

    @property
    def official_episodes(self) -> int:
        """Per point in faithful form: as many episodes of full length as the official batch has steps, at least one.

        A sampler of "at least 1000 steps" that takes the episodes first to finish has too many short ones.
        """
        return max(1, OFFICIAL_BATCH // self.horizon)


PAPER_TASKS: dict[str, PaperTask] = {
    "cartpole-paper": PaperTask("CartPole-v1", 200, (32, 32), episodes=4, budget=500_000, target=195.0),
    "acrobot": PaperTask(
        "Acrobot-v1",
        500,
        (32, 32),
        episodes=4,
        budget=500_000,
        tuned=(("reinforce", 0.001), ("n-mpg", 0.4), ("n-pg-igt", 0.2), ("n-harpg", 0.2)),
    ),
    # Gymnasium's thresholds for HalfCheetah and Swimmer are for 1000 steps: half of them here.
    "half-cheetah": PaperTask(
        "gym:HalfCheetah-v5", 500, (64, 64), episodes=4, step=1e-4, target=2400.0, short_budget=60_000
    ),
    "hopper": PaperTask("gym:Hopper-v5", 1000, (64, 64), episodes=8, step=1e-3, short_budget=60_000),
    "walker2d": PaperTask("gym:Walker2d-v5", 1000, (64, 64), episodes=8, step=1e-3, short_budget=60_000),
    "humanoid": PaperTask("gym:Humanoid-v5", 1000, (64, 64), episodes=8, step=1e-4, short_budget=40_000),
    "reacher": PaperTask(
        "gym:Reacher-v5",
        50,
        (64, 64),
        episodes=20,
        step=3e-3,
        short_budget=60_000,
        tuned=(("reinforce", 0.003), ("n-pg-igt", 0.2), ("n-harpg", 0.2)),
    ),
    "swimmer": PaperTask("gym:Swimmer-v5", 500, (64, 64), episodes=4, step=1e-3, target=180.0, short_budget=60_000),
}
"""By the name of their preset."""
