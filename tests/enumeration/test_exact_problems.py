"""What exact problems say, against the mean over every trajectory of what sampled oracles say."""

from dataclasses import replace

import pytest
import torch
from enumeration import DISCOUNT, INSTANCES, Instance, enumerate_batches, mean, oracle
from torch.testing import assert_close

from envs.random import streams
from experiments.exact import ExactProblem
from rl import Estimator


def exact(case: Instance) -> ExactProblem:
    env = replace(case.mdp, spec=replace(case.mdp.spec, horizon=case.horizon))
    return ExactProblem(env, case.policy, DISCOUNT)


def test_the_gradient(case: Instance) -> None:
    batch, probabilities = enumerate_batches(case, 1)
    found = mean(oracle(case, batch, Estimator()).gradient(), probabilities)
    assert_close(exact(case).gradient(case.theta[None])[0], found, rtol=0.0, atol=1e-10)
    assert float(found.norm()) > 1e-2


def test_the_return(case: Instance) -> None:
    score = exact(case).score(case.theta[None], streams([0]))
    assert_close(score["return"][0], -case.objective(case.theta), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in INSTANCES.items() if case.absorbing is None])
def test_the_fisher_information(name: str) -> None:
    """The oracle's is the sum over time; that of the problem is weighted by discount^t / sum of discount^t."""
    case = INSTANCES[name]
    batch, probabilities = enumerate_batches(case, 1)
    sampled = oracle(case, batch, Estimator())
    units = torch.eye(len(case.theta), dtype=torch.float64)
    columns = [mean(sampled.fisher_vp(unit.expand(len(batch.mask), 1, -1)), probabilities) for unit in units]
    mass = sum(DISCOUNT**t for t in range(case.horizon))
    assert_close(exact(case).model.fisher(case.theta[None])[0], torch.stack(columns, -1) / mass, rtol=0.0, atol=1e-10)
