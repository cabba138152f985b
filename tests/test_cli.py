"""The console script: what it writes and prints, and what it refuses, in one line and before writing anything."""

import ast
import csv
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from experiments import cli, loop, plots
from experiments.algorithms import ALGORITHMS
from experiments.benchmarks import SUITES
from experiments.cli import COMMANDS, BenchFlags, main
from experiments.flags import CompareFlags, RunFlags, TuneFlags
from experiments.presets import PRESETS, setting
from zeroth_order import OBJECTIVES, FZooS

from envs import ENVS  # isort: skip

TINY = shlex.split("--env RandomMDP-v0 --horizon 5 --seeds 3 --budget 1000 --evaluations 3 --evaluation-episodes 2")
SMALL = [*TINY, "--hidden", "4", "--episodes", "2"]
SHORT = ["--budget", "300"]
"""For agents, which take many small iterations."""


def words(text: str, folder: Path) -> list[str]:
    return shlex.split(text.format(out=folder / "out", folder=folder))


def read(folder: Path) -> dict[str, Any]:
    """config.json of the records in an output folder, by algorithm."""
    return {(data := json.loads(path.read_text()))["id"]: data for path in folder.glob("*/config.json")}


@pytest.fixture(name="undrawn")
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a tiny comparison."""
    monkeypatch.setattr(plots, "save", lambda figure, path: [])


# What the commands write and print.


def test_compare_writes_the_records_the_table_the_figure_and_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    main(["compare", *SMALL, "--algorithms", "n-pg-igt", "random-search", "--target", "3", *SHORT, "--out", str(out)])
    printed, progress = capsys.readouterr()

    configs = read(out)
    assert configs.keys() == {"n-pg-igt", "random-search"}
    records = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert [name.rpartition("-")[0] for name in records] == ["n-pg-igt", "random-search"]
    assert {path.name for path in out.iterdir()} - set(records) == {
        "comparison.json", "command.txt", "summary.csv", "curves.png", "curves.pdf",
    }  # fmt: skip
    for name in records:
        assert pq.read_table(out / name / "curves.parquet")["run"].to_pylist().count(2) > 0
    config = configs["n-pg-igt"]
    assert (config["seeds"], config["budget"], config["evaluations"]) == ([0, 1, 2], 300, 3)
    assert config["problem"]["env"]["spec"] == {"id": "RandomMDP-v0", "horizon": 5}
    assert config["problem"]["policy"]["hidden"] == [4]
    assert config["problem"]["estimator"]["episodes"] == 2
    assert config["problem"]["target"] == 3.0
    assert len((out / "summary.csv").read_text().splitlines()) == 3

    assert all(word in printed for word in ("RandomMDP-v0, 3 seeds", "n-pg-igt", "random-search", "final return"))
    wrote = printed[printed.index("wrote:") :]
    for name in ("summary.csv", "curves.png", "curves.pdf", "command.txt", *records):
        assert str(out / name) in wrote
    # Plain lines where the output is no terminal.
    assert progress.splitlines()[0] == "n-pg-igt: started"
    assert re.search(r"^random-search: 100% after \d+ s, 900 env steps$", progress, re.MULTILINE)


def test_an_objective_can_be_compared_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main(words("compare --objective rastrigin --dim 3 --seeds 2 --budget 200 --target -5 --out {out}", tmp_path))
    assert "rastrigin, 2 seeds" in capsys.readouterr().out
    configs = read(out)
    assert configs.keys() == {"cbo", "cma-es"}
    assert configs["cbo"]["problem"]["objective"]["dim"] == 3
    assert configs["cbo"]["problem"]["target"] == -5.0


FEDERATED = "--objective federated-quadratic --objective.dim 4 --seeds 2 --budget 1200 --evaluations 2 --out {out}"


@pytest.mark.usefixtures("undrawn")
def test_federated_algorithms_meet_central_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(f"compare {FEDERATED} --algorithms fedzo cbo --objective.heterogeneity 5", tmp_path))
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("federated-quadratic, 2 seeds", "uplink floats", "downlink floats"))
    configs, asked = read(tmp_path / "out"), json.loads((tmp_path / "out" / "comparison.json").read_text())
    expected = {"type": "FederatedQuadratic", "dim": 4, "clients": 5, "heterogeneity": 5.0, "instance": 0}
    assert asked["preset"]["objective_settings"] == expected
    for name in ("fedzo", "cbo"):
        assert configs[name]["problem"]["type"] == "FederatedProblem"
        assert configs[name]["problem"]["objective"] == expected
    with (tmp_path / "out" / "summary.csv").open() as file:
        fedzo, cbo = csv.DictReader(file)
    # A round of 10 steps of 5 clients with 21 queries each; the point goes down to all and comes up from all.
    assert [fedzo[name] for name in ("queries", "uplink_floats", "downlink_floats")] == ["1155.0", "20.0", "40.0"]
    assert [float(cbo[name]) for name in ("queries", "uplink_floats", "downlink_floats")] == [1000, 0, 0]
    line = refused(words(f"compare {FEDERATED} --algorithms fedzo cbo --resume", tmp_path), capsys)
    assert "preset.objective_settings.heterogeneity was 5.0, is 0.5" in line


@pytest.mark.usefixtures("undrawn")
def test_participation_is_the_users_and_the_clients_are_the_objectives(tmp_path: Path) -> None:
    main(words(f"run --algorithm fedzo {FEDERATED} --objective.clients 9 --federation.participating 7", tmp_path))
    assert read(tmp_path / "out")["fedzo"]["algorithm"]["federation"] == {"type": "Federation", "participating": 7}


def test_fzoos_is_the_official_procedure_in_faithful_mode() -> None:
    assert setting("fzoos", "faithful", PRESETS["cartpole"]).algorithm == FZooS.faithful()
    assert setting("fzoos", "practical", PRESETS["cartpole"]).algorithm == FZooS()


@pytest.mark.usefixtures("undrawn")
def test_policy_return_is_an_environment_as_an_objective(tmp_path: Path) -> None:
    main(["compare", *SMALL, "--objective", "policy-return", "--algorithms", "cbo", "--out", str(tmp_path / "out")])
    assert read(tmp_path / "out")["cbo"]["problem"]["type"] == "PolicyProblem"


@pytest.mark.usefixtures("undrawn")
def test_a_gymnasium_environment_is_a_problem_for_agents_and_optimizers(tmp_path: Path) -> None:
    flags = "compare --env gym:CartPole-v1 --algorithms n-pg-igt random-search --horizon 8 --seeds 2 --budget 200"
    main(words(flags + " --evaluations 1 --evaluation-episodes 2 --hidden 2 --episodes 2 --out {out}", tmp_path))
    assert read(tmp_path / "out").keys() == {"n-pg-igt", "random-search"}


def test_without_out_the_folder_is_named_after_time_and_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["compare", *SMALL, "--algorithms", "random-search"])
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-RandomMDP-v0", folder.name)


@pytest.mark.parametrize(
    ("algorithm", "flags", "path", "value"),
    [
        ("n-pg-igt", "--budget 300 --gamma.scale 0.125", ("gamma", "scale"), 0.125),
        ("n-harpg", "--budget 300 --eta.floor 0.25", ("eta", "floor"), 0.25),
        ("cbo", "--noise isotropic", ("noise", "type"), "Isotropic"),
        ("cbo", "--particles 6 --batch 3", ("batch",), 3),
        ("cma-es", "--sigma0 0.125", ("sigma0",), 0.125),
        ("random-search", "--points 7", ("points",), 7),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_an_algorithms_own_fields_are_flags(
    algorithm: str, flags: str, path: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    for folder, given in (("changed", flags), ("plain", "")):
        main(["run", "--algorithm", algorithm, *SMALL, *shlex.split(given), "--out", str(tmp_path / folder)])
    changed, plain = (read(tmp_path / folder)[algorithm]["algorithm"] for folder in ("changed", "plain"))
    for key in path[:-1]:
        assert changed[key].keys() == plain[key].keys()
    found, default = changed, plain
    for key in path:
        found, default = found[key], default[key]
    assert found == value != default


@pytest.mark.usefixtures("undrawn")
def test_faithful_and_practical_are_different_settings(tmp_path: Path) -> None:
    for mode in ("faithful", "practical"):
        main(["run", "--algorithm", "n-pg-igt", *TINY, *SHORT, "--mode", mode, "--out", str(tmp_path / mode)])
    faithful, practical = (read(tmp_path / mode)["n-pg-igt"] for mode in ("faithful", "practical"))
    assert faithful["problem"]["estimator"] == {
        "type": "Estimator", "episodes": 1, "baseline": "no_baseline", "hvp": "paper",
        "difference": 0.0, "weight_limit": None, "average": "over_episodes",
    }  # fmt: skip
    assert practical["problem"]["estimator"]["episodes"] > 1
    assert faithful["algorithm"] != practical["algorithm"]


@pytest.mark.usefixtures("undrawn")
def test_the_familiar_names_of_flags_mean_the_same(tmp_path: Path) -> None:
    shared = "--horizon 5 --seeds 2 --evaluations 2 --evaluation-episodes 2 --hidden 4 --algorithms random-search"
    ours = "--env RandomMDP-v0 --budget 200 --episodes 2"
    familiar = "--env-id RandomMDP-v0 --total-timesteps 200 --num-envs 2"
    for name, flags in (("ours", ours), ("familiar", familiar)):
        main(["compare", *shlex.split(f"{flags} {shared}"), "--out", str(tmp_path / name)])
    assert read(tmp_path / "ours") == read(tmp_path / "familiar")


@pytest.mark.usefixtures("undrawn")
def test_a_killed_comparison_is_resumed_by_the_same_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["compare", *SMALL, "--algorithms", "cbo", "random-search", "--target", "3"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    main([*flags, "--out", str(whole)])

    flushes = iter(range(3))

    def killed(parts: Any, *rest: Any) -> None:
        if next(flushes, None) is None:
            raise KeyboardInterrupt
        saved(parts, *rest)

    saved = loop.save_state
    monkeypatch.setattr(loop, "FLUSH_SECONDS", -1.0)
    monkeypatch.setattr(loop, "save_state", killed)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "--out", str(out)])
    assert stopped.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("zopg: interrupted; continue with --resume")
    assert not (out / "summary.csv").exists()

    monkeypatch.undo()
    main([*flags, "--out", str(out), "--resume"])
    for record in whole.glob("*/curves.parquet"):
        one, other = (pq.read_table(path).drop_columns("wall_s") for path in (record, out / record.relative_to(whole)))
        assert one.equals(other)
    measured = [
        [line.split(",")[:9] for line in (side / "summary.csv").read_text().splitlines()] for side in (whole, out)
    ]
    assert measured[0] == measured[1]


# What is listed and explained.


def test_list_names_every_entry_of_every_registry(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    printed = capsys.readouterr().out
    listed = {line.split()[0] for line in printed.splitlines() if line.strip()}
    names = [*ALGORITHMS, *ENVS, *OBJECTIVES, *PRESETS]
    assert set(names) <= listed
    for name in ALGORITHMS:
        (line,) = (line for line in printed.splitlines() if line.split()[:1] == [name])
        assert ALGORITHMS[name].summary in line
        assert ALGORITHMS[name].paper.split(",")[0] in line


def helped(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    try:
        main(arguments)
    except SystemExit as stopped:
        assert not stopped.code  # noqa: PT017
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = helped(arguments, capsys, monkeypatch)
    assert all(command in printed for command in COMMANDS)


@pytest.mark.parametrize(
    ("command", "kind"),
    [("compare", CompareFlags), ("run", RunFlags), ("tune", TuneFlags), ("bench", BenchFlags)],
    ids=lambda x: str(x)[:8],
)
def test_help_of_a_command_names_every_flag(
    command: str, kind: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = helped([command, "--help"], capsys, monkeypatch)
    for field in fields(kind):
        assert f"--{field.name.replace('_', '-')}" in printed
        assert documented(kind)[field.name].split()[0] in printed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_help_of_run_names_the_fields_of_the_algorithm(
    algorithm: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = helped(["run", "--algorithm", algorithm, "--help"], capsys, monkeypatch)
    config = setting(algorithm, "practical", PRESETS["cartpole"]).algorithm
    flags = [flag for field in fields(config) for flag in flags_of(field.name, getattr(config, field.name))]
    assert flags
    named = [flag.replace("_", "-") for flag in [*flags, "seeds", "budget"]]
    assert all(re.search(rf"--{re.escape(flag)}[ ,]", printed) for flag in named)


def flags_of(name: str, value: Any) -> list[str]:
    parts = [part for part in fields(value) if part.repr] if is_dataclass(value) else ()
    return [f"{name}.{part.name}" for part in parts] or [name]


def documented(kind: type) -> dict[str, str]:
    """field -> its docstring, of a dataclass and its bases: the string that follows a field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = text.value.value
    return found


def parts_of(kind: Any) -> list[type]:
    """A dataclass of flags and the dataclasses that its defaults are."""
    parts = [type(field.default) for field in fields(kind) if is_dataclass(field.default)]
    return [kind, *(part for part in parts if fields(part))]


FLAGS = {
    part for kind in (CompareFlags, RunFlags, TuneFlags, BenchFlags, *ALGORITHMS.values()) for part in parts_of(kind)
}


@pytest.mark.parametrize("kind", sorted(FLAGS, key=lambda kind: kind.__name__))
def test_every_flag_has_a_help_text(kind: Any) -> None:
    assert {field.name for field in fields(kind)} <= {name for name, text in documented(kind).items() if len(text) > 3}


def test_help_has_no_dead_flags() -> None:
    assert {"Schedule", "Growth", "CBO", "CMAES", "PyCMA", "CompareFlags", "BenchFlags"} <= {
        kind.__name__ for kind in FLAGS
    }


# What is refused.

COMPARE = "compare --env RandomMDP-v0 --horizon 5 --seeds 2 --budget 400 --algorithms random-search --out {out}"
RUN = "run --env RandomMDP-v0 --horizon 5 --seeds 2 --budget 400 --out {out} --algorithm"
REFUSED = [
    ("fly", "unknown command 'fly'"),
    ("compare --env Nowhere-v0 --out {out}", "unknown environment 'Nowhere-v0'; known: CartPole-v1"),
    ("compare --env gym:Nowhere-v0 --out {out}", "Gymnasium cannot make 'Nowhere-v0'"),
    ("compare --objective nothing --out {out}", "unknown objective 'nothing'; known: sphere"),
    ("compare --objective policy-return --out {out}", "objective = policy-return needs an environment"),
    (
        "compare --objective sphere --device cpu --cuda-graphs --out {out}",
        "cuda_graphs = True needs a GPU, sphere is on device = cpu",
    ),
    ("compare --preset nothing --out {out}", "unknown preset 'nothing'; known: cartpole"),
    ("compare --preset cartpole --env RandomMDP-v0 --out {out}", "--preset cartpole names its problem"),
    ("compare --env RandomMDP-v0 --objective sphere --out {out}", "--env RandomMDP-v0 and --objective sphere exclude"),
    ("compare --algorithms cbo nothing --out {out}", "unknown algorithm 'nothing'; known: reinforce"),
    ("compare --algorithms cbo cbo --out {out}", "algorithms names 'cbo' more than once"),
    ("run --algorithm nothing --out {out}", "unknown algorithm 'nothing'; known: reinforce"),
    (COMPARE + " --budget -5", "budget = -5 is not in [1, "),
    (COMPARE + " --budget 0", "budget = 0 is not in [1, "),
    (COMPARE + " --budget 3", "budget = 3 is less than the 50 env_steps that one iteration of random-search can take"),
    (COMPARE + " --seeds 0", "seeds = 0 must be >= 1"),
    (COMPARE + " --seeds -3", "seeds = -3 must be >= 1"),
    (COMPARE + " --seed -1", "seeds has -1, which is not in [0, "),
    (COMPARE + " --horizon 0", "horizon = 0 is not an integer >= 1"),
    (COMPARE + " --env gym:CartPole-v1 --horizon 0", "horizon = 0 is not an integer >= 1"),
    (COMPARE + " --discount 0", "discount = 0.0 is not in (0, 1]"),
    (COMPARE + " --discount 1.5", "discount = 1.5 is not in (0, 1]"),
    (COMPARE + " --discount nan", "discount = nan is not in (0, 1]"),
    (COMPARE + " --hidden 0", "hidden = (0,) must hold widths >= 1"),
    (COMPARE + " --target nan", "target = nan must be finite"),
    (COMPARE + " --episodes 0", "episodes = 0 must be >= 1"),
    (COMPARE + " --evaluations 0", "evaluations = 0 must be >= 1"),
    (COMPARE + " --evaluation-episodes 0", "evaluation_episodes = 0 must be >= 1"),
    (COMPARE + " --budget 99999999999999999999", "budget = 99999999999999999999"),
    (COMPARE + " --seed 99999999999999999999", "seeds has 99999999999999999999, which is not in"),
    ("compare --objective sphere --dim 0 --out {out}", "dim = 0 of 'sphere' is not >= 1"),
    ("compare --objective sphere --target inf --out {out}", "target = inf must be finite"),
    ("compare --objective sphere --budget 5 --algorithms cbo --out {out}", "is less than the 50 queries"),
    ("compare --objective sphere --resume", "--resume needs --out"),
    ("compare --objective sphere --algorithms fedzo --out {out}", "fedzo needs clients, sphere has none"),
    (
        "run --algorithm fedzo --objective federated-levy --dim 3 --federation.participating 6 --out {out}",
        "participating = 6 of fedzo is not in [1, 5], federated-levy's clients",
    ),
    (COMPARE + " --resume", "holds no comparison"),
    (RUN + " n-pg-igt --episodes 1", "episodes = 1 must be >= 2 for baseline time_baseline"),
    (RUN + " n-pg-igt --gamma.scale 0", "gamma.scale = 0.0 is not in (0, inf]"),
    (RUN + " n-pg-igt --gamma.scale nan", "gamma.scale = nan is not in (0, inf]"),
    (RUN + " n-pg-igt --eta.scale 1.5", "eta.scale = 1.5 is not in (0, 1]"),
    (RUN + " cbo --particles 1", "particles = 1 is not in [2, inf]"),
    (RUN + " cbo --particles 9 --batch 2", "batch = 2 does not divide particles = 9"),
    (RUN + " cma-es --popsize 2", "popsize = 2 is not in [3, inf]"),
    ("bench --suite nothing --out {out}", "suite = 'nothing' is not one of speed, steps"),
    ("compare --objective sphere --budget 100 --out {folder}/file", "{folder}/file exists already"),
    ("compare --objective sphere --budget 100 --out {folder}/file/below", "{folder}/file"),
    ("compare --objective sphere --budget 100 --out {folder}/full", "{folder}/full exists already and is not empty"),
]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a command that exits with 2."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    printed, complaint = capsys.readouterr()
    assert stopped.value.code == 2
    assert not printed
    (line,) = complaint.splitlines()
    assert line.startswith("zopg: error: ")
    return line


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_bad_input_is_one_line_and_nothing_is_written(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine\n")
    before = contents(tmp_path)
    assert message.format(folder=tmp_path) in refused(words(command, tmp_path), capsys)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "flags",
    ["--seeds many", "--budget", "--unknown 3", "--device tpu", "--mode sloppy", "--hidden 4 wide", "--discount"],
)
def test_flags_that_cannot_be_read_are_refused_too(
    flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (COMPARE, RUN + " random-search"):
        with pytest.raises(SystemExit) as stopped:
            main(words(f"{command} {flags}", tmp_path))
        assert stopped.value.code == 2
        assert flags.split()[0] in (complaint := capsys.readouterr().err)
        assert "Traceback" not in complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare --objective sphere --objective.rotation -1", "rotation = -1 is a seed and has to be >= 0"),
        ("compare --objective rastrigin --objective.amplitude -1", "amplitude = -1.0 is not in [0, inf]"),
        ("compare --objective sphere --objective.amplitude 1", "--objective.amplitude"),
        ("run --algorithm fedzo --federation.participating 0", "participating = 0 is not in [1, 5]"),
    ],
)
def test_settings_of_parts_are_checked(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(words(command, tmp_path))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_algorithms_flag_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words(RUN + " random-search --gamma.scale 0.1", tmp_path))
    assert stopped.value.code == 2
    assert "--gamma.scale" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--budget 999", "preset.budget was 1000, is 999"),
        ("--seeds 2", "preset.seeds was 3, is 2"),
        ("--seed 1", "seed was 0, is 1"),
        ("--hidden 5", "preset.hidden was [4], is [5]"),
        ("--mode faithful", "mode was practical, is faithful"),
        ("--greedy-evaluation", "greedy_evaluation was False, is True"),
        ("--points 3", "overrides was "),
        ("--budget 999 --seed 1", "preset.budget was 1000, is 999; seed was 0, is 1"),
    ],
)
def test_a_resume_with_other_flags_is_refused(
    change: str, message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    line = refused([*RANDOM, *shlex.split(change), "--resume", "--out", str(finished)], capsys)
    assert f"resume: {finished} was made with other settings: " in line
    assert message in line
    assert contents(finished) == before


RANDOM = ["run", "--algorithm", "random-search", *SMALL]


@pytest.fixture(name="finished", scope="module")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "finished"
    main([*RANDOM, "--out", str(out)])
    return out


def test_a_finished_comparison_is_not_overwritten_but_can_be_shown_again(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert "exists already and is not empty" in refused([*RANDOM, "--out", str(finished)], capsys)
    assert contents(finished) == before
    main([*RANDOM, "--out", str(finished), "--resume"])
    assert "random-search" in capsys.readouterr().out


def test_bench_passes_its_flags_to_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    assert "training" in SUITES
    monkeypatch.setitem(cli.SUITES, "training", lambda repeats, out: called.append((repeats, out)))
    main(["bench", "--suite", "training", "--repeats", "2", "--out", "there"])
    assert called == [(2, Path("there"))]


# The installed script, in processes of its own.


def script(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name("zopg")
    found = str(beside) if beside.exists() else shutil.which("zopg")
    assert found, "zopg is not installed"
    return subprocess.run([found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_the_script_runs_and_records_the_exact_command(tmp_path: Path) -> None:
    given = [*RANDOM, "--out", "an out"]
    done = script(*given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "an out/summary.csv" in done.stdout
    assert (tmp_path / "an out" / "command.txt").read_text() == shlex.join(["zopg", *given]) + "\n"
    (record,) = (tmp_path / "an out").glob("*/provenance.json")
    assert json.loads(record.read_text())["threads"] == 1


@pytest.mark.usefixtures("undrawn")
def test_a_comparison_made_by_another_program_does_not_claim_to_be_the_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/my study.py", "--fast"])
    main([*RANDOM, "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "command.txt").read_text() == "'my study.py' --fast\n"


def test_the_script_refuses_in_one_line(tmp_path: Path) -> None:
    done = script(*words(COMPARE + " --horizon 0", tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "zopg: error: horizon = 0 is not an integer >= 1\n"
    assert not list(tmp_path.iterdir())
