"""Annealed Langevin dynamics and gradient descent: what derivative-free optimizers are compared with.

Chiang, Hwang, Sheu, "Diffusion for global optimization in R^n" (SIAM J. Control Optim. 1987); the discretisation and
the schedule are those of Riedl, Klock, Geldhauser, Fornasier, "Gradient is all you need?" (arXiv 2306.09778):

    dX = -grad f(X) dt + sigma dB,  whose law for constant sigma tends to exp(-2 f / sigma^2)

    1  x  <- x - gamma_t grad f(x)                                                     (gradient descent ends here)
    2  x  <- x + sigma_t gamma_t^(1/2) xi,  xi ~ N(0, I),  sigma_t = 10 / log(t + 2)

Both need an objective that tells gradients, and pay for a value and a gradient a step. Deviations: a step whose value
or gradient failed, or that would leave the floating-point numbers, is not made.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Schedule, along_runs
from envs.random import Stream
from zeroth_order.cbo.schedules import LogCooling
from zeroth_order.cbo.swarm import normals, without_stream
from zeroth_order.core import Invariance, Optimizer, succeeded

PUBLISHED = LogCooling(10 / math.log(2))
"""10 / log(t + 2), sigma_t of arXiv 2306.09778."""


class DescentState(NamedTuple):
    """The iterate."""

    x: Tensor
    """[R, d]"""
    stream: Stream
    """Of the last ask: the step draws its normals from it."""
    t: int


@dataclass(frozen=True)
class Descent(Optimizer, ABC):
    """What the two share."""

    gamma: Decay = Schedule(0.05)
    """Step size gamma_t, > 0, in the units of x^2 / f. Riedl et al.: 0.001, constant."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")

    @abstractmethod
    def diffusion(self, state: DescentState) -> Tensor:
        """What line 2 adds to the iterate, [R, d]."""

    @property
    def wants_gradients(self) -> bool:
        """Yes."""
        return True

    def init(self, x0: Tensor, stream: Stream) -> DescentState:
        """At x0 [R, d]."""
        return DescentState(x0, stream, 0)

    def ask(self, state: DescentState, stream: Stream) -> tuple[Tensor, DescentState]:
        """The iterate, [R, 1, d]."""
        return state.x[:, None], state._replace(stream=stream)

    def tell(self, state: DescentState, points: Tensor, feedback: Any) -> tuple[DescentState, Metrics]:
        """One step; metrics: gradient_norm (0 where it failed), failed (1 where the step was not made)."""
        gradient = feedback.gradients[:, 0].to(state.x)
        moved = state.x - along_runs(self.gamma(state.t), gradient) * gradient  # l.1
        moved = moved + self.diffusion(state)  # l.2
        made = succeeded(feedback.values).all(-1) & torch.isfinite(moved).all(-1)
        told = DescentState(torch.where(made[:, None], moved, state.x), state.stream, state.t + 1)
        norm = torch.linalg.vector_norm(torch.nan_to_num(gradient, 0.0, 0.0, 0.0), dim=-1)
        return told, {"gradient_norm": norm, "failed": 1 - made.to(norm)}

    def recommend(self, state: DescentState) -> Tensor:
        """x, [R, d]."""
        return state.x

    def pack(self, state: DescentState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations and f + b."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, Invariance.OFFSET})


@dataclass(frozen=True)
class GradientDescent(Descent):
    """Line 1 alone."""

    id = "gradient-descent"
    summary = "steps down the exact gradient, for comparison"
    paper = "Cauchy, Méthode générale pour la résolution des systèmes d'équations, C. R. 25 (1847)"

    def diffusion(self, state: DescentState) -> Tensor:
        """None."""
        return torch.zeros_like(state.x)


@dataclass(frozen=True)
class Langevin(Descent):
    """Lines 1 and 2."""

    id = "langevin"
    summary = "gradient descent with noise that cools down, for comparison"
    paper = "Chiang, Hwang, Sheu, Diffusion for global optimization in R^n, SICON 25 (1987)"

    sigma: Decay = LogCooling(0.5)
    """sigma_t > 0, in the units of f^(1/2): the temperature is sigma^2 / 2. Riedl et al.: PUBLISHED, above."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sigma.check("sigma")

    def diffusion(self, state: DescentState) -> Tensor:
        """sigma_t gamma_t^(1/2) xi."""
        xi = normals(state.stream, 1, state.x)[:, 0]
        return along_runs(self.sigma(state.t), xi) * along_runs(self.gamma(state.t), xi) ** 0.5 * xi
