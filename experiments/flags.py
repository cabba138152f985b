"""The command line's flags, and how they fill in a comparison."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.compare import Comparison, ProgressFactory
from experiments.preset_files import load_preset
from experiments.presets import PRESETS, Mode, Preset
from experiments.studies import Request
from zeroth_order.objectives.policy_return import PolicyReturn

arg = tyro.conf.arg


@dataclass(frozen=True)
class ProblemFlags:
    """What `zopg compare` and `zopg run` share. A flag that is not given is filled in by the preset."""

    env: Annotated[str | None, arg(aliases=["--env-id"])] = None
    """Environment id, one of `zopg list`, or "gym:<id>" for any installed Gymnasium environment."""
    objective: str | None = None
    """Objective id, one of `zopg list`, instead of an environment; its settings are flags, --objective.<name>."""
    preset: str | None = None
    """Named comparison, one of `zopg list`, or a preset file (.json). Without --env and --objective: "cartpole"."""
    seeds: int | None = None
    """Number of independent runs (seeds) per algorithm, run as one batch."""
    seed: int = 0
    """First seed; the runs use seed, seed + 1, ..."""
    budget: Annotated[int | None, arg(aliases=["--total-timesteps"])] = None
    """Budget per seed: environment steps for an environment, queries for an objective."""
    horizon: int | None = None
    """Longest episode, in environment steps; default: the environment's time limit."""
    discount: float | None = None
    """Discount factor of the optimised return, in (0, 1]; returns are shown undiscounted."""
    hidden: tuple[int, ...] | None = None
    """Widths of the policy's tanh layers, units each; none for a linear policy."""
    target: float | None = None
    """Return (or negative value) at which a run counts as solved; default: the problem's own."""
    dim: int | None = None
    """Dimension of the objective."""
    mode: Mode = "practical"
    """faithful: the papers' schedules, one trajectory per iteration. practical: batches, baseline, tuned schedules."""
    episodes: Annotated[int | None, arg(aliases=["--num-envs"])] = None
    """Episodes per asked point; default: the setting's."""
    evaluations: int | None = None
    """Positions of the budget at which the iterate is scored, besides the start; 40 unless the preset has its own."""
    evaluation_episodes: int | None = None
    """Episodes per score, on streams of their own, not charged; 20 unless the preset has its own."""
    greedy_evaluation: bool = False
    """Score the most likely action instead of sampling from the policy."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the tensors live; auto takes a GPU where there is one."""
    out: Path | None = None
    """Output folder; default: runs/<time>-<name>."""
    resume: bool = False
    """Continue the comparison in --out, with the flags that made it."""

    def comparison(self, algorithms: tuple[str, ...] | None) -> Comparison:
        """What these flags ask for. Raises ValueError where they contradict each other."""
        if self.env is not None and self.objective not in (None, PolicyReturn.id):
            raise ValueError(f"--env {self.env} and --objective {self.objective} exclude each other")
        preset = self._preset()
        given: dict[str, Any] = {
            "algorithms": algorithms,
            "seeds": self.seeds,
            "budget": self.budget,
            "horizon": self.horizon,
            "discount": self.discount,
            "hidden": self.hidden,
            "target": self.target,
            "dim": self.dim,
            "evaluations": self.evaluations,
            "evaluation_episodes": self.evaluation_episodes,
        }
        preset = replace(preset, **{name: value for name, value in given.items() if value is not None})
        return Comparison(
            preset,
            self.mode,
            self.seed,
            self.greedy_evaluation,
            self.episodes,
            self.device,
        )

    def request(self, out: Path, seeds: int, show: ProgressFactory) -> Request:
        """What these flags ask of the study `preset`. Raises ValueError for a flag that a study does not take.

        `seeds` is their number where no flag gives it.
        """
        taken = ("preset", "seeds", "seed", "budget", "out", "resume")
        for field in fields(self):
            if field.name not in taken and getattr(self, field.name) != field.default:
                flags = ", ".join(f"--{name}" for name in taken)
                raise ValueError(f"--{field.name} is not for the study {self.preset}, which takes {flags}")
        number = seeds if self.seeds is None else self.seeds
        return Request(out, number, self.seed, self.budget, self.resume, show)

    def _preset(self) -> Preset:
        if self.preset is not None:
            if self.env is not None or self.objective is not None:
                raise ValueError(f"--preset {self.preset} names its problem; leave out --env and --objective")
            if self.preset.endswith(".json"):
                return load_preset(Path(self.preset))
            if self.preset not in PRESETS:
                raise ValueError(f"unknown preset {self.preset!r}; known: {', '.join(PRESETS)}, or a .json file")
            return PRESETS[self.preset]
        if self.objective is not None and self.env is None:
            return Preset(summary="", objective=self.objective, budget=10_000, algorithms=("cbo", "cma-es"))
        if self.env is not None:
            return Preset(summary="", env=self.env)
        return PRESETS["cartpole"]


@dataclass(frozen=True)
class CompareFlags(ProblemFlags):
    """Run several algorithms on one problem for many seeds, and compare them with honest statistics."""

    algorithms: tuple[str, ...] | None = None
    """Algorithm ids, from `zopg list`."""
    cuda_graphs: bool = False
    """On a GPU: record an iteration and launch it as a whole. Refused where iterations differ in more than numbers."""


@dataclass(frozen=True)
class TuneFlags(ProblemFlags):
    """Try a grid of hyper-parameters for several algorithms, with equal budgets, and write the best as a preset."""

    algorithms: tuple[str, ...] | None = None
    """Algorithm ids, from `zopg list`."""
    seeds: int = 16
    """Number of tuning seeds for each configuration. The preset that is written refuses to report them."""
    seed: int = 1_000
    """First tuning seed."""
    grid: tuple[str, ...] = ()
    """Words "field=value,value", or "algorithm:field=value,value" for one of them: gamma.scale=0.1,0.2 episodes=4,8.
    All combinations are tried. Without a step size, nine powers of two around the setting's."""


@dataclass(frozen=True)
class RunFlags(ProblemFlags):
    """Run one algorithm; its own hyper-parameters are flags too."""

    algorithm: str = "n-pg-igt"
    """Algorithm id, from `zopg list`; `zopg run --algorithm A --help` shows its own flags."""
    cuda_graphs: bool = False
    """On a GPU: record an iteration and launch it as a whole. Refused where iterations differ in more than numbers."""
