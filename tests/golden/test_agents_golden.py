"""Recorded traces on CartPole: a change of these numbers changes what results mean, so it has to be deliberate."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.policies import Linear
from envs.random import Purpose, streams
from envs.registry import make
from envs.rollout import rollout
from rl import NHARPG, NPGIGT, Estimator, PolicyGradient, TrajectoryOracle, causal, time_baseline

F64 = torch.float64
SEEDS = [7, 8]
GOLDEN: list[tuple[PolicyGradient, Estimator, list[list[int]], list[list[float]]]] = [
    (
        NPGIGT(),
        Estimator(),
        [[16, 49], [16, 27], [13, 23], [34, 42]],
        [
            [
                -0.43581223539372543,
                -0.5724503087458341,
                -0.6460795914456845,
                0.02091375187030473,
                0.1652500634576903,
                -0.5118092012944491,
                0.2787149464414121,
                -0.53324142292133,
            ],
            [
                0.9124597490412947,
                0.2014243794511582,
                -0.7738180045268029,
                -0.5477682050085809,
                -0.38604177838394593,
                0.6209001349378799,
                -0.8997750397542029,
                0.4310489590979364,
            ],
        ],
    ),
    (
        NHARPG(),
        Estimator(2, time_baseline, causal),
        [[53, 149], [64, 92], [58, 141], [81, 110]],
        [
            [
                -0.40094457317812027,
                -0.6039626892965998,
                -0.6333216351468012,
                0.01563384332531561,
                0.13038240124208506,
                -0.48029682074368335,
                0.2659569901425287,
                -0.5279615143763411,
            ],
            [
                0.9174865920415858,
                0.19819272432106563,
                -0.776679150629718,
                -0.5500800572703716,
                -0.39106862138423726,
                0.6241317900679725,
                -0.8969138936512878,
                0.4333608113597271,
            ],
        ],
    ),
]


def run(agent: PolicyGradient, estimator: Estimator, iterations: int = 4) -> tuple[list[list[int]], Tensor]:
    """Environment steps of each iteration and run, and the iterate [R, d] at the end."""
    env = make("CartPole-v1", "cpu", F64, horizon=50)
    policy = Linear(env.spec, bias=False)
    root, steps = streams(SEEDS), []
    state = agent.init(policy.init(root.fold(Purpose.INSTANCE), F64), root.fold(Purpose.INITIAL))
    for t in range(iterations):
        points, state = agent.ask(state, root.fold(Purpose.ASK).at(t))
        trajectory = rollout(env, policy, points, estimator.episodes, root.fold(Purpose.TRAIN).at(t), backend="plain")
        steps.append(trajectory.cost.env_steps.tolist())
        state, _ = agent.tell(state, points, TrajectoryOracle.of(policy, points, trajectory, 0.99, estimator))
    return steps, agent.recommend(state)


@pytest.mark.parametrize(("agent", "estimator", "steps", "theta"), GOLDEN, ids=["n-pg-igt", "n-harpg"])
def test_traces(agent: PolicyGradient, estimator: Estimator, steps: list[list[int]], theta: list[list[float]]) -> None:
    """Seeds 7 and 8 of a linear policy without bias, four iterations with a discount of 0.99."""
    found_steps, found = run(agent, estimator)
    assert found_steps == steps
    assert_close(found, torch.tensor(theta, dtype=F64), rtol=1e-10, atol=1e-10)
