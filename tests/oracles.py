"""Oracles that stand in for sampled ones, and the traces of agents on them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from envs.random import Purpose, streams
from rl import PolicyGradient
from zeroth_order.federated import FederatedQuadratic

F64 = torch.float64
WEIGHTS = torch.tensor([0.3, 0.1, 0.2, 0.15, 0.25], dtype=F64)


@dataclass(frozen=True)
class Unequal(FederatedQuadratic):
    """Clients that count differently."""

    @property
    def weights(self) -> Tensor:
        """p_c."""
        return WEIGHTS


@dataclass(frozen=True)
class Quadratic:
    """Exact oracle of f(x) = x A x / 2 at the asked points [R, K, d]."""

    A: Tensor
    points: Tensor

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return (self.points if at is None else at) @ self.A

    def hvp(self, u: Tensor) -> Tensor:
        return u @ self.A

    def fisher_vp(self, v: Tensor) -> Tensor:
        return v @ self.A

    def log_weights(self, at: Tensor) -> Tensor:
        return at.new_zeros(*at.shape[:-1], 1)

    def at_point(self, k: int, copies: int = 1) -> "Quadratic":
        return replace(self, points=self.points[:, k : k + 1])


@dataclass(frozen=True)
class Scripted:
    """Answers with given gradients, whatever the points, and with a zero Hessian."""

    answer: Tensor
    """[R, d]"""

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return self.answer[:, None]

    def hvp(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def fisher_vp(self, v: Tensor) -> Tensor:
        return v

    def log_weights(self, at: Tensor) -> Tensor:
        return at.new_zeros(*at.shape[:-1], 1)

    def at_point(self, k: int, copies: int = 1) -> "Scripted":
        return self


@dataclass
class Trace:
    """States before each iteration, the points asked and the metrics, and the state at the end."""

    states: list[Any] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    metrics: list[dict[str, Tensor]] = field(default_factory=list)


def random_quadratic(d: int = 6, runs: int = 5) -> tuple[Tensor, Tensor]:
    """A positive definite and x0 [R, d]."""
    root, x0 = (
        streams([0]).fold(p).normal(n, dtype=F64) for p, n in ((Purpose.INSTANCE, d * d), (Purpose.INITIAL, runs * d))
    )
    root = root.view(d, d)
    return root @ root.T, x0.view(runs, d)


def trace(agent: PolicyGradient, x0: Tensor, oracle: Callable[[Tensor, int], Any], steps: int) -> Trace:
    """Iterations of an agent on `oracle(points, t)`, with seeds 0 .. R - 1."""
    root = streams(range(len(x0)))
    found, state = Trace(), agent.init(x0, root.fold(Purpose.INITIAL))
    for t in range(steps):
        points, state = agent.ask(state, root.fold(Purpose.ASK).at(t))
        found.states.append(state)
        found.points.append(points)
        state, metrics = agent.tell(state, points, oracle(points, t))
        found.metrics.append(metrics)
    found.states.append(state)
    return found


def transport_error(agent: PolicyGradient, oracle: type[Quadratic] = Quadratic) -> float:
    """Largest |d_t - grad f(theta_t)| / (1 + |grad f(theta_t)|) over runs and 200 iterations on a quadratic."""
    A, x0 = random_quadratic()
    found = trace(agent, x0, lambda points, t: oracle(A, points), 200)
    errors = []
    for before, metrics in zip(found.states[:-1], found.metrics, strict=True):
        exact = before.theta @ A
        errors.append(float(((metrics["direction"] - exact).norm(dim=-1) / (1 + exact.norm(dim=-1))).max()))
    return max(errors)


def noisy(points: Tensor, t: int) -> Scripted:
    """A gradient that depends on the first point and on noise; its Hessian is taken to be zero."""
    noise = streams(range(len(points))).fold(Purpose.TRAIN).at(t).normal(points.shape[-1], dtype=points.dtype)
    return Scripted(points[:, 0] + 0.3 * noise)
