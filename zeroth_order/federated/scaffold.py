"""SCAFFOLD with estimated gradients: control variates against the drift of heterogeneous clients.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic controlled averaging for federated learning" (ICML
2020), options I and II. Every client has a control c_c, the server their mean c. With line numbers of
`zeroth_order.federated.rounds`:

    1a  c_c <- g_c(x),  estimated anew at the server's point                   option I, at the beginning of a round
    3   x_c <- P(x_c + step(g_c - c_c + c))
    4a  c_c <- the mean of the round's g_c                                     option II, at the end of a round
    5   c   <- sum_c p_c c_c

Deviations: option II of the paper has c_c - c + (x - x_c) / (T gamma), which is the mean of the round's g_c where steps
are plain, and has no meaning where they are Adam's. Clients that do not take part keep their control. Option I costs
Q + 1 more queries a client and round, which are charged (the published comparison leaves them out).
"""

from abc import ABC
from dataclasses import dataclass

from torch import Tensor

from zeroth_order.federated.rounds import Rounds, RoundState


@dataclass(frozen=True)
class Scaffold(Rounds, ABC):
    """What both options share: line 3."""

    paper = "Karimireddy et al., SCAFFOLD, ICML (2020)"

    @property
    def control_floats(self) -> int:
        """c_c goes up and c comes down."""
        return 1

    def corrected(self, state: RoundState, gradient: Tensor) -> Tensor:
        """g_c - c_c + c."""
        return gradient - self._of_round(state) + self._mean_control(state)  # l.3

    def _mean_control(self, state: RoundState) -> Tensor:
        """c, [R, 1, d]: over all clients, those that never took part with 0."""
        everyone = state.chosen.new_tensor(range(self.federation.clients)).expand(len(state.x), -1)
        return self.federation.mean(state.controls, everyone)[:, None]  # l.5


@dataclass(frozen=True)
class ScaffoldI(Scaffold):
    """Configuration of option I; see the module."""

    id = "scaffold-i"
    summary = "SCAFFOLD, controls estimated at the server's point"

    @property
    def asks_for_controls(self) -> bool:
        """Line 1a."""
        return True


@dataclass(frozen=True)
class ScaffoldII(Scaffold):
    """Configuration of option II; see the module."""

    id = "scaffold-ii"
    summary = "SCAFFOLD, controls from the last round's local gradients"

    def closed(self, state: RoundState) -> Tensor:
        """The mean of the local gradients."""
        return self._kept(state, state.sums / self.steps)  # l.4a
