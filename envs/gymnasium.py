"""The Gymnasium face: our environments under the ids `zopg/<id>`, NumPy outside and torch inside.

Towers et al., "Gymnasium: a standard interface for reinforcement learning environments" (2024); semantics of
gymnasium 1.4.0. `gymnasium.make("zopg/CartPole-v1")` gives one copy, `gymnasium.make_vec("zopg/CartPole-v1", 64)` a
batch that is stepped as one. Both accept `device`, `dtype` and the options of the environment itself.

Randomness is counter-based, see `envs.copies`: an episode is a function of its seed, its number and its actions,
whatever the number of copies and the autoreset mode.

On a CPU and in float32, the default, all copies are stepped by one call of a kernel where the environment has one
(`envs.fused.stepping`). In float64 CartPole has the bits of Gymnasium's.

The other direction, any Gymnasium environment as a problem here, is `from_gymnasium`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.copies import CONTINUE, Copies, PlainCopies
from envs.core import Discrete, Env, EnvSpec
from envs.from_gymnasium import GymnasiumEnv, from_gymnasium
from envs.fused.stepping import FusedCopies, supports
from envs.registry import ENVS, make

__all__ = ["GymnasiumEnv", "ZopgEnv", "ZopgVectorEnv", "from_gymnasium", "register"]

NAMESPACE = "zopg"
SEEDS = 2**31
"""Seeds that nobody gave are drawn below this."""
NEVER = 2**62
"""A time limit that is none."""


class ZopgEnv(gymnasium.Env):
    """One copy of `env`. The time limit is Gymnasium's TimeLimit wrapper, which `gymnasium.make` adds."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, env: Env) -> None:
        self.copies = copies_of(env, 1, NEVER, AutoresetMode.DISABLED)
        self.observation_space, self.action_space = _spaces(env.spec)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """The first episode under `seed`; without one the next under the present seed. No options are known."""
        _check_options(options, ())
        super().reset(seed=seed)
        if seed is None and not self.copies.begun:
            seed = int(self.np_random.integers(SEEDS))
        return self.copies.begin(np.ones(1, dtype=bool), _seeds([seed]))[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Observation, reward, terminated, truncated, info. Raises ValueError on an action that is none."""
        observations, rewards, terminated, truncated, _ = self.copies.step(np.asarray(action)[None])
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}


class ZopgVectorEnv(VectorEnv):
    """n copies of `env` stepped as one, with the time limit and the three autoreset modes inside.

    The arrays are those of gymnasium's SyncVectorEnv: observations float32 [n, O], rewards float64 [n], flags bool [n].
    An episode that terminates on its last allowed step has both flags set.
    """

    def __init__(
        self,
        env: Env,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        """`max_episode_steps` defaults to the horizon. Raises ValueError on a bad argument."""
        limit = env.spec.horizon if max_episode_steps is None else max_episode_steps
        for name, value in (("num_envs", num_envs), ("max_episode_steps", limit)):
            if value < 1:
                raise ValueError(f"{name} = {value} is not >= 1")
        self.mode = _mode(autoreset_mode)
        self.num_envs, self.max_episode_steps = num_envs, limit
        self.copies = copies_of(env, num_envs, limit, self.mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.mode}
        self.single_observation_space, self.single_action_space = _spaces(env.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes. An integer s seeds copy i with s + i; a list has one seed, or None to continue, for each.

        `options["reset_mask"]`, bool [n] with a True in it, restricts the reset to some copies. Raises ValueError on
        bad seeds or options.
        """
        mask = self._reset_mask(options)
        super().reset(seed=None if isinstance(seed, Sequence) else seed)
        seeds: list[int | None] = [None] * self.num_envs
        if isinstance(seed, Sequence):
            seeds = list(seed)
        elif seed is not None:
            seeds = [seed + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed has {len(seeds)} entries, one for each of {self.num_envs} copies is needed")
        if not self.copies.begun:
            drawn = self.np_random.integers(SEEDS, size=self.num_envs).tolist() if None in seeds else seeds
            seeds = [new if old is None else old for old, new in zip(seeds, drawn, strict=True)]
        return self.copies.begin(mask, _seeds(seeds)), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every copy: observations, rewards, terminated, truncated, infos.

        Raises ValueError on actions that are none, and in the mode DISABLED AssertionError, as Gymnasium does, where a
        finished copy would be stepped.
        """
        if self.mode is AutoresetMode.DISABLED:
            over = self.copies.over
            assert not over.any(), f"copies {np.flatnonzero(over).tolist()} are finished: reset them by reset_mask"
        observations, rewards, terminated, truncated, finals = self.copies.step(actions)
        infos = {} if finals is None else _final(terminated | truncated, finals)
        return observations, rewards, terminated, truncated, infos

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        _check_options(options, ("reset_mask",))
        if not options:
            return np.ones(self.num_envs, dtype=bool)
        mask = np.asarray(options["reset_mask"])
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask = {mask!r}: allowed is bool, shape [{self.num_envs}], with a True in it")
        if not self.copies.begun and not mask.all():
            raise ValueError("reset_mask picks some copies, but none was reset before: reset all of them first")
        return mask


def copies_of(env: Env, size: int, limit: int, autoreset: AutoresetMode) -> Copies:
    """Stepped by a kernel where there is one."""
    return (FusedCopies if supports(env) else PlainCopies)(env, size, limit, autoreset)


def single(
    env_id: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    render_mode: None = None,
    **options: Any,
) -> ZopgEnv:
    """Entry point of the registered ids; `options` are the environment's own."""
    return ZopgEnv(_make(env_id, device, dtype, render_mode, options))


def vector(
    env_id: str,
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    render_mode: None = None,
    **options: Any,
) -> ZopgVectorEnv:
    """Vector entry point of the registered ids; `options` are the environment's own."""
    env = _make(env_id, device, dtype, render_mode, options)
    return ZopgVectorEnv(env, num_envs, max_episode_steps, autoreset_mode)


def register() -> None:
    """Register `zopg/<id>` for every environment in ENVS that is not registered yet."""
    for env_id in ENVS:
        name = f"{NAMESPACE}/{env_id}"
        if name in gymnasium.registry:
            continue
        spec = make(env_id, device="cpu").spec
        gymnasium.register(
            name,
            entry_point="envs.gymnasium:single",
            vector_entry_point="envs.gymnasium:vector",
            max_episode_steps=spec.horizon,
            reward_threshold=spec.threshold,
            kwargs={"env_id": env_id},
        )


def _make(env_id: str, device: str, dtype: torch.dtype, render_mode: str | None, options: dict[str, Any]) -> Env:
    if render_mode is not None:
        # A TypeError is what Gymnasium's users catch to go without rendering (stable-baselines3's make_vec_env).
        raise TypeError(f"render_mode = {render_mode!r}: these environments do not render")
    return make(env_id, device=device, dtype=dtype, horizon=None, **options)


def _spaces(spec: EnvSpec) -> tuple[gymnasium.spaces.Box, gymnasium.Space]:
    observation = _box(spec.observation_low, spec.observation_high)
    if isinstance(spec.action, Discrete):
        return observation, gymnasium.spaces.Discrete(spec.action.n)
    return observation, _box(spec.action.low, spec.action.high)


def _box(low: Sequence[float], high: Sequence[float]) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        allowed = ", ".join(repr(known.value) for known in AutoresetMode)
        raise ValueError(f"autoreset_mode = {mode!r}: allowed are {allowed}") from None


def _seeds(seeds: Sequence[int | None]) -> NDArray[np.int64]:
    for seed in seeds:
        if seed is not None and not 0 <= seed < 2**63:
            raise ValueError(f"seed = {seed} is not in [0, 2^63)")
    return np.array([CONTINUE if seed is None else seed for seed in seeds], dtype=np.int64)


def _final(mask: NDArray[np.bool_], finals: NDArray[np.float32]) -> dict[str, Any]:
    """What the finished copies last saw; as in Gymnasium an object array, with None for the others."""
    if not mask.any():
        return {}
    final = np.full(len(mask), None, dtype=object)
    for i in np.flatnonzero(mask):
        final[i] = finals[i]
    return {"final_obs": final, "_final_obs": mask, "final_info": {}, "_final_info": mask.copy()}


def _check_options(options: dict[str, Any] | None, known: Sequence[str]) -> None:
    unknown = sorted(set(options or ()) - set(known))
    if unknown:
        raise ValueError(f"options has {unknown}; known: {list(known)}")
