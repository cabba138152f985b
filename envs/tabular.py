"""RandomMDP-v0: a finite Markov decision process given by tables, whose expected return has a closed form.

S states, A actions. Observations are one-hot, so that a linear softmax policy is the tabular softmax policy.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.core import Discrete, Env, EnvSpec
from envs.optimal import best_distributions, check_question
from envs.random import Purpose, streams

RANDOM_STARTS = 256
"""Deterministic policies from which the best stationary one is searched, besides those of dynamic programming."""


class TabularState(NamedTuple):
    """Index of the state, [...] int64."""

    s: Tensor


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Index [...] drawn from `probabilities` [..., S] with `uniform` [...], by inverting the distribution function."""
    return invert(probabilities.cumsum(-1), uniform)


def invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Index [...] at which the distribution function `cumulative` [..., S] reaches `uniform` [...]."""
    # Rounding may leave the last sum off one; scaled by it, trailing entries of probability zero are not drawn.
    return (uniform[..., None] * cumulative[..., -1:] > cumulative).sum(-1)


def check_tables(P: Tensor, r: Tensor, rho: Tensor) -> None:
    """Raise ValueError unless the tables fit each other, P and rho hold distributions and r is finite."""
    shape = tuple(P.shape)
    if P.dim() != 3 or shape[0] != shape[2] or 0 in shape:
        raise ValueError(f"P has shape {shape}, it must be (S, A, S)")
    if r.shape != shape[:2]:
        raise ValueError(f"r has shape {tuple(r.shape)}, with P of shape {shape} it must be {shape[:2]}")
    if rho.shape != shape[:1]:
        raise ValueError(f"rho has shape {tuple(rho.shape)}, with P of shape {shape} it must be {shape[:1]}")
    check_probabilities("P", P)
    check_probabilities("rho", rho)
    check_range("r", r)


def check_probabilities(name: str, table: Tensor) -> None:
    """Raise ValueError naming `name` unless entries are >= 0 and sum to one along the last axis."""
    if not bool((table >= 0.0).all()):
        raise ValueError(f"{name} has entries that are negative or NaN, the smallest is {table.min():g}")
    error = (table.sum(-1) - 1.0).abs().max()
    if not bool(error <= 1e-5):
        raise ValueError(f"{name} must sum to one along its last axis, it is off by up to {error:g}")


@dataclass(frozen=True, eq=False)
class TabularMDP(Env):
    """The environment; see the module. Built by `create`, `random` or `of`."""

    P: Tensor
    """[S, A, S'] transition probabilities."""
    r: Tensor
    """[S, A] rewards."""
    rho: Tensor
    """[S] start distribution."""

    @classmethod
    def create(cls, device: torch.device, dtype: torch.dtype, states: int = 5, actions: int = 3, seed: int = 0) -> Self:
        """The random process of the given size and seed, with horizon 20."""
        return cls.random(states, actions, seed, device, dtype)

    @classmethod
    def random(
        cls,
        states: int,
        actions: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Rows of P and rho drawn from Dirichlet(1), rewards uniform in [0, 1]: the same tables on every device.

        Raises ValueError for states < 1, actions < 1 or seed < 0.
        """
        check_range("states", states, 1)
        check_range("actions", actions, 1)
        sizes = [states * actions * states, states * actions, states]
        uniform = streams([seed]).fold(Purpose.INSTANCE).uniform(sum(sizes), dtype=torch.float64)[0]
        rows, r, start = uniform.split(sizes)
        # Independent exponentials divided by their sum are Dirichlet(1).
        P, rho = -torch.log(rows).view(states, actions, states), -torch.log(start)
        return cls.of(P / P.sum(-1, keepdim=True), r.view(states, actions), rho / rho.sum(), device, dtype)

    @classmethod
    def of(
        cls,
        P: Tensor,
        r: Tensor,
        rho: Tensor,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """The process of the given tables P [S, A, S'], r [S, A] and rho [S], with horizon 20.

        Raises ValueError for tables of the wrong shape, or P and rho that are no distributions along their last axis.
        """
        check_tables(P, r, rho)
        states, actions = r.shape
        spec = EnvSpec(
            id="RandomMDP-v0",
            summary="finite decision process with one-hot observations; the exact return is known",
            source="own construction: Dirichlet(1) transitions, uniform rewards",
            observation_low=(0.0,) * states,
            observation_high=(1.0,) * states,
            action=Discrete(actions),
            horizon=20,
            reset_draws=1,
            transition_draws=1,
        )
        device = torch.device(device)
        return cls(spec, device, dtype, *(table.to(device, dtype) for table in (P, r, rho)))

    @cached_property
    def distribution_functions(self) -> tuple[Tensor, Tensor]:
        """Of P, [S, A, S'], and of rho, [S]."""
        return self.P.cumsum(-1), self.rho.cumsum(-1)

    def initial(self, uniform: Tensor) -> TabularState:
        """Drawn from rho."""
        return TabularState(invert(self.distribution_functions[1], uniform[..., 0]))

    def transition(
        self, state: TabularState, action: Tensor, uniform: Tensor | None
    ) -> tuple[TabularState, Tensor, Tensor]:
        """One step; the reward is that of the old state and the action. Never terminates. Needs `uniform`."""
        assert uniform is not None
        following = invert(self.distribution_functions[0][state.s, action], uniform[..., 0])
        return TabularState(following), self.r[state.s, action], torch.zeros_like(following, dtype=torch.bool)

    def observe(self, state: TabularState) -> Tensor:
        """One-hot, [..., S]."""
        return torch.nn.functional.one_hot(state.s, self.spec.observation_size).to(self.dtype)

    def exact_return(self, policy: Tensor, horizon: int, discount: float) -> Tensor:
        """Expected discounted return [...] in float64 of `policy` [..., S, A], the probability of each action.

        By dynamic programming backwards in time, differentiable in the policy:
        V_h(s) = sum_a pi(a|s) (r(s, a) + discount sum_s' P(s'|s, a) V_{h-1}(s')).
        Raises ValueError for a wrong shape, horizon < 1 or discount outside [0, 1].
        """
        self._check(policy, horizon, discount)
        policy, value = policy.double(), torch.zeros_like(policy[..., 0], dtype=torch.float64)
        for _ in range(horizon):
            value = (policy * self._backup(value, discount)).sum(-1)
        return (self.rho.double() * value).sum(-1)

    def visitation(self, policy: Tensor, horizon: int, discount: float) -> Tensor:
        """sum_{t < horizon} discount^t P(s_t = s) of `policy` [..., S, A], in float64, [..., S].

        Forwards in time; the sum over s is that of discount^t. Raises ValueError as `exact_return`.
        """
        self._check(policy, horizon, discount)
        policy, P = policy.double(), self.P.double()
        present = self.rho.double().expand(policy.shape[:-1])
        total = present
        for _ in range(horizon - 1):
            present = discount * torch.einsum("...s,...sa,sat->...t", present, policy, P)
            total = total + present
        return total

    def optimal_return(self, horizon: int, discount: float) -> float:
        """Supremum of `exact_return` over stationary Markov policies, deterministic or not; softmax ones approach it.

        It is not the optimum of dynamic programming, whose policy depends on the time left and which is only an upper
        bound. It is found by ascent from more than 200 starts, see envs/optimal.py: the value of a policy, hence never
        above the supremum; the tests compare it with all policies of small processes. Raises ValueError as
        `exact_return`.
        """
        check_question(horizon, discount)
        starts = self._starts(horizon, discount)
        best = best_distributions(lambda policy: self.exact_return(policy, horizon, discount), starts)
        return float(self.exact_return(best, horizon, discount))

    def _backup(self, value: Tensor, discount: float) -> Tensor:
        """Action values [..., S, A] one step before `value` [..., S]."""
        return self.r.double() + discount * torch.einsum("sat,...t->...sa", self.P.double(), value)

    def _starts(self, horizon: int, discount: float) -> Tensor:
        """Policies [n, S, A]: the uniform one, those that are best with 1 .. horizon steps left, and random ones."""
        states, actions = self.r.shape
        uniform = streams([0], self.device).fold(Purpose.INITIAL).uniform(RANDOM_STARTS * states, dtype=torch.float64)
        choices = [(uniform * actions).long().view(RANDOM_STARTS, states)]
        value = torch.zeros_like(self.rho, dtype=torch.float64)
        for _ in range(horizon):
            backup = self._backup(value, discount)
            choices.append(backup.argmax(-1)[None])
            value = backup.amax(-1)
        pure = torch.nn.functional.one_hot(torch.cat(choices).unique(dim=0), actions).double()
        return torch.cat((torch.full_like(pure[:1], 1.0 / actions), pure))

    def _check(self, policy: Tensor, horizon: int, discount: float) -> None:
        if policy.shape[-2:] != self.r.shape:
            raise ValueError(f"policy has shape {tuple(policy.shape)}, it must end in {tuple(self.r.shape)}")
        check_question(horizon, discount)
