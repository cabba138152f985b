"""Scalar dynamics of the environments whose expected return is known: tables of numbers and random transitions."""

from numba.extending import register_jitable
from torch import Tensor

from envs.fused.core import Array, Outcome, Tables
from envs.fused.draws import normal
from envs.lqr import LQR
from envs.tabular import TabularMDP


def tables_of_mdp(env: TabularMDP) -> tuple[Tensor, ...]:
    """Distribution functions of P [S, A, S'] and rho [S], and the rewards [S, A]."""
    return *env.distribution_functions, env.r


@register_jitable
def invert(cumulative: Array, uniform: float) -> int:
    """See envs/tabular.py."""
    reached, index = uniform * cumulative[-1], 0
    while reached > cumulative[index]:
        index += 1
    return index


@register_jitable
def reset_mdp(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/tabular.py. The index of a state is kept as a real number."""
    state[0] = invert(tables[1], uniform[0])


@register_jitable
def step_mdp(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/tabular.py."""
    s = int(state[0])
    state[0] = invert(tables[0][s, action], uniform[0])
    return tables[2][s, action], False


@register_jitable
def observe_mdp(state: Array, obs: Array) -> None:
    """See envs/tabular.py."""
    obs[:] = 0.0
    obs[int(state[0])] = 1.0


def tables_of_lqr(env: LQR) -> tuple[Tensor, ...]:
    """A, B, Q, R, and the standard deviation of the noise [1]."""
    return env.A, env.B, env.Q, env.R, env.A.new_full((1,), env.noise_std)


@register_jitable
def quadratic(weight: Array, vector: Array) -> float:
    """V' W v."""
    total = 0.0
    for i in range(weight.shape[0]):
        for j in range(weight.shape[0]):
            total += vector[i] * weight[i, j] * vector[j]
    return total


@register_jitable
def reset_lqr(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/lqr.py."""
    for i in range(tables[0].shape[0]):
        state[i] = normal(uniform, i)


@register_jitable
def step_lqr(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/lqr.py."""
    A, B, Q, R, noise_std = tables
    n, m = B.shape
    x = state.copy()
    for i in range(n):
        total = noise_std[0] * normal(uniform, i) if uniform.size else 0.0
        for j in range(n):
            total += A[i, j] * x[j]
        for j in range(m):
            total += B[i, j] * real[j]
        state[i] = total
    return -(quadratic(Q, x) + quadratic(R, real)), False
