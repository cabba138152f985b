"""Restarts of CMA-ES with other population sizes, which are multiples of the first one.

Auger, Hansen, "A restart CMA evolution strategy with increasing population size" (CEC 2005); Hansen, "Benchmarking a
BI-population CMA-ES on the BBOB-2009 function testbed" (GECCO 2009).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range

UNLIMITED = 2**62


class Regime(NamedTuple):
    """Where a run stands in its restarts, [R] each."""

    multiple: Tensor
    """int64, its population in multiples of the first."""
    growths: Tensor
    """int64, how often the population has grown."""
    small: Tensor
    """bool, whether it is one of the small populations in between."""
    evaluations: Tensor
    """int64, since the last restart."""
    spent_small: Tensor
    """int64, evaluations of the small populations before, the first included."""
    spent_large: Tensor
    """int64, of the others."""
    limit: Tensor
    """int64, evaluations after which it is restarted in any case."""
    sigma0: Tensor
    """Step size with which it began."""
    last: Tensor
    """bool, whether no restart follows."""


class Restarts(ABC):
    """What follows when a criterion to stop is met."""

    @property
    @abstractmethod
    def largest(self) -> int:
        """The largest population, in multiples of the first."""

    @abstractmethod
    def following(self, regime: Regime, sigma0: Tensor, uniform: Tensor) -> Regime:
        """What follows a run that is not the last; `sigma0` [R] is the first run's, `uniform` [R, 2] is in (0, 1)."""

    @abstractmethod
    def place(self, x0: Tensor, uniform: Tensor) -> Tensor:
        """Where it begins, [R, d], given the start x0 [R, d] of the first; `uniform` [R, d] is in (0, 1)."""

    def begin(self, sigma0: Tensor) -> Regime:
        """The first run, sigma0 [R]."""
        zero = torch.zeros_like(sigma0, dtype=torch.int64)
        no = torch.zeros_like(zero, dtype=torch.bool)
        last = no if self.largest > 1 else ~no
        return Regime(zero + 1, zero, no, zero, zero, zero, zero + UNLIMITED, sigma0, last)


@dataclass(frozen=True)
class NoRestarts(Restarts):
    """One run, to its end."""

    @property
    def largest(self) -> int:
        """1."""
        return 1

    def following(self, regime: Regime, sigma0: Tensor, uniform: Tensor) -> Regime:
        """Nothing."""
        return regime

    def place(self, x0: Tensor, uniform: Tensor) -> Tensor:
        """x0."""
        return x0


@dataclass(frozen=True)
class IPOP(Restarts):
    """Every restart multiplies the population (Auger, Hansen 2005)."""

    factor: int = 2
    """By how much, >= 2. Paper: 2."""
    restarts: int = 9
    """How many there are, >= 1. Hansen 2009: 9."""
    spread: Numeric = 0.0
    """A restart begins uniformly in x_0 +- spread in each coordinate, >= 0, in the units of x. Paper: in the box."""

    def __post_init__(self) -> None:
        check_growth(self.factor, self.restarts, self.spread)

    @property
    def largest(self) -> int:
        """factor^restarts."""
        return self.factor**self.restarts

    def following(self, regime: Regime, sigma0: Tensor, uniform: Tensor) -> Regime:
        """The population grows."""
        growths = regime.growths + 1
        return regime._replace(
            multiple=self.factor**growths,
            growths=growths,
            evaluations=torch.zeros_like(growths),
            last=growths == self.restarts,
        )

    def place(self, x0: Tensor, uniform: Tensor) -> Tensor:
        """Uniform around x0."""
        return around(x0, self.spread, uniform)


@dataclass(frozen=True)
class BIPOP(Restarts):
    """IPOP, with small populations in between for as long as these have had fewer evaluations (Hansen 2009).

    Where m is the multiple of the last large population: a small one has the multiple (m / 2)^(U^2), rounded, the step
    size sigma0 10^(-2 U') and at most half the evaluations of all large populations so far. As in pycma, the first run
    counts as small, and the end of the last large population is the end.
    """

    factor: int = 2
    """By how much the population grows, >= 2. Paper: 2."""
    restarts: int = 9
    """How often it grows, >= 1. Paper: 9."""
    spread: Numeric = 0.0
    """A restart begins uniformly in x_0 +- spread in each coordinate, >= 0, in the units of x. Paper: in the box."""

    def __post_init__(self) -> None:
        check_growth(self.factor, self.restarts, self.spread)

    @property
    def largest(self) -> int:
        """factor^restarts."""
        return self.factor**self.restarts

    def following(self, regime: Regime, sigma0: Tensor, uniform: Tensor) -> Regime:
        """A small population, or a larger one than before."""
        was_small = regime.small | (regime.growths == 0)
        spent_small = regime.spent_small + torch.where(was_small, regime.evaluations, 0)
        spent_large = regime.spent_large + torch.where(was_small, 0, regime.evaluations)
        small = spent_small < spent_large
        growths = regime.growths + ~small
        large = self.factor**growths
        fraction = (large.to(uniform) / 2) ** uniform[:, 0].square()
        return Regime(
            torch.where(small, fraction.round().long(), large),
            growths,
            small,
            torch.zeros_like(growths),
            spent_small,
            spent_large,
            torch.where(small, spent_large // 2, UNLIMITED),
            torch.where(small, sigma0 * 10 ** (-2 * uniform[:, 1]), sigma0),
            ~small & (growths == self.restarts),
        )

    def place(self, x0: Tensor, uniform: Tensor) -> Tensor:
        """Uniform around x0."""
        return around(x0, self.spread, uniform)


def around(x0: Tensor, spread: Numeric, uniform: Tensor) -> Tensor:
    """x0 + spread (2 u - 1), [R, d]."""
    return x0 + along_runs(spread, x0) * (2 * uniform - 1)


def check_growth(factor: int, restarts: int, spread: Numeric) -> None:
    """Raise ValueError naming the field that is out of range."""
    check_range("factor", factor, 2)
    check_range("restarts", restarts, 1)
    check_range("spread", spread, 0.0)
