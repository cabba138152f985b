"""PAGE-PG: probabilistic gradient estimation for policy gradients.

Gargiani, Zanelli, Martinelli, Summers, Lygeros (ICML 2022, arXiv 2202.00308), Algorithm 1. SRVR-PG without its inner
loop: a coin decides whether a large batch renews the estimate or a small one carries it over to the new iterate.

    1  c_t <- 1 if t = 0, else 1 with probability p, else 0
    2  tau ~ p(. | pi_theta_t): N trajectories if c_t = 1, else B
    3  d_t <- g(tau, theta_t)                                                    if c_t = 1
    4  d_t <- d_{t-1} + g(tau, theta_t) - g_w(tau, theta_{t-1})                  if c_t = 0
    5  theta_{t+1} <- theta_t - gamma_t d_t             (the paper maximises J; here f = -J is minimised)

g_w(tau, theta') is the gradient at theta' from trajectories of theta_t, weighted per decision (`rl.estimators`).

Deviations from the paper: all runs share the coin, which is drawn from `coin_seed` and t alone, because runs that are
computed together take batches of one size. So run r is the same alone and among others, but an interval over seeds
leaves out what the coin contributes; other values of `coin_seed` show it. The last iterate is evaluated, where the
theorem is about one drawn uniformly from all. The step is plain, without Adam.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics, Schedule, along_runs, check_range
from envs.random import Purpose, Stream, streams
from rl.core import Oracle, PolicyGradient
from rl.importance import weight_metrics


class State(NamedTuple):
    """Two iterates, the estimate and the last toss."""

    theta: Tensor
    """[R, d] iterate, the one that is evaluated"""
    theta_prev: Tensor
    """[R, d]"""
    direction: Tensor
    """[R, d] estimated gradient d_t"""
    coin: bool
    """c_t, whether this iteration takes the large batch"""
    t: int


@dataclass(frozen=True)
class PAGEPG(PolicyGradient):
    """Probabilistic gradient estimation for policy gradients."""

    id: ClassVar[str] = "page-pg"
    summary: ClassVar[str] = "recursive variance reduction, renewed at random (PAGE)"
    paper: ClassVar[str] = "Gargiani, Zanelli, Martinelli, Summers, Lygeros 2022, Algorithm 1"

    gamma: Schedule = Schedule(0.005)
    """Step size gamma_t > 0. Paper: a constant."""
    probability: float = 1 / 6
    """Probability p in (0, 1] of a large batch; 1 is REINFORCE. PAGE (Li et al. 2021): B / (N + B); potion: 0.8."""
    batch: int = 25
    """Points of a large batch >= 1, N = batch * E trajectories with E = Estimator.episodes. Potion: N = 100."""
    minibatch: int = 5
    """Points of a small batch >= 1, B = minibatch * E trajectories. Potion: B = 10."""
    coin_seed: int = 0
    """Seed >= 0 of the coin that all runs share."""

    def __post_init__(self) -> None:
        self.gamma.check("gamma")
        if isinstance(self.probability, Tensor):
            raise ValueError(f"probability = {self.probability.tolist()} must be one number: all runs share the coin")
        check_range("probability", self.probability, 0.0, 1.0, open_low=True)
        check_range("batch", self.batch, 1)
        check_range("minibatch", self.minibatch, 1)
        check_range("coin_seed", self.coin_seed, 0)

    def toss(self, t: int) -> bool:
        """c_t."""
        # Drawn on the host, because it decides the shape of what is asked; no device has to be waited for.
        uniform = streams([self.coin_seed]).fold(Purpose.ASK).at(t).uniform(1)
        return t == 0 or float(uniform) < self.probability

    @property
    def uniform(self) -> bool:
        """A coin says how large a batch is."""
        return False

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d]."""
        return State(x0, x0, torch.zeros_like(x0), True, 0)

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """Copies of the iterate, [R, K, d]."""
        coin = self.toss(state.t)  # l.1
        copies = self.batch if coin else self.minibatch
        return state.theta[:, None].expand(-1, copies, -1), state._replace(coin=coin)  # l.2

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step."""
        oracle, previous = feedback.at_point(0, copies=points.shape[1]), state.theta_prev[:, None]
        direction = gradient = oracle.gradient()[:, 0]  # l.3
        if not state.coin:
            direction = state.direction + gradient - oracle.gradient(at=previous)[:, 0]  # l.4
        theta = state.theta - along_runs(self.gamma(state.t), direction) * direction  # l.5
        metrics = {"gradient_norm": gradient.norm(dim=-1), "direction": direction}
        told = state._replace(theta=theta, theta_prev=state.theta, direction=direction, t=state.t + 1)
        return told, metrics | weight_metrics(oracle.log_weights(previous))

    def recommend(self, state: State) -> Tensor:
        """Theta [R, d]."""
        return state.theta
