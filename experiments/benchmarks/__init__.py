"""Benchmarks: whatever a suite compares is measured in turn, in one run on one machine, and medians are reported."""

from collections.abc import Callable
from pathlib import Path

from experiments.arena.suite import arena_suite
from experiments.benchmarks.cbo import cbo_suite
from experiments.benchmarks.cma_es import cma_es_suite
from experiments.benchmarks.gpu import gpu_suite
from experiments.benchmarks.memory import memory_suite
from experiments.benchmarks.speed import SPEED, speed_suite
from experiments.benchmarks.surrogates import surrogates_suite
from experiments.benchmarks.training import training

SUITES: dict[str, Callable[[int, Path | None], None]] = {
    "speed": speed_suite,
    **SPEED,
    "training": training,
    "memory": memory_suite,
    "cbo": cbo_suite,
    "cma-es": cma_es_suite,
    "arena": arena_suite,
    "gpu": gpu_suite,
    "surrogates": surrogates_suite,
}
"""Name -> (repeats, output folder)."""
