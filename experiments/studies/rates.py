"""theory-rates: the gap to the optimum, the error of the direction and the Fisher information, against trajectories.

Faithful forms take one trajectory per iteration and the papers' schedules, practical ones two and a baseline. Slopes
are fitted over the last decade, in logarithms, to the mean over the runs, which is what theory bounds. What is assumed
where, and what the slopes mean, is in `experiments/theory_rates.md`.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from envs.algorithm import Schedule
from experiments import plots
from experiments.exact import ExactProblem
from experiments.plots import CurveBand, draw_guide
from experiments.presets import FAITHFUL, Setting
from experiments.report import interval
from experiments.statistics import Estimate, loglog_slope, stratified_bootstrap
from experiments.studies.core import Contender, Found, Request, chosen_values, open_study, write_table
from experiments.studies.problems import grid_world, lqr, random_mdp
from experiments.studies.tracks import Track, budget_of, track
from experiments.studies.tuning import POWERS, save_chosen, tune
from rl import NMPG, NPGIGT, REINFORCE, Estimator, time_baseline

NAME = "theory-rates"
RATES = {"reinforce": -1 / 3, "n-mpg": -1 / 3, "n-pg-igt": -2 / 5, "harpg": -1 / 2, "n-harpg": -1 / 2}
"""Exponents of the number of trajectories in the bounds on the gap; see the page."""
GUIDES = {"n-mpg": "-1/3", "n-pg-igt": "-2/5", "n-harpg": "-1/2"}
"""Whose curve each guide of that slope is drawn through."""
TRAJECTORIES = 4_096
"""Per run."""
PAIR = Estimator(episodes=2, baseline=time_baseline)
"""The smallest batch that a baseline fitted on the other episodes allows."""
STEP = {"gamma.scale": POWERS}
PRACTICAL = (
    Contender("reinforce, practical", Setting(REINFORCE(Schedule(1.0)), PAIR), STEP, RATES["reinforce"]),
    Contender(
        "n-mpg, practical",
        Setting(NMPG(Schedule(0.5, 0.5), Schedule(1.0, 2 / 3, floor=0.05)), PAIR),
        STEP,
        RATES["n-mpg"],
    ),
    Contender(
        "n-pg-igt, practical",
        Setting(NPGIGT(Schedule(0.5, 0.5), Schedule(1.0, 0.8, floor=0.05)), PAIR),
        STEP,
        RATES["n-pg-igt"],
    ),
)
CONTENDERS = (*(Contender(name, FAITHFUL[name], STEP, rate) for name, rate in RATES.items()), *PRACTICAL)


def run_rates(request: Request) -> Found:
    """The study."""
    chosen, rows, files = chosen_values(NAME, request), [], []
    open_study(NAME, request)
    for name, problem in problems(instance=0).items():
        budget = budget_of(problem, request, TRAJECTORIES)
        found = [
            track(each.tuned(chosen[name][each.label]), problem, request, budget, request.out / name)
            for each in CONTENDERS
        ]
        rows += [row(name, each) for each in found]
        files += draw(request.out / name, name, found)
    header = ["problem", "algorithm", "theory", "slope over the last decade", "at least as steep",
              "final gap", "runs", "diverged"]  # fmt: skip
    text, tables = write_table(request.out / "slopes", header, rows)
    return Found(text, [*tables, *files])


def tune_rates(request: Request) -> Found:
    """Step sizes for each problem on its own; of the random process another instance is tuned on."""
    open_study(NAME, request)
    trials = {
        name: tune(CONTENDERS, [problem], budget_of(problem, request, TRAJECTORIES), request, request.out)
        for name, problem in problems(instance=100).items()
    }
    return save_chosen(trials, request, NAME)


def problems(instance: int) -> dict[str, ExactProblem]:
    """The three problems, with this instance of the random process."""
    return {"random-mdp": random_mdp(instance), "grid-world": grid_world(), "lqr": lqr()}


def row(problem: str, found: Track) -> list[str]:
    """The line of one contender in the table of slopes."""
    rate, final = found.contender.rate, stratified_bootstrap([found.gap[:, -1]])
    steepness = ("none: some diverged", "no")  # the expectation of the gap is then infinite, as far as these runs tell
    if not found.diverged:
        slope = loglog_slope(found.trajectories, found.gap)
        steepness = (interval(slope, "{:.2f}"), verdict(slope, rate))
    return [
        problem, found.contender.label, f"{rate:.2f}", *steepness,
        interval(final, "{:.3g}"), str(len(found.gap)), str(found.diverged),
    ]  # fmt: skip


def verdict(slope: Estimate, rate: float) -> str:
    """Whether the gap falls at least as fast as the rate, as far as the interval tells."""
    if slope.high <= rate:
        return "yes"
    return "no" if slope.low > rate else "undecided"


def draw(path: Path, problem: str, found: Sequence[Track]) -> list[Path]:
    """Gap, error of the direction and Fisher information against trajectories, in logarithmic axes."""
    gaps = [each.band(each.gap) for each in found]
    panels = [
        ("J* - J", gaps),
        ("|d - grad J|", [each.band(each.direction_error) for each in found]),
        ("smallest Fisher eigenvalue", [each.band(each.fisher_min) for each in found]),
    ]
    figure = plots.panels_figure(panels, problem, "trajectories per run")
    draw_guides(figure.axes[0], gaps)
    return plots.save(figure, path)


def draw_guides(axes: Axes, bands: Sequence[CurveBand]) -> None:
    """A grey line of each guide's slope over the last decade, from where the curve it is for stands then."""
    for band in bands:
        if band.label not in GUIDES:
            continue
        x = band.x[band.x >= band.x[-1] / 10]
        start = float(band.centre[len(band.x) - len(x)])
        draw_guide(axes, x, start, RATES[band.label], GUIDES[band.label])
