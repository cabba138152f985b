"""How sharp the weights are, alpha_t, and how the noise cools down, sigma_t.

Growth and cooling: Pinnau et al. (2017) keep both constant; Carrillo, Jin, Li, Zhu (2021) double alpha and cool sigma
once an epoch. Effective sample size: Carrillo, Hoffmann, Stuart, Vaes, "Consensus-based sampling" (2022), section 2.3.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Decay, Numeric, check_range, exact
from zeroth_order.core import Invariance, failed_to_inf, succeeded


class Alpha(ABC):
    """alpha_t > 0, in 1 / units of f."""

    invariance: ClassVar[Invariance]
    """What may be done to the values without changing the weights."""

    @abstractmethod
    def of(self, t: int | Tensor, values: Tensor) -> Numeric:
        """alpha at iteration t for the values [R, K] of a step, a number or [R]."""

    @abstractmethod
    def check(self, name: str) -> None:
        """Raise ValueError naming `name` and the field that is out of range."""


@dataclass(frozen=True)
class Growth(Alpha):
    """t -> min(scale * factor^t, ceiling): a weight that sharpens; at t = 0 it is `scale`."""

    scale: Numeric = 30.0
    """Value at t = 0, > 0."""
    factor: Numeric = 1.0
    """Growth per iteration, >= 1; 1 keeps it constant, 2^(1/m) doubles it every m iterations."""
    ceiling: float = 1e5
    """Largest value, > 0."""

    invariance = Invariance.OFFSET

    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""
        try:
            value = self.scale * self.factor ** exact(t)
        except OverflowError:  # numbers; tensors overflow to inf by themselves
            value = self.scale * math.inf
        return value.clamp(max=self.ceiling) if isinstance(value, Tensor) else min(value, self.ceiling)

    def of(self, t: int | Tensor, values: Tensor) -> Numeric:
        """Value at iteration t, whatever the values."""
        return self(t)

    def check(self, name: str) -> None:
        """Raise ValueError naming `name` unless scale > 0, factor >= 1 and ceiling > 0."""
        check_range(f"{name}.scale", self.scale, 0.0, open_low=True)
        check_range(f"{name}.factor", self.factor, 1.0)
        check_range(f"{name}.ceiling", self.ceiling, 0.0, open_low=True)


@dataclass(frozen=True)
class EffectiveSamples(Alpha):
    """The alpha at which the effective sample size is a given share of the particles: no scale of f has to be known.

    The size falls as alpha grows, from n to the number of best particles. Its root is bracketed by what the regrets
    imply and found by bisection of log alpha, because it may be anywhere in dozens of orders of magnitude.
    """

    share: Numeric = 0.5
    """eta in (0, 1): effective sample size per particle. Carrillo et al.: 1/2."""
    ceiling: float = 1e30
    """Largest alpha, > 0; reached where so many particles are equally best that no alpha reaches the share."""
    halvings: int = 50
    """Steps of the bisection, >= 1; 50 leave 15 digits."""

    invariance = Invariance.AFFINE

    def of(self, t: int | Tensor, values: Tensor) -> Tensor:
        """[R] float64."""
        values = failed_to_inf(values.double())
        regret = values - values.amin(-1, keepdim=True)
        share = self.share.to(regret) if isinstance(self.share, Tensor) else torch.full_like(regret[:, 0], self.share)
        wanted = share * succeeded(values).sum(-1)
        # Weights in [e^-b, 1] have a size of at least n e^-b; those of all but the best are below e^-100 at the top.
        low = -share.log() / torch.where(succeeded(values), regret, 0.0).amax(-1)
        high = 100 / torch.where(regret > 0, regret, torch.inf).amin(-1)
        low, high = (bound.clamp(1 / self.ceiling, self.ceiling).log() for bound in (low, high))
        for _ in range(self.halvings):
            middle = (low + high) / 2
            weights = torch.exp(-middle.exp()[:, None] * regret)
            enough = weights.sum(-1).square() > wanted * weights.square().sum(-1)
            low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
        return high.exp()

    def check(self, name: str) -> None:
        """Raise ValueError naming `name` unless 0 < share < 1, ceiling > 0 and halvings >= 1."""
        check_range(f"{name}.share", self.share, 0.0, math.nextafter(1.0, 0.0), open_low=True)
        check_range(f"{name}.ceiling", self.ceiling, 0.0, open_low=True)
        check_range(f"{name}.halvings", self.halvings, 1)


@dataclass(frozen=True)
class LogCooling(Decay):
    """t -> scale / log2(e + 2) in epoch e = floor(t / period), as Carrillo, Jin, Li, Zhu (2021) cool sigma."""

    scale: Numeric
    """Value in epoch 0, > 0."""
    period: int = 1
    """Iterations of an epoch, >= 1."""

    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""
        epoch = exact(t // self.period)
        return self.scale / (torch.log2(epoch + 2) if isinstance(epoch, Tensor) else math.log2(epoch + 2))

    def check(self, name: str, high: float = float("inf")) -> None:
        """Raise ValueError naming `name` unless 0 < scale <= high and period >= 1."""
        check_range(f"{name}.scale", self.scale, 0.0, high, open_low=True)
        check_range(f"{name}.period", self.period, 1)


@dataclass(frozen=True)
class StepCooling(Decay):
    """t -> scale * factor^e in epoch e = floor(t / period), as Riedl et al. (2023) let consensus hopping settle."""

    scale: Numeric
    """Value in epoch 0, > 0."""
    factor: Numeric = 0.98
    """Share that is left after an epoch, in (0, 1]. Riedl et al.: 0.98."""
    period: int = 100
    """Iterations of an epoch, >= 1. Riedl et al.: 100."""

    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""
        return self.scale * self.factor ** exact(t // self.period)

    def check(self, name: str, high: float = float("inf")) -> None:
        """Raise ValueError naming `name` unless 0 < scale <= high, 0 < factor <= 1 and period >= 1."""
        check_range(f"{name}.scale", self.scale, 0.0, high, open_low=True)
        check_range(f"{name}.factor", self.factor, 0.0, 1.0, open_low=True)
        check_range(f"{name}.period", self.period, 1)
