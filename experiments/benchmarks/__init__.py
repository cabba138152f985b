"""Benchmarks: each suite runs both sides in turn, in one run on one machine, and reports medians and ratios."""

from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.training import training

SUITES: dict[str, Callable[[int, Path | None], None]] = {"training": training}
"""Name -> (repeats, output folder)."""
