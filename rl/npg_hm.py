"""NPG-HM: natural policy gradient with Hessian-aided momentum.

Feng, Wei, Chen, "Global convergence of natural policy gradient with Hessian-aided momentum variance reduction" (Journal
of Scientific Computing 2024, arXiv 2401.01084). The momentum d_t is that of HARPG (`rl.harpg`, lines 1 to 4). The step
is along the natural gradient F^-1 d_t, found by SGD on w' F w / 2 - <d_t, w>:

    1  tau_h ~ p(. | pi_theta_t),  h = 0 .. H - 1;  w_0 <- 0
    2  w_{h+1} <- w_h - zeta (F(tau_h, theta_t) w_h - d_t)
    3  w <- mean of w_h over H/2 < h <= H;  theta_{t+1} <- theta_t - gamma_t w       (f = -J is minimised)

Deviations from the paper: F comes from whole trajectories of the horizon instead of single state-action pairs and is
the paper's divided by 1 - discount; the start of SGD at 0 and its average over the second half are ours where the
paper's text could not be consulted.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.algorithm import Numeric, Schedule, along_runs, check_range
from rl.core import Oracle
from rl.harpg import HessianAided


@dataclass(frozen=True)
class NPGHM(HessianAided):
    """Natural policy gradient with Hessian-aided momentum."""

    id: ClassVar[str] = "npg-hm"
    summary: ClassVar[str] = "natural policy gradient with Hessian-aided momentum"
    paper: ClassVar[str] = "Feng, Wei, Chen 2024"
    natural: ClassVar[bool] = True

    gamma: Schedule = Schedule(0.1, 0.5)
    """Step size gamma_t > 0 (the paper's alpha_t)."""
    eta: Schedule = Schedule(1.0, 1.0)
    """Momentum weight eta_t in (0, 1] (the paper's beta_t). HARPG's: 2 / (t + 2)."""
    inner: int = 20
    """H >= 2, iterations of SGD and trajectories for them."""
    zeta: Numeric = 0.005
    """Step size of SGD, > 0; diverges above 2 / largest eigenvalue of F."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("inner", self.inner, 2)
        check_range("zeta", self.zeta, 0.0, open_low=True)

    @property
    def extra(self) -> int:
        """H."""
        return self.inner  # l.1 is the problem's

    def step(self, direction: Tensor, feedback: Oracle) -> Tensor:
        """F^-1 d_t, approximately."""
        zeta = along_runs(self.zeta, direction)
        w = total = torch.zeros_like(direction)
        for h in range(self.inner):
            w = w - zeta * (feedback.at_point(1 + h).fisher_vp(w[:, None])[:, 0] - direction)  # l.2
            if h >= self.inner // 2:
                total = total + w
        return total / (self.inner - self.inner // 2)  # l.3
