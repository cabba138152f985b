"""Environments of ours, and of Gymnasium, behind the vector interface of Stable-Baselines3.

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations" (JMLR 22, 2021). A copy that reaches
the horizon is truncated, and SB3 then adds the value of where it was cut to the last reward; one that terminates has no
value.
"""

import warnings
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from envs.core import Discrete, Env, EnvSpec
from envs.gymnasium import GymnasiumEnv, ZopgVectorEnv


class Copies(VecEnv):
    """A Gymnasium vector environment that resets finished copies in the same step, as SB3's, counting what it costs.

    An episode is counted when its first step is taken. Raises FloatingPointError on an observation or reward that is
    not finite.
    """

    def __init__(self, inner: VectorEnv, spec: EnvSpec) -> None:
        self.inner = inner
        self.steps = self.episodes = self.failures = 0
        self._fresh = np.ones(inner.num_envs, dtype=bool)
        self._actions: Any = None
        limit = np.finfo(np.float32).max
        observation = spaces.Box(-np.inf, np.inf, (spec.observation_size,), np.float32)
        if isinstance(spec.action, Discrete):
            action: spaces.Space = spaces.Discrete(spec.action.n)
        else:  # SB3 clips to the bounds, and refuses infinite ones
            low, high = (
                np.array(bound, np.float32).clip(-limit, limit) for bound in (spec.action.low, spec.action.high)
            )
            action = spaces.Box(low, high)
        super().__init__(inner.num_envs, observation, action)

    def reset(self) -> np.ndarray:
        """Observations [n, O] of new episodes, under the seeds given to `seed` if they were not used yet."""
        observation, _ = self.inner.reset(seed=self._seeds)
        self._reset_seeds()
        self._fresh[:] = True
        return self._flat(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        shift = self.inner.single_action_space.start if isinstance(self.action_space, spaces.Discrete) else 0
        self._actions = actions + shift

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations [n, O], rewards [n], done [n] and SB3's infos of finished copies."""
        observation, reward, terminated, truncated, info = self.inner.step(self._actions)
        self.steps += self.num_envs
        self.episodes += int(self._fresh.sum())
        self._fresh = done = terminated | truncated
        observation, reward = self._flat(observation), reward.astype(np.float32)
        if not (np.isfinite(observation).all() and np.isfinite(reward).all()):
            self.failures += 1
            raise FloatingPointError("an observation or reward is not finite")
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            last = np.asarray(info["final_obs"][i], dtype=np.float32).ravel()
            infos[i] = {"terminal_observation": last, "TimeLimit.truncated": bool(truncated[i] and not terminated[i])}
        return observation, reward, done, infos

    def close(self) -> None:
        """Close the copies."""
        self.inner.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The render mode, which SB3 asks for, is None; raises AttributeError for anything else."""
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No copy is."""
        return [False] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> NoReturn:
        """Raises AttributeError."""
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> NoReturn:
        """Raises AttributeError."""
        raise AttributeError(method_name)

    def _flat(self, observation: np.ndarray) -> np.ndarray:
        return observation.reshape(self.num_envs, -1).astype(np.float32)


def copies(env: Env, size: int) -> Copies:
    """`size` copies of `env` with its horizon as the time limit."""
    if not isinstance(env, GymnasiumEnv):
        return Copies(ZopgVectorEnv(env, size, autoreset_mode=AutoresetMode.SAME_STEP), env.spec)
    with warnings.catch_warnings(action="ignore"):  # from_gymnasium has shown them
        inner = gymnasium.make_vec(
            env.spec.id,
            num_envs=size,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            disable_env_checker=True,
            **env.options,
        )
    return Copies(inner, env.spec)
