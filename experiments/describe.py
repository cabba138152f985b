"""Any configuration as plain JSON data: what goes into a record, and what its hash is made of."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from envs.core import EnvSpec


def describe(value: Any) -> Any:
    """JSON data for configurations: dataclasses (fields with a repr), tensors, functions, devices and plain values.

    Raises TypeError for anything else, so that nothing is recorded by its memory address.
    """
    if isinstance(value, EnvSpec):
        return {"id": value.id, "horizon": value.horizon}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: describe(getattr(value, field.name)) for field in fields(value) if field.repr}
        return {"type": type(value).__name__} | parts
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, torch.device | torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    raise TypeError(f"cannot describe {value!r} of type {type(value).__name__}")


def canonical(data: Any) -> str:
    """The one JSON text of the data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def short_hash(data: Any) -> str:
    """Eight hexadecimal digits that name the data."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:8]
