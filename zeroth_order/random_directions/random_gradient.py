"""Random gradient-free descent with two-point estimates.

Nesterov, Spokoiny, "Random gradient-free minimization of convex functions" (Foundations of Computational Mathematics
2017, CORE DP 2011/1), the method RG_mu of section 5, with any directions, differences and steps:

    1  u_1 .. u_Q  ~  N(0, I)                                          (or other directions with E u u' = I)
    2  evaluate f at x_t and all x_t + mu_t u_q                        (or at all x_t +- mu_t u_q: central differences)
    3  s_q      <-  (f(x_t + mu_t u_q) - f(x_t)) / mu_t
    4  g_t      <-  mean over q of s_q u_q
    5  x_{t+1}  <-  x_t - gamma_t g_t                                  (or another step)

Deviations: the paper has Q = 1 and projects onto a convex set; here there is no set. Lines 1 to 5 are
`zeroth_order.random_directions.descent`, as are failures.
"""

from dataclasses import dataclass

from envs.algorithm import Decay, Schedule, check_range
from zeroth_order.random_directions.descent import Descent, Pieces
from zeroth_order.random_directions.differences import Difference, Forward
from zeroth_order.random_directions.directions import Directions, Gaussian
from zeroth_order.steps import Plain, Step


@dataclass(frozen=True)
class RandomGradient(Descent):
    """Configuration; see the module."""

    id = "random-gradient"
    summary = "descent along differences of two values in random directions"
    paper = "Nesterov, Spokoiny, Random gradient-free minimization of convex functions, FoCM 17 (2017)"

    number: int = 1
    """Q >= 1, directions a step: Q + 1 queries, 2 Q with central differences. Paper: 1."""
    directions: Directions = Gaussian()
    """Law of the directions. Paper: Gaussian. Orthonormal ones have the lowest variance."""
    difference: Difference = Forward()
    """Forward or central differences. Paper: both, the rates are for forward ones."""
    gamma: Decay = Schedule(0.005)
    """Step size h, > 0. Paper: 1 / (4 (d + 4) L), L the largest curvature."""
    mu: Decay = Schedule(1e-3)
    """Spread radius, > 0, in the units of x. Paper: as small as the arithmetic allows."""
    step: Step = Plain()
    """What is done with the gradient. Paper: a plain step."""

    def __post_init__(self) -> None:
        check_range("number", self.number, 1)
        self.gamma.check("gamma")
        self.mu.check("mu")

    @property
    def pieces(self) -> Pieces:
        """As configured."""
        return Pieces(self.directions, self.number, self.difference, self.mu, self.step, self.gamma)
