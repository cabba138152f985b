"""Scalar dynamics for the CPU kernel: the equations of `envs/<env>.py` for one episode at a time.

The tensor version is the definition; a test holds every entry of `DYNAMICS` to it. State and observation are arrays
that are written in place. Functions are compiled with the kernel that they are built into.
"""

import math

import numpy as np
from numba.extending import register_jitable

from envs import acrobot, cartpole, mountain_car, mountain_car_continuous, pendulum
from envs.core import Env
from envs.fused.core import Array, Dynamics, Outcome, Tables
from envs.fused.exact import observe_mdp, reset_lqr, reset_mdp, step_lqr, step_mdp, tables_of_lqr, tables_of_mdp
from envs.gridworld import GridWorld
from envs.lqr import LQR
from envs.tabular import TabularMDP


@register_jitable
def clip(value: float, low: float, high: float) -> float:
    """The value moved into [low, high]."""
    return min(max(value, low), high)


@register_jitable
def copy_state(state: Array, obs: Array) -> None:
    """The state is what is observed."""
    for i in range(obs.size):
        obs[i] = state[i]


@register_jitable
def reset_cartpole(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/cartpole.py."""
    for i in range(4):
        state[i] = uniform[i] * 0.1 - 0.05


@register_jitable
def step_cartpole(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/cartpole.py."""
    x, x_dot, theta, theta_dot = state[0], state[1], state[2], state[3]
    force = cartpole.FORCE if action == 1 else -cartpole.FORCE
    cos, sin = math.cos(theta), math.sin(theta)
    temp = (force + cartpole.POLE_MOMENT * theta_dot * theta_dot * sin) / cartpole.TOTAL_MASS
    theta_acc = (cartpole.GRAVITY * sin - cos * temp) / (
        cartpole.HALF_LENGTH * (4.0 / 3.0 - cartpole.POLE_MASS * cos * cos / cartpole.TOTAL_MASS)
    )
    x_acc = temp - cartpole.POLE_MOMENT * theta_acc * cos / cartpole.TOTAL_MASS
    state[0] = x + cartpole.TAU * x_dot
    state[1] = x_dot + cartpole.TAU * x_acc
    state[2] = theta + cartpole.TAU * theta_dot
    state[3] = theta_dot + cartpole.TAU * theta_acc
    return 1.0, abs(state[0]) > cartpole.X_LIMIT or abs(state[2]) > cartpole.ANGLE_LIMIT


@register_jitable
def reset_pendulum(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/pendulum.py."""
    state[0] = uniform[0] * (2 * math.pi) - math.pi
    state[1] = uniform[1] * 2.0 - 1.0


@register_jitable
def step_pendulum(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/pendulum.py."""
    theta, theta_dot = state[0], state[1]
    torque = np.float32(clip(np.float32(real[0]), -pendulum.MAX_TORQUE, pendulum.MAX_TORQUE))
    error = (theta + math.pi) % (2 * math.pi) - math.pi
    cost = error * error + 0.1 * theta_dot * theta_dot + np.float32(np.float32(0.001) * torque * torque)
    push = np.float32(np.float32(3.0 / (pendulum.MASS * pendulum.LENGTH**2)) * torque)
    theta_acc = 3 * pendulum.GRAVITY / (2 * pendulum.LENGTH) * math.sin(theta) + push
    state[1] = clip(theta_dot + theta_acc * pendulum.TAU, -pendulum.MAX_SPEED, pendulum.MAX_SPEED)
    state[0] = theta + state[1] * pendulum.TAU
    return -cost, False


@register_jitable
def observe_pendulum(state: Array, obs: Array) -> None:
    """See envs/pendulum.py."""
    obs[0], obs[1], obs[2] = math.cos(state[0]), math.sin(state[0]), state[1]


@register_jitable
def reset_valley(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/mountain_car.py."""
    state[0], state[1] = uniform[0] * 0.2 - 0.6, 0.0


@register_jitable
def roll(state: Array, push: float) -> None:
    """See envs/mountain_car.py."""
    velocity = state[1] + (push - mountain_car.GRAVITY * math.cos(3 * state[0]))
    state[1] = clip(velocity, -mountain_car.MAX_SPEED, mountain_car.MAX_SPEED)
    state[0] = clip(state[0] + state[1], mountain_car.MIN_POSITION, mountain_car.MAX_POSITION)
    if state[0] <= mountain_car.MIN_POSITION and state[1] < 0.0:
        state[0], state[1] = mountain_car.MIN_POSITION, 0.0


@register_jitable
def step_mountain_car(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/mountain_car.py."""
    roll(state, (action - 1) * mountain_car.FORCE)
    return -1.0, state[0] >= mountain_car.GOAL and state[1] >= 0.0


@register_jitable
def step_mountain_car_continuous(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/mountain_car_continuous.py."""
    limit = mountain_car_continuous.MAX_FORCE
    roll(state, clip(real[0], -limit, limit) * mountain_car_continuous.POWER)
    terminated = state[0] >= mountain_car_continuous.GOAL and state[1] >= 0.0
    return 100.0 * terminated - 0.1 * real[0] * real[0], terminated


@register_jitable
def reset_acrobot(state: Array, uniform: Array, tables: Tables) -> None:
    """See envs/acrobot.py."""
    for i in range(4):
        state[i] = np.float32(uniform[i] * 0.2 - 0.1)


@register_jitable
def acrobot_slope(y: tuple[float, float, float, float], torque: float) -> tuple[float, float, float, float]:
    """See envs/acrobot.py, `derivative`."""
    theta1, theta2, theta1_dot, theta2_dot = y
    m, length, center, gravity, inertia = acrobot.MASS, acrobot.LENGTH, acrobot.CENTER, acrobot.GRAVITY, acrobot.INERTIA
    cos2, sin2 = math.cos(theta2), math.sin(theta2)
    d1 = m * center**2 + m * (length**2 + center**2 + 2 * length * center * cos2) + inertia + inertia
    d2 = m * (center**2 + length * center * cos2) + inertia
    phi2 = m * center * gravity * math.cos(theta1 + theta2 - math.pi / 2)
    phi1 = (
        -m * length * center * theta2_dot * theta2_dot * sin2
        - 2 * m * length * center * theta2_dot * theta1_dot * sin2
        + (m * center + m * length) * gravity * math.cos(theta1 - math.pi / 2)
        + phi2
    )
    theta2_acc = (torque + d2 / d1 * phi1 - m * length * center * theta1_dot * theta1_dot * sin2 - phi2) / (
        m * center**2 + inertia - d2 * d2 / d1
    )
    return theta1_dot, theta2_dot, -(d2 * theta2_acc + phi1) / d1, theta2_acc


@register_jitable
def ahead(
    y: tuple[float, float, float, float], step: float, k: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Y + step * k."""
    return y[0] + step * k[0], y[1] + step * k[1], y[2] + step * k[2], y[3] + step * k[3]


@register_jitable
def wrap(angle: float) -> float:
    """See envs/acrobot.py."""
    turn = 2 * math.pi
    return angle - turn * (
        max(math.ceil((angle - math.pi) / turn), 0.0) + min(math.floor((angle + math.pi) / turn), 0.0)
    )


@register_jitable
def step_acrobot(state: Array, action: int, real: Array, uniform: Array, tables: Tables) -> Outcome:
    """See envs/acrobot.py: one Runge-Kutta step."""
    y, torque, tau = (float(state[0]), float(state[1]), float(state[2]), float(state[3])), action - 1.0, acrobot.TAU
    k1 = acrobot_slope(y, torque)
    k2 = acrobot_slope(ahead(y, tau / 2, k1), torque)
    k3 = acrobot_slope(ahead(y, tau / 2, k2), torque)
    k4 = acrobot_slope(ahead(y, tau, k3), torque)
    y = ahead(ahead(ahead(ahead(y, tau / 6, k1), tau / 3, k2), tau / 3, k3), tau / 6, k4)
    state[0], state[1] = wrap(y[0]), wrap(y[1])
    state[2] = clip(y[2], -acrobot.MAX_SPEED_1, acrobot.MAX_SPEED_1)
    state[3] = clip(y[3], -acrobot.MAX_SPEED_2, acrobot.MAX_SPEED_2)
    terminated = -math.cos(state[0]) - math.cos(state[1] + state[0]) > 1.0
    return (0.0 if terminated else -1.0), terminated


@register_jitable
def observe_acrobot(state: Array, obs: Array) -> None:
    """See envs/acrobot.py."""
    obs[0], obs[1] = math.cos(state[0]), math.sin(state[0])
    obs[2], obs[3] = math.cos(state[1]), math.sin(state[1])
    obs[4], obs[5] = state[2], state[3]


FINITE = Dynamics(1, reset_mdp, step_mdp, observe_mdp, tables_of_mdp)

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
