"""One process of many-seed training on CartPole-v1, until a mean return of THRESHOLD within HORIZON steps.

All sides are scored alike: the sampled policy on EPISODES episodes at every EVERY-th environment step of a seed. Wall
seconds of ours include scoring, records and all; those of Stable-Baselines3 leave scoring out, and it ends once it is
there, while ours goes on to the budget.
"""

import json
import time
from typing import Any

HORIZON, THRESHOLD, EPISODES = 200, 195.0, 20
BUDGET, EVERY = 80_000, 2_000
"""Environment steps of a seed."""
SB3: dict[str, dict[str, Any]] = {
    "A2C": {},
    "PPO": {
        "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "learning_rate": (1e-3,),
        "clip_range": (0.2,),
    },
}  # fmt: skip
"""Settings of RL Baselines3 Zoo for CartPole-v1, with eight environments: A2C's are the library's own. A number in
brackets falls linearly to 0."""
CODE = "import sys; from experiments.benchmarks.seeds_sides import {side}; {side}(sys.argv[1], *map(int, sys.argv[2:]))"


def train_ours(name: str, first: int, seeds: int) -> None:
    """Print JSON: environment steps and wall seconds to the threshold of each seed, or null; the seconds of all."""
    from dataclasses import replace

    import torch

    from experiments.compare import Comparison
    from experiments.loop import run
    from experiments.presets import PRESETS

    torch.set_num_threads(1)
    preset = replace(PRESETS["cartpole"], algorithms=(name,), budget=BUDGET, evaluations=BUDGET // EVERY, seeds=seeds)
    comparison = Comparison(preset, seed=first)
    ((algorithm, problem),) = comparison.members()
    run(algorithm, problem, 2, budget=BUDGET // 10, evaluations=2)  # compiles, or loads what is compiled
    started, used = time.perf_counter(), time.process_time()
    curves = run(algorithm, problem, comparison.seeds, BUDGET, evaluations=preset.evaluations).curves
    wall, processor = time.perf_counter() - started, time.process_time() - used
    reached: dict[int, tuple[int, float]] = {}
    for row in curves.select(["run", "env_steps", "wall_s", "name", "value"]).to_pylist():
        if row["name"] == "eval/return" and row["value"] >= THRESHOLD:
            reached[row["run"]] = min(reached.get(row["run"], (BUDGET + 1, 0.0)), (row["env_steps"], row["wall_s"]))
    _print([reached.get(r) for r in range(seeds)], wall, processor)


def train_sb3(name: str, first: int, seeds: int) -> None:
    """The same of an agent of Stable-Baselines3, one seed after the other."""
    import stable_baselines3
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.utils import LinearSchedule

    import envs
    from envs.random import Purpose
    from experiments.stable_baselines import actor

    torch.set_num_threads(1)
    env = envs.make("CartPole-v1", "cpu", horizon=HORIZON)
    network = envs.MLP(env.spec, (64, 64))  # the actor of their MlpPolicy

    class Watch(BaseCallback):
        """Scores the actor before collections, and stops at the threshold."""

        def __init__(self, seed: int) -> None:
            super().__init__()
            self.stream = envs.streams([seed]).fold(Purpose.EVALUATE)
            self.due, self.steps, self.reached = EVERY, 0, False
            self.wall = self.processor = 0.0

        def _on_rollout_start(self) -> None:
            if self.num_timesteps < self.due:
                return
            self.due, self.steps = self.due + EVERY, self.num_timesteps
            started, used = time.perf_counter(), time.process_time()
            params = actor(self.model)[None, None]
            found = envs.returns(env, network, params, EPISODES, self.stream.at(self.num_timesteps))
            self.reached = bool(found.values >= THRESHOLD)
            self.wall += time.perf_counter() - started
            self.processor += time.process_time() - used

        def _on_step(self) -> bool:
            return not self.reached

    settings = {
        field: LinearSchedule(value[0], 0.0, 1.0) if isinstance(value, tuple) else value
        for field, value in SB3[name].items()
    }
    envs.returns(env, network, network.init(envs.streams([0]))[None], 1, envs.streams([0]))  # compiles
    found, wall, processor = [], 0.0, 0.0
    for seed in range(first, first + seeds):
        copies = make_vec_env("CartPole-v1", n_envs=8, seed=seed, env_kwargs={"max_episode_steps": HORIZON})
        agent = getattr(stable_baselines3, name)("MlpPolicy", copies, device="cpu", seed=seed, **settings)
        watch, started, used = Watch(seed), time.perf_counter(), time.process_time()
        agent.learn(BUDGET, watch)
        took = time.perf_counter() - started - watch.wall
        wall, processor = wall + took, processor + time.process_time() - used - watch.processor
        found.append((watch.steps, took) if watch.reached else None)
    _print(found, wall, processor)


def _print(reached: list[tuple[int, float] | None], wall: float, processor: float) -> None:
    print(json.dumps({"reached": reached, "wall": wall, "processor": processor}))
