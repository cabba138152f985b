"""Policies on disk: parameters as safetensors, everything else as JSON beside them; nothing is ever pickled."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from envs.core import Box, Discrete, EnvSpec
from envs.heads import Categorical, Gaussian, Greedy, Head
from envs.policies import MLP, Network

HEADS: dict[str, type[Head]] = {head.__name__: head for head in (Categorical, Gaussian, Greedy)}
BOUNDS = ("observation_low", "observation_high")
"""Kept as text: JSON has no infinity."""
ACTIONS: dict[str, type[Discrete] | type[Box]] = {"Discrete": Discrete, "Box": Box}


def save_policy(path: Path | str, policy: Network, params: Tensor) -> list[Path]:
    """Write `path`.safetensors with params [..., d] and `path`.json with the architecture; returns both paths.

    Raises ValueError where params do not fit the policy.
    """
    policy.unpack(params)
    path = Path(path)
    files = [path.with_name(path.name + suffix) for suffix in (".safetensors", ".json")]
    save_file({"params": params.detach().contiguous().cpu()}, files[0])
    files[1].write_text(json.dumps(_describe(policy), indent=2) + "\n")
    return files


def load_policy(path: Path | str) -> tuple[Network, Tensor]:
    """The policy and params [..., d] that `save_policy` wrote. Raises ValueError where the two files disagree."""
    path = Path(path)
    data = json.loads(path.with_name(path.name + ".json").read_text())
    policy = _rebuild(data)
    params = load_file(path.with_name(path.name + ".safetensors"))["params"]
    policy.unpack(params)
    return policy, params


def _describe(policy: Network) -> dict[str, Any]:
    spec: dict[str, Any] = asdict(policy.spec) | {
        "action": {"type": type(policy.spec.action).__name__} | asdict(policy.spec.action)
    }
    spec |= {name: [str(bound) for bound in spec[name]] for name in BOUNDS}
    head = {"type": type(policy.head).__name__} | asdict(policy.head)
    return {
        "spec": spec,
        "hidden": policy.hidden,
        "head": head,
        "bias": policy.bias,
        "initialisation": policy.initialisation,
    }


def _rebuild(data: dict[str, Any]) -> Network:
    def typed(kinds: dict[str, Any], part: dict[str, Any]) -> Any:
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in part.items()}
        return kinds[fields.pop("type")](**fields)

    spec: dict[str, Any] = dict(data["spec"])
    spec |= {name: tuple(float(bound) for bound in spec[name]) for name in BOUNDS}
    spec["action"] = typed(ACTIONS, data["spec"]["action"])
    head = typed(HEADS, data["head"])
    return MLP(EnvSpec(**spec), tuple(data["hidden"]), head, data["bias"], data["initialisation"])
