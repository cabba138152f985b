"""What CPU kernels have in common: when they are compiled anew, who is told, and on how many cores they run."""

import os
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from envs.fused.dynamics import DYNAMICS
from envs.random import Stream


def sources() -> int:
    """Checksum of the files that kernels are built from.

    numba's cache on disk watches the file and the closure of a kernel, not the files behind it: so this belongs into
    the closure.
    """
    modules = {Stream.__module__, *(env.__module__ for env in DYNAMICS)}
    files = {Path(str(sys.modules[name].__file__)) for name in modules} | set(Path(__file__).parent.glob("*.py"))
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(files)))


_READY: set[tuple[Callable[..., None], str]] = set()
"""Kernels that are in memory."""


class _Announcement(event.Listener):
    """One line when a kernel is not found in the cache."""

    def __init__(self, kernel: Any, name: str) -> None:
        self.kernel, self.name = kernel, name

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self.kernel:
            print(f"compiling the kernel for {self.name}, once", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing."""


@cache
def _pool(others: int) -> ThreadPoolExecutor:
    """Threads that wait for work, besides the one that deals it out."""
    return ThreadPoolExecutor(others, "kernels")


os.register_at_fork(after_in_child=_pool.cache_clear)
"""A child process does not have its parent's threads."""


def launch(kernel: Callable[..., None], name: str, tasks: int, several: bool, *arguments: Any) -> None:
    """Call kernel(first task, stride, tasks, *arguments) on one core, or with every n-th task on each of n cores.

    Kernels release the interpreter's lock, so plain threads do; numba's own (`prange`) would double compilation times.
    """
    cores = min(numba.config.NUMBA_NUM_THREADS, tasks) if several else 1
    if (kernel, name) not in _READY:
        with event.install_listener("numba:compile", _Announcement(kernel, name)):
            kernel(0, 1, 0, *arguments)
        _READY.add((kernel, name))
    if cores == 1:
        kernel(0, 1, tasks, *arguments)
        return
    pool = _pool(cores - 1)
    others = [pool.submit(kernel, core, cores, tasks, *arguments) for core in range(1, cores)]
    try:
        kernel(0, cores, tasks, *arguments)
    finally:
        for other in others:
            other.result()
