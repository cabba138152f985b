"""One seed of PPO, A2C or TRPO, trained by Stable-Baselines3 on a problem of ours.

The environment is the problem's, behind SB3's vector interface; the actor is the problem's policy network with SB3's
own initialisation. Before each collection the actor is copied out where a recording position falls into what the
collection will cost, so the copies never touch the training. Nothing is scored here.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from torch import Tensor, nn

from envs.heads import Gaussian
from envs.random import Purpose, streams
from experiments.policy_problem import PolicyProblem
from experiments.vec_env import Copies, copies
from rl.sb3 import External


def implementation(agent: External) -> type[OnPolicyAlgorithm]:
    """SB3's class. Raises ValueError, naming the extra, where its package is not installed."""
    try:
        return getattr(import_module(agent.package), type(agent).__name__)
    except ImportError as error:
        raise ValueError(f"{agent.id} needs {agent.package}: pip install 'zopg[{agent.extra}]'") from error


def build(agent: External, problem: PolicyProblem, env: Copies, seed: int) -> OnPolicyAlgorithm:
    """SB3's agent for the run with this seed, untrained; seeds the global generators, as SB3 does."""
    policy, arguments = problem.policy, agent.arguments()
    if agent.linear_decay:
        arguments |= {
            name: LinearSchedule(arguments[name], 0.0, 1.0)
            for name in ("learning_rate", "clip_range")
            if name in arguments
        }
    widths = list(policy.hidden)
    network: dict[str, Any] = {"net_arch": {"pi": widths, "vf": widths}, "activation_fn": nn.Tanh}
    if isinstance(policy.head, Gaussian):
        network["log_std_init"] = policy.head.log_std
    # 30 bits leave room for SB3's seed + i of the copies in the 31 that all simulators take.
    word = int(streams([seed]).fold(Purpose.TRAIN).words(1)[0, 0]) >> 2
    made = implementation(agent)(
        "MlpPolicy", env, gamma=problem.discount, policy_kwargs=network, seed=word, device="cpu", **arguments
    )
    made.set_logger(Logger(folder=None, output_formats=[]))  # SB3's own would make a folder
    return made


def actor(made: OnPolicyAlgorithm) -> Tensor:
    """The actor as the flat vector [d] of `envs.policies.Network`: layers in order, then log_std."""
    policy = made.policy
    parts = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    if isinstance(made.action_space, spaces.Box):
        parts.append(policy.log_std)
    return nn.utils.parameters_to_vector(parts).detach()


class Snapshot(NamedTuple):
    """An actor, and what had been spent on it."""

    slot: int
    """Recording position that it answers."""
    theta: np.ndarray
    """[d]; NumPy, because tensors that change process need shared memory."""
    spent: dict[str, int]
    """Currency of `envs.core.Cost` -> amount."""
    wall_s: float
    """Seconds since this seed began."""
    measures: dict[str, float]
    """SB3's `train/` values of the last update."""


class Trained(NamedTuple):
    """One seed from its start to its end."""

    snapshots: list[Snapshot]
    """In order; the last one is the last iterate, in the last slot."""
    finite: bool
    """Whether it ran to the budget, rather than until something was not finite."""
    failures: int
    """Environment steps with an observation or reward that is not finite, 0 or 1."""


class _Recorder(BaseCallback):
    """Copies the actor before collections that pass a position. Raises FloatingPointError where it is not finite."""

    def __init__(self, env: Copies, collection: int, positions: Sequence[int], report: Callable[[int], None]) -> None:
        super().__init__()
        self.env, self.collection, self.positions, self.report = env, collection, np.asarray(positions), report
        self.started, self.collections = time.perf_counter(), 0
        self.snapshots: list[Snapshot] = []

    def _on_rollout_start(self) -> None:
        self.check()
        start = self.env.steps
        self.report(start)
        crossed = np.flatnonzero((start <= self.positions) & (self.positions < start + self.collection))
        if len(crossed):
            self.snapshots.append(self.snapshot(int(crossed[-1])))
        self.collections += 1

    def _on_step(self) -> bool:
        return True

    def check(self) -> None:
        """Keep the actor if it is finite."""
        theta = actor(self.model)
        if not bool(torch.isfinite(theta).all()):
            raise FloatingPointError("a parameter is not finite")
        self.sound = theta

    def snapshot(self, slot: int) -> Snapshot:
        """The last finite actor and everything spent so far."""
        spent = {"env_steps": self.env.steps, "episodes": self.env.episodes, "queries": self.collections}
        measures = {name: float(value) for name, value in self.model.logger.name_to_value.items()}
        return Snapshot(slot, self.sound.numpy(), spent, time.perf_counter() - self.started, measures)


def train(
    agent: External,
    problem: PolicyProblem,
    budget: int,
    positions: Sequence[int],
    seed: int,
    report: Callable[[int], None] = lambda steps: None,
) -> Trained:
    """Train the run with this seed for the whole collections that fit `budget` environment steps.

    `report` is told the steps taken, before each collection.
    """
    with _global_state_kept(), torch.enable_grad():
        env = copies(problem.env, agent.n_envs)
        recorder = _Recorder(env, agent.collection, positions, report)
        try:
            made = build(agent, problem, env, seed)
            finite = _learn(made, recorder, budget // agent.collection * agent.collection)
        finally:
            env.close()
        last = recorder.snapshot(len(positions) - 1)
        return Trained([*recorder.snapshots, last], finite, env.failures)


def _learn(made: OnPolicyAlgorithm, recorder: _Recorder, steps: int) -> bool:
    """Whether everything stayed finite until the end."""
    try:
        made.learn(steps, recorder, log_interval=None)
        recorder.check()
    except FloatingPointError:
        return False
    except ValueError:  # torch's distributions refuse parameters that became non-finite within an update
        if bool(torch.isfinite(actor(made)).all()):
            raise
        return False
    return True


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """One thread, and the global generators that SB3 draws from left as they were."""
    threads, python, numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    torch.set_num_threads(1)
    try:
        # SB3's statistics warn of the overflows that end a diverging run; it ends with a reason of its own here.
        with torch.random.fork_rng(devices=[]), np.errstate(over="ignore", invalid="ignore"):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)
