"""Many-seed training to a return threshold: ours in one batch, A2C and PPO of Stable-Baselines3 seed by seed.

CartPole-v1 with 200 steps, mean return 195, at most 80,000 environment steps a seed; see `seeds_sides` for what is
scored and what the clock sees. Ours have the preset `cartpole`, A2C and PPO the settings of RL Baselines3 Zoo. Every
repeat takes other seeds, and each measurement is a process of its own, in turn.

    zopg bench --suite seeds --out experiments/benchmarks/results
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks.pages import CAPTION, circumstances, number, spread, write_suite
from experiments.benchmarks.processes import check_repeats, child
from experiments.benchmarks.seeds_sides import BUDGET, CODE, HORIZON, THRESHOLD
from experiments.benchmarks.sides import median
from experiments.libraries import Library
from experiments.plots import CurveBand, Panel, grid_figure
from experiments.progress import show_progress
from experiments.provenance import today


class Side(NamedTuple):
    """Who trains."""

    train: str
    """Function of `seeds_sides`."""
    name: str
    sizes: tuple[int, ...] = (64,)
    """Seeds of a process."""


SIDES = {
    "zopg N-PG-IGT": Side("train_ours", "n-pg-igt", (1, 8, 64)),
    "zopg CBO": Side("train_ours", "cbo"),
    "zopg CMA-ES": Side("train_ours", "cma-es"),
    "Stable-Baselines3 A2C": Side("train_sb3", "A2C", (1,)),
    "Stable-Baselines3 PPO": Side("train_sb3", "PPO", (1,)),
}
LIBRARIES = {"Stable-Baselines3": Library("stable_baselines3", "stable-baselines3")}


class Trained(NamedTuple):
    """A process."""

    reached: list[tuple[int, float] | None]
    """Environment steps and wall seconds to the threshold of each seed."""
    wall: float
    processor: float

    @property
    def hits(self) -> list[tuple[int, float]]:
        """Of the seeds that reached it."""
        return [hit for hit in self.reached if hit is not None]

    @property
    def complete(self) -> bool:
        """Whether all seeds reached it."""
        return None not in self.reached

    @property
    def last(self) -> float:
        """Wall seconds until all seeds were at the threshold, or else until the process ended."""
        return max(hit[1] for hit in self.hits) if self.complete else self.wall


Found = dict[str, dict[int, list[Trained]]]
"""Side -> seeds of a process -> processes."""


def seeds_suite(repeats: int, out: Path | None) -> None:
    """Train with all sides `repeats` times in turn. Raises ValueError unless repeats >= 1."""
    check_repeats(repeats)
    found: Found = {side: {size: [] for size in SIDES[side].sizes} for side in SIDES}
    turns = [(repeat, side, size) for repeat in range(repeats) for side in SIDES for size in SIDES[side].sizes]
    with show_progress("seeds") as progress:
        for i, (repeat, side, size) in enumerate(turns):
            progress(i / len(turns), f"{side}, {size}")
            code, first = CODE.format(side=SIDES[side].train), str(repeat * size)
            found[side][size].append(Trained(**child(code, SIDES[side].name, first, str(size))))
        progress(1.0, "done")
    data = {
        side: {str(size): [run._asdict() for run in runs] for size, runs in by.items()} for side, by in found.items()
    }
    write_suite("seeds", out, {"sides": data}, report(found), figure(found), LIBRARIES)


def report(found: Found) -> str:
    """The page."""
    return (
        f"# Seeds suite, {today()}\n\n`zopg bench --suite seeds`: training on CartPole-v1 with {HORIZON} steps until a "
        f"mean return of {THRESHOLD:g}, at most {BUDGET:,} environment steps a seed;\nsee "
        f"`experiments/benchmarks/seeds.py`. {circumstances()}\n\n{table(found)}\n\n"
        "Medians over the processes, of all seeds over those in which all reached it; environment steps over all seeds "
        "that did. A process of ours goes on to "
        "the budget, one of Stable-Baselines3\nends at the threshold.\n\n![Seconds until all are there](seeds.png)\n"
    )


def table(found: Found) -> str:
    """A line for each side and number of seeds in a process."""
    columns = [
        "side", "seeds together", "processes", "reached", "environment steps", "wall s, half of the seeds",
        "wall s, all seeds", "wall s of the process", "processor s of the process",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for side, by_size in found.items():
        for size, runs in by_size.items():
            there = sum(len(run.hits) for run in runs)
            times = [
                median(median(hit[1] for hit in run.hits) for run in runs if run.hits),
                median(run.last for run in runs if run.complete),
                median(run.wall for run in runs),
                median(run.processor for run in runs),
            ]
            cells = [side, str(size), str(len(runs)), f"{there} of {size * len(runs)}"]
            cells += [number(median(hit[0] for run in runs for hit in run.hits), ",.0f")]
            lines.append(f"| {' | '.join([*cells, *(number(time, '.2f') for time in times)])} |")
    return "\n".join(lines)


def figure(found: Found) -> Figure:
    """Seconds against the number of seeds; one after the other, they add up."""
    panels = [
        Panel(
            "seeds",
            "wall seconds to threshold or budget",
            [_band(side, by, "last") for side, by in found.items()],
        ),
        Panel("seeds", "processor seconds", [_band(side, by, "processor") for side, by in found.items()]),
    ]
    return grid_figure(panels, "Training on CartPole-v1 to a return of 195 of 200", CAPTION, columns=2)


def _band(side: str, by_size: dict[int, list[Trained]], what: str) -> CurveBand:
    x: Sequence[float] = list(by_size)
    times: list[Any] = [[getattr(run, what) for run in runs] for runs in by_size.values()]
    repeats = len(times[0])
    if SIDES[side].train == "train_sb3":
        x, times = list(range(1, repeats + 1)), [[total] for total in np.cumsum(times[0]).tolist()]
    low, centre, high = np.array([spread(part) for part in times]).T
    return CurveBand(side, np.array(x, dtype=float), centre, low, high, repeats)
