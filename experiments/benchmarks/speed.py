"""All suites that compare speed with peers, one after the other: what `zopg bench` runs unless a suite is named."""

from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.optimizers import optimizers_suite
from experiments.benchmarks.policies import policies_suite
from experiments.benchmarks.seeds import seeds_suite
from experiments.benchmarks.sides import check_repeats
from experiments.benchmarks.steps import steps_suite

SPEED: dict[str, Callable[[int, Path | None], None]] = {
    "steps": steps_suite,
    "policies": policies_suite,
    "seeds": seeds_suite,
    "optimizers": optimizers_suite,
}


def speed_suite(repeats: int, out: Path | None) -> None:
    """Run them all. Raises ValueError unless repeats >= 1."""
    check_repeats(repeats)
    for i, (name, suite) in enumerate(SPEED.items(), start=1):
        print(f"suite {i} of {len(SPEED)}: {name}", flush=True)
        suite(repeats, out)
