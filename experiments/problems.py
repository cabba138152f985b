"""A problem is what the loop runs an algorithm on: it answers the points asked, and scores the iterate.

    PolicyProblem     an environment, a policy network and a discount: J(theta) from sampled trajectories
    ObjectiveProblem  a function of x: values for derivative-free optimizers, exact derivatives for the agents

Everything minimises inside: feedback is about f = -J. Scores are for people: the return of the iterate, or -f.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Algorithm, Metrics, Request
from envs.core import Cost, Env
from envs.from_gymnasium import GymnasiumEnv
from envs.policies import Network
from envs.random import Stream
from envs.rollout import backend_for, returns, rollout
from experiments.answers import Answer, ExactOracle
from experiments.ledger import Unit
from experiments.normalisation import NormalisedAgent
from rl.core import PolicyGradient
from rl.estimators import Estimator
from rl.trajectory_oracle import TrajectoryOracle
from zeroth_order.core import Objective, Optimizer, Values
from zeroth_order.federated import FederatedObjective, FederatedOptimizer
from zeroth_order.objectives.policy_return import PolicyReturn

CPU = torch.device("cpu")
SCORED_AT_ONCE = 512
"""Points scored in one batch; bounds the memory."""


def check_target(target: float | None) -> None:
    """Raise ValueError unless the score to reach is finite, or None."""
    if target is not None and not math.isfinite(target):
        raise ValueError(f"target = {target} must be finite")


def _wants_gradients(algorithm: Algorithm) -> bool:
    return isinstance(algorithm, Optimizer) and algorithm.wants_gradients


@dataclass(frozen=True)
class Problem(ABC):
    """What the loop needs; see the module."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Id of the environment or objective."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """d."""

    @property
    @abstractmethod
    def unit(self) -> Unit:
        """Currency of the budget."""

    @property
    @abstractmethod
    def score_name(self) -> str:
        """What `score` measures; higher is better."""

    @property
    @abstractmethod
    def threshold(self) -> float | None:
        """Score at which the problem counts as solved."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the tensors live."""

    @property
    @abstractmethod
    def backend(self) -> str:
        """What evaluates points, for the record."""

    @abstractmethod
    def init(self, stream: Stream) -> Tensor:
        """Where the runs start, [R, d]."""

    @abstractmethod
    def check(self, algorithm: Algorithm) -> None:
        """Raise ValueError where the algorithm cannot work on this problem."""

    def answered_by(
        self, estimator: Estimator, query_episodes: int, episodes: int | None, normalise: bool = False
    ) -> "Problem":
        """The same problem, answering with this estimator and effort; `episodes` overrides both numbers of them."""
        return self

    def adapted(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm as it is run here: itself, or one around it."""
        return algorithm

    @property
    def scored_at_once(self) -> int:
        """Points scored in one batch."""
        return SCORED_AT_ONCE

    @abstractmethod
    def worst_case(self, algorithm: Algorithm, points: int) -> int:
        """Most that an iteration with K points can spend of the budget."""

    @abstractmethod
    def answer(self, algorithm: Algorithm, points: Tensor, stream: Stream) -> Answer:
        """Feedback at points [R, K, d]."""

    def answer_of_clients(self, points: Tensor, stream: Stream, request: Request) -> Answer:
        """Feedback at points [R, K, d], each from the client that was asked, where there are any."""
        raise NotImplementedError(f"{self.name} has no clients")

    @abstractmethod
    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """Named measures [n] of points [n, d], `score_name` first; not charged."""

    def ended(self, iterates: Tensor, stream: Stream) -> dict[str, Tensor]:
        """Reasons of the problem to end runs at their iterates [R, d], [R] bool each; not charged."""
        return {}

    def measure(self, iterate: Tensor, metrics: Metrics) -> dict[str, Tensor]:
        """What is recorded of an iteration that began at `iterate` [R, d], [R] each: of vectors [R, d] the norm."""
        scalars = {name: metric for name, metric in metrics.items() if metric.dim() == 1}
        return scalars | {f"{name}_norm": metric.norm(dim=-1) for name, metric in metrics.items() if metric.dim() == 2}


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
        if _wants_gradients(algorithm):
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


@dataclass(frozen=True)
class ObjectiveProblem(Problem):
    """Minimise a function. One value is one query; so is one exact gradient, and so is one exact product."""

    objective: Objective
    tolerance: float = 1e-2
    """Distance from the optimal value at which the problem counts as solved."""
    dtype: torch.dtype = torch.float64
    place: torch.device = CPU
    target: float | None = None
    """Overrides the threshold: a value with its sign turned."""

    asks_clients: ClassVar[bool] = False
    """Whether algorithms can ask single clients of a federated objective."""

    def __post_init__(self) -> None:
        check_target(self.target)

    @property
    def name(self) -> str:
        """Id of the objective."""
        return self.objective.id

    @property
    def dim(self) -> int:
        """d."""
        return self.objective.dim

    @property
    def unit(self) -> Unit:
        """Queries."""
        return "queries"

    @property
    def score_name(self) -> str:
        """The value with its sign turned, so that higher is better."""
        return "negative value"

    @property
    def threshold(self) -> float | None:
        """The target, or else -(f* + tolerance) where f* is known."""
        if self.target is not None or self.objective.optimum is None:
            return self.target
        return -(self.objective.optimum[1] + self.tolerance)

    @property
    def device(self) -> torch.device:
        """Where the points live."""
        return self.place

    @property
    def backend(self) -> str:
        """Eager torch."""
        return "plain"

    def init(self, stream: Stream) -> Tensor:
        """Uniform in the bounds; standard normal where there are none."""
        if self.objective.bounds is None:
            return stream.normal(self.dim, dtype=self.dtype)
        low, high = (bound.to(self.place, self.dtype) for bound in self.objective.bounds)
        return low + (high - low) * stream.uniform(self.dim, dtype=self.dtype)

    def check(self, algorithm: Algorithm) -> None:
        """Any algorithm works where f is differentiable, but for those that need a policy."""
        wants = isinstance(algorithm, PolicyGradient) or _wants_gradients(algorithm)
        if wants and not self.objective.differentiable:
            raise ValueError(f"{algorithm.id} wants gradients, {self.name} answers with values only")
        if isinstance(algorithm, FederatedOptimizer) and not self.asks_clients:
            hidden = isinstance(self.objective, FederatedObjective)
            more = ", but as a FederatedProblem" if hidden else ""
            raise ValueError(f"{algorithm.id} needs clients, {self.name} has none{more}")
        if isinstance(algorithm, PolicyGradient) and algorithm.natural:
            raise ValueError(f"{algorithm.id} needs the Fisher information of a policy, {self.name} has none")

    def worst_case(self, algorithm: Algorithm, points: int) -> int:
        """One query for each value, gradient or product: agents may ask for two at a point."""
        return points * (2 if isinstance(algorithm, PolicyGradient) or _wants_gradients(algorithm) else 1)

    def answer(self, algorithm: Algorithm, points: Tensor, stream: Stream) -> Answer:
        """Exact derivatives for agents, values for optimizers, and gradients for those that want them."""
        charged: list[Cost] = []
        exact = ExactOracle(self.objective, points, stream, charged)
        if isinstance(algorithm, PolicyGradient):
            zero = Cost.zeros(len(points), points.device)
            return Answer(exact, zero, zero.queries, charged)
        evaluation = self.objective.evaluate(points, stream)
        values = Values(evaluation.values, exact.gradient() if _wants_gradients(algorithm) else None)
        return Answer(values, evaluation.cost, (~torch.isfinite(evaluation.values)).sum(-1), charged)

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """-f, NaN where it is not finite."""
        values = self.objective.evaluate(points[:, None], stream).values[:, 0]
        return {"negative value": torch.where(torch.isfinite(values), -values, torch.nan)}
