"""A comparison: several algorithms on one problem, on one axis, with the table, the figure and the records it leaves.

<out>/comparison.json            what was asked for; `resume` continues exactly this
<out>/command.txt                the command that made it
<out>/<algorithm>-<hash>/        one record each, see `experiments.record`
<out>/summary.csv  curves.png  curves.pdf
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

import envs
from envs.algorithm import Algorithm
from experiments import plots, report
from experiments.asked import check_graphs, check_run, label_of
from experiments.federated import FederatedProblem
from experiments.folders import open_folder
from experiments.loop import Progress, Result, run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.presets import Mode, Preset, Setting, objective_of, setting
from experiments.problems import Problem
from zeroth_order.federated import FederatedObjective

ProgressFactory = Callable[[str], AbstractContextManager[Progress]]


def quiet(label: str) -> AbstractContextManager[Progress]:
    """Shows nothing."""
    return nullcontext(lambda done, message: None)


@dataclass(frozen=True)
class Comparison:
    """Everything that decides the outcome."""

    preset: Preset
    """Problem, algorithms, seeds and budget."""
    mode: Mode = "practical"
    seed: int = 0
    """First seed."""
    greedy_evaluation: bool = False
    episodes: int | None = None
    """Episodes per point, instead of the setting's."""
    device: str = "auto"
    overrides: tuple[tuple[str, Algorithm], ...] = ()
    """(id, algorithm) pairs that replace the setting's."""

    def __post_init__(self) -> None:
        if (self.preset.env is None) == (self.preset.objective is None):
            raise ValueError(f"env = {self.preset.env}, objective = {self.preset.objective}: name exactly one")
        if not self.preset.algorithms:
            raise ValueError("algorithms is empty; name at least one")
        repeated = [name for name in self.preset.algorithms if self.preset.algorithms.count(name) > 1]
        if repeated:
            raise ValueError(f"algorithms names {repeated[0]!r} more than once")
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"episodes = {self.episodes} must be >= 1")

    def members(self) -> list[tuple[Algorithm, Problem]]:
        """The algorithms, each with its view of the problem; raises ValueError for anything that cannot run."""
        self._check_tuning_seeds()
        base = self.problem()
        members = []
        for name in self.preset.algorithms:
            how = self.setting(name)
            answered = base.answered_by(how.estimator, how.query_episodes, self.episodes, how.normalise)
            members.append((how.algorithm, answered))
        for algorithm, problem in members:
            check_run(algorithm, problem, self.seeds, self.preset.budget, self.preset.evaluations)
        return members

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        if self.preset.seeds < 1:
            raise ValueError(f"seeds = {self.preset.seeds} must be >= 1")
        return list(range(self.seed, self.seed + self.preset.seeds))

    def setting(self, name: str) -> Setting:
        """How the algorithm `name` is run, overrides included."""
        how = setting(name, self.mode, self.preset)
        return how._replace(algorithm=dict(self.overrides).get(name, how.algorithm))

    def problem(self) -> Problem:
        """The problem, before an algorithm's setting says how it answers."""
        preset = self.preset
        if preset.objective is not None:
            objective = objective_of(preset)
            kind = FederatedProblem if isinstance(objective, FederatedObjective) else ObjectiveProblem
            return kind(objective, place=envs.select_device(self.device), target=preset.target)
        env = envs.make(str(preset.env), device=self.device, dtype=torch.float32, horizon=preset.horizon)
        return PolicyProblem(
            env,
            envs.MLP(env.spec, preset.hidden),
            preset.discount,
            evaluation_episodes=preset.evaluation_episodes,
            greedy_evaluation=self.greedy_evaluation,
            target=preset.target,
        )

    def _check_tuning_seeds(self) -> None:
        tuned = self.preset.tuning_seeds
        shared = sorted(set(tuned) & set(self.seeds))
        if shared:
            raise ValueError(
                f"seeds has {shared[0]}, one of those the preset was tuned on ({min(tuned)} to {max(tuned)}); "
                f"report others, for example from seed {max(tuned) + 1} on"
            )


@dataclass(frozen=True)
class Compared:
    """What a comparison found, and the files it wrote."""

    rows: list[report.Row]
    results: list[Result]
    problem: Problem
    files: list[Path]


def compare(
    comparison: Comparison,
    out: Path,
    resume: bool = False,
    show: ProgressFactory = quiet,
    cuda_graphs: bool = False,
) -> Compared:
    """Run the comparison and write its folder `out`; with `resume`, continue the one that is there.

    `cuda_graphs` launches iterations as a whole, see `experiments.cuda_graphs`.
    Raises ValueError for bad input before anything is written, and OSError where `out` cannot be written.
    """
    members = comparison.members()
    if cuda_graphs:
        for member in members:
            check_graphs(*member)
    open_folder(out, "comparison", comparison, resume)
    outcomes = []
    for label, (algorithm, problem) in zip(comparison.preset.algorithms, members, strict=True):
        with show(label) as progress:
            result = run(
                algorithm, problem, comparison.seeds, comparison.preset.budget,
                evaluations=comparison.preset.evaluations, out=out, resume=resume, progress=progress,
                cuda_graphs=cuda_graphs,
            )  # fmt: skip
        outcomes.append(report.Outcome(label, result, comparison.preset.budget))
    problem = members[0][1]
    rows = [report.summarise(outcome, problem) for outcome in outcomes]
    report.write_summary(out / "summary.csv", rows)
    title = f"{problem.name}: {comparison.preset.seeds} seeds, {comparison.mode} settings"
    figure = report.figure(outcomes, problem, title)
    drawn = [] if figure is None else plots.save(figure, out / "curves")
    folders = [out / label_of(*member, comparison.seeds, comparison.preset.budget, comparison.preset.evaluations)
               for member in members]  # fmt: skip
    files = [out / "summary.csv", *drawn, out / "command.txt", *folders]
    return Compared(rows, [outcome.result for outcome in outcomes], problem, files)
