"""Who rolls a tanh network out on CartPole-v1, and how: steps taken in episodes are what counts.

The weights are random, so an episode has some twenty steps. Ours plays whole episodes. gymnax has lanes that begin a
new episode in the step that ends one, so none of its steps is lost: the form that suits a scan best.
"""

from itertools import pairwise
from typing import Any, NamedTuple

from experiments.benchmarks.sides import Side
from experiments.benchmarks.timing import Step
from experiments.libraries import Library

LONGEST_SCAN, LARGEST_SCAN = 128, 2**18
"""Steps of a compiled call of gymnax: of a lane, and of all lanes together."""
MOST_STEPWISE = 1_024
"""Episodes beyond which sides that work step by step are not asked: a call would take seconds."""
SB3_EPISODES = 64


class Size(NamedTuple):
    """Of a batch of rollouts."""

    population: int
    """Policies."""
    episodes: int
    """Of each policy."""
    width: int
    """Of both hidden layers."""


def make_step(side: str, size: Size) -> Step | None:
    """Some rollouts; it returns the steps taken."""
    return SIDES[side].make_step(size)


def ours(size: Size, backend: Any = "auto") -> Step:
    """`envs.returns` on other random numbers at every call."""
    import torch

    import envs

    torch.set_num_threads(1)
    env = envs.make("CartPole-v1", "cpu")
    policy, root = envs.MLP(env.spec, (size.width, size.width)), envs.streams([0])
    params, calls = policy.init(envs.streams(range(size.population)))[None], iter(range(2**31))

    def step() -> int:
        found = envs.returns(env, policy, params, size.episodes, root.at(next(calls)), backend=backend)
        return int(found.lengths.sum())

    return step


def plain(size: Size) -> Step | None:
    """The same in eager torch, step by step."""
    return ours(size, "plain") if size.population * size.episodes <= MOST_STEPWISE else None


def gymnax(size: Size) -> Step:
    """Compiled by JAX: a scan over `episodes` lanes for each policy."""
    from experiments.benchmarks.compiled import jax_on_one_core

    jax = jax_on_one_core()
    import gymnax as library

    env, env_params = library.make("CartPole-v1")
    widths = (4, size.width, size.width, 2)
    lanes = (size.population, size.episodes)
    length = min(LONGEST_SCAN, LARGEST_SCAN // (size.population * size.episodes))

    def layer(key: Any, fan_in: int, fan_out: int) -> tuple[Any, Any]:
        bound = (6 / (fan_in + fan_out)) ** 0.5
        weight = jax.random.uniform(key, (size.population, fan_in, fan_out), minval=-bound, maxval=bound)
        return weight, jax.numpy.zeros((size.population, 1, fan_out))

    keys = jax.random.split(jax.random.key(0), 3)
    layers = [layer(key, *pair) for key, pair in zip(keys, pairwise(widths), strict=True)]
    over_lanes = jax.vmap(jax.vmap(env.step, (0, 0, 0, None)), (0, 0, 0, None))

    def advance(carry: Any, _: None) -> tuple[Any, Any]:
        key, obs, state = carry
        key, acting, stepping = jax.random.split(key, 3)
        x = obs
        for i, (weight, bias) in enumerate(layers):
            x = (jax.numpy.tanh(x) if i else x) @ weight + bias
        action = jax.random.categorical(acting, x)
        obs, state, reward, *_ = over_lanes(jax.random.split(stepping, lanes), state, action, env_params)
        return (key, obs, state), reward.sum()

    scan = jax.jit(lambda carry: jax.lax.scan(advance, carry, None, length))
    begin = jax.jit(jax.vmap(jax.vmap(env.reset, (0, None)), (0, None)))
    batch = {"now": (jax.random.key(1), *begin(jax.random.split(jax.random.key(2), lanes), env_params))}

    def step() -> int:
        batch["now"], _ = jax.block_until_ready(scan(batch["now"]))
        return size.population * size.episodes * length

    return step


def stable_baselines(size: Size) -> Step | None:
    """`evaluate_policy` of one untrained PPO policy on eight environments; SB3_EPISODES episodes in each call."""
    if size.population != 1 or size.episodes != SB3_EPISODES:
        return None
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    envs = make_vec_env("CartPole-v1", n_envs=8, seed=0)
    network = {"net_arch": [size.width, size.width]}
    agent = PPO("MlpPolicy", envs, policy_kwargs=network, device="cpu", seed=0)

    def step() -> int:
        _, lengths = evaluate_policy(agent, envs, SB3_EPISODES, deterministic=False, return_episode_rewards=True)
        return int(sum(lengths))

    return step


SIDES: dict[str, Side] = {
    "zopg": Side(ours),
    "zopg, plain": Side(plain),
    "gymnax": Side(gymnax, Library("gymnax", "gymnax")),
    "Stable-Baselines3": Side(stable_baselines, Library("stable_baselines3", "stable-baselines3")),
}
"""Name -> side."""
