"""Environments, policies and rollouts: the ground floor. It imports none of the other packages."""

from envs.algorithm import Algorithm, Schedule
from envs.checkpoints import load_policy, save_policy
from envs.core import Box, Cost, Discrete, Env, EnvSpec, Evaluation
from envs.gymnasium import register
from envs.heads import Categorical, Gaussian, Greedy, deterministic_head, stochastic_head
from envs.policies import MLP, Linear, Network, PolicyModule
from envs.random import Purpose, Stream, streams
from envs.registry import ENVS, make, select_device
from envs.rollout import Returns, Trajectory, returns, rollout

register()

__all__ = [
    "ENVS",
    "MLP",
    "Algorithm",
    "Box",
    "Categorical",
    "Cost",
    "Discrete",
    "Env",
    "EnvSpec",
    "Evaluation",
    "Gaussian",
    "Greedy",
    "Linear",
    "Network",
    "PolicyModule",
    "Purpose",
    "Returns",
    "Schedule",
    "Stream",
    "Trajectory",
    "deterministic_head",
    "load_policy",
    "make",
    "register",
    "returns",
    "rollout",
    "save_policy",
    "select_device",
    "stochastic_head",
    "streams",
]
