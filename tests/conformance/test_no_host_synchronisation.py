"""An iteration never looks at a tensor's numbers: it runs on the meta device, where there are none.

On a GPU every look would wait for all that was launched before. What looks once per restart or on purpose is listed.
"""

import pytest
import torch
from test_optimizers import CASES
from torch import Tensor

from envs.random import Stream
from zeroth_order import Optimizer, PyCMA, Values

ON_THE_HOST = (PyCMA,)
"""Optimizers that compute on the CPU by what they are."""
RESTARTED = {"cma-es, ipop", "sep-cma-es, bipop"}
"""Their `tell` looks which runs have a whole generation, as populations differ in size."""


def on_meta(count: int) -> Stream:
    """A root stream of which no number exists."""
    seeds = torch.empty(count, dtype=torch.int64, device="meta")
    return Stream(seeds, torch.empty((), dtype=torch.int64, device="meta"))


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if name not in RESTARTED and not isinstance(case, ON_THE_HOST)]
)
def test_an_iteration_looks_at_no_number(name: str) -> None:
    algorithm: Optimizer = CASES[name]
    root = on_meta(3)
    state = algorithm.init(torch.empty(3, 5, device="meta"), root)
    for t in range(3):
        points, state = algorithm.ask(state, root.at(t))
        values = torch.empty(points.shape[:2], device="meta")
        gradients = torch.empty(points.shape, device="meta") if algorithm.wants_gradients else None
        state, metrics = algorithm.tell(state, points, Values(values, gradients))
        told: dict[str, Tensor] = {**metrics, **algorithm.stop(state), "recommended": algorithm.recommend(state)}
        assert all(found.device.type == "meta" for found in told.values())


def test_a_look_is_noticed() -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(torch.empty(1, device="meta")[0] > 0)
