"""Dynamics of the environments whose expected return is known: tables of numbers and random transitions."""

from torch import Tensor

from envs.fused.core import Array, Outcome, Tables
from envs.fused.functions import normal_pair
from envs.fused.lanes import LANES, Value, compiled, row, set_row
from envs.lqr import LQR
from envs.tabular import TabularMDP


def tables_of_mdp(env: TabularMDP) -> tuple[Tensor, ...]:
    """Distribution functions of P [S, A, S'] and rho [S], and the rewards [S, A]."""
    return *env.distribution_functions, env.r


@compiled
def invert(cumulative: Array, uniform: float) -> int:
    """See envs/tabular.py."""
    reached, index = uniform * cumulative[-1], 0
    while reached > cumulative[index]:
        index += 1
    return index


@compiled
def reset_mdp(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/tabular.py. The rows are the index of the state, as a real number, and the reward on the way there."""
    for i in range(LANES):
        state[0, i] = invert(tables[1], uniform[0, i])


@compiled
def step_mdp(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/tabular.py."""
    for i in range(LANES):
        s, a = int(state[0, i]), int(action[0, i])
        state[0, i], state[1, i] = invert(tables[0][s, a], uniform[0, i]), tables[2][s, a]
    reward = row(state, 1)
    return reward, reward < reward


@compiled
def observe_mdp(state: Array, obs: Array) -> None:
    """See envs/tabular.py."""
    obs[:] = 0.0
    for i in range(LANES):
        obs[int(state[0, i]), i] = 1.0


def tables_of_lqr(env: LQR) -> tuple[Tensor, ...]:
    """A, B, Q, R, and the standard deviation of the noise [1]."""
    return env.A, env.B, env.Q, env.R, env.A.new_full((1,), env.noise_std)


@compiled
def quadratic(weight: Array, vector: Array) -> Value:
    """V' W v."""
    total = 0.0 * row(vector, 0)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[0]):
            total = total + row(vector, i) * weight[i, j] * row(vector, j)
    return total


@compiled
def reset_lqr(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/lqr.py. The rows after the state vector are scratch."""
    for i in range(tables[0].shape[0]):
        set_row(state, i, _normal(uniform, i))


@compiled
def _normal(uniform: Array, i: int) -> Value:
    """Normal i of the pairs in `uniform`."""
    first, second = normal_pair(row(uniform, i - i % 2), row(uniform, i - i % 2 + 1))
    return first if i % 2 == 0 else second


@compiled
def step_lqr(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/lqr.py."""
    A, B, Q, R, noise_std = tables
    n, m = B.shape
    cost = quadratic(Q, state) + quadratic(R, action)
    for i in range(n):
        total = 0.0 * cost
        if uniform.shape[0] > 0:
            total = noise_std[0] * _normal(uniform, i)
        for j in range(n):
            total = total + A[i, j] * row(state, j)
        for j in range(m):
            total = total + B[i, j] * row(action, j)
        set_row(state, n + i, total)
    for i in range(n):
        set_row(state, i, row(state, n + i))
    return -cost, cost < cost
