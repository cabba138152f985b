"""A problem is what the loop runs an algorithm on: it answers the points asked, and scores the iterate.

    experiments.policy_problem     an environment, a policy network and a discount: J(theta) from sampled trajectories
    experiments.objective_problem  a function of x: values for derivative-free optimizers, exact derivatives for agents

Everything minimises inside: feedback is about f = -J. Scores are for people: the return of the iterate, or -f.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.algorithm import Algorithm, Metrics, Request
from envs.random import Stream
from experiments.answers import Answer
from experiments.ledger import Unit
from rl.estimators import Estimator
from zeroth_order.core import Optimizer

SCORED_AT_ONCE = 512
"""Points scored in one batch; bounds the memory."""


def check_target(target: float | None) -> None:
    """Raise ValueError unless the score to reach is finite, or None."""
    if target is not None and not math.isfinite(target):
        raise ValueError(f"target = {target} must be finite")


def wants_gradients(algorithm: Algorithm) -> bool:
    """Whether it is an optimizer that is told gradients beside values."""
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
