"""Policies on disk: parameters as safetensors, everything else as JSON beside them; nothing is ever pickled."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from envs.core import Box, Discrete, EnvSpec
from envs.heads import Categorical, Gaussian, Greedy, Head
from envs.policies import MLP, Linear, Network

NETWORKS: dict[str, type[MLP]] = {network.__name__: network for network in (MLP, Linear)}
HEADS: dict[str, type[Head]] = {head.__name__: head for head in (Categorical, Gaussian, Greedy)}
ACTIONS: dict[str, type[Discrete] | type[Box]] = {"Discrete": Discrete, "Box": Box}


def save_policy(path: Path | str, policy: Network, params: Tensor) -> list[Path]:
    """Write `path`.safetensors with params [..., d] and `path`.json with the architecture; returns both paths.

    Raises ValueError where params do not fit the policy.
    """
    policy.unpack(params)
    path = Path(path)
    files = [path.with_name(path.name + suffix) for suffix in (".safetensors", ".json")]
    save_file({"params": params.detach().contiguous().cpu()}, files[0])
    files[1].write_text(json.dumps(_describe(policy), indent=2, allow_nan=False) + "\n")
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
    return {
        "type": type(policy).__name__,
        "spec": _parts(policy.spec) | {"action": _parts(policy.spec.action)},
        "hidden": policy.hidden,
        "head": _parts(policy.head),
        "bias": policy.bias,
        "initialisation": policy.initialisation,
    }


def _parts(value: EnvSpec | Discrete | Box | Head) -> dict[str, Any]:
    """Fields as JSON data; bounds are kept as text, because JSON has no infinity."""
    parts = asdict(value).items()
    plain = {name: [str(bound) for bound in part] if isinstance(part, tuple) else part for name, part in parts}
    return {"type": type(value).__name__} | plain


def _rebuild(data: dict[str, Any]) -> Network:
    def typed(kinds: dict[str, Any], parts: dict[str, Any]) -> Any:
        fields = {
            name: tuple(float(bound) for bound in part) if isinstance(part, list) else part
            for name, part in parts.items()
            if name != "type"
        }
        return kinds[parts["type"]](**fields)

    spec = typed({"EnvSpec": EnvSpec}, data["spec"] | {"action": typed(ACTIONS, data["spec"]["action"])})
    network = NETWORKS[data["type"]]
    return network(spec, tuple(data["hidden"]), typed(HEADS, data["head"]), data["bias"], data["initialisation"])
