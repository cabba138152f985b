"""Records: the schema, writes that happen whole or not at all, and a record that is killed again and again."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import envs
from envs.core import Cost
from envs.files import load_state, save_state, write_atomically
from experiments.loop import run
from experiments.policy_problem import PolicyProblem
from experiments.record import SCHEMA, Record, write_curves, write_json
from rl import NHARPG
from zeroth_order import CBO

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@pytest.fixture(name="problem")
def _problem() -> PolicyProblem:
    env = envs.make("RandomMDP-v0", device="cpu", horizon=5)
    return PolicyProblem(env, envs.Linear(env.spec), evaluation_episodes=2, target=3.0)


def test_the_schema_is_the_documented_one() -> None:
    whole, real, text = pa.int64(), pa.float64(), pa.string()
    columns = [("run", whole), ("seed", whole), ("env_steps", whole), ("queries", whole), ("episodes", whole)]
    columns += [("hvps", whole), ("wall_s", real), ("name", text), ("value", real)]
    assert pa.schema(columns).equals(SCHEMA)


def test_curves_are_tidy(problem: PolicyProblem, tmp_path: Path) -> None:
    result = run(NHARPG(), problem, seeds=[7, 3], budget=100, evaluations=4, out=tmp_path)
    table = pq.read_table(tmp_path / result.label / "curves.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.equals(result.curves)
    rows = table.to_pylist()
    names = {"eval/return", "eval/length", "train/gradient_norm", "train/direction_norm", "train/transport_norm"}
    assert {row["name"] for row in rows} == names
    assert {(row["run"], row["seed"]) for row in rows} == {(0, 7), (1, 3)}
    for run_number in (0, 1):
        # An iteration takes 2 episodes of 5 steps and one product; positions are 0, 25, 50, 75, 100.
        mine = [row for row in rows if row["run"] == run_number and row["name"] == "eval/return"]
        assert [row["env_steps"] for row in mine] == [0, 20, 50, 70, 100]
        assert [row["queries"] for row in mine] == [row["env_steps"] // 5 for row in mine]
        assert [row["episodes"] for row in mine] == [row["env_steps"] // 5 for row in mine]
        assert [row["hvps"] for row in mine] == [row["env_steps"] // 10 for row in mine]
        walls = [row["wall_s"] for row in mine]
        assert walls == sorted(walls)
    keys = [(row["run"], row["name"], row["env_steps"]) for row in rows]
    assert len(keys) == len(set(keys))


def test_what_lies_beside_the_curves(problem: PolicyProblem, tmp_path: Path) -> None:
    folder = tmp_path / run(CBO(particles=4), problem, seeds=[7, 3], budget=100, evaluations=2, out=tmp_path).label
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "provenance.json", "curves.parquet", "state.safetensors",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["id"] == "cbo"
    assert config["algorithm"]["particles"] == 4
    assert config["problem"]["discount"] == 0.99
    assert config["problem"]["greedy_evaluation"] is False, "how the policy is evaluated is stated"
    assert (config["seeds"], config["budget"], config["evaluations"]) == ([7, 3], 100, 2)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"command", "commit", "python", "machine", "threads", "cuda", "versions", "seeds"} <= provenance.keys()
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["seeds"] == [7, 3]


def test_state_and_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    view = torch.arange(6.0, dtype=torch.float64).view(2, 3).mT
    save_state(path, {"view": view, "same": view, "empty": torch.zeros(0, 2), "t": 3, "wall": 0.1}, {"reasons": ["a"]})
    parts, extra = load_state(path, CPU)
    assert torch.equal(parts["view"], view)
    assert torch.equal(parts["same"], view)
    assert parts["empty"].shape == (0, 2)
    assert (parts["t"], parts["wall"], extra) == (3, 0.1, {"reasons": ["a"]})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    write_json(path, {"old": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text('{"new": ')
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, fail)
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    with pytest.raises((TypeError, AttributeError)):
        write_curves(tmp_path / "curves.parquet", "no table")
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append((path.read_text(), temporary.stat().st_ino))

    write_atomically(path, write)
    # The very file that was written has taken the place, so there was no moment with half of it.
    assert seen == [("old", path.stat().st_ino)]
    assert path.read_text() == "new"


def test_a_run_that_passes_several_positions_at_once_fills_the_last_of_them() -> None:
    record = Record(seeds=[5, 6], positions=[0, 10, 20], dim=1, device=CPU)
    crossed = torch.tensor([[True, True, False], [False, False, False]])
    spent = Cost.each(2, env_steps=torch.tensor([0, 21]))
    record.capture(crossed, torch.tensor([[1.0], [2.0]]), spent, 0.5, {"train/norm": torch.tensor([3.0, 4.0])})
    runs, slots, params = record.unscored()
    assert (runs.tolist(), slots.tolist(), params.tolist()) == ([0], [1], [[1.0]])
    assert record.table().num_rows == 0
    record.score(runs, slots, {"eval/return": torch.tensor([7.0])})
    assert record.unscored()[0].numel() == 0
    rows = [
        (row["run"], row["seed"], row["env_steps"], row["name"], row["value"]) for row in record.table().to_pylist()
    ]
    assert rows == [(0, 5, 0, "eval/return", 7.0), (0, 5, 0, "train/norm", 3.0)]


KILLED_AGAIN_AND_AGAIN = '''
import json, os, random, shutil, signal, sys, time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors import safe_open

torch.set_num_threads(1)
from experiments import loop
from experiments.compare import Comparison, compare
from experiments.presets import Preset

loop.FLUSH_SECONDS = 0.0
out, whole, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
preset = Preset("", env="RandomMDP-v0", algorithms=("n-pg-igt", "cbo", "cma-es"), seeds=3, budget=2400, horizon=8,
                hidden=(), target=4.5, evaluations=30, evaluation_episodes=3)
comparison = Comparison(preset)


def check():
    """Everything that is there can be read. Temporary files begin with a dot. Returns the iterations recorded."""
    iterations = 0
    for path in out.rglob("[!.]*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            assert pq.read_table(path).schema.names[:2] == ["run", "seed"]
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert all(file.get_tensor(name).numel() >= 0 for name in file.keys())
                iterations += json.loads(file.metadata()["numbers"])["iteration"]
    return iterations



def work(folder):
    """A process that makes, or continues, the comparison in a folder."""
    known = (folder / "comparison.json").exists()
    if not known:
        # Killed before it could say what it is: nothing was measured, and nothing can be continued.
        shutil.rmtree(folder, ignore_errors=True)
    child = os.fork()
    if child == 0:
        compare(comparison, folder, resume=known)
        os._exit(0)
    return child


# Nothing is computed in this process: threads do not survive a fork.
started = time.perf_counter()
assert os.waitpid(work(whole), 0)[1] == 0
usual = time.perf_counter() - started
moments, iterations, killed = random.Random(0), [], 0
for i in range(kills + 1):
    child = work(out)
    if i < kills:
        time.sleep(moments.uniform(0.0, 2.0 / kills) * usual)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    killed += status == signal.SIGKILL
    iterations.append(check())
print(json.dumps({"killed": killed, "iterations": iterations}))
'''
"""Compares in forked processes that are killed at random moments, checks the record after each, and finishes it."""


def test_a_comparison_that_is_killed_at_any_moment_stays_readable_and_ends_the_same(tmp_path: Path) -> None:
    kills = 7
    arguments = [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, str(tmp_path / "out"), str(tmp_path / "whole")]
    done = subprocess.run([*arguments, str(kills)], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # How many are caught at work, and where, depends on the machine; some are, and the last one gets to the end.
    assert found["killed"] >= 1
    assert len(set(found["iterations"])) >= 2
    assert found["iterations"] == sorted(found["iterations"])
    records = sorted(path.parent.name for path in (tmp_path / "whole").rglob("curves.parquet"))
    assert [name.rpartition("-")[0] for name in records] == ["cbo", "cma-es", "n-pg-igt"]
    for record in records:
        tables = [pq.read_table(tmp_path / side / record / "curves.parquet") for side in ("whole", "out")]
        one, other = (table.drop_columns("wall_s") for table in tables)
        assert one.num_rows > 30
        assert one.equals(other), record
        states = [load_state(tmp_path / side / record / "state.safetensors", CPU) for side in ("whole", "out")]
        (parts, extra), (other_parts, other_extra) = states
        assert extra == other_extra
        assert parts.keys() == other_parts.keys()
        for name in parts.keys() - {"wall", "record/wall"}:
            part, other_part = torch.as_tensor(parts[name]), torch.as_tensor(other_parts[name])
            assert torch.equal(part.nan_to_num(), other_part.nan_to_num()), name


PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PICKLING = {("torch", "save"), ("torch", "load"), ("pd", "read_pickle")}
ARGUMENTS = {"allow_pickle", "pickle_module"}


def picklers(source: str) -> set[str]:
    """What in a module could write or read a pickle."""
    found = set()
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    # Another project's weights may be read from a pickle as long as nothing but tensors can be in it.
    tensors_only = {id(call.func) for call in calls if any(_is_true(keyword) for keyword in call.keywords)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & PICKLERS
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            found |= {module} & PICKLERS
            found |= {f"{module}.{alias.name}" for alias in node.names if (module, alias.name) in PICKLING}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = (node.value.id, node.attr) in PICKLING and id(node) not in tensors_only
            found |= {f"{node.value.id}.{node.attr}"} if named else set()
        if isinstance(node, ast.Attribute) and node.attr in ("to_pickle", "tofile"):
            found.add(node.attr)
        if isinstance(node, ast.Call):
            found |= {keyword.arg for keyword in node.keywords if keyword.arg in ARGUMENTS and keyword.arg}
    return found


def _is_true(keyword: ast.keyword) -> bool:
    return keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True


def test_nothing_is_ever_pickled() -> None:
    files = [
        path for package in ("envs", "rl", "zeroth_order", "experiments") for path in (ROOT / package).rglob("*.py")
    ]
    assert len(files) > 30
    assert not {str(path): found for path in files if (found := picklers(path.read_text()))}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import json, dill as d", "from pickle import dumps", "from joblib.memory import Memory",
        "torch.save({}, path)", "def f():\n    return torch.load(path)",
        "torch.load(path, weights_only=False)", "from torch import save",
        "np.load(path, allow_pickle=True)", "frame.to_pickle(path)",
    ],
)  # fmt: skip
def test_the_scan_sees_every_way_to_pickle(source: str) -> None:
    assert picklers(source)
    assert not picklers("import json\nfrom safetensors.torch import save_file\nsave_file({}, path)\nnp.load(path)")
