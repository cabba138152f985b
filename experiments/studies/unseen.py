"""unseen-mdps: practical forms on four random processes that nothing was tuned on.

N-PG-IGT against N-MPG and REINFORCE at equal numbers of trajectories, step sizes and floors chosen by equal grids on
other processes and other seeds.
"""

from collections.abc import Sequence

from envs.algorithm import Schedule
from experiments import plots
from experiments.presets import Setting
from experiments.report import interval
from experiments.statistics import stratified_bootstrap
from experiments.studies.core import Contender, Found, Request, chosen_values, open_study, write_table
from experiments.studies.problems import random_mdp
from experiments.studies.rates import PAIR
from experiments.studies.tracks import Track, budget_of, track
from experiments.studies.tuning import save_chosen, tune
from rl import NMPG, NPGIGT, REINFORCE

NAME = "unseen-mdps"
INSTANCES, TUNING_INSTANCES = range(4), range(100, 104)
TRAJECTORIES = 4_096
"""Per run."""
NORMALIZED = {"gamma.scale": [0.125, 0.25, 0.5, 1.0, 2.0], "eta.floor": [0.025, 0.05, 0.1, 0.2]}
CONTENDERS = (
    Contender(
        "reinforce",
        Setting(REINFORCE(Schedule(1.0)), PAIR),
        {"gamma.scale": [0.125, 0.25, 0.5, 1.0, 2.0], "gamma.exponent": [0.0, 0.25, 0.5, 2 / 3]},
    ),
    Contender("n-mpg", Setting(NMPG(Schedule(0.5, 0.5), Schedule(1.0, 2 / 3)), PAIR), NORMALIZED),
    Contender("n-pg-igt", Setting(NPGIGT(Schedule(0.5, 0.5), Schedule(1.0, 0.8)), PAIR), NORMALIZED),
)


def run_unseen(request: Request) -> Found:
    """The study."""
    chosen = chosen_values(NAME, request)["random-mdp"]
    open_study(NAME, request)
    contenders, everything = [each.tuned(chosen[each.label]) for each in CONTENDERS], []
    for instance in INSTANCES:
        problem, out = random_mdp(instance), request.out / f"random-mdp-{instance}"
        budget = budget_of(problem, request, TRAJECTORIES)
        everything.append([track(each, problem, request, budget, out) for each in contenders])
    rows = [line for instance, found in zip(INSTANCES, everything, strict=True) for line in lines(instance, found)]
    for label, tracks in zip(chosen, zip(*everything, strict=True), strict=True):
        pooled = stratified_bootstrap([each.gap[:, -1] for each in tracks])
        rows.append(["all", label, interval(pooled, "{:.3g}"), "", ""])
    header = ["process", "algorithm", "final gap", "ahead of the others", "diverged"]
    text, tables = write_table(request.out / "gaps", header, rows)
    panels = [
        (f"J* - J, process {instance}", [each.band(each.gap) for each in found])
        for instance, found in zip(INSTANCES, everything, strict=True)
    ]
    figure = plots.panels_figure(panels, "random processes that nothing was tuned on", "trajectories per run")
    return Found(text, [*tables, *plots.save(figure, request.out / "gaps")])


def tune_unseen(request: Request) -> Found:
    """One choice for all processes, from the pooled scores on others."""
    open_study(NAME, request)
    together = [random_mdp(instance) for instance in TUNING_INSTANCES]
    budget = budget_of(together[0], request, TRAJECTORIES)
    trials = {"random-mdp": tune(CONTENDERS, together, budget, request, request.out)}
    return save_chosen(trials, request, NAME)


def lines(instance: int, found: Sequence[Track]) -> list[list[str]]:
    """The rows of one process: who is ahead of both others with intervals that do not overlap."""
    finals = [stratified_bootstrap([each.gap[:, -1]]) for each in found]
    return [
        [str(instance), each.contender.label, interval(final, "{:.3g}"),
         "yes" if all(final.high < other.low for other in finals if other is not final) else "", str(each.diverged)]
        for each, final in zip(found, finals, strict=True)
    ]  # fmt: skip
