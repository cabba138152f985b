"""Where a record comes from: versions, commit, device, command."""

import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """JSON data that lets somebody else make the same record again."""
    packages = ("zopg", "torch", "numpy", "numba", "gymnasium", "cma", "stable-baselines3")
    return {
        "command": sys.argv,
        "commit": commit(),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {package: version(package) for package in packages},
    }


def machine() -> dict[str, Any]:
    """`provenance`, the number of cores, and how many processes ran on them over the last 15 minutes."""
    return provenance() | {"platform": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()[2]}


def commit() -> str | None:
    """The commit of this source tree, with "+" where it has changes; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def today() -> str:
    """The date, as in ISO 8601."""
    return date.today().isoformat()
