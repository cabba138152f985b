"""Environment steps per second of the default comparison against A2C of Stable-Baselines3 on the same machine.

Ours: `zopg compare` as it is, all five algorithms, all seeds, updates, scores and records included; steps that were
charged, so steps of the scores do not count. A2C: its own defaults, 8 environments, MlpPolicy, CPU. Each side runs in a
process of its own, in turn; compilation is done before the clock starts, as it is cached between processes.
"""

import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

from experiments.benchmarks.processes import check_repeats, child
from experiments.provenance import provenance, today
from experiments.record import write_json

A2C_STEPS = 40_000
OURS = "import sys; from experiments.benchmarks.training import measure_ours; measure_ours(sys.argv[1])"
A2C = "from experiments.benchmarks.training import measure_a2c; measure_a2c()"
MEMORY = "import sys; from experiments.benchmarks.training import measure_memory; measure_memory()"


def measure_ours(folder: str) -> None:
    """Print JSON: steps charged, wall seconds and steps per second of the default comparison."""
    import time
    from pathlib import Path

    import torch

    from experiments.compare import Comparison, compare
    from experiments.presets import PRESETS

    torch.set_num_threads(1)
    started = time.perf_counter()
    found = compare(Comparison(PRESETS["cartpole"]), Path(folder) / "run")
    wall = time.perf_counter() - started
    steps = sum(int(result.spent.env_steps.sum()) for result in found.results)
    print(json.dumps({"env_steps": steps, "wall_s": wall, "per_s": steps / wall}))


def measure_a2c() -> None:
    """Print JSON: the same of A2C."""
    import time

    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    agent = stable_baselines3.A2C("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=0), device="cpu", seed=0)
    agent.learn(1_000)
    started = time.perf_counter()
    agent.learn(A2C_STEPS)
    wall = time.perf_counter() - started
    print(json.dumps({"env_steps": A2C_STEPS, "wall_s": wall, "per_s": A2C_STEPS / wall}))


def measure_memory() -> None:
    """Print JSON: peak resident memory of 64 runs of N-HARPG, the hungriest of the five, and of importing alone."""
    import resource

    import torch

    from experiments.compare import Comparison
    from experiments.loop import run
    from experiments.presets import PRESETS

    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for algorithm, problem in Comparison(PRESETS["cartpole"]).members():
        run(algorithm, problem, seeds=64, budget=60_000, evaluations=20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_mib": peak / 1024, "imports_mib": before / 1024}))


def training(repeats: int, out: Path | None) -> None:
    """Run both sides `repeats` times in turn and report. Raises ValueError unless repeats >= 1."""
    check_repeats(repeats)
    print("compiling the kernels, if they are not cached")
    child(MEMORY)
    ours, a2c = [], []
    for i in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(child(OURS, folder))
        a2c.append(child(A2C))
        print(f"repeat {i + 1}: zopg {ours[-1]['per_s']:,.0f} steps/s, A2C {a2c[-1]['per_s']:,.0f} steps/s", flush=True)
    data = {
        "suite": "training",
        "date": today(),
        "provenance": provenance() | {"platform": platform.platform(), "cores": os.cpu_count()},
        "zopg": ours,
        "a2c": a2c,
        "median_zopg_per_s": statistics.median(run["per_s"] for run in ours),
        "median_a2c_per_s": statistics.median(run["per_s"] for run in a2c),
        "memory": child(MEMORY),
    }
    data["ratio"] = data["median_zopg_per_s"] / data["median_a2c_per_s"]
    print(
        f"medians: zopg {data['median_zopg_per_s']:,.0f}, A2C {data['median_a2c_per_s']:,.0f} environment steps/s; "
        f"ratio {data['ratio']:.0f}; peak memory of 64 runs {data['memory']['peak_mib']:.0f} MiB"
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "training.json", data)
        print(f"wrote {out / 'training.json'}")
