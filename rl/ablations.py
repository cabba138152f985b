"""N-PG-IGT with one part changed, to measure what that part does. Not meant for anything else.

PG-IGT leaves the step unnormalized. The lagged variant extrapolates with the eta of the previous iteration, as the
authors' published code does, so the drift of the averaged gradient is not cancelled. Otherwise Algorithm 1 of
Fatkhullin, Barakat, Kireeva, He (ICML 2023), see `rl.n_pg_igt`:

    1  lookahead <- theta_t + (1 - eta_{t-1}) / eta_{t-1} * (theta_t - theta_{t-1})     (lagged; else eta_t)
    2  theta_{t+1} <- theta_t - gamma_t d_t                                             (PG-IGT; else d_t / |d_t|)

Deviations from the paper: those two lines.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from envs.algorithm import Schedule
from envs.random import Stream
from rl.n_pg_igt import NPGIGT, State


@dataclass(frozen=True)
class LaggedNPGIGT(NPGIGT):
    """N-PG-IGT with the published code's off-by-one eta."""

    id: ClassVar[str] = "n-pg-igt-lagged"
    summary: ClassVar[str] = "ablation: N-PG-IGT with the published code's lagged eta"

    @property
    def uniform(self) -> bool:
        """The first two iterations have the same eta."""
        return False

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """Points [R, 1, d] at which to sample."""
        points, _ = super().ask(state._replace(t=max(state.t - 1, 0)), stream)  # l.1
        return points, state


@dataclass(frozen=True)
class PGIGT(NPGIGT):
    """N-PG-IGT without normalization."""

    id: ClassVar[str] = "pg-igt"
    summary: ClassVar[str] = "ablation: N-PG-IGT whose step is not normalized"

    gamma: Schedule = Schedule(0.01, 1.0)
    """Step size gamma_t > 0, in units of parameters squared per return. Ours; the paper normalizes."""

    def step(self, direction: Tensor) -> Tensor:
        """The direction itself."""
        return direction  # l.2
