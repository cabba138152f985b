"""The problem of a policy in an environment: trajectories for agents, returns for derivative-free optimizers."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from envs.algorithm import Algorithm
from envs.core import Env
from envs.from_gymnasium import GymnasiumEnv
from envs.policies import Network
from envs.random import Stream
from envs.rollout import backend_for, returns, rollout
from experiments.answers import Answer
from experiments.ledger import Unit
from experiments.normalisation import NormalisedAgent
from experiments.problems import SCORED_AT_ONCE, Problem, check_target, wants_gradients
from rl.core import PolicyGradient
from rl.estimators import Estimator
from rl.trajectory_oracle import TrajectoryOracle
from zeroth_order.core import Values
from zeroth_order.federated import FederatedOptimizer
from zeroth_order.objectives.policy_return import PolicyReturn


@dataclass(frozen=True)
class PolicyProblem(Problem):
    """Maximise the discounted return of a policy in an environment."""

    env: Env
    policy: Network
    discount: float = 0.99
    estimator: Estimator = Estimator()
    """How agents estimate derivatives, and with how many episodes per point."""
    query_episodes: int = 1
    """Episodes that one query of a derivative-free optimizer averages."""
    common_random_numbers: bool = True
    """Whether the points of one query batch see the same random numbers."""
    evaluation_episodes: int = 20
    greedy_evaluation: bool = False
    """Score the most likely action instead of the sampled one."""
    target: float | None = None
    """Overrides the environment's threshold."""
    normalise: bool = False
    """Agents work in the coordinates of `experiments.normalisation`, as if observations were normalised."""

    def __post_init__(self) -> None:
        if not 0.0 < self.discount <= 1.0:
            raise ValueError(f"discount = {self.discount} is not in (0, 1]")
        for name in ("query_episodes", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= 1")
        check_target(self.target)
        if self.normalise and not self.policy.bias:
            raise ValueError("normalise = True needs a policy with biases, which take in the mean of the observations")
        wanted, given = self.env.spec, self.policy.spec
        if (wanted.observation_size, wanted.action) != (given.observation_size, given.action):
            raise ValueError(f"policy is for {given.id}, its observations or actions are not those of {wanted.id}")

    @property
    def name(self) -> str:
        """Id of the environment."""
        return self.env.spec.id

    @property
    def dim(self) -> int:
        """Parameters of the policy."""
        return self.policy.dim

    @property
    def unit(self) -> Unit:
        """Environment steps."""
        return "env_steps"

    @property
    def score_name(self) -> str:
        """Undiscounted return of the iterate."""
        return "return"

    @property
    def threshold(self) -> float | None:
        """The target, or else the environment's own threshold."""
        return self.env.spec.threshold if self.target is None else self.target

    @property
    def device(self) -> torch.device:
        """The environment's."""
        return self.env.device

    @property
    def backend(self) -> str:
        """Of the rollouts: "fused", "triton" or "plain"."""
        return backend_for(self.env, self.policy)

    def init(self, stream: Stream) -> Tensor:
        """The policy's initialisation."""
        return self.policy.init(stream, self.env.dtype)

    def check(self, algorithm: Algorithm) -> None:
        """Agents need a policy with a density, and normalisation an agent."""
        if self.normalise and not isinstance(algorithm, PolicyGradient):
            raise ValueError(f"normalise = True is for policy gradient agents, {algorithm.id} is none")
        if isinstance(algorithm, PolicyGradient) and not self.policy.head.draws:
            raise ValueError(f"{algorithm.id} needs a stochastic policy, head = {self.policy.head} is deterministic")
        if wants_gradients(algorithm):
            raise ValueError(f"{algorithm.id} wants gradients, {self.name} answers optimizers with values only")
        if isinstance(algorithm, FederatedOptimizer):
            raise ValueError(f"{algorithm.id} needs clients, {self.name} has none")

    def answered_by(
        self, estimator: Estimator, query_episodes: int, episodes: int | None, normalise: bool = False
    ) -> "PolicyProblem":
        """The same problem with another estimator, other numbers of episodes per point, normalised or not."""
        if episodes is not None:
            estimator, query_episodes = replace(estimator, episodes=episodes), episodes
        return replace(self, estimator=estimator, query_episodes=query_episodes, normalise=normalise)

    def adapted(self, algorithm: Algorithm) -> Algorithm:
        """Around an agent, the normalisation of its observations."""
        if self.normalise and isinstance(algorithm, PolicyGradient):
            return NormalisedAgent(algorithm, self.policy)
        return algorithm

    @property
    def scored_at_once(self) -> int:
        """Fewer where every episode needs a simulator of its own."""
        simulators = self.evaluation_episodes if isinstance(self.env, GymnasiumEnv) else 1
        return max(1, SCORED_AT_ONCE // simulators)

    def worst_case(self, algorithm: Algorithm, points: int) -> int:
        """All episodes at full length."""
        agent = isinstance(algorithm, PolicyGradient)
        return points * (self.estimator.episodes if agent else self.query_episodes) * self.env.spec.horizon

    def answer(self, algorithm: Algorithm, points: Tensor, stream: Stream) -> Answer:
        """Trajectories for agents, returns for optimizers."""
        if isinstance(algorithm, PolicyGradient):
            trajectory = rollout(self.env, self.policy, points, self.estimator.episodes, stream)
            oracle = TrajectoryOracle.of(self.policy, points, trajectory, self.discount, self.estimator)
            return Answer(oracle, trajectory.cost, (~oracle.valid).sum((1, 2)), oracle.charged)
        evaluation = self.black_box.evaluate(points, stream)
        return Answer(Values(evaluation.values), evaluation.cost, evaluation.aux["failed"])

    @property
    def black_box(self) -> PolicyReturn:
        """The same problem as an objective."""
        return PolicyReturn(self.env, self.policy, self.discount, self.query_episodes, self.common_random_numbers)

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """Mean undiscounted return and length over the evaluation episodes that did not fail."""
        policy = self.policy.greedy() if self.greedy_evaluation else self.policy
        found = returns(self.env, policy, points[:, None], self.evaluation_episodes, stream)
        lengths = found.lengths.to(found.values.dtype).mean((1, 2))
        return {"return": found.values[:, 0], "length": lengths}
