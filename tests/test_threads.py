"""Kernels and linear algebra leave the number of threads alone that the caller has set."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController

from envs.random import streams
from zeroth_order import PyCMA, Values
from zeroth_order.evolution.pycma import Engine

KERNELS = """
import numba, torch, envs, rl
torch.set_num_threads(1)
env = envs.make("CartPole-v1", device="cpu", horizon=4)
policy, stream = envs.MLP(env.spec, (8,)), envs.streams([0])
params = policy.init(stream)[:, None]
trajectory = envs.rollout(env, policy, params, 2, stream, backend="fused")
rl.TrajectoryOracle.of(policy, params, trajectory, 0.99, rl.Estimator(2), "fused").gradient()
print(numba.threading_layer(), torch.get_num_threads())
"""


def run_python(program: str, **variables: str) -> str:
    """What a fresh interpreter prints: the threading layer is chosen once per process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_THREADING")}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment | variables, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_kernels_leave_torchs_threads_alone() -> None:
    assert run_python(KERNELS) == "workqueue 1"


def test_a_threading_layer_of_the_users_choice_stays() -> None:
    program = "import numba, envs; print(numba.config.THREADING_LAYER)"
    assert run_python(program, NUMBA_THREADING_LAYER="omp") == "omp"


def test_cma_es_computes_on_one_blas_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = ThreadpoolController().select(user_api="blas")
    seen = []

    def spy(name: str) -> None:
        inner = getattr(Engine, name)

        def watched(engine: Engine, values: np.ndarray) -> object:
            seen.extend(pool["num_threads"] for pool in pools.info())
            return inner(engine, values)

        monkeypatch.setattr(Engine, name, watched)

    spy("ask")
    spy("tell")
    algorithm, stream = PyCMA(), streams([0, 1])
    with pools.limit(limits=2):
        before = [pool["num_threads"] for pool in pools.info()]
        state = algorithm.init(torch.ones(2, 3, dtype=torch.float64), stream)
        points, state = algorithm.ask(state, stream)
        algorithm.tell(state, points, Values(points.square().sum(-1)))
        assert [pool["num_threads"] for pool in pools.info()] == before
    assert set(seen) <= {1}
    assert len(seen) == 4 * len(before)
