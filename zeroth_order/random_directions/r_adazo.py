"""R-AdaZO: refined adaptive zeroth-order optimization.

Shu, Zhang, He, Dai, "Refining adaptive zeroth-order optimization at ease" (ICML 2025, arXiv 2502.01014). Averaging the
estimates over iterations, as the first moment of Adam does, lowers their variance; so the second moment is taken of it
and not of the estimate, whose square is mostly noise:

    1  u_1 .. u_K  ~  uniform on the sphere of radius d^(1/2)
    2  evaluate f at x_t and all x_t + mu u_k
    3  g_t      <-  mean over k of (f(x_t + mu u_k) - f(x_t)) / mu * u_k
    4  m_t      <-  beta_1 m_{t-1} + (1 - beta_1) g_t
    5  v_t      <-  beta_2 v_{t-1} + (1 - beta_2) m_t^2                (ZO-AdaMM and Adam: g_t^2)
    6  x_{t+1}  <-  x_t - gamma m_t / (v_t + eps)^(1/2)

Lines 1 to 3 are `zeroth_order.random_directions.descent`, lines 4 to 6 `zeroth_order.steps.RefinedAdam`. Deviations:
none; failures as in `descent`.
"""

from dataclasses import dataclass

from envs.algorithm import Decay, Schedule, check_range
from zeroth_order.random_directions.descent import Descent, Pieces
from zeroth_order.random_directions.differences import Difference, Forward
from zeroth_order.random_directions.directions import Directions, UnitSphere
from zeroth_order.steps import RefinedAdam, Step


@dataclass(frozen=True)
class RAdaZO(Descent):
    """Configuration; see the module."""

    id = "r-adazo"
    summary = "Adam whose second moment is that of the first moment"
    paper = "Shu, Zhang, He, Dai, Refining adaptive zeroth-order optimization at ease, ICML (2025)"

    number: int = 10
    """K >= 1, directions a step: K + 1 queries, 2 K with central differences. The authors' example: 10."""
    directions: Directions = UnitSphere()
    """Law of the directions. Paper: the unit sphere."""
    difference: Difference = Forward()
    """Forward or central differences. Paper: forward."""
    gamma: Decay = Schedule(0.05, 0.5)
    """Step size eta, > 0, in the units of x. The authors' code: a constant 0.001."""
    mu: Decay = Schedule(1e-3)
    """Spread radius, > 0, in the units of x. The authors' code: 0.005 times a unit vector."""
    step: Step = RefinedAdam(beta2=0.99)
    """Lines 4 to 6; Adam in its place is ZO-AdaMM without the maximum. The authors' example: betas 0.9 and 0.99."""

    def __post_init__(self) -> None:
        check_range("number", self.number, 1)
        self.gamma.check("gamma")
        self.mu.check("mu")

    @property
    def pieces(self) -> Pieces:
        """As configured."""
        return Pieces(
            directions=self.directions,  # l.1
            number=self.number,
            difference=self.difference,  # l.2, l.3
            mu=self.mu,
            step=self.step,  # l.4, l.5, l.6
            gamma=self.gamma,
        )
