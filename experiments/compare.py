"""A comparison: several algorithms on one problem, on one axis, with the table, the figure and the records it leaves.

<out>/comparison.json            what was asked for; `resume` continues exactly this
<out>/command.txt                the command that made it
<out>/<algorithm>-<hash>/        one record each, see `experiments.record`
<out>/summary.csv  curves.png  curves.pdf
"""

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import envs
from envs.algorithm import Algorithm
from experiments import plots, report
from experiments.describe import describe
from experiments.loop import Progress, Result, check_run, label_of, run
from experiments.presets import Mode, Preset, Setting, setting
from experiments.problems import ObjectiveProblem, PolicyProblem, Problem
from experiments.record import write_atomically, write_json
from zeroth_order import OBJECTIVES
from zeroth_order.objectives.policy_return import PolicyReturn

ProgressFactory = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Comparison:
    """Everything that decides the outcome."""

    preset: Preset
    """Problem, algorithms, seeds and budget."""
    mode: Mode = "practical"
    seed: int = 0
    """First seed."""
    evaluations: int = 40
    evaluation_episodes: int = 20
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
        chosen = dict(self.overrides)
        base = self._problem()
        members = []
        for name in self.preset.algorithms:
            how = setting(name, self.mode, self.preset)
            members.append((chosen.get(name, how.algorithm), self._answers(base, how)))
        for algorithm, problem in members:
            check_run(algorithm, problem, self.seeds, self.preset.budget, self.evaluations)
        return members

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        if self.preset.seeds < 1:
            raise ValueError(f"seeds = {self.preset.seeds} must be >= 1")
        return list(range(self.seed, self.seed + self.preset.seeds))

    def _problem(self) -> Problem:
        preset = self.preset
        if preset.objective is not None:
            objective: Any = OBJECTIVES[preset.objective]
            if objective is PolicyReturn:
                raise ValueError(f"objective = {preset.objective} needs an environment: name it with --env")
            place = envs.select_device(self.device)
            return ObjectiveProblem(objective(dim=preset.dim), place=place, target=preset.target)
        env = envs.make(str(preset.env), device=self.device, dtype=torch.float32, horizon=preset.horizon)
        return PolicyProblem(
            env,
            envs.MLP(env.spec, preset.hidden),
            preset.discount,
            evaluation_episodes=self.evaluation_episodes,
            greedy_evaluation=self.greedy_evaluation,
            target=preset.target,
        )

    def _answers(self, problem: Problem, how: Setting) -> Problem:
        return problem.answered_by(how.estimator, how.query_episodes, self.episodes)


@dataclass(frozen=True)
class Compared:
    """What a comparison found, and the files it wrote."""

    rows: list[report.Row]
    results: list[Result]
    problem: Problem
    files: list[Path]


def compare(comparison: Comparison, out: Path, resume: bool = False, show: ProgressFactory | None = None) -> Compared:
    """Run the comparison and write its folder `out`; with `resume`, continue the one that is there.

    Raises ValueError for bad input before anything is written, and OSError where `out` cannot be written.
    """
    members = comparison.members()
    _open(comparison, out, resume)
    outcomes = []
    for algorithm, problem in members:
        with show(algorithm.id) if show else nullcontext(_silent) as progress:
            result = run(
                algorithm, problem, comparison.seeds, comparison.preset.budget,
                evaluations=comparison.evaluations, out=out, resume=resume, progress=progress,
            )  # fmt: skip
        outcomes.append(report.Outcome(algorithm.id, result, comparison.preset.budget))
    problem = members[0][1]
    rows = [report.summarise(outcome, problem) for outcome in outcomes]
    report.write_summary(out / "summary.csv", rows)
    title = f"{problem.name}: {comparison.preset.seeds} seeds, {comparison.mode} settings"
    figure = report.figure(outcomes, problem, title)
    drawn = [] if figure is None else plots.save(figure, out / "curves")
    folders = [out / label_of(*member, comparison.seeds, comparison.preset.budget, comparison.evaluations)
               for member in members]  # fmt: skip
    files = [out / "summary.csv", *drawn, out / "command.txt", *folders]
    return Compared(rows, [outcome.result for outcome in outcomes], problem, files)


def _silent(done: float, message: str) -> None:
    pass


def _open(comparison: Comparison, out: Path, resume: bool) -> None:
    """Make the folder, or make sure that it holds this very comparison."""
    asked = json.loads(json.dumps(describe(comparison)))
    known = out / "comparison.json"
    if resume:
        if not known.exists():
            raise ValueError(f"resume: {out} holds no comparison (no comparison.json)")
        differing = _differences(json.loads(known.read_text()), asked)
        if differing:
            raise ValueError(f"resume: {out} was made with other settings: {'; '.join(differing)}")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out = {out} exists already and is not empty; resume it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(known, asked)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    write_atomically(out / "command.txt", lambda temporary: temporary.write_text(command + "\n"))


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [text for key in keys for text in _differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))]
    return [] if old == new else [f"{name} was {old}, is {new}"]
