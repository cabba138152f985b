"""Registries: id -> class, open to third parties through entry points; and that of the environments."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

import torch

from envs.acrobot import Acrobot
from envs.cartpole import CartPole
from envs.core import Env
from envs.gridworld import GridWorld
from envs.lqr import LQR
from envs.mountain_car import MountainCar
from envs.mountain_car_continuous import MountainCarContinuous
from envs.pendulum import Pendulum
from envs.tabular import TabularMDP

T = TypeVar("T")


class UnknownIdError(ValueError):
    """An id that no registry entry has; the message names what there is."""


class Registry(Mapping[str, T], Generic[T]):
    """Read-only mapping of ids; `group` is the entry-point group that adds to it, if any, loaded on a look-up."""

    def __init__(self, kind: str, group: str | None, entries: Mapping[str, T]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._external = {point.name: point for point in entry_points(group=group)} if group else {}
        clash = self._entries.keys() & self._external.keys()
        if clash:
            raise ValueError(f"entry points of group {group!r} redefine {sorted(clash)}")

    def __getitem__(self, key: str) -> T:
        if key in self._entries:
            return self._entries[key]
        if key in self._external:
            return self._external[key].load()
        raise UnknownIdError(f"unknown {self.kind} {key!r}; known: {', '.join(self)}")

    def __contains__(self, key: object) -> bool:
        return key in self._entries or key in self._external

    def __iter__(self) -> Iterator[str]:
        return iter([*self._entries, *self._external])

    def __len__(self) -> int:
        return len(self._entries) + len(self._external)


ENVS: Registry[type[Env]] = Registry(
    "environment",
    "zopg.envs",
    {
        "CartPole-v1": CartPole,
        "Acrobot-v1": Acrobot,
        "Pendulum-v1": Pendulum,
        "MountainCar-v0": MountainCar,
        "MountainCarContinuous-v0": MountainCarContinuous,
        "LQR-v0": LQR,
        "RandomMDP-v0": TabularMDP,
        "GridWorld-v0": GridWorld,
    },
)


def select_device(name: str) -> torch.device:
    """The device called "cpu", "cuda" or "auto" (a GPU where there is one); raises ValueError where there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device = {name!r} is not one of 'auto', 'cpu', 'cuda'")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda' needs a CUDA device and there is none; allowed here: 'auto', 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make(
    id: str, device: str = "auto", dtype: torch.dtype = torch.float32, horizon: int | None = None, **options: Any
) -> Env:
    """The environment registered as `id`, or any Gymnasium one as "gym:<its id>", which runs on the CPU.

    `device` is "auto", "cpu" or "cuda", `dtype` float32 or float64, `horizon` replaces the environment's time limit and
    `options` are the environment's own. Raises UnknownIdError, and ValueError for anything that is not allowed.
    """
    place = select_device(device)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype = {dtype} is not torch.float32 or torch.float64")
    if horizon is not None and (not isinstance(horizon, int) or horizon < 1):
        raise ValueError(f"horizon = {horizon} is not an integer >= 1")
    if id.startswith("gym:"):
        from envs.gymnasium import from_gymnasium  # heavy, and not needed by the other environments

        return from_gymnasium(id.removeprefix("gym:"), dtype=dtype, horizon=horizon, **options)
    create = ENVS[id].create
    allowed = [name for name in inspect.signature(create).parameters if name not in ("device", "dtype")]
    unknown = sorted(options.keys() - set(allowed))
    if unknown:
        raise ValueError(f"{id} has no option {', '.join(unknown)}; allowed: {', '.join(allowed) or 'none'}")
    env = create(place, dtype, **options)
    return env if horizon is None else replace(env, spec=replace(env.spec, horizon=horizon))
