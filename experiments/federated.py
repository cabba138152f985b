"""A problem of several clients: federated algorithms ask them, all others query F, which asks everyone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from envs.algorithm import Algorithm, Request
from envs.random import Stream
from experiments.answers import Answer
from experiments.objective_problem import ObjectiveProblem
from zeroth_order.core import Values
from zeroth_order.federated import FederatedObjective, FederatedOptimizer


@dataclass(frozen=True)
class FederatedProblem(ObjectiveProblem):
    """Minimise F = sum_c p_c f_c. One value of one client is one query; a value of F is one of each."""

    asks_clients = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.objective, FederatedObjective):
            raise ValueError(f"objective = {self.objective} has no clients")

    def adapted(self, algorithm: Algorithm) -> Algorithm:
        """A federated algorithm with this problem's clients, weights and box."""
        return algorithm.among(self.clients) if isinstance(algorithm, FederatedOptimizer) else algorithm

    @property
    def clients(self) -> FederatedObjective:
        """The objective."""
        assert isinstance(self.objective, FederatedObjective)
        return self.objective

    def check(self, algorithm: Algorithm) -> None:
        """A federated algorithm must not want more clients than there are."""
        super().check(algorithm)
        if not isinstance(algorithm, FederatedOptimizer):
            return
        drawn, there = algorithm.federation.participating or 1, self.clients.clients
        if drawn > there:
            raise ValueError(f"participating = {drawn} of {algorithm.id} is not in [1, {there}], {self.name}'s clients")

    def worst_case(self, algorithm: Algorithm, points: int) -> int:
        """A point of a federated algorithm is one client's, any other is everyone's."""
        each = 1 if isinstance(algorithm, FederatedOptimizer) else self.clients.clients
        return each * super().worst_case(algorithm, points)

    def answer_of_clients(self, points: Tensor, stream: Stream, request: Request) -> Answer:
        """The values of the clients asked, NaN where none was."""
        evaluation = self.clients.ask_clients(points, request.clients, stream)
        asked = request.clients >= 0
        failed = (~torch.isfinite(evaluation.values) & asked).sum(-1)
        where = {purpose: [p == purpose for p in request.purposes] for purpose in dict.fromkeys(request.purposes)}
        by_purpose = {purpose: asked[:, torch.tensor(those)].sum(-1) for purpose, those in where.items()}
        sent = {"uplink_floats": request.uplink, "downlink_floats": request.downlink}
        return Answer(Values(evaluation.values), evaluation.cost._replace(**sent), failed, by_purpose=by_purpose)
