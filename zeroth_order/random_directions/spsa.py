"""SPSA: simultaneous perturbation stochastic approximation.

Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation" (IEEE TAC 1992);
gains: Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization" (IEEE TAES 1998).
All coordinates are perturbed at once, so an estimate costs two queries whatever d is:

    1  a_k   <-  a / (A + k + 1)^alpha,   c_k <- c / (k + 1)^gamma,   k = 0, 1, ..
    2  Delta ~   independent signs, one vector for each of the estimates
    3  y+-   <-  f(x_k +- c_k Delta)
    4  g_i   <-  (y+ - y-) / (2 c_k Delta_i), averaged over the estimates
    5  x_{k+1} <- x_k - a_k g

As Delta_i is a sign, 1 / Delta_i = Delta_i, and line 4 is the central difference along Delta times Delta. Deviations:
none; blocking of bad steps and the second-order form, which Spall describes as options, are left out. Lines 2 to 5 are
`zeroth_order.random_directions.descent`, as are failures.
"""

from dataclasses import dataclass

from torch import Tensor

from envs.algorithm import Decay, Numeric, check_range, exact
from zeroth_order.random_directions.descent import Descent, Pieces
from zeroth_order.random_directions.differences import Central
from zeroth_order.random_directions.directions import Rademacher
from zeroth_order.steps import Plain


@dataclass(frozen=True)
class Gain(Decay):
    """t -> scale / (stability + t + 1)^exponent, a gain sequence of stochastic approximation."""

    scale: Numeric
    """a or c, > 0."""
    exponent: Numeric
    """alpha or gamma, in [0, 1]; Spall 1998: 0.602 for a_k and 0.101 for c_k, the smallest that theory allows."""
    stability: Numeric = 0.0
    """A, >= 0, in iterations: it keeps the first steps small. Spall 1998: a tenth of the iterations, or less."""

    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""
        return self.scale / (self.stability + exact(t) + 1) ** self.exponent

    def check(self, name: str, high: float = float("inf")) -> None:
        """Raise ValueError naming `name` unless 0 < scale <= high, exponent in [0, 1] and stability >= 0."""
        check_range(f"{name}.scale", self.scale, 0.0, high, open_low=True)
        check_range(f"{name}.exponent", self.exponent, 0.0, 1.0)
        check_range(f"{name}.stability", self.stability, 0.0)


@dataclass(frozen=True)
class SPSA(Descent):
    """Configuration; see the module."""

    id = "spsa"
    summary = "two queries a step, all coordinates perturbed by random signs"
    paper = "Spall, Multivariate stochastic approximation using a simultaneous perturbation, IEEE TAC 37 (1992)"

    estimates: int = 1
    """Estimates averaged in a step, >= 1, two queries each. Spall 1992: 1, more where f is noisy."""
    gamma: Decay = Gain(0.2, 0.602, 100.0)
    """Step size a_k, > 0. Spall 1998: a so that the first steps have a wanted length."""
    mu: Decay = Gain(0.1, 0.101)
    """Spread radius c_k, > 0, in the units of x. Spall 1998: c about the standard deviation of the noise of f."""

    def __post_init__(self) -> None:
        check_range("estimates", self.estimates, 1)
        self.gamma.check("gamma")
        self.mu.check("mu")

    @property
    def pieces(self) -> Pieces:
        """Signs, central differences, plain steps."""
        return Pieces(
            directions=Rademacher(),  # l.2
            number=self.estimates,
            difference=Central(),  # l.3, l.4
            mu=self.mu,
            step=Plain(),  # l.5
            gamma=self.gamma,
        )
