"""The console script `zopg`: compare, run, tune, attack, bench, list."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from envs.registry import ENVS
from experiments import report
from experiments.algorithms import ALGORITHMS
from experiments.arena.suite import SHORT, ArenaFlags, arena_suite
from experiments.arguments import REGISTRY, component_flags, parse_parts, with_components
from experiments.attack.command import attack_images, parse_attack
from experiments.attack.settings import OWN
from experiments.attack.targets import SCENES
from experiments.benchmarks import SUITES
from experiments.compare import Comparison, compare
from experiments.flags import CompareFlags, ProblemFlags, RunFlags, TuneFlags
from experiments.grids import parse_grids
from experiments.presets import PRESETS, objective_of, setting
from experiments.progress import show_progress
from experiments.studies import STUDIES, Found, Request
from experiments.tune import tune, tuning_table
from zeroth_order import OBJECTIVES

COMMANDS = {
    "compare": "run several algorithms on one problem for many seeds and compare them",
    "run": "run one algorithm, with its hyper-parameters as flags",
    "tune": "choose hyper-parameters by a grid, with equal budgets and seeds of their own",
    "attack": "attack an image classifier that only tells scores, with every query counted",
    "bench": "measure speed against peers, side by side",
    "list": "algorithms, environments, objectives and presets, one line each",
}


@dataclass(frozen=True)
class BenchFlags:
    """Measure speed against peers, side by side in one run."""

    suite: str = "speed"
    """Suite. speed: the next four, about fifteen minutes on two cores. steps (environment steps with random actions),
    policies (rollouts of networks), seeds (training of many seeds to a threshold), optimizers (their steps): three to
    five minutes each, beside the libraries of the extra `bench` that are installed. training (the default comparison
    against A2C of Stable-Baselines3), memory (of each agent against d), cbo (a step against CBXpy's), cma-es (a
    generation against pycma's), surrogates (a local step of FZooS), gpu (kernels on a GPU), arena (optimizers on BBOB
    against those of other libraries)."""
    repeats: int = 3
    """Repeats of each side, in turn; medians are reported. Of the arena: instances of each function."""
    out: Path | None = None
    """Folder for the report; default: only printed. The arena continues what it finds there."""
    arena: ArenaFlags = SHORT
    """Of the arena."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 2 and one line on bad input, with 130 on an interrupt."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Small tensors are fastest on one thread; the fused kernels have threads of their own.
    torch.set_num_threads(1)
    try:
        _dispatch(given)
    except (ValueError, OSError) as error:
        print(f"zopg: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("zopg: interrupted; continue with --resume --out <folder>", file=sys.stderr)
        sys.exit(130)


def _dispatch(given: list[str]) -> None:
    command, rest = (given[0], given[1:]) if given else ("--help", [])
    if command in ("-h", "--help"):
        _help()
    elif command == "compare":
        parsed = _parse(CompareFlags, rest, "zopg compare")
        flags = parsed["flags"]
        if flags.preset in STUDIES:
            _study(flags, STUDIES[flags.preset].run)
        else:
            _compare(flags, _comparison(parsed, flags.algorithms))
    elif command == "run":
        _run(rest)
    elif command == "tune":
        parsed = _parse(TuneFlags, rest, "zopg tune")
        tuning = parsed["flags"]
        if tuning.preset in STUDIES:
            _study(tuning, STUDIES[tuning.preset].tune)
        else:
            _tune(tuning, _comparison(parsed, tuning.algorithms))
    elif command == "attack":
        _attack(rest)
    elif command == "bench":
        bench = tyro.cli(BenchFlags, args=rest, prog="zopg bench", registry=REGISTRY)
        if bench.suite not in SUITES:
            raise ValueError(f"suite = {bench.suite!r} is not one of {', '.join(SUITES)}")
        suite = partial(arena_suite, flags=bench.arena) if bench.suite == "arena" else SUITES[bench.suite]
        suite(bench.repeats, bench.out)
    elif command == "list":
        _list()
    else:
        raise ValueError(f"unknown command {command!r}; known: {', '.join(COMMANDS)}")


def _help() -> None:
    print("zopg: reinforcement learning and zeroth-order optimization on one axis\n\nusage: zopg COMMAND [flags]\n")
    for name, summary in COMMANDS.items():
        print(f"  {name:<9} {summary}")
    print("\nzopg COMMAND --help shows the flags of a command. `zopg compare` alone is a complete run.")


def _run(rest: list[str]) -> None:
    parsed = _parse(RunFlags, rest, "zopg run")
    name = parsed["flags"].algorithm
    _compare(parsed["flags"], replace(_comparison(parsed, (name,)), overrides=((name, parsed["config"]),)))


def _parse(kind: Any, rest: list[str], prog: str) -> dict[str, Any]:
    """The command's flags, the objective and the algorithm's "config", where there are any.

    Three passes: the first finds the objective and the algorithm, the second the algorithm's components, and all of
    them then contribute flags of their own.
    """
    quiet = [word for word in rest if word not in ("-h", "--help")]
    known, _ = tyro.cli(kind, args=quiet, prog=prog, registry=REGISTRY, return_unknown_args=True)
    parts: dict[str, Any] = {"flags": kind()}
    if known.preset not in STUDIES:
        preset = known.comparison(None).preset
        if kind is RunFlags:
            config = with_components(setting(known.algorithm, known.mode, preset).algorithm, quiet, prog)
            parts |= {"components": component_flags(config), "config": config}
        objective = None if preset.objective is None else objective_of(preset)
        if is_dataclass(objective):
            parts["objective"] = objective
    return parse_parts(parts, rest, prog, kind.__doc__, prefixed=("objective",))


def _comparison(parsed: dict[str, Any], algorithms: tuple[str, ...] | None) -> Comparison:
    """What was parsed asks for."""
    comparison = parsed["flags"].comparison(algorithms)
    if "objective" not in parsed:
        return comparison
    return replace(comparison, preset=replace(comparison.preset, dim=None, objective_settings=parsed["objective"]))


def _compare(flags: CompareFlags | RunFlags, comparison: Comparison) -> None:
    found = compare(comparison, _folder(flags, comparison), flags.resume, show_progress, flags.cuda_graphs)
    _show(report.table(found.rows, found.problem), found.files)


def _tune(flags: TuneFlags, comparison: Comparison) -> None:
    settings = {name: comparison.setting(name) for name in comparison.preset.algorithms}
    grids = parse_grids(flags.grid, settings, sampled=comparison.preset.objective is None)
    tuned = tune(comparison, _folder(flags, comparison), grids, flags.resume, show_progress)
    _show(tuning_table(tuned), tuned.files)


def _study(flags: ProblemFlags, carry_out: Callable[[Request], Found] | None) -> None:
    if carry_out is None:
        raise ValueError(f"preset = {flags.preset} has nothing to tune")
    name = str(flags.preset)
    found = carry_out(flags.request(_named_folder(flags, name), STUDIES[name].seeds, show_progress))
    print(found.text)
    _wrote(found.files)


def _attack(rest: list[str]) -> None:
    flags, attacker = parse_attack(rest)
    found = attack_images(flags, attacker, flags.out or _dated(f"attack-{flags.target}"), show_progress)
    _show(found.table, found.files)
    if found.attacked.error is not None:
        raise ValueError(found.attacked.error)


def _folder(flags: ProblemFlags, comparison: Comparison) -> Path:
    return _named_folder(flags, str(comparison.preset.env or comparison.preset.objective))


def _named_folder(flags: ProblemFlags, name: str) -> Path:
    if flags.resume and flags.out is None:
        raise ValueError("--resume needs --out, the folder to continue")
    return flags.out or _dated(name)


def _dated(name: str) -> Path:
    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name.replace(':', '-').replace('/', '-')}"


def _show(table: Table, files: list[Path]) -> None:
    _console().print(table)
    _wrote(files)


def _wrote(files: list[Path]) -> None:
    print("wrote:")
    for path in files:
        print(f"  {path}")


def _console() -> Console:
    """A terminal's own width; enough for a table in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _list() -> None:
    console = _console()
    groups: dict[str, list[tuple[str, str, str]]] = {
        "algorithms": [(key, ALGORITHMS[key].summary, ALGORITHMS[key].paper) for key in ALGORITHMS],
        "environments": [_environment(key) for key in ENVS] + [("gym:<id>", "any installed Gymnasium environment", "")],
        "objectives": [(key, OBJECTIVES[key].summary, OBJECTIVES[key].source) for key in OBJECTIVES],
        "attacks, beside all optimizers": [(key, kind.summary, kind.paper) for key, kind in OWN.items()],
        "targets of attacks": [(key, scene.summary, "") for key, scene in SCENES.items()],
        "presets": [(key, preset.summary, "") for key, preset in PRESETS.items()],
        "studies, presets of several problems": [(key, study.summary, "") for key, study in STUDIES.items()],
    }
    for title, entries in groups.items():
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for entry in entries:
            table.add_row(*entry)
        console.print(table)


def _environment(key: str) -> tuple[str, str, str]:
    spec = ENVS[key].create(torch.device("cpu"), torch.float32).spec
    return key, spec.summary, spec.source
