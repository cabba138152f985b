"""The problem of a function: values for derivative-free optimizers, exact derivatives for agents."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Algorithm
from envs.core import Cost
from envs.random import Stream
from experiments.answers import Answer, ExactOracle
from experiments.ledger import Unit
from experiments.problems import Problem, check_target, wants_gradients
from rl.core import PolicyGradient
from zeroth_order.core import Objective, Values
from zeroth_order.federated import FederatedObjective, FederatedOptimizer

CPU = torch.device("cpu")


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
        wants = isinstance(algorithm, PolicyGradient) or wants_gradients(algorithm)
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
        return points * (2 if isinstance(algorithm, PolicyGradient) or wants_gradients(algorithm) else 1)

    def answer(self, algorithm: Algorithm, points: Tensor, stream: Stream) -> Answer:
        """Exact derivatives for agents, values for optimizers, and gradients for those that want them."""
        charged: list[Cost] = []
        exact = ExactOracle(self.objective, points, stream, charged)
        if isinstance(algorithm, PolicyGradient):
            zero = Cost.zeros(len(points), points.device)
            return Answer(exact, zero, zero.queries, charged)
        evaluation = self.objective.evaluate(points, stream)
        values = Values(evaluation.values, exact.gradient() if wants_gradients(algorithm) else None)
        return Answer(values, evaluation.cost, (~torch.isfinite(evaluation.values)).sum(-1), charged)

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """-f, NaN where it is not finite."""
        values = self.objective.evaluate(points[:, None], stream).values[:, 0]
        return {"negative value": torch.where(torch.isfinite(values), -values, torch.nan)}
