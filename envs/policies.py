"""Stateless policies on flat parameter vectors [..., d].

A flat vector holds weight and bias of each layer in torch's order and layout, then the head's free parameters, so it is
what `torch.nn.utils.parameters_to_vector` gives for the module that `to_module` builds.
"""

import math
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from envs.core import Discrete, EnvSpec
from envs.heads import Categorical, Greedy, Head, stochastic_head
from envs.random import Stream


class Weights(NamedTuple):
    """A flat vector [..., d] cut into layers, with the leading axes flattened to B."""

    layers: tuple[tuple[Tensor, Tensor | None], ...]
    """(weight^T [B, in, out], bias [B, 1, out] or None) each."""
    extra: Tensor
    """[B, 1, extra], the head's free parameters and constants."""


def _scaled_uniform(bound: Callable[[int, int], float]) -> Callable[[Stream, int, int, torch.dtype], Tensor]:
    def draw(stream: Stream, fan_out: int, fan_in: int, dtype: torch.dtype) -> Tensor:
        return (2 * stream.uniform(fan_out * fan_in, dtype=dtype) - 1) * bound(fan_in, fan_out)

    return draw


def _orthogonal(stream: Stream, fan_out: int, fan_in: int, dtype: torch.dtype) -> Tensor:
    tall = stream.normal(fan_out * fan_in, dtype=dtype).unflatten(-1, (max(fan_out, fan_in), min(fan_out, fan_in)))
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[..., None, :]  # makes the distribution uniform (Haar)
    return (q if fan_out >= fan_in else q.mT).flatten(-2)


INITIALISATIONS: dict[str, Callable[[Stream, int, int, torch.dtype], Tensor]] = {
    "xavier-uniform": _scaled_uniform(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "torch-default": _scaled_uniform(lambda fan_in, fan_out: 1 / math.sqrt(fan_in)),
    "orthogonal": _orthogonal,
    "standard-normal": lambda stream, fan_out, fan_in, dtype: stream.normal(fan_out * fan_in, dtype=dtype),
    "zeros": lambda stream, fan_out, fan_in, dtype: torch.zeros(
        len(stream.seeds), fan_out * fan_in, dtype=dtype, device=stream.seeds.device
    ),
}
"""How weight matrices start; biases start at 0.

xavier-uniform: Glorot and Bengio (2010), the N-PG-IGT authors' code. torch-default: torch.nn.Linear's weights.
orthogonal: Saxe et al. (2014), as in PPO codes, gain 1. standard-normal: the CBO papers. zeros: a uniform policy."""


@dataclass(frozen=True)
class Network(ABC):
    """A tanh network with a head; abstract: use `Linear` or `MLP`."""

    spec: EnvSpec
    hidden: tuple[int, ...]
    head: Head
    bias: bool = True
    initialisation: str = "xavier-uniform"

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden = {self.hidden} must hold widths >= 1")
        if self.initialisation not in INITIALISATIONS:
            raise ValueError(f"initialisation = {self.initialisation!r} is not one of {', '.join(INITIALISATIONS)}")
        action, head = self.spec.action, self.head
        takes_discrete = isinstance(head, Categorical) or (isinstance(head, Greedy) and head.discrete)
        if takes_discrete != isinstance(action, Discrete):
            raise ValueError(
                f"head = {head} does not fit the {type(action).__name__} actions of {self.spec.id}: "
                "Discrete takes Categorical or a discrete Greedy, Box takes Gaussian or a real Greedy"
            )
        outputs = stochastic_head(action).size
        if head.size != outputs:
            raise ValueError(f"head.size = {head.size} must be {outputs} for the actions of {self.spec.id}")

    @property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of each layer."""
        sizes = (self.spec.observation_size, *self.hidden, self.head.size)
        return tuple(pairwise(sizes))

    @property
    def dim(self) -> int:
        """d, the length of the flat vector."""
        return sum(fan_out * (fan_in + self.bias) for fan_in, fan_out in self.widths) + self.head.extra

    def init(self, stream: Stream, dtype: torch.dtype = torch.float32) -> Tensor:
        """Initial parameters, [R, d]."""
        runs, device = len(stream.seeds), stream.seeds.device
        parts = []
        for i, (fan_in, fan_out) in enumerate(self.widths):
            layer = stream.spread(torch.tensor(i, device=device))
            parts.append(INITIALISATIONS[self.initialisation](layer, fan_out, fan_in, dtype))
            if self.bias:
                parts.append(torch.zeros(runs, fan_out, dtype=dtype, device=device))
        parts.append(torch.full((runs, self.head.extra), self.head.initial(), dtype=dtype, device=device))
        return torch.cat(parts, -1)

    def unpack(self, params: Tensor) -> Weights:
        """The layers of params [..., d]. Raises ValueError unless the last axis is d."""
        if params.shape[-1] != self.dim:
            raise ValueError(f"params have {params.shape[-1]} entries, {type(self).__name__} needs {self.dim}")
        flat = params.reshape(-1, self.dim)
        layers, start = [], 0
        for fan_in, fan_out in self.widths:
            weight = flat[:, start : start + fan_in * fan_out].unflatten(-1, (fan_out, fan_in)).mT
            start += fan_in * fan_out
            layers.append((weight, flat[:, None, start : start + fan_out] if self.bias else None))
            start += fan_out * self.bias
        return Weights(tuple(layers), self.with_constants(flat)[:, None, start:])

    def with_constants(self, params: Tensor) -> Tensor:
        """Parameters [..., d] followed by the head's constants."""
        constants = self.head.constants
        if not constants:
            return params
        return torch.cat((params, *(params.new_full((*params.shape[:-1], 1), number) for number in constants)), -1)

    def forward(self, weights: Weights, obs: Tensor) -> Tensor:
        """Network outputs [..., M, outputs] for obs [..., M, O], whose leading axes are those of the parameters."""
        x = obs.reshape(-1, *obs.shape[-2:])
        for i, (weight, bias) in enumerate(weights.layers):
            x = torch.tanh(x) if i else x
            x = torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)
        return x.view(*obs.shape[:-1], self.head.size)

    def sample(self, weights: Weights, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Action and log-probability [..., M] at obs [..., M, O], from noise [..., M, draws]."""
        return self.head.sample(self.forward(weights, obs), self._extra(weights, obs), noise)

    def log_prob(self, params: Tensor, obs: Tensor, action: Tensor) -> Tensor:
        """log pi(action | obs), [..., M]; differentiable in params [..., d]."""
        weights = self.unpack(params)
        return self.head.log_prob(self.forward(weights, obs), self._extra(weights, obs), action)

    def _extra(self, weights: Weights, obs: Tensor) -> Tensor:
        return weights.extra.view(*obs.shape[:-2], 1, weights.extra.shape[-1])

    def greedy(self) -> Self:
        """The deterministic policy with the same parameters."""
        return replace(self, head=self.head.greedy())

    def to_module(self, params: Tensor) -> "PolicyModule":
        """A torch module that holds a copy of params [d]. Raises ValueError for any other shape."""
        if params.shape != (self.dim,):
            raise ValueError(f"params has shape {tuple(params.shape)}, expected [{self.dim}]")
        module = PolicyModule(self).to(params)
        nn.utils.vector_to_parameters(params.detach().clone(), module.parameters())
        return module

    def from_module(self, module: "PolicyModule") -> Tensor:
        """The module's parameters as a flat vector [d]."""
        return nn.utils.parameters_to_vector(module.parameters()).detach()


class MLP(Network):
    """Tanh multilayer perceptron."""

    def __init__(
        self,
        spec: EnvSpec,
        hidden: tuple[int, ...] = (32, 32),
        head: Head | None = None,
        bias: bool = True,
        initialisation: str = "xavier-uniform",
    ) -> None:
        super().__init__(spec, tuple(hidden), head or stochastic_head(spec.action), bias, initialisation)


class Linear(MLP):
    """One linear map from observations to outputs; with one-hot observations and no bias, the tabular softmax."""

    def __init__(
        self,
        spec: EnvSpec,
        hidden: tuple[int, ...] = (),
        head: Head | None = None,
        bias: bool = True,
        initialisation: str = "xavier-uniform",
    ) -> None:
        if hidden:
            raise ValueError(f"hidden = {hidden} must be empty for a Linear policy; use MLP")
        super().__init__(spec, (), head, bias, initialisation)


class PolicyModule(nn.Module):
    """A trained policy as a torch module: `forward` gives the head's inputs, `act` the most likely action."""

    def __init__(self, policy: Network) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(policy.widths):
            # Without an initialisation, which would draw from the global generator.
            linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=policy.bias)
            layers += [nn.Tanh()] * bool(i) + [linear]
        self.network = nn.Sequential(*layers)
        # In a list, because a module lists its own parameters before those of its parts, and these come last.
        self.free = nn.ParameterList([torch.zeros(policy.head.extra)] if policy.head.extra else [])
        self.greedy = policy.head.greedy()

    def forward(self, obs: Tensor) -> Tensor:
        """Logits or means [..., outputs] at obs [..., O]."""
        return self.network(obs)

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """Most likely action at obs [..., O]."""
        return self.greedy.sample(self(obs), obs, obs)[0]
