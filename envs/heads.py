"""What turns a network's outputs into actions: categorical, diagonal Gaussian, and their deterministic modes."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.core import Box, Discrete
from envs.random import Stream


@dataclass(frozen=True)
class Head(ABC):
    """Distribution over actions given network outputs [..., size] and free parameters [..., extra]."""

    size: int
    """Outputs of the network: n logits or A means."""

    @property
    def extra(self) -> int:
        """Free parameters beyond the network's, at the end of the flat vector."""
        return 0

    @property
    def constants(self) -> tuple[float, ...]:
        """Numbers that follow the free parameters in `extra` below, but are not learned."""
        return ()

    @property
    @abstractmethod
    def draws(self) -> int:
        """Random numbers that one action consumes; 0 for a deterministic head."""

    def noise(self, stream: Stream, size: int, start: int, dtype: torch.dtype) -> Tensor:
        """Random numbers for `size` draws from position `start`, [R, *L, size]."""
        return stream.uniform(size, start, dtype)

    @abstractmethod
    def sample(self, outputs: Tensor, extra: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Action and its log-probability [...], from `noise` [..., draws]."""

    @abstractmethod
    def log_prob(self, outputs: Tensor, extra: Tensor, action: Tensor) -> Tensor:
        """log pi(action), [...]."""

    @abstractmethod
    def greedy(self) -> "Head":
        """The deterministic head with the same parameters that takes the most likely action."""

    def initial(self) -> float:
        """Initial value of the free parameters."""
        return 0.0


def _log_softmax(outputs: Tensor) -> Tensor:
    # The forward derivatives of torch.log_softmax and logsumexp work in place, so neither can be differentiated once
    # more in reverse, as Hessian-vector products need.
    shifted = outputs - outputs.detach().amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


@dataclass(frozen=True)
class Categorical(Head):
    """Softmax over n logits; one uniform per action, by inverse distribution function."""

    @property
    def draws(self) -> int:
        """One uniform."""
        return 1

    def sample(self, outputs: Tensor, extra: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest action whose cumulative probability reaches the uniform."""
        log_probs = torch.log_softmax(outputs, -1)
        action = (noise > log_probs.exp().cumsum(-1)[..., :-1]).sum(-1)
        return action, log_probs.gather(-1, action[..., None])[..., 0]

    def log_prob(self, outputs: Tensor, extra: Tensor, action: Tensor) -> Tensor:
        """Log-softmax at the action [...] int64."""
        return _log_softmax(outputs).gather(-1, action[..., None])[..., 0]

    def greedy(self) -> Head:
        """Argmax."""
        return Greedy(self.size, discrete=True)


@dataclass(frozen=True)
class Gaussian(Head):
    """Diagonal Gaussian with a mean from the network and a state-independent log standard deviation."""

    log_std: float = 0.0
    """Initial log standard deviation."""
    learn_std: bool = True
    """Whether the log standard deviations are parameters; otherwise they stay what they are."""

    @property
    def extra(self) -> int:
        """A log standard deviations, where they are learned."""
        return self.size if self.learn_std else 0

    @property
    def constants(self) -> tuple[float, ...]:
        """A log standard deviations, where they are not learned."""
        return () if self.learn_std else (self.log_std,) * self.size

    @property
    def draws(self) -> int:
        """A normals."""
        return self.size

    def noise(self, stream: Stream, size: int, start: int, dtype: torch.dtype) -> Tensor:
        """Standard normals."""
        return stream.normal(size, start, dtype)

    def sample(self, outputs: Tensor, extra: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean + std * noise; unclipped, as bounds are the environment's to enforce."""
        return outputs + extra.exp() * noise, self._log_density(noise, extra)

    def log_prob(self, outputs: Tensor, extra: Tensor, action: Tensor) -> Tensor:
        """Log-density at the action [..., A]."""
        return self._log_density((action - outputs) * torch.exp(-extra), extra)

    def _log_density(self, standard: Tensor, log_std: Tensor) -> Tensor:
        return (-0.5 * standard.square() - log_std).sum(-1) - 0.5 * self.size * math.log(2 * math.pi)

    def greedy(self) -> Head:
        """The mean."""
        return Greedy(self.size, discrete=False, unused=self.extra)

    def initial(self) -> float:
        """Initial log standard deviation."""
        return self.log_std


@dataclass(frozen=True)
class Greedy(Head):
    """Deterministic: the argmax of n outputs, or the outputs themselves."""

    discrete: bool
    unused: int = 0
    """Free parameters that are carried along but have no effect, as those of the stochastic head this came from."""

    @property
    def extra(self) -> int:
        """The unused ones."""
        return self.unused

    @property
    def draws(self) -> int:
        """None."""
        return 0

    def sample(self, outputs: Tensor, extra: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The action, with log-probability 0."""
        return (outputs.argmax(-1) if self.discrete else outputs), outputs.new_zeros(outputs.shape[:-1])

    def log_prob(self, outputs: Tensor, extra: Tensor, action: Tensor) -> Tensor:
        """Raises TypeError: a deterministic policy has no density to differentiate."""
        raise TypeError("a deterministic policy has no log-probability; use a Categorical or Gaussian head")

    def greedy(self) -> Head:
        """Itself."""
        return self


def stochastic_head(action: Discrete | Box) -> Head:
    """Categorical for discrete actions, Gaussian for real ones."""
    return Categorical(action.n) if isinstance(action, Discrete) else Gaussian(action.size)


def deterministic_head(action: Discrete | Box) -> Head:
    """Argmax for discrete actions, the outputs themselves for real ones; no free parameters."""
    size = action.n if isinstance(action, Discrete) else action.size
    return Greedy(size, discrete=isinstance(action, Discrete))
