"""LQR-v0: the linear-quadratic regulator, whose expected return has a closed form.

    x' = A x + B u + w,   reward -(x' Q x + u' R u),   x_0 ~ N(0, I),   w ~ N(0, noise_std^2 I)

n states, m inputs. The default is the slightly unstable Laplacian system of Dean, Mania, Matni, Recht, Tu, "On the
sample complexity of the linear quadratic regulator" (FoCM 2020), used by Mania, Guy, Recht (NeurIPS 2018).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias

import torch
from torch import Tensor

from envs.algorithm import Numeric, check_range
from envs.core import Box, Env, EnvSpec
from envs.optimal import best_matrix, check_question
from envs.random import box_muller

Matrix: TypeAlias = Sequence[Sequence[float]] | Tensor

LAPLACIAN = ((1.01, 0.01, 0.0), (0.01, 1.01, 0.01), (0.0, 0.01, 1.01))
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
STATE_COST = ((1e-3, 0.0, 0.0), (0.0, 1e-3, 0.0), (0.0, 0.0, 1e-3))


class LQRState(NamedTuple):
    """The state vector, [..., n]."""

    x: Tensor


def check_weight(name: str, weight: Tensor, size: int, definite: bool) -> None:
    """Raise ValueError naming `name` unless the weight is [size, size], symmetric and positive (semi-)definite."""
    if weight.shape != (size, size):
        raise ValueError(f"{name} has shape {tuple(weight.shape)}, it must be {(size, size)}")
    if not torch.equal(weight, weight.mT):
        raise ValueError(f"{name} = {weight.tolist()} is not symmetric")
    eigenvalues = torch.linalg.eigvalsh(weight.double())
    lowest, rounding = eigenvalues[0], torch.finfo(weight.dtype).eps * size * eigenvalues.abs().max()
    if bool(lowest <= rounding if definite else lowest < -rounding):
        kind = "positive definite" if definite else "positive semi-definite"
        raise ValueError(f"{name} = {weight.tolist()} is not {kind}: smallest eigenvalue {lowest:g}")


def check_system(A: Tensor, B: Tensor, Q: Tensor, R: Tensor, noise_std: float) -> None:
    """Raise ValueError naming the first part that does not fit the others or its role."""
    for name, matrix in zip("ABQR", (A, B, Q, R), strict=True):
        if matrix.dim() != 2 or matrix.numel() == 0 or not bool(torch.isfinite(matrix).all()):
            raise ValueError(f"{name} = {matrix.tolist()} is not a matrix of finite numbers")
    n, m = B.shape
    if A.shape != (n, n):
        raise ValueError(f"A has shape {tuple(A.shape)}, with B of shape {(n, m)} it must be {(n, n)}")
    check_weight("Q", Q, n, definite=False)
    check_weight("R", R, m, definite=True)
    check_range("noise_std", noise_std, 0.0)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """`matrix` [p, q] times `vector` [..., q]; the result of a run does not depend on the size of the batch."""
    return (matrix * vector[..., None, :]).sum(-1)


@dataclass(frozen=True, eq=False)
class LQR(Env):
    """The environment; see the module. Built by `create`."""

    A: Tensor
    """[n, n]"""
    B: Tensor
    """[n, m]"""
    Q: Tensor
    """[n, n], symmetric positive semi-definite."""
    R: Tensor
    """[m, m], symmetric positive definite."""
    noise_std: float
    """Standard deviation of the process noise, >= 0; 0 makes the dynamics deterministic."""

    @classmethod
    def create(
        cls,
        device: torch.device,
        dtype: torch.dtype,
        A: Matrix = LAPLACIAN,
        B: Matrix = IDENTITY,
        Q: Matrix = STATE_COST,
        R: Matrix = IDENTITY,
        noise_std: float = 1.0,
    ) -> Self:
        """The system of the given matrices, nested sequences or tensors, with horizon 100.

        Raises ValueError for shapes that do not fit, Q not symmetric positive semi-definite, R not symmetric positive
        definite, or noise_std < 0.
        """
        A, B, Q, R = (torch.as_tensor(matrix, dtype=dtype, device=device) for matrix in (A, B, Q, R))
        check_system(A, B, Q, R, noise_std)
        n, m = B.shape
        spec = EnvSpec(
            id="LQR-v0",
            summary="linear system with quadratic cost and Gaussian noise; the exact return is known",
            source="Dean, Mania, Matni, Recht, Tu (2020)",
            observation_low=(-math.inf,) * n,
            observation_high=(math.inf,) * n,
            action=Box((-math.inf,) * m, (math.inf,) * m),
            horizon=100,
            reset_draws=n + n % 2,
            transition_draws=n + n % 2 if noise_std else 0,
        )
        return cls(spec, device, dtype, A, B, Q, R, noise_std)

    def initial(self, uniform: Tensor) -> LQRState:
        """Standard normal."""
        return LQRState(box_muller(uniform)[..., : self.spec.observation_size])

    def transition(self, state: LQRState, action: Tensor, uniform: Tensor | None) -> tuple[LQRState, Tensor, Tensor]:
        """One step; the cost is that of the old state and of the action. Never terminates."""
        x = state.x
        cost = (x * apply(self.Q, x)).sum(-1) + (action * apply(self.R, action)).sum(-1)
        following = apply(self.A, x) + apply(self.B, action)
        if uniform is not None:
            following = following + self.noise_std * box_muller(uniform)[..., : self.spec.observation_size]
        return LQRState(following), -cost, torch.zeros_like(cost, dtype=torch.bool)

    def observe(self, state: LQRState) -> Tensor:
        """The state vector, [..., n]."""
        return state.x

    def exact_return(self, K: Tensor, horizon: int, discount: float, sigma: Numeric = 0.0) -> Tensor:
        """Expected discounted return [...] in float64 of u = -K x + sigma N(0, I) over `horizon` steps.

        `K` is [..., m, n] and `sigma` >= 0 a number or [...]; differentiable in both. By the second moment
        S_t = E[x_t x_t']:  S_0 = I,  S_{t+1} = (A - BK) S_t (A - BK)' + sigma^2 BB' + noise_std^2 I.
        Raises ValueError for a wrong shape, horizon < 1, discount outside [0, 1] or sigma < 0.
        """
        moment = self.second_moment(K, horizon, discount, sigma)
        Q, R, K = self.Q.double(), self.R.double(), K.double()
        variance = torch.square(torch.as_tensor(sigma, dtype=torch.float64, device=K.device))
        weights = sum(discount**t for t in range(horizon))
        return -((Q + K.mT @ R @ K) * moment).sum((-2, -1)) - weights * variance * R.trace()

    def second_moment(self, K: Tensor, horizon: int, discount: float, sigma: Numeric = 0.0) -> Tensor:
        """sum_{t < horizon} discount^t E[x_t x_t'] in float64, [..., n, n]; arguments as for `exact_return`."""
        n, m = self.B.shape
        if K.shape[-2:] != (m, n):
            raise ValueError(f"K has shape {tuple(K.shape)}, it must end in {(m, n)}")
        check_question(horizon, discount)
        check_range("sigma", sigma, 0.0)
        A, B, K = self.A.double(), self.B.double(), K.double()
        closed_loop = A - B @ K
        variance = torch.square(torch.as_tensor(sigma, dtype=torch.float64, device=K.device))
        identity = torch.eye(n, dtype=torch.float64, device=K.device)
        injected = variance[..., None, None] * (B @ B.mT) + self.noise_std**2 * identity
        present = identity.expand(torch.broadcast_shapes(closed_loop.shape, injected.shape))
        total = present
        for t in range(1, horizon):
            present = closed_loop @ present @ closed_loop.mT + injected
            total = total + discount**t * present
        return total

    def optimal_return(self, horizon: int, discount: float, sigma: float = 0.0) -> float:
        """Supremum of `exact_return` over the gains K of u = -K x + sigma N(0, I), the same K at every step.

        The Riccati recursion gives the best gain for each number of steps left. The one that does best as a stationary
        gain is where Newton's method starts, see envs/optimal.py; so the value is that of a stationary point and never
        above the supremum. For long horizons it is minus the cost of the discounted algebraic Riccati equation.
        Raises ValueError as `exact_return`.
        """
        check_question(horizon, discount)
        gains = self._riccati_gains(horizon, discount)
        values = self.exact_return(gains, horizon, discount, sigma)
        start = gains[values.nan_to_num(nan=-math.inf).argmax()]
        best = best_matrix(lambda K: self.exact_return(K, horizon, discount, sigma), start)
        return float(self.exact_return(best, horizon, discount, sigma))

    def _riccati_gains(self, horizon: int, discount: float) -> Tensor:
        """The optimal gains with 1 .. horizon steps left, [horizon, m, n] float64."""
        A, B, Q, R = (matrix.double() for matrix in (self.A, self.B, self.Q, self.R))
        P, gains = torch.zeros_like(A), []
        for _ in range(horizon):
            K = discount * torch.linalg.solve(R + discount * B.mT @ P @ B, B.mT @ P @ A)
            P = Q + K.mT @ R @ K + discount * (A - B @ K).mT @ P @ (A - B @ K)
            gains.append(K)
        return torch.stack(gains)
