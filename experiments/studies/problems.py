"""The exact problems of the studies: everything in float64, and every run starts from the same policy."""

import math

import torch

import envs
from envs.core import Env
from envs.heads import Gaussian, Head
from experiments.exact import ExactProblem


def _exact(env: Env, discount: float, head: Head | None = None) -> ExactProblem:
    return ExactProblem(env, envs.Linear(env.spec, head=head, bias=False, initialisation="zeros"), discount)


def random_mdp(seed: int) -> ExactProblem:
    """The random process of that seed with 6 states, 3 actions, horizon 20 and discount 0.9, from uniform actions."""
    env = envs.make("RandomMDP-v0", device="cpu", dtype=torch.float64, horizon=20, states=6, actions=3, seed=seed)
    return _exact(env, 0.9)


def grid_world() -> ExactProblem:
    """Four by four cells, horizon 24 and discount 0.95, from uniform actions."""
    return _exact(envs.make("GridWorld-v0", device="cpu", dtype=torch.float64, size=4), 0.95)


def lqr() -> ExactProblem:
    """The Laplacian system, horizon 20, discount 0.9, from no control; actions have deviation 1/2.

    States cost as much as actions, and both so little that gradients are of order one.
    """
    cost = 0.001 * torch.eye(3)
    env = envs.make("LQR-v0", device="cpu", dtype=torch.float64, horizon=20, Q=cost, R=cost, noise_std=0.5)
    return _exact(env, 0.9, Gaussian(3, log_std=math.log(0.5), learn_std=False))
