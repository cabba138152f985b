"""A step of an optimizer without its objective: ours beside CBXpy, pycma, evosax and EvoTorch.

CBO, CMA-ES, SNES and PGPE. R runs with N points each in d dimensions are told the same values in every step. zopg and
CBXpy have a run axis; evosax gets one by `vmap`, with `ask` and `tell` in one compiled call; EvoTorch has one for PGPE,
else its searchers step one after the other, as pycma's do. zopg, pycma and CBXpy compute in float64, "zopg float32",
evosax and EvoTorch in float32. One torch thread, one BLAS thread, XLA's own threads.

    zopg bench --suite optimizers --out experiments/benchmarks/results  needs the extra `bench` for all peers
"""

from pathlib import Path

from matplotlib.figure import Figure

from experiments.benchmarks.optimizers_sides import ALGORITHMS, LIBRARIES, SIDES, Size
from experiments.benchmarks.pages import CAPTION, bands, circumstances, not_measured, number, write_suite
from experiments.benchmarks.rates import best_peer
from experiments.benchmarks.sides import Axis, Measured, Plan, as_data, medians
from experiments.plots import Panel, grid_figure
from experiments.provenance import today

R, N, D = 16, 64, 100
AROUND = {"R": (1, R, 64), "N": (16, N, 256), "d": (10, D, 1_000)}
"""What is varied."""
AXES = {
    f"{name}, {axis}": Axis(list(SIDES), [Size(name, **({"R": R, "N": N, "d": D} | {axis: v})) for v in values])
    for name in ALGORITHMS
    for axis, values in AROUND.items()
}
PLAN = Plan("experiments.benchmarks.optimizers_sides", LIBRARIES, AXES)


def optimizers_suite(repeats: int, out: Path | None) -> None:
    """Measure all sides `repeats` times in turn and report medians. Raises ValueError unless repeats >= 1."""
    found = PLAN.measure("optimizers", repeats)
    write_suite("optimizers", out, as_data(found), report(found), figure(found), LIBRARIES)


def report(found: dict[str, Measured]) -> str:
    """The page."""
    tables = "\n\n".join(table(found, name) for name in ALGORITHMS)
    return (
        f"# Optimizers suite, {today()}\n\n`zopg bench --suite optimizers`: milliseconds of a step without the "
        f"objective, medians; see `experiments/benchmarks/optimizers.py`. {circumstances()}\n"
        f"{not_measured(next(iter(found.values())))}\n"
        f"R = {R} runs, N = {N} points, d = {D} unless said. The last columns are processor milliseconds. zopg, CBXpy "
        "and pycma compute\nin float64, the others in float32.\n\n"
        f"{tables}\n\n![Cost of a step](optimizers.png)\n"
    )


def table(found: dict[str, Measured], name: str) -> str:
    """Of one optimizer: the base in both clocks beside the best peer, and the sizes around it."""
    base = dict(zip(AROUND, (R, N, D), strict=True))
    around = [(axis, i) for axis, values in AROUND.items() for i, value in enumerate(values) if value != base[axis]]
    labels = [f"{axis} = {AROUND[axis][i]:,}" for axis, i in around]
    columns = [name, "wall ms", "best peer / side", "processor ms", "best peer / side", *labels]
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    middle, place = found[f"{name}, R"], AROUND["R"].index(R)
    clocks = [medians(seconds[place]) for seconds in (middle.wall, middle.processor)]
    for side in (side for side in SIDES if name in SIDES[side]):
        cells = []
        for times in clocks:
            peer = best_peer(times, LIBRARIES)
            cells += [number(1e3 * times[side], ".3g"), number(peer / times[side], ".2g")]
        for axis, i in around:
            cells.append(number(1e3 * medians(found[f"{name}, {axis}"].processor[i])[side], ".3g"))
        lines.append(f"| {side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(found: dict[str, Measured]) -> Figure:
    """Processor seconds of a step: a row for each optimizer, a column for each axis."""
    panels = []
    for name in ALGORITHMS:
        for axis in AROUND:
            curves = bands(axis, found[f"{name}, {axis}"])
            panels.append(Panel(axis, f"{name}: processor s of a step", curves))
    title = f"A step without the objective; R = {R}, N = {N}, d = {D}, one of them varied"
    return grid_figure(panels, title, CAPTION, columns=len(AROUND))
