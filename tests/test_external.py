"""PPO, A2C and TRPO: what they are charged, what is recorded of them, and that nobody looks over their shoulder."""

import inspect
import random
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor
from torch.testing import assert_close

import envs
from envs.cartpole import CartPole
from envs.random import Purpose, streams
from experiments import external, plots
from experiments.algorithms import ALGORITHMS
from experiments.asked import check_run
from experiments.cli import main
from experiments.loop import Result, run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.presets import FAITHFUL, PRACTICAL
from experiments.problems import Problem
from experiments.stable_baselines import actor, build, implementation, train
from experiments.vec_env import copies
from rl import A2C, EXTERNAL, PPO, TRPO, External
from zeroth_order import Sphere

TINY: dict[str, External] = {
    "ppo": PPO(n_envs=2, n_steps=8, batch_size=8, n_epochs=2),
    "a2c": A2C(n_envs=2, n_steps=8),
    "trpo": TRPO(n_envs=2, n_steps=8, batch_size=8, n_critic_updates=2),
}
"""Collections of 16 steps."""


def cartpole(horizon: int = 20, **options: Any) -> PolicyProblem:
    env = envs.make("CartPole-v1", device="cpu", horizon=horizon)
    return PolicyProblem(env, envs.MLP(env.spec, (4,)), evaluation_episodes=2, **options)


def measured(result: Result) -> pa.Table:
    return result.curves.drop_columns("wall_s")


def assert_same(one: Result, other: Result) -> None:
    """Equal bit for bit, wall time apart."""
    assert measured(one).equals(measured(other))
    assert torch.equal(one.parameters, other.parameters)
    assert all(torch.equal(a, b) for a, b in zip(one.spent, other.spent, strict=True))
    assert torch.equal(one.failures, other.failures)
    assert torch.equal(one.hits, other.hits)
    assert (one.stopped, one.iterations, one.label) == (other.stopped, other.iterations, other.label)


# Settings.


def test_every_algorithm_is_tested_here_or_by_the_loop() -> None:
    assert set(TINY) == set(EXTERNAL) == {name for name, kind in ALGORITHMS.items() if issubclass(kind, External)}


@pytest.mark.parametrize("name", EXTERNAL)
def test_fields_and_defaults_are_those_of_stable_baselines(name: str) -> None:
    agent = EXTERNAL[name]()
    theirs = inspect.signature(implementation(agent)).parameters
    for argument, value in agent.arguments().items():
        assert theirs[argument].default == value, argument
    left_out = {"policy", "env", "gamma", "policy_kwargs", "seed", "device", "verbose", "_init_setup_model"}
    left_out |= {"use_sde", "sde_sample_freq", "rollout_buffer_class", "rollout_buffer_kwargs", "stats_window_size"}
    assert theirs.keys() - agent.arguments().keys() == left_out | {"tensorboard_log"}
    assert FAITHFUL[name].algorithm == agent


def test_practical_settings_are_those_of_the_zoo() -> None:
    """Copies times steps, as rl-baselines3-zoo's hyperparameters for CartPole-v1 have them."""
    collections = {name: PRACTICAL[name].algorithm.collection for name in EXTERNAL}
    assert collections == {"ppo": 8 * 32, "a2c": 8 * 5, "trpo": 2 * 512}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (PPO, "learning_rate", 0.0), (PPO, "gae_lambda", 1.1), (PPO, "n_steps", 0), (PPO, "n_envs", 0),
        (PPO, "processes", 0), (PPO, "batch_size", 1), (PPO, "n_epochs", 0), (PPO, "clip_range", 0.0),
        (PPO, "clip_range_vf", -1.0), (PPO, "target_kl", 0.0), (PPO, "ent_coef", -0.1), (PPO, "vf_coef", -0.1),
        (PPO, "max_grad_norm", 0.0), (A2C, "rms_prop_eps", 0.0), (A2C, "max_grad_norm", float("nan")),
        (A2C, "vf_coef", -1.0), (TRPO, "cg_max_steps", 0), (TRPO, "cg_damping", -1.0), (TRPO, "target_kl", 0.0),
        (TRPO, "line_search_shrinking_factor", 1.5), (TRPO, "line_search_max_iter", 0), (TRPO, "batch_size", 1),
        (TRPO, "n_critic_updates", 0), (TRPO, "sub_sampling_factor", 0),
    ],
)  # fmt: skip
def test_a_bad_field_is_named(kind: Any, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = {value} is not in "):
        kind(**{field: value})


@pytest.mark.parametrize("kind", [PPO, TRPO])
def test_batches_fill_a_collection(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^batch_size = 48 must divide n_steps \* n_envs = 64$"):
        kind(n_steps=32, n_envs=2, batch_size=48)


def test_they_ask_for_nothing() -> None:
    agent, root = PPO(), streams([0])
    with pytest.raises(TypeError, match="ppo has its own training loop"):
        agent.ask(agent.init(torch.zeros(1, 3), root), root)
    with pytest.raises(TypeError, match="ppo has its own training loop"):
        agent.tell(agent.init(torch.zeros(1, 3), root), torch.zeros(1, 1, 3), None)


def assert_refused(message: str, agent: External, problem: Problem, budget: int = 1000) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check_run(agent, problem, [0], budget, 1)


def test_what_cannot_be_trained_is_refused() -> None:
    agent, env, pendulum = TINY["ppo"], cartpole().env, envs.make("Pendulum-v1", device="cpu")
    check_run(agent, cartpole(), [0], 16, 1)
    wanted = (
        "ppo trains an MLP or Linear policy with biases and a Categorical head or a Gaussian one that learns its "
        "deviations, not MLP with bias = "
    )
    fixed = envs.MLP(pendulum.spec, (4,), envs.Gaussian(1, learn_std=False))
    for message, problem, budget in (
        ("budget = 15 is less than the 16 env_steps that one collection of ppo takes", cartpole(), 15),
        ("budget = 0 is not in [1, ", cartpole(), 0),
        ("ppo needs an environment, sphere is a function", ObjectiveProblem(Sphere(dim=3)), 100),
        (f"{wanted}False", PolicyProblem(env, envs.MLP(env.spec, (4,), bias=False)), 100),
        (f"{wanted}True, head = Greedy", PolicyProblem(env, envs.MLP(env.spec, (4,)).greedy()), 100),
        (f"{wanted}True, head = Gaussian", PolicyProblem(pendulum, fixed), 100),
    ):
        assert_refused(message, agent, problem, budget)


def test_without_its_package_trpo_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    assert_refused("trpo needs sb3_contrib: pip install 'zopg[trpo]'", TINY["trpo"], cartpole())
    with pytest.raises(ValueError, match="zopg"):
        run(TINY["trpo"], cartpole(), 1, 100, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The policy.


def policy_cases() -> dict[str, tuple[str, tuple[int, ...], float]]:
    return {
        "discrete": ("CartPole-v1", (5, 3), 0.0),
        "linear": ("CartPole-v1", (), 0.0),
        "real": ("Pendulum-v1", (6,), -0.7),
        "unbounded": ("LQR-v0", (4, 4), 0.3),
    }


@pytest.mark.parametrize("name", EXTERNAL)
@pytest.mark.parametrize("case", policy_cases())
def test_the_copied_actor_is_the_same_policy(case: str, name: str) -> None:
    env_id, hidden, log_std = policy_cases()[case]
    env = envs.make(env_id, device="cpu")
    head = envs.stochastic_head(env.spec.action)
    if log_std:
        head = replace(head, log_std=log_std)
    policy = envs.MLP(env.spec, hidden, head)
    place = copies(env, 2)
    made = build(TINY[name], PolicyProblem(env, policy, discount=0.93), place, seed=3)
    assert made.gamma == 0.93
    if log_std:
        assert_close(made.policy.log_std.detach(), torch.full((head.size,), log_std))
    # Away from the start, where biases are 0 and logits nearly so.
    generator = torch.Generator().manual_seed(0)
    for parameter in made.policy.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    observation = torch.as_tensor(np.stack([place.reset()[0] for _ in range(7)]))
    with torch.no_grad():
        action, _, log_prob = made.policy(observation)
        ours = policy.log_prob(actor(made), observation, action)
    assert ours.std() > 1e-3
    assert_close(ours, log_prob, rtol=1e-6, atol=1e-6)


# What is counted, and what answers a position.


@pytest.mark.parametrize("name", TINY)
def test_a_position_is_answered_by_the_last_iterate_that_had_cost_at_most_that(name: str) -> None:
    agent, problem = TINY[name], cartpole()
    positions = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    trained = train(agent, problem, 100, positions, seed=5)
    # Iterates cost 0, 16, .. 96. Position 100 is behind the last one; those passed together leave the last slot.
    assert [(part.slot, part.spent["env_steps"]) for part in trained.snapshots] == [
        (1, 0), (3, 16), (4, 32), (6, 48), (7, 64), (9, 80), (10, 96),
    ]  # fmt: skip
    assert [part.spent["queries"] for part in trained.snapshots] == [0, 1, 2, 3, 4, 5, 6]
    for one, other in pairwise(trained.snapshots):
        assert not np.array_equal(one.theta, other.theta)
    for part in trained.snapshots[1:]:
        shorter = train(agent, problem, part.spent["env_steps"], [0], seed=5)
        assert np.array_equal(shorter.snapshots[-1].theta, part.theta)
        assert shorter.snapshots[-1].spent == part.spent


@pytest.mark.parametrize(("budget", "spent"), [(16, 16), (31, 16), (32, 32), (100, 96)])
def test_a_budget_is_spent_and_never_exceeded(budget: int, spent: int) -> None:
    for agent in TINY.values():
        result = run(agent, cartpole(), seeds=2, budget=budget, evaluations=3)
        assert result.spent.env_steps.tolist() == [spent, spent]
        assert result.stopped == ["budget", "budget"]
        rows = result.curves.to_pylist()
        assert max(row["env_steps"] for row in rows) == spent
        last = [row for row in rows if row["env_steps"] == spent and row["name"] == "eval/return"]
        assert [row["run"] for row in last] == [0, 1]


def test_episodes_are_counted_when_they_begin() -> None:
    """No episode of the random MDP ends before its horizon of 5: 8 steps of 2 copies take 4 of them."""
    env = envs.make("RandomMDP-v0", device="cpu", horizon=5)
    problem = PolicyProblem(env, envs.Linear(env.spec))
    for steps, episodes in ((16, 4), (80, 16)):
        result = run(TINY["a2c"], problem, seeds=1, budget=steps, evaluations=1)
        assert result.spent.episodes.tolist() == [episodes]
        assert result.spent.queries.tolist() == [steps // 16]
        assert result.spent.hvps.tolist() == [0]


def test_the_last_iterate_is_what_is_scored_last() -> None:
    problem = cartpole()
    result = run(TINY["ppo"], problem, seeds=[4, 9], budget=64, evaluations=4)
    for r, seed in enumerate((4, 9)):
        last = train(TINY["ppo"], problem, 64, [0, 64], seed).snapshots[-1]
        assert np.array_equal(last.theta, result.parameters[r].numpy())
    assert {row["name"] for row in result.curves.to_pylist()} > {"eval/return", "eval/length", "train/value_loss"}


def test_linear_decay_ends_at_zero() -> None:
    trained = train(replace(TINY["ppo"], linear_decay=True), cartpole(), 64, [64], seed=0)
    measures = trained.snapshots[-1].measures
    assert (measures["train/learning_rate"], measures["train/clip_range"]) == (0.0, 0.0)
    constant = train(TINY["ppo"], cartpole(), 64, [64], seed=0).snapshots[-1].measures
    assert (constant["train/learning_rate"], constant["train/clip_range"]) == (3e-4, 0.2)


# Evaluation, seeds and the world outside.


@pytest.mark.parametrize("name", TINY)
def test_evaluation_never_shifts_training(name: str) -> None:
    few = run(TINY[name], cartpole(), seeds=2, budget=160, evaluations=3)
    many = run(TINY[name], replace(cartpole(), evaluation_episodes=5), seeds=2, budget=160, evaluations=30)
    assert many.curves.num_rows > 2 * few.curves.num_rows
    assert torch.equal(few.parameters, many.parameters)
    assert all(torch.equal(a, b) for a, b in zip(few.spent, many.spent, strict=True))


def test_scores_are_on_the_streams_of_everybody() -> None:
    """The score at the end is the problem's, on the evaluation stream of the run's seed and the last slot."""
    problem = cartpole()
    result = run(TINY["a2c"], problem, seeds=[7], budget=64, evaluations=2)
    expected = problem.score(result.parameters, streams([7]).fold(Purpose.EVALUATE).at(torch.tensor([2])))["return"]
    rows = [row for row in result.curves.to_pylist() if row["name"] == "eval/return"]
    assert rows[-1]["value"] == float(expected)


@pytest.mark.parametrize("name", TINY)
def test_a_seed_gives_the_same_run_again_alone_and_among_others(name: str) -> None:
    problem = cartpole()
    together = run(TINY[name], problem, seeds=[3, 0], budget=80, evaluations=4)
    assert_same(together, run(TINY[name], problem, seeds=[3, 0], budget=80, evaluations=4))
    alone = run(TINY[name], problem, seeds=[0], budget=80, evaluations=4)
    rows = [row | {"run": 0} for row in measured(together).to_pylist() if row["run"] == 1]
    assert rows == measured(alone).to_pylist()
    assert not torch.equal(together.parameters[0], together.parameters[1])


def test_the_global_generators_and_the_number_of_threads_are_left_alone() -> None:
    def state() -> tuple[Any, ...]:
        numpy = [np.asarray(part).tolist() for part in np.random.get_state()]
        return random.getstate(), numpy, torch.get_rng_state().tolist(), torch.get_num_threads()

    before = state()
    run(TINY["ppo"], cartpole(), seeds=1, budget=32, evaluations=1)
    assert state() == before


def test_the_state_of_the_global_generators_changes_nothing() -> None:
    first = run(TINY["ppo"], cartpole(), seeds=1, budget=32, evaluations=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert_same(first, run(TINY["ppo"], cartpole(), seeds=1, budget=32, evaluations=1))


def test_processes_change_nothing() -> None:
    """On a Gymnasium environment, whose live copies the scores of the first run leave behind."""
    env = envs.make("gym:CartPole-v1", horizon=20)
    problem = PolicyProblem(env, envs.MLP(env.spec, (4,)), evaluation_episodes=2)
    one = run(TINY["a2c"], problem, seeds=3, budget=64, evaluations=2)
    assert_same(one, run(replace(TINY["a2c"], processes=2), problem, seeds=3, budget=64, evaluations=2))


# Records.


def killed_at(steps: int) -> Callable[[float, str], None]:
    """A progress callback that ends the run the hard way after so many steps of all seeds."""

    def progress(done: float, message: str) -> None:
        if int(message.split()[0].replace(",", "")) >= steps:
            raise KeyboardInterrupt

    return progress


def test_a_killed_run_continues_after_the_last_finished_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(out: Path | None, resume: bool = False, kill: int | None = None) -> Result:
        progress = None if kill is None else killed_at(kill)
        return run(TINY["ppo"], cartpole(target=10.0), 3, 64, evaluations=4, out=out, resume=resume, progress=progress)

    whole = attempt(None)
    monkeypatch.setattr("experiments.loop.FLUSH_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, kill=64 + 32)
    table = pq.read_table(tmp_path / whole.label / "curves.parquet")
    assert set(table["run"].to_pylist()) == {0}
    trained = []
    monkeypatch.setattr(external, "train", lambda *given: trained.append(given[4]) or train(*given))
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, resume=True, kill=128)
    assert_same(whole, attempt(tmp_path, resume=True))
    assert trained == [1, 2]
    assert_same(whole, attempt(tmp_path, resume=True))
    assert trained == [1, 2]


def test_progress_is_reported_within_a_seed() -> None:
    seen: list[tuple[float, str]] = []
    run(TINY["ppo"], cartpole(), seeds=2, budget=64, evaluations=1, progress=lambda *call: seen.append(call))
    assert [done for done, _ in seen] == [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert seen[3][1] == "48 env steps"


# What is not finite.


@dataclass(frozen=True)
class Own(CartPole):
    """Stepped by tensors, as environments without a kernel are."""


@dataclass(frozen=True)
class Treacherous(Own):
    """Pays nothing that can be counted beyond half a unit to the right."""

    def transition(self, state: Any, action: Tensor, uniform: Tensor | None) -> tuple[Any, Tensor, Tensor]:
        state, reward, terminated = super().transition(state, action, uniform)
        return state, torch.where(self.observe(state)[..., 0] > 0.25, torch.nan, reward), terminated


def test_a_run_whose_rewards_are_not_finite_stops_alone() -> None:
    plain = cartpole(100)
    settings, seeds = {name: getattr(plain.env, name) for name in ("spec", "device", "dtype")}, list(range(6))
    problems = [replace(plain, env=kind(**settings)) for kind in (Treacherous, Own)]
    result, sound = (run(TINY["a2c"], problem, seeds, 480, evaluations=2) for problem in problems)
    bad = [reason == "non-finite" for reason in result.stopped]
    assert 0 < sum(bad) < 6
    assert torch.isfinite(result.parameters).all()
    assert result.failures.tolist() == [int(failed) for failed in bad]
    for r, failed in enumerate(bad):
        assert (result.spent.env_steps[r] < 480) == failed
        assert torch.equal(result.parameters[r], sound.parameters[r]) != failed
    # The last iterate before it happened is kept, and the step that failed is paid for.
    first = bad.index(True)
    steps = int(result.spent.env_steps[first])
    before = train(TINY["a2c"], problems[1], steps // 16 * 16, [0], seeds[first]).snapshots[-1]
    assert np.array_equal(before.theta, result.parameters[first].numpy())


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_a_run_whose_parameters_are_not_finite_stops(name: str) -> None:
    agent = replace(TINY[name], learning_rate=1e25)
    result = run(agent, cartpole(), seeds=2, budget=160, evaluations=2)
    assert result.stopped == ["non-finite", "non-finite"]
    assert torch.isfinite(result.parameters).all()
    assert result.failures.tolist() == [0, 0]
    assert (result.spent.env_steps < 160).all()


def test_an_error_that_has_another_cause_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementation(TINY["ppo"]), "train", lambda made: int("what"))
    with pytest.raises(ValueError, match="what"):
        run(TINY["ppo"], cartpole(), seeds=1, budget=32, evaluations=1)


# Environments.


def test_copies_of_gymnasium_are_those_of_stable_baselines() -> None:
    """Observations, rewards, ends and time limits, by SB3's own vector environment with the same seeds."""
    ours = copies(envs.make("gym:CartPole-v1", horizon=12), 3)
    theirs = make_vec_env("CartPole-v1", 3, env_kwargs={"max_episode_steps": 12})
    for place in (ours, theirs):
        place.seed(7)
    assert np.array_equal(ours.reset(), theirs.reset())
    generator, cut, ended = np.random.default_rng(0), 0, 0
    for _ in range(150):
        actions = generator.integers(2, size=3)
        one, other = ours.step(actions), theirs.step(actions)
        for mine, its in zip(one[:3], other[:3], strict=True):
            assert np.array_equal(mine, its)
            assert mine.dtype == its.dtype
        for mine, its in zip(one[3], other[3], strict=True):
            assert mine.get("TimeLimit.truncated", False) == its["TimeLimit.truncated"]
            assert np.array_equal(mine.get("terminal_observation"), its.get("terminal_observation"))
            cut += its["TimeLimit.truncated"]
            ended += "terminal_observation" in its and not its["TimeLimit.truncated"]
    assert cut > 3
    assert ended > 3


def test_copies_of_our_environments_end_as_theirs() -> None:
    """CartPole pushed one way: it falls, which terminates it, unless the time limit comes first."""
    for horizon, truncated in ((5, True), (50, False)):
        place = copies(envs.make("CartPole-v1", device="cpu", horizon=horizon), 1)
        place.seed(0)
        place.reset()
        done = np.array([False])
        while not done[0]:
            observation, reward, done, (info,) = place.step(np.array([1]))
            assert reward.tolist() == [1.0]
        assert (place.steps == horizon) == truncated
        assert info["TimeLimit.truncated"] == truncated
        assert (abs(info["terminal_observation"][2]) > 0.2095) != truncated  # 12 degrees
        assert np.abs(observation).max() < 0.05  # of the next episode
        assert place.episodes == 1
        place.step(np.array([1]))
        assert place.episodes == 2


class Shifted(gymnasium.Env):
    """Observations of two axes, actions from 3 on; pays the action."""

    observation_space = spaces.Box(-1.0, 1.0, (2, 3), np.float64)
    action_space = spaces.Discrete(2, start=3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, (2, 3)), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        return np.zeros((2, 3)), float(action), False, False, {}


def test_shapes_and_actions_of_gymnasium_are_fitted() -> None:
    gymnasium.register("Shifted-v0", Shifted, max_episode_steps=4)
    try:
        env = envs.make("gym:Shifted-v0")
        place = copies(env, 2)
        assert place.reset().shape == (2, 6)
        assert place.step(np.array([0, 1]))[1].tolist() == [3.0, 4.0]
        result = run(TINY["a2c"], PolicyProblem(env, envs.MLP(env.spec, (3,))), seeds=1, budget=32, evaluations=1)
        assert result.spent.episodes.tolist() == [8]
    finally:
        gymnasium.registry.pop("Shifted-v0")


@pytest.mark.parametrize("env_id", ["gym:Pendulum-v1", "LQR-v0"])
def test_real_actions(env_id: str) -> None:
    env = envs.make(env_id, device="cpu", horizon=10)
    problem = PolicyProblem(env, envs.MLP(env.spec, (3,)), evaluation_episodes=2)
    for agent in TINY.values():
        result = run(agent, problem, seeds=1, budget=32, evaluations=1)
        assert result.stopped == ["budget"]
        assert result.parameters.shape == (1, problem.dim)


def test_double_precision_problems_are_trained_in_single() -> None:
    env = envs.make("CartPole-v1", device="cpu", dtype=torch.float64, horizon=20)
    result = run(TINY["ppo"], PolicyProblem(env, envs.MLP(env.spec, (4,))), seeds=1, budget=32, evaluations=1)
    assert result.parameters.dtype == torch.float64


# Learning, and the command line.


@pytest.mark.parametrize(
    ("agent", "budget"),
    [
        (PPO(learning_rate=3e-3, n_envs=8, n_steps=32, batch_size=64, n_epochs=5), 2560),
        (A2C(learning_rate=2e-2, normalize_advantage=True, n_envs=8), 4000),
        (TRPO(n_envs=8, n_steps=32, batch_size=64, target_kl=0.05), 2560),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_they_learn(agent: External, budget: int) -> None:
    """CartPole, horizon 50, where a random policy gets about 20: fixed seeds, so it fails or passes for good."""
    env = envs.make("CartPole-v1", device="cpu", horizon=50)
    problem = PolicyProblem(env, envs.MLP(env.spec, (16,)), discount=0.95, evaluation_episodes=50)
    result = run(agent, problem, seeds=2, budget=budget, evaluations=1)
    rows = [row for row in result.curves.to_pylist() if row["name"] == "eval/return"]
    before = [row["value"] for row in rows if row["env_steps"] == 0]
    after = [row["value"] for row in rows if row["env_steps"] > 0]
    assert len(before) == len(after) == 2
    assert all(late > early + 10 for early, late in zip(before, after, strict=True)), (before, after)


def test_they_are_compared_with_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "save", lambda figure, path: [])
    shared = "--env RandomMDP-v0 --horizon 5 --seeds 2 --budget 300 --evaluations 3 --evaluation-episodes 2 --hidden 4"
    main(shlex.split(f"compare {shared} --algorithms n-pg-igt ppo a2c --episodes 2 --out {tmp_path / 'out'}"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("n-pg-igt", "ppo", "a2c"))
    main(shlex.split(f"run --algorithm ppo {shared} --n-steps 32 --n-envs 2 --batch-size 16 --out {tmp_path / 'run'}"))
    (config,) = (tmp_path / "run").glob("ppo-*/config.json")
    assert '"n_envs": 2' in config.read_text()
    assert "processes" not in config.read_text()
