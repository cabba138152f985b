"""Processes of a suite: every measurement has one of its own."""

import json
import os
import subprocess
import sys
from typing import Any

PINNED = {"OPENBLAS_NUM_THREADS": "1"}
"""Besides the environment of this process. OpenBLAS reads it as it is loaded; with two threads on busy cores,
decompositions of small matrices take ten to a hundred times as long, and who uses it would lose for no fault of its
own."""


def child(code: str, *arguments: str) -> dict[str, Any]:
    """What a process of its own prints as JSON in its last line; raises OSError where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=os.environ | PINNED
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise OSError(f"a benchmark process ended with status {done.returncode}: {' '.join(last)}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def check_repeats(repeats: int) -> None:
    """Raise ValueError unless repeats >= 1."""
    if repeats < 1:
        raise ValueError(f"repeats = {repeats} must be >= 1")
