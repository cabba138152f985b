"""PPO, A2C and TRPO of Stable-Baselines3 as outside baselines: their settings.

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations" (JMLR 22, 2021). These agents bring
their own training loop, so nothing of them is written here: the fields are the arguments of SB3's constructors, under
SB3's names and with SB3's defaults, and `experiments.external` trains them. What is counted, what is recorded and where
they differ from the published agents is in `rl/sb3.md`.

Not offered: gamma, which is the problem's discount, and the network, which is the problem's policy.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, NoReturn

from torch import Tensor

from envs.algorithm import Algorithm, check_range
from envs.random import Stream
from envs.registry import Registry


class Actors(NamedTuple):
    """What is known of the runs between two seeds."""

    theta: Tensor
    """[R, d] last iterate of the runs that were trained, the problem's start for the others"""


@dataclass(frozen=True)
class External(Algorithm):
    """An agent that another library trains, one seed after the other; abstract: use PPO, A2C or TRPO.

    It asks for no points: `ask` and `tell` raise TypeError.
    """

    package: ClassVar[str]
    """Where the class of the same name lies."""
    extra: ClassVar[str] = ""
    """The extra of zopg that installs the package, if it is not installed always."""

    learning_rate: float
    """Step size of the optimizer, > 0."""
    n_steps: int
    """Steps of each copy of the environment per collection, >= 1."""
    gae_lambda: float
    """Lambda of generalized advantage estimation, in [0, 1]."""
    normalize_advantage: bool
    """Whether advantages are standardised in each batch."""
    n_envs: int = 1
    """Copies of the environment that are stepped together, >= 1."""
    linear_decay: bool = False
    """Whether learning_rate (and PPO's clip_range) fall linearly to 0 over the budget, `lin_` in rl-baselines3-zoo."""
    processes: int = field(default=1, repr=False, compare=False)
    """Seeds that are trained at the same time, each in a process of its own; changes nothing but the wall time."""

    def __post_init__(self) -> None:
        check_range("learning_rate", self.learning_rate, 0.0, open_low=True)
        check_range("gae_lambda", self.gae_lambda, 0.0, 1.0)
        for name in ("n_steps", "n_envs", "processes"):
            check_range(name, getattr(self, name), 1)

    @property
    def collection(self) -> int:
        """Environment steps between two updates."""
        return self.n_steps * self.n_envs

    def arguments(self) -> dict[str, Any]:
        """The fields that are arguments of SB3's constructor."""
        ours = ("n_envs", "linear_decay", "processes")
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name not in ours}

    def init(self, x0: Tensor, stream: Stream) -> Actors:
        """Nothing trained yet; each run will start from SB3's own initialisation, not from x0 [R, d]."""
        return Actors(x0)

    def ask(self, state: Actors, stream: Stream) -> NoReturn:
        """Raises TypeError."""
        raise TypeError(f"{self.id} has its own training loop and asks for no points; use experiments.run")

    def tell(self, state: Actors, points: Tensor, feedback: Any) -> NoReturn:
        """Raises TypeError."""
        raise TypeError(f"{self.id} has its own training loop and is told nothing; use experiments.run")

    def recommend(self, state: Actors) -> Tensor:
        """Theta [R, d]."""
        return state.theta

    def _check_batches(self, batch_size: int) -> None:
        check_range("batch_size", batch_size, 2)
        if self.collection % batch_size:
            raise ValueError(f"batch_size = {batch_size} must divide n_steps * n_envs = {self.collection}")


@dataclass(frozen=True)
class PPO(External):
    """Proximal policy optimization, by Stable-Baselines3."""

    id: ClassVar[str] = "ppo"
    summary: ClassVar[str] = "proximal policy optimization (Stable-Baselines3)"
    paper: ClassVar[str] = "Schulman, Wolski, Dhariwal, Radford, Klimov 2017"
    package: ClassVar[str] = "stable_baselines3"

    learning_rate: float = 3e-4
    n_steps: int = 2048
    gae_lambda: float = 0.95
    normalize_advantage: bool = True
    batch_size: int = 64
    """Steps per gradient step, >= 2; a divisor of n_steps * n_envs."""
    n_epochs: int = 10
    """Passes over a collection, >= 1."""
    clip_range: float = 0.2
    """Epsilon of the clipped probability ratio, > 0."""
    clip_range_vf: float | None = None
    """The same for the values, > 0; None does not clip them."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus, >= 0."""
    vf_coef: float = 0.5
    """Weight of the value loss, >= 0."""
    max_grad_norm: float = 0.5
    """Largest gradient norm, > 0."""
    target_kl: float | None = None
    """Divergence > 0 at which the passes over a collection end early; None never ends them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_batches(self.batch_size)
        check_range("n_epochs", self.n_epochs, 1)
        for name in ("clip_range", "clip_range_vf", "max_grad_norm", "target_kl"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("ent_coef", "vf_coef"):
            check_range(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class A2C(External):
    """Advantage actor-critic, the synchronous form of A3C, by Stable-Baselines3."""

    id: ClassVar[str] = "a2c"
    summary: ClassVar[str] = "advantage actor-critic (Stable-Baselines3)"
    paper: ClassVar[str] = "Mnih, Badia, Mirza et al. 2016"
    package: ClassVar[str] = "stable_baselines3"

    learning_rate: float = 7e-4
    n_steps: int = 5
    gae_lambda: float = 1.0
    normalize_advantage: bool = False
    ent_coef: float = 0.0
    """Weight of the entropy bonus, >= 0."""
    vf_coef: float = 0.5
    """Weight of the value loss, >= 0."""
    max_grad_norm: float = 0.5
    """Largest gradient norm, > 0."""
    rms_prop_eps: float = 1e-5
    """Epsilon of RMSProp, > 0."""
    use_rms_prop: bool = True
    """RMSProp, as in the paper, or else Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_grad_norm", "rms_prop_eps"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("ent_coef", "vf_coef"):
            check_range(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class TRPO(External):
    """Trust region policy optimization, by sb3-contrib."""

    id: ClassVar[str] = "trpo"
    summary: ClassVar[str] = "trust region policy optimization (sb3-contrib)"
    paper: ClassVar[str] = "Schulman, Levine, Abbeel, Jordan, Moritz 2015"
    package: ClassVar[str] = "sb3_contrib"
    extra: ClassVar[str] = "trpo"

    learning_rate: float = 1e-3
    n_steps: int = 2048
    gae_lambda: float = 0.95
    normalize_advantage: bool = True
    batch_size: int = 128
    """Steps per gradient step of the critic, >= 2; a divisor of n_steps * n_envs."""
    cg_max_steps: int = 15
    """Iterations of conjugate gradients, >= 1."""
    cg_damping: float = 0.1
    """Added to the Fisher matrix's diagonal, >= 0."""
    line_search_shrinking_factor: float = 0.8
    """Of the step in each try of the line search, in (0, 1]."""
    line_search_max_iter: int = 10
    """Tries of the line search, >= 1."""
    n_critic_updates: int = 10
    """Passes of the critic over a collection, >= 1."""
    target_kl: float = 0.01
    """Largest divergence of an update, > 0."""
    sub_sampling_factor: int = 1
    """Every how many steps of a collection the actor learns from, >= 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_batches(self.batch_size)
        for name in ("cg_max_steps", "line_search_max_iter", "n_critic_updates", "sub_sampling_factor"):
            check_range(name, getattr(self, name), 1)
        check_range("cg_damping", self.cg_damping, 0.0)
        check_range("target_kl", self.target_kl, 0.0, open_low=True)
        check_range("line_search_shrinking_factor", self.line_search_shrinking_factor, 0.0, 1.0, open_low=True)


EXTERNAL: Registry[type[External]] = Registry("algorithm", None, {agent.id: agent for agent in (PPO, A2C, TRPO)})
"""Outside baselines by id; apart from `rl.ALGORITHMS` because they ask for no points."""
