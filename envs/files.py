"""Files that are written whole or not at all, and states in them: safetensors and JSON, nothing is ever pickled."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it over `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(path: Path, parts: dict[str, Tensor | int | float], extra: dict[str, Any]) -> None:
    """Tensors as safetensors, numbers and `extra` as JSON in its header; atomic."""
    tensors = {name: part.contiguous().clone() for name, part in parts.items() if isinstance(part, Tensor)}
    numbers = {name: part for name, part in parts.items() if not isinstance(part, Tensor)}
    metadata = {"numbers": json.dumps(numbers), "extra": json.dumps(extra)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_state(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `save_state` wrote: parts and extra."""
    with safe_open(path, framework="pt", device=str(device)) as file:
        parts: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    return parts | json.loads(metadata["numbers"]), json.loads(metadata["extra"])
