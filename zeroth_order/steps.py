"""How a search point follows an estimated gradient: one small piece each, for every optimizer that estimates one.

    displacement [R, d], moments [R, slots, d]  <-  step(gradient [R, d], moments, gamma, t)

Moments start at 0. `t` counts the steps from 0, for all runs, or [R, 1] for each.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range, exact


class Step(ABC):
    """What is done with a gradient."""

    slots: ClassVar[int]
    """Vectors [R, d] that are remembered."""
    isotropic: ClassVar[bool]
    """Whether rotated gradients give the rotated step: no coordinate is treated by itself."""

    @abstractmethod
    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """The displacement [R, d] against `gradient` [R, d] with step size `gamma`, and the next moments."""

    def follow(
        self, x: Tensor, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next x [R, d] and moments of the runs whose gradient is known, [R] bool; the others stay."""
        displacement, after = self(gradient, moments, gamma, t)
        return torch.where(known[:, None], x + displacement, x), torch.where(known[:, None, None], after, moments)

    def start(self, x0: Tensor) -> Tensor:
        """The moments [R, slots, d] before the first step from x0 [R, d]."""
        return x0.new_zeros(x0.shape[0], self.slots, x0.shape[1])


@dataclass(frozen=True)
class Plain(Step):
    """Gradient descent: -gamma g."""

    slots = 0
    isotropic = True

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """-gamma g."""
        return -along_runs(gamma, gradient) * gradient, moments


@dataclass(frozen=True)
class Sign(Step):
    """The sign of each coordinate: -gamma sign(g) (Liu, Chen, Chen, Hong, "signSGD via zeroth-order oracle", 2019)."""

    slots = 0
    isotropic = False

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """-gamma sign(g); a coordinate with g = 0 stays."""
        return -along_runs(gamma, gradient) * gradient.sign(), moments


@dataclass(frozen=True)
class Momentum(Step):
    """The heavy ball: v <- momentum v - gamma g; x <- x + v (Polyak 1964)."""

    momentum: Numeric = 0.9
    """Share of the velocity that is kept, in [0, 1]."""

    slots = 1
    isotropic = True

    def __post_init__(self) -> None:
        check_range("momentum", self.momentum, 0.0, 1.0)

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """The velocity."""
        velocity = along_runs(self.momentum, gradient) * moments[:, 0] - along_runs(gamma, gradient) * gradient
        return velocity, velocity[:, None]


@dataclass(frozen=True)
class ClipUp(Step):
    """Normalized gradient, momentum, and a limit on the speed (Toklu, Liskowski, Srivastava, PPSN 2020)."""

    momentum: Numeric = 0.9
    """Share of the velocity that is kept, in [0, 1]. Paper: 0.9."""
    max_speed: Numeric = 2.0
    """Largest norm of a step in units of gamma_t, > 0. Paper: 2."""

    slots = 1
    isotropic = True

    def __post_init__(self) -> None:
        check_range("momentum", self.momentum, 0.0, 1.0)
        check_range("max_speed", self.max_speed, 0.0, open_low=True)

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """The velocity, clipped."""
        gamma = along_runs(gamma, gradient)
        unit = torch.nn.functional.normalize(gradient, dim=-1, eps=torch.finfo(gradient.dtype).tiny)
        moved = along_runs(self.momentum, gradient) * moments[:, 0] - gamma * unit
        limit = along_runs(self.max_speed, moved) * gamma
        velocity = moved * (limit / moved.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        return velocity, velocity[:, None]


@dataclass(frozen=True)
class Adam(Step):
    """Kingma, Ba, "Adam" (ICLR 2015): first and second moments of the gradient, both corrected for their start."""

    beta1: Numeric = 0.9
    """Decay of the first moment, in [0, 0.9999]. Paper: 0.9."""
    beta2: Numeric = 0.999
    """Decay of the second moment, in [0, 0.9999]. Paper: 0.999."""
    eps: Numeric = 1e-8
    """> 0, in the units of g. Paper: 1e-8."""

    slots = 2
    isotropic = False

    def __post_init__(self) -> None:
        check_moments(self.beta1, self.beta2, self.eps)

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """-gamma m / (v^(1/2) + eps), m and v corrected."""
        beta1, beta2 = along_runs(self.beta1, gradient), along_runs(self.beta2, gradient)
        first = beta1 * moments[:, 0] + (1 - beta1) * gradient
        second = beta2 * moments[:, 1] + (1 - beta2) * gradient.square()
        steps = exact(t + 1)
        mean, square = first / (1 - beta1**steps), second / (1 - beta2**steps)
        scaled = mean / (square.sqrt() + along_runs(self.eps, gradient))
        return -along_runs(gamma, gradient) * scaled, torch.stack((first, second), 1)


@dataclass(frozen=True)
class RefinedAdam(Step):
    """R-AdaZO: Adam whose second moment is that of the first moment, which is less noisy than the gradient.

    Shu, Zhang, He, Dai, "Refining adaptive zeroth-order optimization at ease" (ICML 2025, arXiv 2502.01014):
    v <- beta_2 v + (1 - beta_2) m^2. Neither moment is corrected for its start.
    """

    beta1: Numeric = 0.9
    """Decay of the first moment, in [0, 0.9999]. The authors' code: 0.9."""
    beta2: Numeric = 0.999
    """Decay of the second moment, in [0, 0.9999]. The authors' code: 0.999, 0.99 in its example."""
    eps: Numeric = 1e-8
    """zeta > 0, in the units of g^2, inside the root as in the paper; the authors' code adds it to the root."""

    slots = 2
    isotropic = False

    def __post_init__(self) -> None:
        check_moments(self.beta1, self.beta2, self.eps)

    def __call__(self, gradient: Tensor, moments: Tensor, gamma: Numeric, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """-gamma m / (v + eps)^(1/2)."""
        beta1, beta2 = along_runs(self.beta1, gradient), along_runs(self.beta2, gradient)
        first = beta1 * moments[:, 0] + (1 - beta1) * gradient
        second = beta2 * moments[:, 1] + (1 - beta2) * first.square()
        scaled = first / (second + along_runs(self.eps, gradient)).sqrt()
        return -along_runs(gamma, gradient) * scaled, torch.stack((first, second), 1)


def check_moments(beta1: Numeric, beta2: Numeric, eps: Numeric) -> None:
    """Raise ValueError naming beta1, beta2 or eps where it is out of range."""
    check_range("beta1", beta1, 0.0, 0.9999)
    check_range("beta2", beta2, 0.0, 0.9999)
    check_range("eps", eps, 0.0, open_low=True)
