"""The Triton kernels on a GPU: environment steps per second beside goals and floors, both for an H200.

    random        uniformly random actions in N copies with autoreset, 1,024 steps each
    shared        one 4-64-64-2 policy x N episodes of CartPole-v1, in each precision of matrix products
    population    N such policies x 1 episode

Steps that count are those taken: lanes whose episode is over wait for their program's others, at our expense. Seconds
are those of CUDA events, the median of the repeats after two calls that are not counted. Without a GPU the rows stand
there as not measured.

The floors are arithmetic. Random: 75 to 155 instructions a step, of 128 a clock on each of 132 multiprocessors at
1.98 GHz. Shared: 8,960 flops at 67 TFLOP/s, or, on matrix units, 128 tanh of one or two special functions, 16 a clock
on each multiprocessor. Population: 18.4 kB of weights a step through shared memory, 128 bytes a clock on each.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

import envs
from envs.files import write_atomically
from experiments.benchmarks.processes import check_repeats
from experiments.provenance import provenance, today
from experiments.record import write_json

SIZES = (64, 1_024, 16_384, 262_144)
STEPS = 1_024
"""Of every copy under random actions."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """A line of the table at all sizes."""

    name: str
    call: Callable[[int, torch.device], Callable[[], torch.Tensor]]
    """(N, device) -> what is timed; it returns the number of steps taken"""
    goal: float | None
    """Steps per second to reach, if there is a goal."""
    floor: float
    """Steps per second that the machine allows."""
    precision: str = "highest"
    """torch's, of float32 matrix products."""


def random_actions(id: str) -> Callable[[int, torch.device], Callable[[], torch.Tensor]]:
    """N copies of an environment under random actions."""

    def prepare(number: int, device: torch.device) -> Callable[[], torch.Tensor]:
        from envs.fused.random_play import play_randomly

        env, seeds = envs.make(id, device.type), torch.arange(number, device=device)

        def call() -> torch.Tensor:
            play_randomly(env, seeds, STEPS)
            return torch.tensor(number * STEPS)

        return call

    return prepare


def shared_policy(number: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """One policy, N episodes."""
    return _policies(1, number, device)


def population(number: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """N policies, one episode each."""
    return _policies(number, 1, device)


def _policies(points: int, episodes: int, device: torch.device) -> Callable[[], torch.Tensor]:
    env = envs.make("CartPole-v1", device.type)
    policy, stream = envs.MLP(env.spec, (64, 64)), envs.streams([0], device)
    params = policy.init(envs.streams(range(points), device))[None]
    return lambda: envs.returns(env, policy, params, episodes, stream, backend="triton").lengths.sum()


ROWS = (
    Row("random, CartPole-v1", random_actions("CartPole-v1"), 5e10, 2e11),
    Row("random, Pendulum-v1", random_actions("Pendulum-v1"), None, 2e11),
    Row("shared, float32", shared_policy, 5e9, 7e9),
    Row("shared, tf32", shared_policy, 5e9, 1.6e10, "high"),
    Row("shared, bfloat16", shared_policy, 5e9, 1.6e10, "medium"),
    Row("population, float32", population, 1e9, 1.8e9),
)


def gpu_suite(repeats: int, out: Path | None) -> None:
    """Measure every row at every size, where there is a GPU. Raises ValueError unless repeats >= 1."""
    check_repeats(repeats)
    found = {row.name: [rate(row, size, repeats) for size in SIZES] for row in ROWS}
    print(report(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        triton = version("triton") if torch.cuda.is_available() else None
        data = {"suite": "gpu", "date": today(), "provenance": provenance(), "triton": triton}
        write_json(out / "gpu.json", data | {"sizes": SIZES, "steps_per_second": found})
        write_atomically(out / "gpu.md", lambda temporary: temporary.write_text(report(found)))
        print(f"wrote {out / 'gpu.json'} {out / 'gpu.md'}")


def rate(row: Row, size: int, repeats: int) -> float | None:
    """Environment steps per second; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(row.precision)
    try:
        call = row.call(size, torch.device("cuda"))
        for _ in range(2):
            steps = int(call())
        return steps / statistics.median(_seconds(call) for _ in range(repeats))
    finally:
        torch.set_float32_matmul_precision(before)


def _seconds(call: Callable[[], torch.Tensor]) -> float:
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    call()
    ended.record()
    ended.synchronize()
    return started.elapsed_time(ended) / 1_000


def report(found: dict[str, list[float | None]]) -> str:
    """The page."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    sizes = " | ".join(f"N = {size:,}" for size in SIZES)
    head = f"| steps per second | {sizes} | goal | floor | best / floor |\n|---|" + "---:|" * (len(SIZES) + 3)
    lines = "\n".join(_line(row, found[row.name]) for row in ROWS)
    see = "`zopg bench --suite gpu`: environment steps per second; see `experiments/benchmarks/gpu.py`."
    return f"# GPU suite, {today()}, {device}\n\n{see}\n\n{head}\n{lines}\n"


def _line(row: Row, rates: list[float | None]) -> str:
    cells = [NOT_MEASURED if value is None else f"{value:.2g}" for value in rates]
    measured = [value for value in rates if value is not None]
    share = f"{max(measured) / row.floor:.2f}" if measured else NOT_MEASURED
    goal = "" if row.goal is None else f"{row.goal:.0e}"
    return f"| {row.name} | {' | '.join(cells)} | {goal} | {row.floor:.1e} | {share} |"
