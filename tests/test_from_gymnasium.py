"""Gymnasium environments as problems here: the same episodes, reproducible, with clear errors."""

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envs.cartpole import CartPole
from envs.core import Box, Discrete
from envs.from_gymnasium import MUJOCO_THREADS, _Copies
from envs.gymnasium import from_gymnasium, register
from envs.policies import MLP
from envs.random import Purpose, streams
from envs.registry import make
from envs.rollout import returns, rollout

LANES = torch.arange(3)


class Toy(gymnasium.Env):
    """Counts its steps; cut by itself at step 3, over at step 5."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or spaces.Box(-9.0, 9.0, (2, 2))
        self.action_space = action_space or spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._observation(0), {}

    def step(self, action):
        assert action in self.action_space
        self.count += 1
        return self._observation(action), float(self.count), self.count == 5, self.count == 3, {}

    def _observation(self, action):
        return np.array([[self.count, np.sum(action)], [0, 1]], dtype=np.float32)


@pytest.fixture(autouse=True)
def _toys():
    before = dict(gymnasium.registry)
    register()
    gymnasium.register("Toy-v0", Toy, max_episode_steps=20)
    gymnasium.register("Endless-v0", Toy)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def stream(seeds, lanes=LANES):
    return streams(seeds).spread(lanes).fold(Purpose.RESET)


def play(env, shape, reset_stream, action, steps):
    """Observations, rewards and flags of `steps` steps, stacked in time."""
    state = env.reset(shape, reset_stream)
    found = [(env.observe(state), torch.zeros(shape), torch.zeros(shape), env.truncated(state))]
    for t in range(steps):
        state, reward, terminated = env.transition(state, action(t), None)
        found.append((env.observe(state), reward, terminated, env.truncated(state)))
    return [torch.stack([part.double() for part in parts]) for parts in zip(*found, strict=True)]


def seeds_of(env, n):
    return [copy.unwrapped.np_random_seed for copy in env._copies.all[:n]]


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "MountainCar-v0"])
def test_the_episodes_are_those_of_gymnasium(id):
    limit = 30
    env = from_gymnasium(id, dtype=torch.float64, horizon=limit)
    shape = (2, 3)
    generator = torch.Generator().manual_seed(0)
    if isinstance(env.spec.action, Discrete):
        actions = torch.randint(env.spec.action.n, (limit, *shape), generator=generator)
    else:
        actions = torch.rand(limit, *shape, env.spec.action.size, generator=generator) * 4 - 2
    obs, reward, terminated, truncated = play(env, shape, stream([1, 2]), lambda t: actions[t], limit)
    lengths = []
    for i, seed in enumerate(seeds_of(env, 6)):
        lane = divmod(i, 3)
        reference = gymnasium.make(id, max_episode_steps=limit)
        np.testing.assert_array_equal(reference.reset(seed=seed)[0], obs[0][lane])
        for t in range(limit):
            expected = reference.step(actions[t][lane].numpy())
            np.testing.assert_array_equal(expected[0], obs[t + 1][lane])
            assert expected[1] == reward[t + 1][lane]
            assert expected[2:4] == (terminated[t + 1][lane], truncated[t + 1][lane])
            if expected[2] or expected[3]:
                break
        lengths.append(t + 1)
    assert id != "CartPole-v1" or len(set(lengths)) > 1


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_a_run_is_the_same_alone_and_among_others(id):
    env = from_gymnasium(id)
    action = torch.ones(3, dtype=torch.int64) if isinstance(env.spec.action, Discrete) else torch.full((3, 1), 0.3)
    among = play(env, (4, 3), stream([10, 11, 12, 13]), lambda t: action.expand(4, *action.shape), 25)
    alone = play(env, (1, 3), stream([12]), lambda t: action[None], 25)
    again = play(env, (4, 3), stream([10, 11, 12, 13]), lambda t: action.expand(4, *action.shape), 25)
    for part, single, repeated in zip(among, alone, again, strict=True):
        torch.testing.assert_close(part[:, 2], single[:, 0], rtol=0, atol=0)
        torch.testing.assert_close(part, repeated, rtol=0, atol=0)
    assert len(among[0][0].flatten(0, 1).unique(dim=0)) == 12


def test_rollouts_through_the_registry():
    env = make("gym:CartPole-v1", device="cpu", horizon=60)
    policy = MLP(env.spec, hidden=(4,))
    params = torch.randn(3, 2, policy.dim, generator=torch.Generator().manual_seed(0))
    among, alone = (
        returns(env, policy, params[part], 3, streams(seeds))
        for part, seeds in (
            (slice(None), [7, 8, 9]),
            (slice(1, 2), [8]),
        )
    )
    assert torch.equal(among.lengths[1:2], alone.lengths)
    assert torch.equal(among.episodes, among.lengths.float())
    trajectory = rollout(env, policy, params, 3, streams([7, 8, 9]))
    assert torch.equal(trajectory.mask.sum(-1), among.lengths)
    fell = trajectory.terminated.any(-1)
    outside = (trajectory.last_obs[..., 2].abs() > 0.2094) | (trajectory.last_obs[..., 0].abs() > 2.4)
    assert torch.equal(outside, fell)
    assert fell.any()


def test_both_precisions_start_alike_and_seeds_fit_31_bits():
    narrow, wide = from_gymnasium("CartPole-v1"), from_gymnasium("CartPole-v1", dtype=torch.float64)
    lanes = torch.arange(200)
    for env in (narrow, wide):
        env.reset((1, 200), stream([3], lanes))
    assert seeds_of(narrow, 200) == seeds_of(wide, 200)
    seeds = np.array(seeds_of(wide, 200))
    assert len(set(seeds.tolist())) == 200
    assert 0 <= seeds.min() < 2**27 < 2**31 - 2**27 < seeds.max() < 2**31
    assert len(np.unique(seeds % 256)) > 100


def test_common_lanes_share_the_start():
    env = from_gymnasium("CartPole-v1")
    obs = env.observe(env.reset((2, 4, 3), stream([0, 1], LANES[None])))
    torch.testing.assert_close(obs, obs[:, :1].expand_as(obs), rtol=0, atol=0)


def test_specification():
    env = from_gymnasium("Pendulum-v1")
    assert env.spec.action == Box((-2.0,), (2.0,))
    assert env.spec.observation_high == (1.0, 1.0, 8.0)
    assert (env.spec.id, env.spec.horizon, env.spec.transition_draws) == ("Pendulum-v1", 200, 0)
    env = from_gymnasium("CartPole-v1")
    assert (env.spec.action, env.spec.horizon, env.spec.threshold) == (Discrete(2), 500, 475.0)


def test_options_reach_gymnasium():
    env = from_gymnasium("CartPole-v1", sutton_barto_reward=True)
    _, reward, _, _ = play(env, (1, 3), stream([0]), lambda t: torch.zeros(1, 3, dtype=torch.int64), 2)
    assert (reward == 0).all()


@pytest.mark.parametrize("horizon", [4, 300])
def test_a_horizon_replaces_the_time_limit(horizon):
    env = from_gymnasium("Pendulum-v1", horizon=horizon)
    assert env.spec.horizon == horizon
    truncated = play(env, (1, 1), stream([0], LANES[:1]), lambda t: torch.zeros(1, 1, 1), horizon)[3]
    assert truncated.flatten().tolist() == [0.0] * horizon + [1.0]


def test_box_actions_are_clipped():
    # The toy refuses anything outside its space and shows the sum of what it was given.
    env = from_gymnasium("Toy-v0", dtype=torch.float64, action_space=spaces.Box(-1.0, np.array([1.0, 3.0], np.float32)))
    obs = play(env, (1, 2), stream([4], LANES[:2]), lambda t: torch.tensor([[[9.0, 9.0], [-9.0, 0.5]]]).double(), 1)[0]
    assert obs[1][..., 1].tolist() == [[4.0, -0.5]]


def test_discrete_start_flat_observations_own_truncation_and_no_step_after_the_end():
    env = from_gymnasium("Toy-v0")
    assert (env.spec.action, env.spec.observation_size) == (Discrete(3), 4)
    obs, reward, terminated, truncated = play(env, (1, 2), stream([0], LANES[:2]), lambda t: torch.tensor([[0, 2]]), 6)
    assert obs[1].tolist() == [[[1.0, 5.0, 0.0, 1.0], [1.0, 7.0, 0.0, 1.0]]]
    assert truncated[:, 0, 0].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert reward[:, 0, 0].tolist() == [0, 1, 2, 3, 0, 0, 0]
    assert not terminated.any()
    assert obs[3:, 0, 0, 0].tolist() == [3.0] * 4
    assert [copy.unwrapped.count for copy in env._copies.all] == [3, 3]


def test_a_smaller_batch_uses_the_first_copies():
    env = from_gymnasium("CartPole-v1")
    alone = env.observe(env.reset((1, 3), stream([4])))
    env.reset((5, 3), stream(range(5)))
    copies = list(env._copies.all)
    torch.testing.assert_close(env.observe(env.reset((1, 3), stream([4]))), alone, rtol=0, atol=0)
    assert env._copies.all == copies
    assert len(copies) == 15


@pytest.mark.parametrize("size", [1, 3, 11])
def test_threads_change_nothing(size):
    lanes, found = torch.arange(size), []
    for threads in (1, 2, 4):
        env = replace(from_gymnasium("Pendulum-v1", dtype=torch.float64), threads=threads, _copies=_Copies())
        actions = torch.linspace(-2, 2, size, dtype=torch.float64).view(1, size, 1)
        found.append(play(env, (1, size), stream([3], lanes), lambda t, actions=actions: actions, 20))
        env.close()
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


def test_an_error_in_a_thread_is_raised():
    env = replace(from_gymnasium("Toy-v0"), threads=2)
    state = env.reset((1, 3), stream([0]))
    with pytest.raises(AssertionError):
        env.transition(state, torch.tensor([[0, 1, 7]]), None)


def test_our_own_environment_through_both_faces():
    ours = CartPole.create(torch.device("cpu"), torch.float32)
    env = from_gymnasium("zopg/CartPole-v1")
    obs, _, terminated, _ = play(env, (1, 3), stream([6]), lambda t: torch.ones(1, 3, dtype=torch.int64), 20)
    state = ours.reset((3,), streams(seeds_of(env, 3)).fold(Purpose.RESET))
    over = torch.zeros(3, dtype=torch.bool)
    for t in range(20):
        # Its copies are stepped by a kernel, in float32.
        torch.testing.assert_close(obs[t][0].float(), ours.observe(state), rtol=1e-5, atol=1e-6)
        assert terminated[t][0].tolist() == over.tolist()
        if over.any():
            return
        state, _, over = ours.transition(state, torch.ones(3, dtype=torch.int64), None)
    raise AssertionError("no episode ended")


def test_only_the_latest_state_can_be_stepped():
    env = from_gymnasium("CartPole-v1")
    action = torch.zeros(1, 3, dtype=torch.int64)
    first = env.reset((1, 3), stream([0]))
    second, _, _ = env.transition(first, action, None)
    with pytest.raises(ValueError, match="only the latest state"):
        env.transition(first, action, None)
    env.transition(second, action, None)
    other = env.reset((2, 3), stream([0, 1]))
    env.reset((1, 3), stream([0]))
    with pytest.raises(ValueError, match="only the latest state"):
        env.transition(other, action.expand(2, 3), None)


def test_close_then_reset():
    env = from_gymnasium("CartPole-v1")
    start = env.observe(env.reset((1, 3), stream([0])))
    copies = list(env._copies.all)
    state = env.reset((1, 3), stream([0]))
    assert env._copies.all == copies
    env.close()
    assert env._copies.all == []
    with pytest.raises(ValueError, match="only the latest state"):
        env.transition(state, torch.zeros(1, 3, dtype=torch.int64), None)
    torch.testing.assert_close(env.observe(env.reset((1, 3), stream([0]))), start, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("CartPool-v1", {}, r"cannot make 'CartPool-v1': .*Did you mean: `CartPole`"),
        ("CartPole-v7", {}, "cannot make 'CartPole-v7': .*v7"),
        ("no_such_module:Env-v0", {}, "cannot make 'no_such_module:Env-v0': No module named"),
        ("CartPole-v1", {"gravity": 1.0}, "cannot make 'CartPole-v1': .*unexpected keyword argument 'gravity'"),
        ("Endless-v0", {}, "'Endless-v0' has no max_episode_steps"),
        ("CartPole-v1", {"horizon": 0}, "horizon = 0 is not >= 1"),
        ("Toy-v0", {"observation_space": spaces.Discrete(3)}, r"'Toy-v0' observes Discrete\(3\)"),
        ("Toy-v0", {"action_space": spaces.MultiBinary(3)}, r"'Toy-v0' acts in MultiBinary\(3\)"),
        ("Toy-v0", {"action_space": spaces.Box(-1.0, 1.0, (2, 2))}, "'Toy-v0' acts in Box"),
    ],
)
def test_bad_arguments(id, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_gymnasium(id, **options)
    assert "\n" not in str(caught.value)


def test_no_time_limit_but_a_horizon():
    assert from_gymnasium("Endless-v0", horizon=7).spec.horizon == 7


def test_a_missing_dependency_is_one_clear_line():
    def create():
        raise gymnasium.error.DependencyNotInstalled("Physics is not installed,\n run `pip install physics`")

    gymnasium.register("Heavy-v0", create, max_episode_steps=5)
    with pytest.raises(ValueError, match="'Heavy-v0': Physics is not installed, run `pip install physics`"):
        from_gymnasium("Heavy-v0")


def test_an_old_version_warns_but_does_not_fail():
    gymnasium.register("Toy-v1", Toy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        env = from_gymnasium("Toy-v0")
        env.reset((1, 1), stream([0], LANES[:1]))
    assert ["Toy-v0 is out of date" in str(warning.message) for warning in caught] == [True]


@pytest.mark.parametrize(("id", "package"), [("LunarLander-v3", "Box2D"), ("HalfCheetah-v5", "mujoco")])
def test_environments_with_extras(id, package):
    pytest.importorskip(package)
    env = from_gymnasium(id, horizon=10)
    zeros = torch.zeros(2, 2, dtype=torch.int64) if isinstance(env.spec.action, Discrete) else torch.zeros(2, 2, 6)
    first, second = (play(env, (2, 2), stream([0, 1], LANES[:2]), lambda t: zeros, 10) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert first[3][-1].all()
    env.close()


def test_mujoco_is_quiet_and_steps_in_threads(capfd, tmp_path, monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    env = from_gymnasium("HalfCheetah-v5", horizon=4)
    assert env.threads == MUJOCO_THREADS
    zeros, found = torch.zeros(1, 9, 6), []
    for threads in (1, 2, 4):
        lanes = replace(env, threads=threads, _copies=_Copies())
        found.append(play(lanes, (1, 9), stream([5], torch.arange(9)), lambda t: zeros, 4))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=0)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
