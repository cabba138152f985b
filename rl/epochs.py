"""What SVRPG and SRVR-PG share: a large batch at the beginning of every epoch, small ones in between."""

from abc import ABC
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from envs.algorithm import Schedule, check_range
from envs.random import Stream
from rl.core import PolicyGradient


@dataclass(frozen=True)
class Epochs(PolicyGradient, ABC):
    """An agent whose state has the iterate `theta` [R, d] and the number `t` of iterations so far."""

    gamma: Schedule = Schedule(0.005)
    """Step size gamma_t > 0. Papers: a constant; SRVR-PG authors' code: 0.005, of Adam."""
    batch: int = 25
    """Points of a large batch >= 1, N = batch * E trajectories, E = Estimator.episodes. SRVR-PG authors' code: 25."""
    minibatch: int = 10
    """Points of a small batch >= 1, B = minibatch * E trajectories. SRVR-PG authors' code: 10 for SVRPG, 5 for its."""
    epoch: int = 3
    """Iterations from one large batch to the next, m >= 1; 1 is REINFORCE. SRVR-PG authors' code: 3."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        for name in ("batch", "minibatch", "epoch"):
            check_range(name, getattr(self, name), 1)

    def begins(self, t: int) -> bool:
        """Whether iteration t has a large batch."""
        return t % self.epoch == 0

    @property
    def uniform(self) -> bool:
        """Each epoch begins with a large batch."""
        return False

    def ask(self, state: Any, stream: Stream) -> tuple[Tensor, Any]:
        """Copies of the iterate, [R, K, d], each with E trajectories."""
        copies = self.batch if self.begins(state.t) else self.minibatch
        return state.theta[:, None].expand(-1, copies, -1), state

    def recommend(self, state: Any) -> Tensor:
        """Theta [R, d]."""
        return state.theta
