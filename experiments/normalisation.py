"""Normalised observations without a normalised policy: the agent's parameters are mapped to ones for raw observations.

A network whose first layer is W x + b gives for the normalised observation (x - mu) / s what it gives for x with

    W' = W / s,   b' = b - W mu / s,   the other parameters as they are.

This is a linear map M of the parameters. The agent works on theta; what is rolled out, scored, recorded and returned
is M theta, an ordinary policy. By the chain rule its oracle is

    grad = M' grad f(M theta),   Hessian u = M' H(M theta) M u,   Fisher v = M' F(M theta) M v.

M is fixed within an iteration and the same for all of its points, without which differences of gradients between
points (transport, importance weights) would be of two functions. After the iteration it takes in the observations of
that iteration; before the first one it is the identity. Observations are not clipped, which no linear map can do;
instead s is at least FLOOR, so that an observation that hardly ever moved is not blown up when it does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Metrics
from envs.policies import Network
from envs.random import Stream
from rl.core import Oracle, PolicyGradient
from rl.moments import Moments

FLOOR = 1e-2
"""Least standard deviation, in the observation's own units."""


@dataclass(frozen=True)
class ParameterMap:
    """M of the module, one for each run."""

    width: int
    """Of the first layer."""
    mean: Tensor
    """mu [R, 1, 1, O]"""
    scale: Tensor
    """s [R, 1, 1, O]"""

    @staticmethod
    def of(seen: Moments, policy: Network, dtype: torch.dtype) -> "ParameterMap":
        """The map for what was seen so far."""
        scale = torch.where(seen.number > 0, seen.std.clamp(min=FLOOR), 1.0)
        mean, scale = (part.to(dtype)[:, None, None] for part in (seen.mean, scale))
        return ParameterMap(policy.widths[0][1], mean, scale)

    def deploy(self, params: Tensor) -> Tensor:
        """M params, [R, K, d]."""
        weight, bias, rest = self._split(params)
        weight = weight / self.scale
        return torch.cat((weight.flatten(-2), bias - (weight * self.mean).sum(-1), rest), -1)

    def transpose(self, gradient: Tensor) -> Tensor:
        """M' gradient, [R, K, d]."""
        weight, bias, rest = self._split(gradient)
        weight = (weight - bias[..., None] * self.mean) / self.scale
        return torch.cat((weight.flatten(-2), bias, rest), -1)

    def _split(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First layer's weight [..., width, O] and bias [..., width], and the other parameters."""
        weights = self.width * self.mean.shape[-1]
        weight, bias, rest = flat.tensor_split((weights, weights + self.width), -1)
        return weight.unflatten(-1, (self.width, -1)), bias, rest


@dataclass(frozen=True)
class MappedOracle:
    """The oracle at M theta seen as one at theta."""

    inner: Oracle
    map: ParameterMap

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """[R, K, d], at the asked points or at `at` [R, K, d]."""
        return self.map.transpose(self.inner.gradient(None if at is None else self.map.deploy(at)))

    def hvp(self, u: Tensor) -> Tensor:
        """Hessian times u [R, K, d]."""
        return self.map.transpose(self.inner.hvp(self.map.deploy(u)))

    def fisher_vp(self, v: Tensor) -> Tensor:
        """Fisher information times v [R, K, d]."""
        return self.map.transpose(self.inner.fisher_vp(self.map.deploy(v)))

    def log_weights(self, at: Tensor) -> Tensor:
        """Log importance weights at `at` [R, K, d], [R, K, E]."""
        return self.inner.log_weights(self.map.deploy(at))

    def observed(self) -> Moments:
        """Of the raw observations."""
        return self.inner.observed()

    def at_point(self, k: int, copies: int = 1) -> "MappedOracle":
        """The oracle at point k alone."""
        return MappedOracle(self.inner.at_point(k, copies), self.map)


class State(NamedTuple):
    """The agent's state and the statistics."""

    agent: Any
    seen: Moments
    asked: Tensor
    """[R, K, d] the agent's own points of the last ask"""


@dataclass(frozen=True)
class NormalisedAgent(PolicyGradient):
    """An agent whose parameters are for normalised observations, seen from outside as one for raw observations."""

    id: ClassVar[str] = "normalised"
    summary: ClassVar[str] = "another agent, on normalised observations"
    paper: ClassVar[str] = ""

    agent: PolicyGradient
    policy: Network
    """Its first layer has biases."""

    def init(self, x0: Tensor, stream: Stream) -> State:
        """Start at x0 [R, d] with nothing seen."""
        seen = Moments.none(len(x0), self.policy.spec.observation_size, x0.device)
        return State(self.agent.init(x0, stream), seen, x0[:, None])

    def ask(self, state: State, stream: Stream) -> tuple[Tensor, State]:
        """The agent's points, mapped; [R, K, d]."""
        points, agent = self.agent.ask(state.agent, stream)
        return self._map(state.seen, points).deploy(points), State(agent, state.seen, points)

    def tell(self, state: State, points: Tensor, feedback: Oracle) -> tuple[State, Metrics]:
        """One step of the agent; then the statistics take in what was observed."""
        oracle = MappedOracle(feedback, self._map(state.seen, points))
        agent, metrics = self.agent.tell(state.agent, state.asked, oracle)
        return State(agent, state.seen.plus(feedback.observed()), state.asked), metrics

    def recommend(self, state: State) -> Tensor:
        """The agent's iterate, mapped; [R, d]."""
        iterate = self.agent.recommend(state.agent)[:, None]
        return self._map(state.seen, iterate).deploy(iterate)[:, 0]

    def stop(self, state: State) -> dict[str, Tensor]:
        """The agent's reasons."""
        return self.agent.stop(state.agent)

    def keep(self, active: Tensor, new: State, old: State) -> State:
        """The agent's own choice, and the statistics of stopped runs as they were."""
        seen = (torch.where(active[:, None], after, before) for after, before in zip(new.seen, old.seen, strict=True))
        return State(self.agent.keep(active, new.agent, old.agent), Moments._make(seen), new.asked)

    def pack(self, state: State) -> dict[str, Tensor | int | float]:
        """The agent's parts and the statistics."""
        parts = {f"agent.{name}": part for name, part in self.agent.pack(state.agent).items()}
        return parts | {f"seen.{name}": part for name, part in state.seen._asdict().items()}

    def unpack(self, initial: State, parts: dict[str, Any]) -> State:
        """The packed state."""

        def under(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}

        return State(self.agent.unpack(initial.agent, under("agent.")), Moments(**under("seen.")), initial.asked)

    def _map(self, seen: Moments, params: Tensor) -> ParameterMap:
        return ParameterMap.of(seen, self.policy, params.dtype)
