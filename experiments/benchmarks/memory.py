"""Peak memory of two iterations of each agent against the number of parameters d, each in a process of its own.

One run in faithful form on CartPole-v1 with horizon 50, whose policy is a tanh network with two hidden layers as wide
as d asks for. Two iterations, because Hessian-vector products and importance weights need a step to work on. What is
reported is resident memory beyond that of the same process after the same on a network of 34 parameters: in bytes per
parameter, four make one vector of d numbers in float32.
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import write_atomically
from experiments.benchmarks.processes import check_repeats, child
from experiments.provenance import provenance, today
from experiments.record import write_json
from rl import ALGORITHMS

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ABLATIONS = ("pg-igt", "n-pg-igt-lagged")
"""Not measured: they keep what N-PG-IGT keeps."""
CHILD = "import sys; from experiments.benchmarks.memory import measure; measure(sys.argv[1], int(sys.argv[2]))"


def measure(name: str, parameters: int) -> None:
    """Print JSON: d and the peak memory, in bytes beyond the start, of the agent at about so many parameters."""
    import json
    import resource

    import torch

    torch.set_num_threads(1)
    two_iterations(name, width=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dim = two_iterations(name, width_for(parameters))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"d": dim, "bytes": 1024 * (peak - before)}))


def width_for(parameters: int) -> int:
    """Of both hidden layers: width^2 + 8 width + 2 is as near to `parameters` as it gets."""
    return round((parameters + 14) ** 0.5) - 4


def two_iterations(name: str, width: int) -> int:
    """Make them; returns d."""
    import torch

    import envs
    from envs.random import Purpose
    from experiments.policy_problem import PolicyProblem
    from experiments.presets import FAITHFUL

    env = envs.make("CartPole-v1", device="cpu", horizon=50)
    agent, estimator = FAITHFUL[name].algorithm, FAITHFUL[name].estimator
    problem = PolicyProblem(env, envs.MLP(env.spec, (width, width)), estimator=estimator)
    root = envs.streams([0])
    state: Any = agent.init(problem.init(root.fold(Purpose.INITIAL)), root)
    with torch.no_grad():
        for t in range(2):
            points, state = agent.ask(state, root.fold(Purpose.ASK).at(t))
            answer = problem.answer(agent, points, root.fold(Purpose.TRAIN).at(t))
            state, _ = agent.tell(state, points, answer.feedback)
    return problem.dim


def memory_suite(repeats: int, out: Path | None) -> None:
    """Measure every agent at every size, `repeats` times, and report medians. Raises ValueError unless repeats >= 1."""
    check_repeats(repeats)
    found = {}
    for name in (name for name in ALGORITHMS if name not in ABLATIONS):
        runs = [[child(CHILD, name, str(size)) for _ in range(repeats)] for size in SIZES]
        found[name] = [(each[0]["d"], statistics.median(run["bytes"] for run in each)) for each in runs]
        print(row(name, found[name]), flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        data = {"suite": "memory", "date": today(), "provenance": provenance(), "bytes": found}
        write_json(out / "memory.json", data)
        write_atomically(out / "memory.md", lambda temporary: temporary.write_text(report(found)))
        print(f"wrote {out / 'memory.json'} {out / 'memory.md'}")


def report(found: dict[str, list[tuple[int, float]]]) -> str:
    """The page."""
    sizes = " | ".join(f"d = {d:,}" for d, _ in next(iter(found.values())))
    head = f"| agent | {sizes} | bytes per parameter | largest residual |\n|---|" + "---:|" * (len(SIZES) + 2)
    rows = "\n".join(row(name, points) for name, points in found.items())
    return (
        f"# Memory suite, {today()}\n\n`zopg bench --suite memory`: peak MiB of two iterations of one run, beyond a "
        "network of 34 parameters; see `experiments/benchmarks/memory.py`.\nThe last columns are a straight line "
        f"fitted by least squares: its slope, and the largest distance from it in MiB.\n\n{head}\n{rows}\n"
    )


def row(name: str, points: list[tuple[int, float]]) -> str:
    """One agent's line in the table."""
    d, peak = np.array(points).T
    slope, offset = np.polyfit(d, peak, 1)
    residual = np.abs(peak - slope * d - offset).max() / 2**20
    cells = " | ".join(f"{value / 2**20:.1f}" for value in peak)
    return f"| {name} | {cells} | {slope:.1f} | {residual:.1f} |"
