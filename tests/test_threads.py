"""Kernels and linear algebra leave the number of threads alone that the caller has set."""

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
import torch, envs, rl
torch.set_num_threads(1)
env = envs.make("CartPole-v1", device="cpu", horizon=4)
policy, stream = envs.MLP(env.spec, (8,)), envs.streams([0])
params = policy.init(stream)[:, None]
trajectory = envs.rollout(env, policy, params, 2, stream, backend="fused")
rl.TrajectoryOracle.of(policy, params, trajectory, 0.99, rl.Estimator(2), "fused").gradient()
print(torch.get_num_threads())
"""


def test_kernels_leave_torchs_threads_alone() -> None:
    """In a fresh interpreter: libraries may set threads when they are first used."""
    done = subprocess.run([sys.executable, "-c", KERNELS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


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
