"""GridWorld's tables: where moves lead, how they slip, what pays, and where the goal and the trap lead."""

import pytest
import torch
from torch import Tensor

from envs.registry import make
from envs.tabular import TabularMDP

UP, RIGHT, DOWN, LEFT = range(4)


def world(**options: float) -> TabularMDP:
    env = make("GridWorld-v0", "cpu", torch.float64, **options)
    assert isinstance(env, TabularMDP)
    return env


def leads_to(row: Tensor) -> dict[int, float]:
    return {int(cell): round(float(row[cell]), 12) for cell in row.nonzero()[:, 0]}


def test_a_move_slips_to_its_sides() -> None:
    P = world(slip=0.2).P
    assert leads_to(P[12, UP]) == {7: 0.8, 11: 0.1, 13: 0.1}
    assert leads_to(P[12, RIGHT]) == {13: 0.8, 7: 0.1, 17: 0.1}
    assert leads_to(P[12, DOWN]) == {17: 0.8, 11: 0.1, 13: 0.1}
    assert leads_to(P[12, LEFT]) == {11: 0.8, 7: 0.1, 17: 0.1}


def test_a_move_into_the_wall_stays() -> None:
    P = world(slip=0.2).P
    assert leads_to(P[0, UP]) == {0: 0.9, 1: 0.1}
    assert leads_to(P[9, RIGHT]) == {9: 0.8, 4: 0.1, 14: 0.1}
    assert leads_to(world(slip=0.0).P[20, LEFT]) == {20: 1.0}


@pytest.mark.parametrize("size", [3, 5, 6])
def test_goal_and_trap_pay_and_lead_back_to_a_start(size: int) -> None:
    env = world(size=size)
    goal, trap = size * size - 1, (size - 1) * size - 2
    expected = torch.zeros(size * size, 4)
    expected[goal], expected[trap] = 1.0, -1.0
    assert torch.equal(env.r.float(), expected)
    assert env.rho[[goal, trap]].tolist() == [0.0, 0.0]
    assert env.rho.count_nonzero() == size * size - 2
    assert torch.equal(env.P[[goal, trap]], env.rho.expand(2, 4, -1))
    assert (env.spec.id, env.spec.observation_size, env.spec.horizon) == ("GridWorld-v0", size * size, 6 * size)


def test_the_way_to_the_goal_is_its_length() -> None:
    """Without slips 0.5^(distance) is what the first visit to the goal is worth; later ones are beyond the horizon."""
    env = world(size=3, slip=0.0)
    policy = torch.zeros(9, 4, dtype=torch.float64)
    policy[:, RIGHT] = 1.0
    policy[[2, 5]] = torch.eye(4, dtype=torch.float64)[DOWN]
    # Cells 0 1 2 / 3 T 5 / 6 7 G, the seven starts: distances 4 3 2 / - - 1 / 2 1 -; from 3 the trap is one step off.
    expected = (0.5**4 + 0.5**3 + 0.5**2 - 0.5 + 0.5 + 0.5**2 + 0.5) / 7
    one_way = env.P.clone()
    one_way[[4, 8]] = torch.eye(9, dtype=torch.float64)[0]  # back to the far corner, 4 steps from the goal
    once = TabularMDP.of(one_way, env.r, env.rho, dtype=torch.float64)
    again = 3 * 0.5**6 / 7  # from 5, 7 and 3: one step to the goal or trap, one back, four to the goal
    assert float(once.exact_return(policy, 5, 0.5)) == pytest.approx(expected, rel=1e-14)
    assert float(once.exact_return(policy, 7, 0.5)) == pytest.approx(expected + again, rel=1e-14)


@pytest.mark.parametrize(
    ("options", "message"), [({"size": 2}, "size = 2"), ({"slip": 1.5}, r"slip = 1\.5"), ({"slip": -0.1}, "slip")]
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        world(**options)
