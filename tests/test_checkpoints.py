"""Policies on disk: what comes back is what was saved, in files that any strict JSON reader can read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import envs
from envs.policies import Network


def spec_of(id: str) -> envs.EnvSpec:
    return envs.make(id, device="cpu").spec


CARTPOLE, PENDULUM, LQR = (spec_of(id) for id in ("CartPole-v1", "Pendulum-v1", "LQR-v0"))
POLICIES: dict[str, Network] = {
    "linear": envs.Linear(CARTPOLE, bias=False),
    "mlp": envs.MLP(CARTPOLE, (5, 3), initialisation="orthogonal"),
    "mlp without layers": envs.MLP(CARTPOLE, ()),
    "gaussian": envs.MLP(PENDULUM, (4,), head=envs.Gaussian(1, log_std=-0.5)),
    "greedy, real": envs.MLP(PENDULUM, (4,)).greedy(),
    "greedy, discrete": envs.MLP(CARTPOLE, (4,), head=envs.deterministic_head(CARTPOLE.action)),
    "unbounded actions": envs.Linear(LQR, initialisation="zeros"),
    "every number in the spec": envs.Linear(replace(CARTPOLE, observation_low=(0.1, -torch.inf, -1e-300, 2.0**-1074))),
}


@pytest.fixture(params=POLICIES, name="policy")
def _policy(request: pytest.FixtureRequest) -> Network:
    return POLICIES[request.param]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_was_saved_comes_back(policy: Network, dtype: torch.dtype, tmp_path: Path) -> None:
    params = policy.init(envs.streams([3, 4]), dtype)
    files = envs.save_policy(tmp_path / "best.v1", policy, params)
    assert files == [tmp_path / "best.v1.safetensors", tmp_path / "best.v1.json"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    loaded, loaded_params = envs.load_policy(str(tmp_path / "best.v1"))
    assert loaded == policy
    assert type(loaded) is type(policy)
    assert loaded_params.dtype == dtype
    assert torch.equal(loaded_params, params)


def test_a_loaded_policy_acts_the_same(policy: Network, tmp_path: Path) -> None:
    env = envs.make(policy.spec.id, device="cpu", horizon=30)
    params = policy.init(envs.streams([7]))
    envs.save_policy(tmp_path / "policy", policy, params)
    loaded, loaded_params = envs.load_policy(tmp_path / "policy")
    one, other = (
        envs.rollout(env, actor, weights[:, None], 3, envs.streams([1]), backend="plain")
        for actor, weights in ((policy, params), (loaded, loaded_params))
    )
    assert torch.equal(one.action, other.action)
    assert torch.equal(one.reward, other.reward)
    assert torch.equal(one.log_prob, other.log_prob)


def test_the_description_is_strict_json(policy: Network, tmp_path: Path) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    _, description = envs.save_policy(tmp_path / "policy", policy, torch.zeros(policy.dim))
    data = json.loads(description.read_text(), parse_constant=refuse)
    assert data["spec"]["id"] == policy.spec.id


def test_views_and_parameters_with_gradients_are_saved_by_value(tmp_path: Path) -> None:
    policy = POLICIES["linear"]
    params = torch.arange(2.0 * policy.dim).view(policy.dim, 2).T.requires_grad_()
    envs.save_policy(tmp_path / "policy", policy, params)
    loaded = envs.load_policy(tmp_path / "policy")[1]
    assert torch.equal(loaded, params.detach())
    assert not loaded.requires_grad


def test_parameters_that_do_not_fit_are_refused_before_anything_is_written(policy: Network, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"params have {policy.dim + 1} entries, .* needs {policy.dim}"):
        envs.save_policy(tmp_path / "policy", policy, torch.zeros(2, policy.dim + 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": [9]}, "params have 8 entries, MLP needs"),
        ({"hidden": [0]}, "hidden ="),
        ({"initialisation": "by hand"}, "initialisation = 'by hand' is not one of"),
        ({"head": {"type": "Gaussian", "size": 2, "log_std": 0.0}}, "does not fit the Discrete actions"),
    ],
)
def test_files_that_disagree_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    policy = envs.MLP(CARTPOLE, (), bias=False)
    _, description = envs.save_policy(tmp_path / "policy", policy, torch.zeros(policy.dim))
    description.write_text(json.dumps(json.loads(description.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        envs.load_policy(tmp_path / "policy")


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        envs.load_policy(tmp_path / "nowhere")
