"""The functional environment protocol, and the currencies in which everything here is counted.

    R runs · K points per run · E episodes per point · T time steps · O observation size · A action size

An environment is a pure function of its state, the action and the uniforms it is handed: no generator, no time, no
autoreset inside. Time limits, masks and accounting belong to `envs.rollout`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from envs.random import Stream

State = Any
"""A NamedTuple of tensors with one common shape [...] (or [..., n] for vector-valued parts)."""


class Cost(NamedTuple):
    """The currencies of sample complexity, int64 [R] each."""

    queries: Tensor
    """Evaluations of a point: one per point asked."""
    episodes: Tensor
    env_steps: Tensor
    hvps: Tensor
    """Hessian-vector products, one per trajectory (or per exact product)."""
    uplink_floats: Tensor
    """Sent by clients to their server."""
    downlink_floats: Tensor
    """Sent by the server to its clients."""

    @staticmethod
    def zeros(runs: int, device: torch.device | str = "cpu") -> "Cost":
        """No cost yet for `runs` runs."""
        return Cost(*(torch.zeros(runs, dtype=torch.int64, device=device) for _ in Cost._fields))

    @staticmethod
    def each(runs: int, device: torch.device | str = "cpu", **amounts: int | Tensor) -> "Cost":
        """The same amount, or [R] one per run, of the named currencies."""

        def column(amount: int | Tensor) -> Tensor:
            if isinstance(amount, Tensor):
                return amount.to(torch.int64).expand(runs)
            return torch.full((runs,), amount, dtype=torch.int64, device=device)

        return Cost(**{name: column(amount) for name, amount in (dict.fromkeys(Cost._fields, 0) | amounts).items()})

    def spread(self, rows: Tensor, runs: int) -> "Cost":
        """The cost of the runs `rows` [n], ascending, as that of all `runs`; the others cost nothing."""
        if len(rows) == runs:
            return self
        zero = Cost.zeros(runs, rows.device)
        return Cost(*(whole.index_copy(0, rows, part) for whole, part in zip(zero, self, strict=True)))

    def plus(self, other: "Cost") -> "Cost":
        """Sum of two costs."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


class Evaluation(NamedTuple):
    """What an objective answers."""

    values: Tensor
    """[R, K], lower is better; NaN marks a failed evaluation."""
    cost: Cost
    aux: dict[str, Tensor]


@dataclass(frozen=True)
class Discrete:
    """Actions 0 .. n-1, int64 without an action axis."""

    n: int


@dataclass(frozen=True)
class Box:
    """Real actions [..., size]; the bounds are the environment's to enforce."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        """A."""
        return len(self.low)


@dataclass(frozen=True)
class EnvSpec:
    """What is fixed about an environment."""

    id: str
    summary: str
    """One line for `zopg list`."""
    source: str
    """Paper or reference implementation."""
    observation_low: tuple[float, ...]
    observation_high: tuple[float, ...]
    action: Discrete | Box
    horizon: int
    """Time limit T; reaching it truncates."""
    reset_draws: int
    """Uniforms that one reset consumes."""
    transition_draws: int = 0
    """Uniforms that one transition consumes; 0 where the dynamics are deterministic."""
    threshold: float | None = None
    """Return at which the problem counts as solved."""

    @property
    def observation_size(self) -> int:
        """O."""
        return len(self.observation_low)


@dataclass(frozen=True, eq=False)
class Env(ABC):
    """A batch of independent copies of one environment, of any shape [R, K, E] or other.

    Equal only to itself: instances of one class may differ in tables that their specs do not show.
    """

    spec: EnvSpec
    device: torch.device
    dtype: torch.dtype

    @classmethod
    @abstractmethod
    def create(cls, device: torch.device, dtype: torch.dtype) -> Self:
        """The registered instance; an environment's own options are further keyword parameters with defaults."""

    @abstractmethod
    def initial(self, uniform: Tensor) -> State:
        """State drawn from the start distribution with `uniform` [..., reset_draws] in (0, 1)."""

    @abstractmethod
    def transition(self, state: State, action: Tensor, uniform: Tensor | None) -> tuple[State, Tensor, Tensor]:
        """One step: state, reward [...], terminated [...] bool.

        `action` is [...] int64 (Discrete) or [..., A] (Box); `uniform` is [..., transition_draws], None if that is 0.
        """

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """Observation [..., O]."""

    def truncated(self, state: State) -> Tensor | None:
        """[...] bool where the environment itself cuts an episode short of the horizon; None where it never does."""
        return None

    def reset(self, shape: tuple[int, ...], stream: Stream) -> State:
        """Fresh states of the given shape [R, ...]; the stream's lanes are broadcast to shape[1:]."""
        uniform = stream.uniform(self.spec.reset_draws, dtype=self.dtype)
        return self.initial(uniform.expand(*shape, self.spec.reset_draws))
