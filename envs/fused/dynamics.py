"""Dynamics for the CPU kernels: the equations of `envs/<env>.py`, an episode per lane.

The tensor version is the definition; a test holds every entry of `DYNAMICS` to it. State, action and observation are
arrays with a row per component, and the state is written in place. Functions are compiled with the kernel that they are
built into; numbers take the precision of the lanes they meet, as in the tensor version.
"""

import math

import numpy as np

from envs import acrobot, cartpole, mountain_car, mountain_car_continuous, pendulum
from envs.core import Env
from envs.fused.core import Array, Dynamics, Outcome, Tables
from envs.fused.exact import observe_mdp, reset_lqr, reset_mdp, step_lqr, step_mdp, tables_of_lqr, tables_of_mdp
from envs.fused.functions import clip, cos_sin
from envs.fused.lanes import Value, absolute, ceil, compiled, convert, floor, fma, row, set_row, where
from envs.gridworld import GridWorld
from envs.lqr import LQR
from envs.tabular import TabularMDP


@compiled
def copy_state(state: Array, obs: Array) -> None:
    """The state is what is observed."""
    for i in range(obs.shape[0]):
        set_row(obs, i, row(state, i))


@compiled
def reset_cartpole(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/cartpole.py."""
    for i in range(4):
        set_row(state, i, row(uniform, i) * 0.1 - 0.05)


@compiled
def step_cartpole(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/cartpole.py."""
    x, x_dot, theta, theta_dot = row(state, 0), row(state, 1), row(state, 2), row(state, 3)
    force = row(action, 0) * (2 * cartpole.FORCE) - cartpole.FORCE
    cos, sin = cos_sin(theta)
    mass, half = cartpole.TOTAL_MASS, cartpole.HALF_LENGTH
    temp = fma(cartpole.POLE_MOMENT / mass * (theta_dot * theta_dot), sin, force * (1.0 / mass))
    theta_acc = fma(cartpole.GRAVITY, sin, -cos * temp) / fma(
        -half * cartpole.POLE_MASS / mass * cos, cos, half * 4.0 / 3.0
    )
    x_acc = fma(-cartpole.POLE_MOMENT / mass * theta_acc, cos, temp)
    x, theta = x + cartpole.TAU * x_dot, theta + cartpole.TAU * theta_dot
    set_row(state, 0, x)
    set_row(state, 1, x_dot + cartpole.TAU * x_acc)
    set_row(state, 2, theta)
    set_row(state, 3, theta_dot + cartpole.TAU * theta_acc)
    return 1.0, (absolute(x) > cartpole.X_LIMIT) | (absolute(theta) > cartpole.ANGLE_LIMIT)


@compiled
def reset_pendulum(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/pendulum.py."""
    set_row(state, 0, row(uniform, 0) * (2 * math.pi) - math.pi)
    set_row(state, 1, row(uniform, 1) * 2.0 - 1.0)


@compiled
def step_pendulum(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/pendulum.py."""
    theta, theta_dot = row(state, 0), row(state, 1)
    torque = clip(convert(row(action, 0), np.float32), -pendulum.MAX_TORQUE, pendulum.MAX_TORQUE)
    effort = convert(0.001 * (torque * torque), state.dtype)
    push = convert(3.0 / (pendulum.MASS * pendulum.LENGTH**2) * torque, state.dtype)
    turned = theta + math.pi
    error = turned - floor(turned / (2 * math.pi)) * (2 * math.pi) - math.pi
    cost = error * error + 0.1 * (theta_dot * theta_dot) + effort
    _, sin = cos_sin(theta)
    theta_acc = 3 * pendulum.GRAVITY / (2 * pendulum.LENGTH) * sin + push
    theta_dot = clip(theta_dot + theta_acc * pendulum.TAU, -pendulum.MAX_SPEED, pendulum.MAX_SPEED)
    set_row(state, 0, theta + theta_dot * pendulum.TAU)
    set_row(state, 1, theta_dot)
    return -cost, cost < cost


@compiled
def observe_pendulum(state: Array, obs: Array) -> None:
    """See envs/pendulum.py."""
    cos, sin = cos_sin(row(state, 0))
    set_row(obs, 0, cos)
    set_row(obs, 1, sin)
    set_row(obs, 2, row(state, 1))


@compiled
def reset_valley(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/mountain_car.py."""
    set_row(state, 0, row(uniform, 0) * 0.2 - 0.6)
    set_row(state, 1, 0.0)


@compiled
def roll(state: Array, push: Value) -> tuple[Value, Value]:
    """See envs/mountain_car.py; position and velocity."""
    position, velocity = row(state, 0), row(state, 1)
    cos, _ = cos_sin(3.0 * position)
    velocity = velocity + (push - mountain_car.GRAVITY * cos)
    velocity = clip(velocity, -mountain_car.MAX_SPEED, mountain_car.MAX_SPEED)
    position = clip(position + velocity, mountain_car.MIN_POSITION, mountain_car.MAX_POSITION)
    velocity = where((position == mountain_car.MIN_POSITION) & (velocity < 0.0), 0.0, velocity)
    set_row(state, 0, position)
    set_row(state, 1, velocity)
    return position, velocity


@compiled
def step_mountain_car(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/mountain_car.py."""
    position, velocity = roll(state, (row(action, 0) - 1.0) * mountain_car.FORCE)
    return -1.0, (position >= mountain_car.GOAL) & (velocity >= 0.0)


@compiled
def step_mountain_car_continuous(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/mountain_car_continuous.py."""
    force, limit = row(action, 0), mountain_car_continuous.MAX_FORCE
    position, velocity = roll(state, clip(force, -limit, limit) * mountain_car_continuous.POWER)
    terminated = (position >= mountain_car_continuous.GOAL) & (velocity >= 0.0)
    effort = 0.1 * (force * force)
    return where(terminated, 100.0 - effort, -effort), terminated


@compiled
def reset_acrobot(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/acrobot.py."""
    for i in range(4):
        set_row(state, i, convert(convert(row(uniform, i) * 0.2 - 0.1, np.float32), state.dtype))


@compiled
def acrobot_slope(y: tuple[Value, Value, Value, Value], torque: Value) -> tuple[Value, Value, Value, Value]:
    """See envs/acrobot.py, `derivative`. Cosines of angles less pi / 2 are sines."""
    m, length, center, inertia, gravity = (
        acrobot.MASS,
        acrobot.LENGTH,
        acrobot.CENTER,
        acrobot.INERTIA,
        acrobot.GRAVITY,
    )
    theta1, theta2, theta1_dot, theta2_dot = y
    cos2, sin2 = cos_sin(theta2)
    d1 = m * center**2 + m * (length**2 + center**2 + 2 * length * center * cos2) + inertia + inertia
    d2 = m * (center**2 + length * center * cos2) + inertia
    phi2 = m * center * gravity * cos_sin(theta1 + theta2)[1]
    phi1 = (
        -m * length * center * (theta2_dot * theta2_dot) * sin2
        - 2 * m * length * center * theta2_dot * theta1_dot * sin2
        + (m * center + m * length) * gravity * cos_sin(theta1)[1]
        + phi2
    )
    theta2_acc = (torque + d2 / d1 * phi1 - m * length * center * (theta1_dot * theta1_dot) * sin2 - phi2) / (
        m * center**2 + inertia - d2 * d2 / d1
    )
    return theta1_dot, theta2_dot, -(d2 * theta2_acc + phi1) / d1, theta2_acc


@compiled
def ahead(
    y: tuple[Value, Value, Value, Value], step: float, k: tuple[Value, Value, Value, Value]
) -> tuple[Value, Value, Value, Value]:
    """Y + step * k."""
    return y[0] + step * k[0], y[1] + step * k[1], y[2] + step * k[2], y[3] + step * k[3]


@compiled
def wrap(angle: Value) -> Value:
    """See envs/acrobot.py."""
    turn = 2 * math.pi
    over, under = ceil((angle - math.pi) / turn), floor((angle + math.pi) / turn)
    return angle - turn * (where(over > 0.0, over, 0.0) + where(under < 0.0, under, 0.0))


@compiled
def step_acrobot(state: Array, action: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/acrobot.py: one Runge-Kutta step."""
    y, torque, tau = (row(state, 0), row(state, 1), row(state, 2), row(state, 3)), row(action, 0) - 1.0, acrobot.TAU
    k1 = acrobot_slope(y, torque)
    k2 = acrobot_slope(ahead(y, tau / 2, k1), torque)
    k3 = acrobot_slope(ahead(y, tau / 2, k2), torque)
    k4 = acrobot_slope(ahead(y, tau, k3), torque)
    y = ahead(ahead(ahead(ahead(y, tau / 6, k1), tau / 3, k2), tau / 3, k3), tau / 6, k4)
    theta1, theta2 = wrap(y[0]), wrap(y[1])
    set_row(state, 0, theta1)
    set_row(state, 1, theta2)
    set_row(state, 2, clip(y[2], -acrobot.MAX_SPEED_1, acrobot.MAX_SPEED_1))
    set_row(state, 3, clip(y[3], -acrobot.MAX_SPEED_2, acrobot.MAX_SPEED_2))
    terminated = -cos_sin(theta1)[0] - cos_sin(theta2 + theta1)[0] > 1.0
    return where(terminated, 0.0, 0.0 * torque - 1.0), terminated


@compiled
def observe_acrobot(state: Array, obs: Array) -> None:
    """See envs/acrobot.py."""
    cos1, sin1 = cos_sin(row(state, 0))
    cos2, sin2 = cos_sin(row(state, 1))
    set_row(obs, 0, cos1)
    set_row(obs, 1, sin1)
    set_row(obs, 2, cos2)
    set_row(obs, 3, sin2)
    set_row(obs, 4, row(state, 2))
    set_row(obs, 5, row(state, 3))


FINITE = Dynamics(2, reset_mdp, step_mdp, observe_mdp, tables_of_mdp)

DYNAMICS: dict[type[Env], Dynamics] = {
    cartpole.CartPole: Dynamics(4, reset_cartpole, step_cartpole, copy_state),
    acrobot.Acrobot: Dynamics(4, reset_acrobot, step_acrobot, observe_acrobot),
    pendulum.Pendulum: Dynamics(2, reset_pendulum, step_pendulum, observe_pendulum),
    mountain_car.MountainCar: Dynamics(2, reset_valley, step_mountain_car, copy_state),
    mountain_car_continuous.MountainCarContinuous: Dynamics(2, reset_valley, step_mountain_car_continuous, copy_state),
    LQR: Dynamics(None, reset_lqr, step_lqr, copy_state, tables_of_lqr),
    TabularMDP: FINITE,
    GridWorld: FINITE,
}
