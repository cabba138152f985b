"""The one loop's contract with an algorithm, and the schedules that algorithms are configured with.

Policy gradient agents and derivative-free optimizers ask for points and are told what was found there:

    state         = algorithm.init(x0 [R, d], stream)
    points, state = algorithm.ask(state, stream)              [R, K, d]
    state, metric = algorithm.tell(state, points, feedback)   metrics [R]
    answer        = algorithm.recommend(state)                [R, d], what is evaluated

It lives on the ground floor because `rl` and `zeroth_order` share it and never import each other. Everything minimises.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from envs.random import Stream

Numeric: TypeAlias = float | Tensor
"""A hyper-parameter: one number, or [R] one per run, so that a sweep is one batch."""

Metrics: TypeAlias = dict[str, Tensor]


def along_runs(value: Numeric, like: Tensor) -> Numeric:
    """A hyper-parameter shaped to multiply `like` [R, ...]: numbers stay, [R] gets trailing axes and its type."""
    return value.to(like).view(-1, *(1,) * (like.dim() - 1)) if isinstance(value, Tensor) else value


def exact(t: int | Tensor) -> int | Tensor:
    """The number of an iteration, as a tensor [] in float64: by itself it would be divided in float32."""
    return t.double() if isinstance(t, Tensor) and t.dim() == 0 else t


class Decay(ABC):
    """A hyper-parameter that falls, or stays, as the iterations go by: plain data that is called with the iteration."""

    @abstractmethod
    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""

    @abstractmethod
    def check(self, name: str, high: float = float("inf")) -> None:
        """Raise ValueError naming `name` and the field that is out of range; values have to be in (0, high]."""


@dataclass(frozen=True)
class Schedule(Decay):
    """t -> max(scale * (2 / (t + 2))^exponent, floor): every schedule of the policy gradient papers, and constants.

    At t = 0 it is `scale`. Plain data, so it can be printed, hashed and given on the command line.
    """

    scale: Numeric
    """Value at t = 0, > 0."""
    exponent: Numeric = 0.0
    """Decay p >= 0; 0 keeps it constant."""
    floor: Numeric = 0.0
    """Smallest value, >= 0."""

    def __call__(self, t: int | Tensor) -> Numeric:
        """Value at iteration t, a number or [R]; [] or [R] for a tensor []."""
        value = self.scale * (2.0 / (exact(t) + 2.0)) ** self.exponent
        if isinstance(value, Tensor):
            return value.clamp(min=self.floor)
        if isinstance(self.floor, Tensor):
            return self.floor.clamp(min=value)
        return max(value, self.floor)

    def check(self, name: str, high: float = float("inf")) -> None:
        """Raise ValueError naming `name` unless 0 < scale <= high, exponent >= 0 and 0 <= floor <= high."""
        check_range(f"{name}.scale", self.scale, 0.0, high, open_low=True)
        check_range(f"{name}.exponent", self.exponent, 0.0)
        check_range(f"{name}.floor", self.floor, 0.0, high)


def check_range(
    name: str, value: Numeric, low: float = -float("inf"), high: float = float("inf"), open_low: bool = False
) -> None:
    """Raise ValueError naming the field, the value and what is allowed unless low <= value <= high."""
    numbers = torch.as_tensor(value, dtype=torch.float64)
    inside = torch.isfinite(numbers) & (numbers <= high) & ((numbers > low) if open_low else (numbers >= low))
    if not bool(inside.all()):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}]"
        shown = value.tolist() if isinstance(value, Tensor) else value
        raise ValueError(f"{name} = {shown} is not in {interval}")


class Request(NamedTuple):
    """Which clients are to evaluate the points that a federated algorithm asked, what for, and what is sent for it."""

    clients: Tensor
    """[R, K] int64, the client of each point; -1: the server needs no value there, and nothing is charged."""
    purposes: tuple[str, ...]
    """[K] what the points are for; the ledger keeps them apart."""
    uplink: Tensor
    """[R] int64, floats that the clients send to the server because of this iteration, all clients together."""
    downlink: Tensor
    """[R] int64, floats that the server sends to the clients."""


class Algorithm(ABC):
    """Base of `rl.PolicyGradient` and `zeroth_order.Optimizer`; an algorithm is a frozen dataclass of its settings."""

    id: ClassVar[str]
    """Name on the command line."""
    summary: ClassVar[str]
    """One line for `zopg list`."""
    paper: ClassVar[str]

    @property
    def uniform(self) -> bool:
        """Whether iterations differ in numbers alone, so that one can be recorded and replayed on a GPU.

        Then the numbers of the state that change may be tensors [], and no branch in Python depends on them.
        """
        return True

    @abstractmethod
    def init(self, x0: Tensor, stream: Stream) -> Any:
        """State at x0 [R, d]: a NamedTuple of tensors with the run axis first, and of numbers shared by all runs."""

    @abstractmethod
    def ask(self, state: Any, stream: Stream) -> tuple[Tensor, Any]:
        """Points [R, K, d] to evaluate; `stream` is this iteration's."""

    @abstractmethod
    def tell(self, state: Any, points: Tensor, feedback: Any) -> tuple[Any, Metrics]:
        """The next state, and metrics [R]."""

    @abstractmethod
    def recommend(self, state: Any) -> Tensor:
        """The iterate, [R, d]."""

    def request(self, state: Any) -> Request | None:
        """Who evaluates the points just asked, for a federated algorithm; `state` is `ask`'s."""
        return None

    def stop(self, state: Any) -> dict[str, Tensor]:
        """The algorithm's own reasons to stop, [R] bool each."""
        return {}

    def keep(self, active: Tensor, new: Any, old: Any) -> Any:
        """The new state for active runs [R], the old one for the others; what is shared by all runs is new."""

        def choose(after: Any, before: Any) -> Any:
            if not isinstance(after, Tensor) or after.dim() == 0:
                return after
            return torch.where(active.view(-1, *(1,) * (after.dim() - 1)), after, before)

        return type(new)(*(choose(after, before) for after, before in zip(new, old, strict=True)))

    def pack(self, state: Any) -> dict[str, Tensor | int | float]:
        """Everything `unpack` needs to continue exactly; what is not a tensor or a number has to be turned into one."""
        return state._asdict()

    def unpack(self, initial: Any, parts: dict[str, Any]) -> Any:
        """The packed state; `initial` is `init`'s state for the same x0 and stream."""
        return initial._replace(**parts)
