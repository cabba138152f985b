"""The exact tier: policy problems whose return, its derivatives, Fisher information and optimum are computed.

    Tabular      a network on a finite process with one-hot observations: dynamic programming
    Quadratic    u = W x + sigma N(0, I) on the linear-quadratic regulator, K = -W: the recursion of second moments

All of it is about J_H(theta) = E sum_{t < H} discount^t r_t with the problem's horizon H, which is also what agents
estimate: against the optimum of J_H there is no truncation error.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from envs.algorithm import Metrics
from envs.core import Env
from envs.heads import Categorical, Gaussian
from envs.lqr import LQR
from envs.policies import Network
from envs.random import Stream
from envs.tabular import TabularMDP
from experiments.policy_problem import PolicyProblem


@dataclass(frozen=True)
class Model(ABC):
    """What is known about a policy class in an environment, as functions of points [n, d]; all in float64."""

    policy: Network
    discount: float

    @abstractmethod
    def returns(self, points: Tensor) -> Tensor:
        """J_H, [n]; differentiable."""

    @abstractmethod
    def fisher(self, points: Tensor) -> Tensor:
        """F_rho = E[s s'] over the discounted state distribution, whose weights sum to one, [n, d, d]."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Largest rank that F_rho can have."""

    @property
    @abstractmethod
    def optimum(self) -> float:
        """Supremum of J_H over the stationary policies of the class."""

    def mass(self, horizon: int) -> float:
        """sum_{t < H} discount^t."""
        return sum(self.discount**t for t in range(horizon))


@dataclass(frozen=True)
class Tabular(Model):
    """A network with softmax outputs; without hidden layers and bias it is the tabular softmax policy."""

    env: TabularMDP

    def __post_init__(self) -> None:
        if not isinstance(self.policy.head, Categorical):
            raise ValueError(f"policy.head = {self.policy.head} must be Categorical to be exact on {self.env.spec.id}")

    def returns(self, points: Tensor) -> Tensor:
        """By dynamic programming."""
        return self.env.exact_return(self._log_probs(points).exp(), self.env.spec.horizon, self.discount)

    def fisher(self, points: Tensor) -> Tensor:
        """Sum over states and actions."""
        horizon, probabilities = self.env.spec.horizon, self._log_probs(points).exp()
        visits = self.env.visitation(probabilities, horizon, self.discount) / self.mass(horizon)
        scores = torch.func.vmap(torch.func.jacrev(lambda point: self._log_probs(point[None])[0]))(points.double())
        weighted = (scores * (visits[..., None] * probabilities).sqrt()[..., None]).flatten(1, 2)
        return weighted.mT @ weighted

    @property
    def rank(self) -> int:
        """At most S (A - 1): a shift of all logits of a state changes nothing."""
        states, actions = self.env.r.shape
        return min(self.policy.dim, states * (actions - 1))

    @cached_property
    def optimum(self) -> float:
        """Of all stationary policies, which tabular softmax policies approach."""
        return self.env.optimal_return(self.env.spec.horizon, self.discount)

    def _log_probs(self, points: Tensor) -> Tensor:
        """log pi(a | s), [n, S, A]."""
        points = points.double()
        states = torch.eye(len(self.env.rho), dtype=torch.float64, device=points.device)
        outputs = self.policy.forward(self.policy.unpack(points), states.expand(len(points), *states.shape))
        return torch.log_softmax(outputs, -1)


@dataclass(frozen=True)
class Quadratic(Model):
    """Linear policies with a fixed standard deviation, the class for which F_rho is not degenerate."""

    env: LQR

    def __post_init__(self) -> None:
        policy, head = self.policy, self.policy.head
        if not isinstance(head, Gaussian) or head.learn_std or policy.hidden or policy.bias:
            raise ValueError(
                f"policy = {policy} is not exact on {self.env.spec.id}: it takes a Linear one without bias, whose head "
                "is Gaussian with learn_std = False (else J has its supremum where the deviation vanishes)"
            )

    @property
    def sigma(self) -> float:
        """Standard deviation of the actions."""
        assert isinstance(self.policy.head, Gaussian)
        return float(torch.tensor(self.policy.head.log_std, dtype=torch.float64).exp())

    def returns(self, points: Tensor) -> Tensor:
        """By the recursion of second moments."""
        return self.env.exact_return(self._gain(points), self.env.spec.horizon, self.discount, self.sigma)

    def fisher(self, points: Tensor) -> Tensor:
        """I times E[x x'] / sigma^2: the score of W is noise / sigma times x."""
        horizon, inputs = self.env.spec.horizon, self.env.B.shape[1]
        moment = self.env.second_moment(self._gain(points), horizon, self.discount, self.sigma) / self.mass(horizon)
        identity = torch.eye(inputs, dtype=torch.float64, device=points.device)
        blocks = identity[:, None, :, None] * moment[:, None, :, None, :] / self.sigma**2
        return blocks.reshape(len(points), self.policy.dim, self.policy.dim)

    @property
    def rank(self) -> int:
        """Full."""
        return self.policy.dim

    @cached_property
    def optimum(self) -> float:
        """Of all gains, with this standard deviation."""
        return self.env.optimal_return(self.env.spec.horizon, self.discount, self.sigma)

    def _gain(self, points: Tensor) -> Tensor:
        n, m = self.env.B.shape
        return -points.double().unflatten(-1, (m, n))


@cache
def model_of(env: Env, policy: Network, discount: float) -> Model:
    """The model of an environment and a policy. Raises ValueError where nothing exact is known."""
    if isinstance(env, TabularMDP):
        return Tabular(policy, discount, env)
    if isinstance(env, LQR):
        return Quadratic(policy, discount, env)
    raise ValueError(f"env = {env.spec.id} has no exact return; finite processes and LQR-v0 have")


@dataclass(frozen=True)
class ExactProblem(PolicyProblem):
    """A policy problem that is scored exactly, on no episodes at all; agents see sampled trajectories as ever.

    Observations are not normalised: directions and gradients would be of different parameters.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalise:
            raise ValueError("normalise = True is not for exact problems, it must be False")
        model_of(self.env, self.policy, self.discount)

    @property
    def model(self) -> Model:
        """What is known."""
        return model_of(self.env, self.policy, self.discount)

    @property
    def score_name(self) -> str:
        """J_H less its optimum."""
        return "negative gap"

    @property
    def threshold(self) -> float | None:
        """The target: environments count their thresholds in returns."""
        return self.target

    def gradient(self, points: Tensor) -> Tensor:
        """Of f = -J_H at points [n, d], [n, d] in float64."""
        with torch.enable_grad():
            points = points.detach().double().requires_grad_()
            (gradient,) = torch.autograd.grad(-self.model.returns(points).sum(), points)
        return gradient

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """J_H* - J_H with either sign, J_H, and two eigenvalues of F_rho; NaN where a number is not finite.

        `fisher_min` is the smallest eigenvalue of all, `fisher_min_complement` the smallest outside the null space
        that F_rho always has, as that of a softmax policy with one logit for each state and action: see `Model.rank`.
        """
        returns = self.model.returns(points)
        eigenvalues = _eigenvalues(self.model.fisher(points))
        found = {
            "negative gap": returns - self.model.optimum,
            "gap": self.model.optimum - returns,
            "return": returns,
            "fisher_min": eigenvalues[:, 0],
            "fisher_min_complement": eigenvalues[:, -self.model.rank],
        }
        return _finite(found)

    def measure(self, iterate: Tensor, metrics: Metrics) -> dict[str, Tensor]:
        """Besides what is recorded of any problem, |d_t - grad f| at the iterate, alone and over |grad f|."""
        if "direction" not in metrics:  # a derivative-free optimizer's
            return super().measure(iterate, metrics)
        exact = self.gradient(iterate)
        error = (metrics["direction"] - exact).norm(dim=-1)
        errors = {"direction_error": error, "direction_error_relative": error / exact.norm(dim=-1)}
        return super().measure(iterate, metrics) | _finite(errors)


def _finite(measures: Metrics) -> Metrics:
    """NaN, which is not recorded, where a number is not finite."""
    return {name: torch.where(torch.isfinite(value), value, torch.nan) for name, value in measures.items()}


def _eigenvalues(matrices: Tensor) -> Tensor:
    """Ascending eigenvalues [n, d] of symmetric matrices [n, d, d]; NaN for one that is not finite."""
    finite = torch.isfinite(matrices).all(-1).all(-1)
    values = torch.linalg.eigvalsh(torch.where(finite[:, None, None], matrices, 0.0))
    return torch.where(finite[:, None], values, torch.nan)
