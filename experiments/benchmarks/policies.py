"""Rollouts of tanh networks on CartPole-v1, in environment steps per second: ours, gymnax's, Stable-Baselines3's.

What counts is a step taken in an episode. Ours plays whole episodes of policies with random weights, by the kernel and
by eager torch. gymnax has the same network in JAX, with lanes that begin a new episode where one ends, on XLA's own
threads. Stable-Baselines3 evaluates one policy by `evaluate_policy` on eight environments, 64 episodes at a time.

    zopg bench --suite policies --out experiments/benchmarks/results    needs the extra `bench` for all peers
"""

from pathlib import Path

from matplotlib.figure import Figure

from experiments.benchmarks.ceilings import Ceilings, ceilings_table
from experiments.benchmarks.floors import policy_step
from experiments.benchmarks.pages import CAPTION, bands, circumstances
from experiments.benchmarks.policies_sides import SIDES, Size
from experiments.benchmarks.rates import rates_suite, rates_tables
from experiments.benchmarks.sides import Axis, Measured, Plan, libraries_of
from experiments.plots import Panel, grid_figure
from experiments.provenance import today

ONE, BASE = Size(1, 1, 64), Size(64, 1, 64)
SIZES: dict[str, tuple[Size, ...]] = {
    "episodes": tuple(ONE._replace(episodes=number) for number in (64, 1_024, 16_384)),
    "population": tuple(ONE._replace(population=number) for number in (4, 64, 1_024)),
    "width": tuple(BASE._replace(width=number) for number in (16, 64, 256)),
}
"""What is varied -> sizes."""
AXES = {
    "episodes": "episodes of one policy",
    "population": "policies, one episode each",
    "width": "width of both hidden layers, 64 policies",
}
PLAN = Plan(
    "experiments.benchmarks.policies_sides",
    libraries_of(SIDES),
    {axis: Axis(list(SIDES), sizes) for axis, sizes in SIZES.items()},
)


def policies_suite(repeats: int, out: Path | None) -> None:
    """Measure all sides `repeats` times in turn and report medians. Raises ValueError unless repeats >= 1."""
    rates_suite("policies", PLAN, repeats, out, report, figure)


def floor(side: str, size: Size, ceilings: Ceilings) -> float:
    """Seconds of a step at the machine's ceilings, the same for all sides."""
    return policy_step(size.width).seconds(ceilings)


def report(found: dict[str, Measured], ceilings: Ceilings) -> str:
    """The page."""
    tables = []
    for axis, measured in found.items():
        labels = [f"{getattr(size, axis):,}" for size in measured.sizes]
        table = rates_tables(labels, measured, PLAN.libraries, lambda side, size: floor(side, size, ceilings))
        tables.append(f"By {AXES[axis]}:\n\n{table}")
    return (
        f"# Policies suite, {today()}\n\n`zopg bench --suite policies`: environment steps per second of CartPole-v1 "
        "with tanh networks, 4-64-64-2 unless said, medians; see\n`experiments/benchmarks/policies.py`, and "
        f"`experiments/benchmarks/README.md` for the floors. {circumstances()}\n\n"
        + "\n\n".join(tables)
        + f"\n\n{ceilings_table(ceilings)}\n\n![Cost of a step](policies.png)\n"
    )


def figure(found: dict[str, Measured]) -> Figure:
    """Processor seconds of a step against each axis."""
    panels = [Panel(AXES[axis], "processor seconds of a step", bands(axis, one)) for axis, one in found.items()]
    return grid_figure(panels, "Rollouts of tanh networks on CartPole-v1", CAPTION, columns=len(panels))
