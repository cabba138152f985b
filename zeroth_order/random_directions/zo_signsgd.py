"""ZO-signSGD: steps along the signs of an estimated gradient.

Liu, Chen, Chen, Hong, "signSGD via zeroth-order oracle" (ICLR 2019):

    1  u_1 .. u_Q  ~  uniform on the sphere of radius d^(1/2)
    2  evaluate f at x_t and all x_t + mu_t u_q                        (central differences: at all x_t +- mu_t u_q)
    3  s_q      <-  (f(x_t + mu_t u_q) - f(x_t)) / mu_t
    4  g_t      <-  mean over q of s_q u_q                             (vote: sum over q of sign(s_q u_q))
    5  x_{t+1}  <-  x_t - gamma_t sign(g_t)

Every coordinate moves by gamma_t, whatever the scale of f. The paper calls the form with central differences
ZO-D-signSGD and the majority vote ZO-M-signSGD. Deviations: the mean over the samples of a minibatch is the problem's.
Lines 1 to 5 are `zeroth_order.random_directions.descent`, as are failures.
"""

from dataclasses import dataclass

from envs.algorithm import Decay, Schedule, check_range
from zeroth_order.core import Invariance
from zeroth_order.random_directions.descent import Descent, Pieces
from zeroth_order.random_directions.differences import Difference, Forward, majority_vote, mean_gradient
from zeroth_order.random_directions.directions import Directions, UnitSphere
from zeroth_order.steps import Sign


@dataclass(frozen=True)
class ZOSignSGD(Descent):
    """Configuration; see the module."""

    id = "zo-signsgd"
    summary = "signs of a gradient estimated along random directions"
    paper = "Liu, Chen, Chen, Hong, signSGD via zeroth-order oracle, ICLR (2019)"

    number: int = 10
    """Q >= 1, directions a step: Q + 1 queries, 2 Q with central differences. Paper: q, 10 and more."""
    directions: Directions = UnitSphere()
    """Law of the directions. Paper: the unit sphere."""
    difference: Difference = Forward()
    """Forward or central differences. Paper: forward; central in ZO-D-signSGD."""
    gamma: Decay = Schedule(0.05, 0.5)
    """Step size of a coordinate, delta, > 0, in the units of x. Paper: of the order of (d T)^(-1/2) for T steps."""
    mu: Decay = Schedule(1e-3)
    """Spread radius, > 0, in the units of x. Paper: of the order of (d T)^(-1/2)."""
    vote: bool = False
    """Majority vote of the directions instead of their mean, ZO-M-signSGD."""

    def __post_init__(self) -> None:
        check_range("number", self.number, 1)
        self.gamma.check("gamma")
        self.mu.check("mu")

    @property
    def pieces(self) -> Pieces:
        """The sign step, of the mean or of the votes."""
        return Pieces(
            directions=self.directions,  # l.1
            number=self.number,
            difference=self.difference,  # l.2, l.3
            mu=self.mu,
            step=Sign(),  # l.5
            gamma=self.gamma,
            combine=majority_vote if self.vote else mean_gradient,  # l.4
        )

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations and a f + b; for the vote, only the order of the values of a difference matters."""
        return frozenset({Invariance.TRANSLATION, Invariance.MONOTONE if self.vote else Invariance.AFFINE})
