"""Recorded traces: a change of these numbers changes what every stored result means, so it has to be deliberate."""

import pytest
import torch
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from zeroth_order import CBO, Growth, Isotropic, Optimizer, PyCMA, RandomSearch, Values

GOLDEN: list[tuple[Optimizer, list[list[list[float]]]]] = [
    (
        CBO(particles=4, sigma=Schedule(1.0, 0.5), alpha=Growth(0.2, 1.5)),
        [
            [[0.5122591885414038, -2.1478766928489064], [0.13967820692871583, 2.712662288495316]],
            [[0.5060652552203289, -2.617026734987634], [0.06082731060042968, 2.61068686913949]],
            [[0.5716114893454319, -2.795760782936778], [-0.049574090675063964, 2.410408043441144]],
        ],
    ),
    (
        CBO(particles=4, batch=2, noise=Isotropic(), alpha=Growth(0.2)),
        [
            [[0.41926818216625533, -3.9468649911443503], [0.0064343602012834275, 2.3846194502285987]],
            [[0.5217003284935618, -1.9652299944361342], [0.33116920736696887, 3.184108083773192]],
            [[0.501005091439953, -3.8863029242390175], [0.2443055531689125, 3.1145651530289014]],
        ],
    ),
    (
        RandomSearch(points=3),
        [
            [[1.9108621051720136, -1.9068074783224849], [-0.7820350906353597, 2.8923605647532025]],
            [[1.3354932643122566, -0.36014184034998675], [0.8979859483187154, 0.5477646978521045]],
            [[1.3354932643122566, -0.36014184034998675], [0.8979859483187154, 0.5477646978521045]],
        ],
    ),
    (
        PyCMA(sigma0=0.5),
        [
            [[1.2833571996842532, -0.9239265188927408], [0.3842939749404118, 2.8696835380502055]],
            [[1.1990462398186796, -0.5917553801765575], [0.7344822337835739, 2.0927969407942553]],
            [[0.060211430004157726, -0.7021515569615275], [0.38005990504905734, 1.7723898613197975]],
        ],
    ),
]


@pytest.mark.parametrize(("algorithm", "trace"), GOLDEN, ids=["cbo", "cbo in batches", "random-search", "pycma"])
def test_recommendations(algorithm: Optimizer, trace: list[list[list[float]]]) -> None:
    """Seeds 7 and 8 on the sphere from two starts."""
    root = streams([7, 8])
    x0 = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    state = algorithm.init(x0, root.fold(Purpose.INITIAL))
    for t, recorded in enumerate(trace):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, _ = algorithm.tell(state, points, Values((points**2).sum(-1)))
        assert_close(algorithm.recommend(state), torch.tensor(recorded, dtype=torch.float64), rtol=1e-10, atol=1e-10)
