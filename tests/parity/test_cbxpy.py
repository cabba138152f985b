"""CBO against CBXpy 1.0.4, with the same particles, the same normals and the same batches.

Defects of CBXpy 1.0.4 that are not reproduced: its seed does not seed the initial particles; one NaN value poisons the
whole ensemble (shown below); the dimension check spends queries.
"""

import numpy as np
import pytest
import torch
from cbx.dynamics import CBO as CBXpy  # noqa: N811
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from zeroth_order import CBO, Anisotropic, Growth, Isotropic, Values
from zeroth_order.cbo import CBOState, consensus_point

RUNS, PARTICLES, DIM = 3, 12, 4


def rastrigin(x: np.ndarray) -> np.ndarray:
    return (x**2 + 2.5 * (1 - np.cos(2 * np.pi * x))).sum(-1)


def begin(algorithm: CBO) -> tuple[CBOState, Stream]:
    root = streams(range(RUNS))
    x0 = 3 * root.fold(Purpose.INSTANCE).normal(DIM, dtype=torch.float64)
    return algorithm.init(x0, root.fold(Purpose.INITIAL)), root.fold(Purpose.ASK)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize(("noise", "name"), [(Isotropic(), "isotropic"), (Anisotropic(), "anisotropic")])
def test_every_step_of_a_trajectory_is_cbxpys(noise: Isotropic | Anisotropic, name: str, batch: int | None) -> None:
    algorithm = CBO(
        PARTICLES, batch, drift=1.5, dt=0.05, sigma=Schedule(0.8), alpha=Growth(2.0, 1.3, 50.0), noise=noise, spread=2.0
    )
    state, stream = begin(algorithm)
    peer = CBXpy(
        rastrigin, f_dim="3D", check_f_dims=False, x=state.particles.numpy(), noise=name, dt=0.05, sigma=0.8, lamda=1.5,
        sampler=lambda size: state.xi.numpy(), batch_args={"size": batch}, verbosity=0,
    )  # fmt: skip
    for t in range(30):
        points, state = algorithm.ask(state, stream.at(t))
        peer.alpha = np.full((RUNS, 1), min(2.0 * 1.3**t, 50.0))
        if batch and t % (PARTICLES // batch) == 0:
            peer.indices = state.order.numpy()
        peer.x = state.particles.numpy().copy()  # so that rounding cannot grow along the trajectory
        peer.step()
        state, _ = algorithm.tell(state, points, Values(torch.as_tensor(rastrigin(points.numpy()))))
        assert_close(state.consensus, torch.as_tensor(peer.consensus[:, 0]), rtol=1e-12, atol=1e-12)
        assert_close(state.particles, torch.as_tensor(peer.x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e5])
def test_consensus_is_cbxpys(alpha: float) -> None:
    x = streams(range(RUNS)).spread(torch.arange(PARTICLES)).normal(DIM, dtype=torch.float64)
    values = rastrigin(x.numpy())
    peer, _ = CBXpy(rastrigin, f_dim="3D", x=x.numpy(), verbosity=0)._compute_consensus(values, x.numpy(), alpha)
    assert_close(
        consensus_point(x, torch.as_tensor(values), alpha), torch.as_tensor(peer[:, 0]), rtol=1e-12, atol=1e-12
    )


def test_one_failed_value_does_not_poison_the_ensemble() -> None:
    def failing(x: np.ndarray) -> np.ndarray:
        values = rastrigin(x)
        values[:, 0] = np.nan
        return values

    algorithm = CBO(PARTICLES)
    state, stream = begin(algorithm)
    peer = CBXpy(failing, f_dim="3D", check_f_dims=False, x=state.particles.numpy(), verbosity=0)
    peer.step()
    assert (peer.x == 1e8).all()
    points, state = algorithm.ask(state, stream)
    told, _ = algorithm.tell(state, points, Values(torch.as_tensor(failing(points.numpy()))))
    rest = consensus_point(points[:, 1:], torch.as_tensor(rastrigin(points.numpy())[:, 1:]), 30.0)
    assert_close(told.consensus, rest, rtol=1e-14, atol=1e-14)
    assert torch.isfinite(told.particles).all()
