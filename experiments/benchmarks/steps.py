"""Environment steps per second under random actions: ours, Gymnasium's, EnvPool's, gymnax's and torchrl's.

A step is one that was taken: rows in which a vector environment begins an episode are not. Everybody draws the actions
and begins new episodes within the measured time. Gymnasium's sync environments run without checks and copies; EnvPool
has one thread; gymnax makes 128 steps in a compiled call on XLA's own threads; torchrl's Pendulum has no time limit and
so no resets; our kernel makes 1,024 steps in a call. Compilation is done before the clock starts.

Gymnasium's functional `phys2d` environments are no peer: their pole has another length than CartPole-v1's, and when one
copy is reset all others lose a step.

    zopg bench --suite steps --out experiments/benchmarks/results       needs the extra `bench` for all peers
"""

from pathlib import Path

from matplotlib.figure import Figure

from experiments.benchmarks.ceilings import Ceilings, ceilings_table
from experiments.benchmarks.floors import FACES, RANDOM_STEPS
from experiments.benchmarks.pages import CAPTION, bands, circumstances
from experiments.benchmarks.rates import rates_suite, rates_tables
from experiments.benchmarks.sides import Axis, Measured, Plan, libraries_of
from experiments.benchmarks.steps_sides import SIDES, Size
from experiments.plots import panels_figure
from experiments.provenance import today

NUMBERS = (64, 1_024, 16_384)
PLAN = Plan(
    "experiments.benchmarks.steps_sides",
    libraries_of(SIDES),
    {env: Axis(list(SIDES), [Size(env, number) for number in NUMBERS]) for env in RANDOM_STEPS},
)


def steps_suite(repeats: int, out: Path | None) -> None:
    """Measure all sides `repeats` times in turn and report medians. Raises ValueError unless repeats >= 1."""
    rates_suite("steps", PLAN, repeats, out, report, figure)


def floor(side: str, size: Size, ceilings: Ceilings) -> float:
    """Seconds of a step at the machine's ceilings; what is seen from outside has to be copied as well."""
    work = RANDOM_STEPS[size.env]
    return (work.plus(FACES[size.env]) if SIDES[side].stores else work).seconds(ceilings)


def report(found: dict[str, Measured], ceilings: Ceilings) -> str:
    """The page."""
    labels = [f"n = {number:,}" for number in NUMBERS]
    tables = [
        f"{env}:\n\n" + rates_tables(labels, one, PLAN.libraries, lambda side, size: floor(side, size, ceilings))
        for env, one in found.items()
    ]
    return (
        f"# Steps suite, {today()}\n\n`zopg bench --suite steps`: environment steps per second under random actions, "
        "medians; see\n`experiments/benchmarks/steps.py`, and `experiments/benchmarks/README.md` for the floors. "
        f"{circumstances()}\n\n" + "\n\n".join(tables) + f"\n\n{ceilings_table(ceilings)}\n\n"
        "![Cost of a step](steps.png)\n"
    )


def figure(found: dict[str, Measured]) -> Figure:
    """Processor seconds of a step against the number of environments, a panel for each."""
    panels = [(f"processor seconds of a step, {env}", bands("number", one)) for env, one in found.items()]
    return panels_figure(panels, "Environment steps with random actions", "environments stepped together", CAPTION)
