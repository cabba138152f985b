"""Who makes environment steps with random actions, and how. Each side draws its actions and begins new episodes itself.

Faces that reset a copy in the step after its last one do not count that row: nothing was taken there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.sides import Side
from experiments.benchmarks.timing import Step
from experiments.libraries import Library

HORIZONS = {"CartPole-v1": 500, "Pendulum-v1": 200}
ROWS = 4_096
"""At least so many copies are stepped in a timed call, all of them together."""
SCAN = 128
"""Steps of a compiled call of gymnax."""
KERNEL_STEPS = 1_024
"""Of each copy in a call of our kernel."""


class Size(NamedTuple):
    """Of a batch."""

    env: str
    number: int
    """Environments stepped together."""


def make_step(side: str, size: Size) -> Step | None:
    """Some steps of all environments; it returns how many were taken."""
    return SIDES[side].make_step(size)


def vector_steps(envs: Any, number: int, draw: Callable[[], Any]) -> Step:
    """Of a vector environment that resets a copy in the step after its last one."""
    envs.reset()
    over = np.zeros(number, dtype=bool)

    def step() -> int:
        nonlocal over
        taken = rows = 0
        while rows < ROWS or taken == 0:  # where all episodes end together, a row may be no step at all
            _, _, terminated, truncated, _ = envs.step(draw())
            rows += number
            taken += number - int(over.sum())
            over = terminated | truncated
        return taken

    return step


def random_actions(size: Size, integers: type = np.int64) -> Callable[[], np.ndarray]:
    """Uniform ones for all environments, from NumPy."""
    generator = np.random.default_rng(0)
    if size.env == "CartPole-v1":
        return lambda: generator.integers(0, 2, size.number, dtype=integers)
    return lambda: generator.uniform(-2.0, 2.0, (size.number, 1)).astype(np.float32)


def ours(size: Size) -> Step:
    """The kernel that keeps the state of the copies in registers."""
    import torch

    import envs
    from envs.fused.random_play import play_randomly

    env, seeds = envs.make(size.env, "cpu"), torch.arange(size.number)

    def step() -> int:
        play_randomly(env, seeds, KERNEL_STEPS)
        return size.number * KERNEL_STEPS

    return step


def gymnasium_sync(size: Size) -> Step:
    """Python environments one after the other, without checks and copies."""
    import gymnasium

    fast: dict[str, Any] = {"vector_kwargs": {"copy": False}, "disable_env_checker": True}
    envs = gymnasium.make_vec(size.env, size.number, vectorization_mode="sync", **fast)
    return vector_steps(envs, size.number, random_actions(size))


def gymnasium_vector(size: Size) -> Step | None:
    """Its vector entry point in NumPy, which CartPole alone has."""
    import gymnasium

    if gymnasium.spec(size.env).vector_entry_point is None:
        return None
    envs = gymnasium.make_vec(size.env, size.number, vectorization_mode="vector_entry_point")
    return vector_steps(envs, size.number, random_actions(size))


def our_face(size: Size) -> Step:
    """Ours behind Gymnasium's vector interface."""
    import gymnasium
    import torch

    import envs

    torch.set_num_threads(1)
    envs.register()
    return vector_steps(gymnasium.make_vec(f"zopg/{size.env}", size.number), size.number, random_actions(size))


def envpool(size: Size) -> Step:
    """Environments in C++ on one thread."""
    import envpool

    envs = envpool.make(size.env, env_type="gymnasium", num_envs=size.number, num_threads=1, seed=0)
    return vector_steps(envs, size.number, random_actions(size, np.int32))


def gymnax(size: Size) -> Step:
    """Compiled by JAX: SCAN steps with actions, resets and steps of all environments in one call."""
    from experiments.benchmarks.compiled import jax_on_one_core

    jax = jax_on_one_core()
    import gymnax as library

    env, params = library.make(size.env)
    space = env.action_space(params)

    def advance(carry: Any, _: None) -> tuple[Any, Any]:
        key, state = carry
        key, acting, stepping = jax.random.split(key, 3)
        actions = jax.vmap(space.sample)(jax.random.split(acting, size.number))
        keys = jax.random.split(stepping, size.number)
        _, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(keys, state, actions, params)
        return (key, state), reward.sum()

    scan = jax.jit(lambda carry: jax.lax.scan(advance, carry, None, SCAN))
    keys = jax.random.split(jax.random.key(0), size.number)
    batch = {"now": (jax.random.key(1), jax.jit(jax.vmap(env.reset, (0, None)))(keys, params)[1])}

    def step() -> int:
        batch["now"], _ = jax.block_until_ready(scan(batch["now"]))
        return size.number * SCAN

    return step


def torchrl(size: Size) -> Step | None:
    """Its Pendulum in torch, which has no time limit."""
    if size.env != "Pendulum-v1":
        return None
    import torch
    from torchrl.envs import PendulumEnv, step_mdp

    torch.set_num_threads(1)
    env = PendulumEnv()
    now = env.reset(env.gen_params(batch_size=[size.number]))

    def step() -> int:
        nonlocal now
        steps = max(1, ROWS // size.number)
        for _ in range(steps):
            now["action"] = 4 * torch.rand(size.number, 1) - 2
            now = step_mdp(env.step(now))
        return steps * size.number

    return step


SIDES: dict[str, Side] = {
    "zopg": Side(ours),
    "zopg, Gymnasium's face": Side(our_face, stores=True),
    "Gymnasium sync": Side(gymnasium_sync, Library("gymnasium", "gymnasium"), stores=True),
    "Gymnasium vector": Side(gymnasium_vector, Library("gymnasium", "gymnasium"), stores=True),
    "EnvPool": Side(envpool, Library("envpool", "envpool"), stores=True),
    "gymnax": Side(gymnax, Library("gymnax", "gymnax")),
    "torchrl": Side(torchrl, Library("torchrl", "torchrl"), stores=True),
}
"""Name -> side."""
