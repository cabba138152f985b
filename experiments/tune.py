"""Fair tuning: every algorithm gets the same budget, seeds and number of configurations; one rule (`trials`) chooses.

<out>/tuning.json        what was asked for; `resume` continues exactly this
<out>/command.txt        the command that made it
<out>/<algorithm>-<hash>/                            one record per batch of configurations, see `experiments.record`
<out>/tuning.csv  sensitivity.png  sensitivity.pdf   every configuration; scores against step sizes
<out>/preset.json        the chosen settings, which `zopg compare --preset` runs

Seeds on which values are chosen flatter them (Patterson, Neumann, White, White, "Empirical design in reinforcement
learning", JMLR 25, 2024): the preset names them, and a comparison refuses to report them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from experiments import plots
from experiments.asked import check_run
from experiments.compare import Comparison, ProgressFactory, quiet
from experiments.describe import describe
from experiments.folders import open_folder
from experiments.grids import Grid, Values, batched, batches, complete_grids, with_values
from experiments.loop import Progress, run
from experiments.plots import CurveBand
from experiments.policy_problem import PolicyProblem
from experiments.preset_files import dump_preset, save_preset
from experiments.presets import Preset, Setting
from experiments.problems import Problem
from experiments.provenance import provenance
from experiments.record import write_csv
from experiments.report import interval
from experiments.trials import RULE, Trial, choose, run_scores, trial


class Tuned(NamedTuple):
    """What tuning found."""

    trials: list[Trial]
    chosen: dict[str, Trial]
    preset: Preset
    """The problem with the chosen settings, to be reported on other seeds."""
    grids: dict[str, Grid]
    files: list[Path]


class _Batch(NamedTuple):
    """Configurations of one algorithm that run together."""

    algorithm: str
    base: Setting
    values: list[Values]
    setting: Setting
    """Its hyper-parameters are [configurations x seeds] where they vary."""
    problem: Problem


def tune(
    comparison: Comparison,
    out: Path,
    grids: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    resume: bool = False,
    show: ProgressFactory = quiet,
) -> Tuned:
    """Try a grid for every algorithm of the comparison, on its seeds and budget, and write the folder `out`.

    `grids` is algorithm -> field -> values, see `experiments.grids`; an algorithm whose step size is not in its grid
    sweeps nine powers of two around the setting's. Raises ValueError for bad input, before anything is written, and,
    after tuning.csv is, where every configuration of an algorithm had a seed that failed.
    """
    if len(comparison.seeds) < 2:
        raise ValueError(f"seeds = {len(comparison.seeds)} must be >= 2: the rule needs an interval")
    base = comparison.problem()
    settings, full = _settings(comparison, grids or {}, isinstance(base, PolicyProblem))
    plan = _plan(comparison, base, settings, full)
    dump_preset(replace(comparison.preset, practical=settings))  # raises where the result could not be written
    open_folder(out, "tuning", {"comparison": comparison, "grids": full}, resume)
    trials = []
    for i, batch in enumerate(plan, 1):
        with show(f"{batch.algorithm} {i}/{len(plan)}") as progress:
            trials += _run(batch, comparison, out, resume, progress)
    write_csv(out / "tuning.csv", _lines(trials, full))
    chosen = {name: choose([found for found in trials if found.algorithm == name]) for name in settings}
    preset = _tuned_preset(comparison, base, chosen)
    save_preset(out / "preset.json", preset, tuning=_notes(comparison, full), provenance=provenance())
    title = f"{base.name}: {comparison.preset.budget:,} {base.unit.replace('_', ' ')}, {comparison.mode} settings"
    figure = sensitivity(trials, chosen, len(comparison.seeds), title, f"mean {base.score_name} over the budget")
    drawn = plots.save(figure, out / "sensitivity")
    return Tuned(trials, chosen, preset, full, [out / "tuning.csv", *drawn, out / "preset.json", out / "command.txt"])


def sensitivity(trials: Sequence[Trial], chosen: Mapping[str, Trial], seeds: int, title: str, y_label: str) -> Figure:
    """Scores against step sizes, the other values as in each algorithm's chosen trial."""
    curves = []
    for name, best in chosen.items():
        along = [found for found in trials if found.algorithm == name and found.others == best.others]
        steps = np.array([found.step for found in along])
        centre, low, high = np.array([found.score for found in along]).T
        curves.append(CurveBand(f"{name}: {next(iter(best.values))}", steps, centre, low, high, seeds))
    x_label = "step size (other hyper-parameters as chosen)"
    return plots.sensitivity_figure(curves, [best.step for best in chosen.values()], title, x_label, y_label)


def tuning_table(tuned: Tuned) -> Table:
    """The chosen trials for a terminal."""
    drawn = Table(title=tuned.preset.summary, caption="score: interquartile mean [95 % interval] on the tuning seeds")
    for header in ("algorithm", "chosen", "score", "configurations", "of them failed"):
        drawn.add_column(header)
    for name, best in tuned.chosen.items():
        mine = [found for found in tuned.trials if found.algorithm == name]
        steps = next(iter(tuned.grids[name].values()))
        edge = " (step size at the edge of its grid)" if best.step in (steps[0], steps[-1]) else ""
        values = ", ".join(f"{path} = {_text(value)}" for path, value in best.values.items())
        failed = sum(found.failed > 0 for found in mine)
        cells = [name, values + edge, interval(best.score, "{:.4g}"), str(len(mine)), str(failed)]
        drawn.add_row(*(escape(cell) for cell in cells))
    return drawn


def _settings(
    comparison: Comparison, grids: Mapping[str, Mapping[str, Sequence[Any]]], sampled: bool
) -> tuple[dict[str, Setting], dict[str, Grid]]:
    """Where tuning starts from, and the complete grids."""
    settings = {name: comparison.setting(name) for name in comparison.preset.algorithms}
    full = complete_grids(grids, settings, sampled)
    if comparison.episodes is None:
        return settings, full
    if any("episodes" in grid for grid in full.values()):
        raise ValueError(f"episodes = {comparison.episodes} is given and episodes is in the grid: leave one out")
    return {name: with_values(how, {"episodes": comparison.episodes}) for name, how in settings.items()}, full


def _plan(
    comparison: Comparison, base: Problem, settings: Mapping[str, Setting], grids: Mapping[str, Grid]
) -> list[_Batch]:
    """All batches; raises ValueError for one that cannot run."""
    plan, seeds, preset = [], comparison.seeds, comparison.preset
    for name, how in settings.items():
        for values in batches(how, grids[name]):
            together = batched(how, values, len(seeds))
            problem = base.answered_by(together.estimator, together.query_episodes, None, together.normalise)
            check_run(together.algorithm, problem, seeds * len(values), preset.budget, preset.evaluations)
            plan.append(_Batch(name, how, values, together, problem))
    return plan


def _run(batch: _Batch, comparison: Comparison, out: Path, resume: bool, progress: Progress) -> list[Trial]:
    seeds, budget, evaluations = comparison.seeds, comparison.preset.budget, comparison.preset.evaluations
    result = run(
        batch.setting.algorithm, batch.problem, seeds * len(batch.values), budget,
        evaluations=evaluations, out=out, resume=resume, progress=progress,
    )  # fmt: skip
    scores = run_scores(result, batch.problem, budget, evaluations).reshape(len(batch.values), len(seeds))
    return [
        trial(batch.algorithm, values, with_values(batch.base, values), row)
        for values, row in zip(batch.values, scores, strict=True)
    ]


def _lines(trials: Sequence[Trial], grids: Mapping[str, Grid]) -> list[list[Any]]:
    """Of tuning.csv: a column for every field of any grid, empty where the algorithm's has it not."""
    paths = list(dict.fromkeys(path for grid in grids.values() for path in grid))
    lines: list[list[Any]] = [["algorithm", *paths, "score", "low", "high", "failed"]]
    for found in trials:
        values = [_text(found.values[path]) if path in found.values else "" for path in paths]
        lines.append([found.algorithm, *values, *(float(part) for part in found.score), found.failed])
    return lines


def _text(value: Any) -> str:
    data = describe(value)
    return data if isinstance(data, str) else json.dumps(data)


def _tuned_preset(comparison: Comparison, problem: Problem, chosen: Mapping[str, Trial]) -> Preset:
    preset, seeds = comparison.preset, comparison.seeds
    return replace(
        preset,
        summary=f"{problem.name}, tuned on seeds {seeds[0]} to {seeds[-1]}",
        seeds=Preset.seeds,  # how many to tune on does not say how many to report
        practical=preset.practical | {name: best.setting for name, best in chosen.items()},
        tuning_seeds=tuple(sorted({*preset.tuning_seeds, *seeds})),
    )


def _notes(comparison: Comparison, grids: Mapping[str, Grid]) -> dict[str, Any]:
    """What the preset file says about its values."""
    return {
        "rule": RULE,
        "seeds": comparison.seeds,
        "budget": comparison.preset.budget,
        "evaluations": comparison.preset.evaluations,
        "evaluation_episodes": comparison.preset.evaluation_episodes,
        "from": f"{comparison.mode} settings",
        "grids": describe(grids),
    }
