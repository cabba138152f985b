"""The Gymnasium face: our environments as Gymnasium's, against its checker, its SyncVectorEnv and its CartPole."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from envs.cartpole import CartPole, CartPoleState
from envs.gymnasium import ZopgEnv, ZopgVectorEnv, register
from envs.random import Purpose, Stream, streams
from envs.registry import ENVS, make

register()
MODES = list(AutoresetMode)
KERNEL_AND_TENSORS = [torch.float32, torch.float64]
"""Precisions, which decide who steps the copies."""
CPU = torch.device("cpu")


def cartpole(dtype=torch.float64):
    return CartPole.create(CPU, dtype)


class Fence(CartPole):
    """CartPole that the environment itself cuts short when the cart drifts."""

    def truncated(self, state):
        return state.x.abs() > 0.06


def vector(env_id, n, mode=AutoresetMode.NEXT_STEP, limit=7, dtype=torch.float64):
    return gymnasium.make_vec(env_id, n, autoreset_mode=mode, max_episode_steps=limit, dtype=dtype)


# check_env gives advice on spaces, which holds for gymnasium's own environments too: unbounded or unnormalized boxes.
@pytest.mark.filterwarnings("ignore:.*A Box (observation|action) space (minimum|maximum) value is")
@pytest.mark.filterwarnings("ignore:.*For Box action spaces, we recommend")
@pytest.mark.parametrize("env_id", ENVS)
def test_checker_of_gymnasium_accepts_the_single_face(env_id):
    env = gymnasium.make(f"zopg/{env_id}").unwrapped
    check_env(env)  # raises what it finds wrong
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space


@pytest.mark.parametrize("env_id", ENVS)
def test_registered_limit_and_spaces(env_id):
    env, spec = gymnasium.make(f"zopg/{env_id}", max_episode_steps=3), make(env_id, device="cpu").spec
    assert gymnasium.spec(f"zopg/{env_id}").max_episode_steps == spec.horizon
    assert gymnasium.spec(f"zopg/{env_id}").reward_threshold == spec.threshold
    batch = gymnasium.make_vec(f"zopg/{env_id}", 5)
    assert batch.max_episode_steps == spec.horizon
    assert batch.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert batch.single_observation_space == env.observation_space
    assert batch.single_action_space == env.action_space
    observations, _ = batch.reset(seed=0)
    assert observations in batch.observation_space
    for _ in range(10):
        observations, *_ = batch.step(batch.action_space.sample())
        assert observations in batch.observation_space
    env.reset(seed=0)
    env.action_space.seed(0)
    flags = [env.step(env.action_space.sample())[3] for _ in range(3)]
    assert flags == [False, False, True]


def test_register_twice_changes_nothing():
    before = dict(gymnasium.registry)
    register()
    assert gymnasium.registry == before


@pytest.mark.parametrize("dtype", KERNEL_AND_TENSORS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", ENVS)
def test_vector_face_is_sync_vector_env_over_single_faces(env_id, mode, dtype):
    n, name = 4, f"zopg/{env_id}"
    ours = vector(name, n, mode, limit=5, dtype=dtype)
    theirs = gymnasium.make_vec(
        name,
        n,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=5,
        dtype=dtype,
    )
    assert data_equivalence(ours.reset(seed=11), theirs.reset(seed=11), exact=True)
    ours.action_space.seed(0)
    finished = 0
    for _ in range(24):
        actions = ours.action_space.sample()
        one, two = ours.step(actions), theirs.step(actions)
        assert data_equivalence(one, two, exact=True)
        done = one[2] | one[3]
        finished += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            one, two = (env.reset(options={"reset_mask": done.copy()}) for env in (ours, theirs))
            assert data_equivalence(one, two, exact=True)
    assert finished >= 4 * n


def episodes_of(env, steps):
    """Observations, rewards and flags of every episode, {(seed, k): [...]}, under actions fixed by (seed, k, t)."""
    mode, n, discrete = env.metadata["autoreset_mode"], env.num_envs, env.single_action_space
    obs, _ = env.reset(seed=100)
    k, t, over, found = np.zeros(n, int), np.zeros(n, int), np.zeros(n, bool), {}
    for i in range(n):
        found[100 + i, 0] = [tuple(obs[i])]
    for _ in range(steps):
        obs, reward, terminated, truncated, infos = env.step(((100 + np.arange(n)) * 3 + k + t * t // 2) % discrete.n)
        done = terminated | truncated
        for i in range(n):
            if over[i] and mode is AutoresetMode.NEXT_STEP:
                assert (reward[i], terminated[i], truncated[i]) == (0.0, False, False)
                found[100 + i, k[i]] = [tuple(obs[i])]
                continue
            seen = infos["final_obs"][i] if done[i] and mode is AutoresetMode.SAME_STEP else obs[i]
            found[100 + i, k[i]] += [reward[i], terminated[i], truncated[i], tuple(seen)]
            t[i] += 1
            if done[i]:
                k[i], t[i] = k[i] + 1, 0
                if mode is AutoresetMode.SAME_STEP:
                    found[100 + i, k[i]] = [tuple(obs[i])]
        over = done
        if mode is AutoresetMode.DISABLED and done.any():
            obs, _ = env.reset(options={"reset_mask": done})
            for i in np.flatnonzero(done):
                found[100 + i, k[i]] = [tuple(obs[i])]
    return found


@pytest.mark.parametrize("dtype", KERNEL_AND_TENSORS)
@pytest.mark.parametrize("env_id", ["zopg/CartPole-v1", "zopg/RandomMDP-v0"])
def test_episodes_depend_neither_on_the_mode_nor_on_the_number_of_copies(env_id, dtype):
    reference = episodes_of(vector(env_id, 5, MODES[0], limit=12, dtype=dtype), 60)
    assert min(sum(seed == s for s, _ in reference) for seed in range(100, 105)) >= 4
    starts = [tuple(episode[0]) for episode in reference.values()]
    if "CartPole" in env_id:
        assert len(set(starts)) == len(starts)
    for mode in MODES:
        for n in (1, 5):
            for key, episode in episodes_of(vector(env_id, n, mode, limit=12, dtype=dtype), 60).items():
                common = min(len(episode), len(reference.get(key, [])))
                assert episode[:common] == reference.get(key, [])[:common]


def test_the_noise_is_that_of_the_stream():
    env = make("RandomMDP-v0", device="cpu", dtype=torch.float64)
    face = ZopgEnv(env)
    face.reset(seed=5)
    face.step(0)
    observation, _ = face.reset()
    stream = Stream(torch.tensor([5]), torch.tensor(0)).at(1)
    state = env.initial(stream.fold(Purpose.RESET).uniform(1, dtype=torch.float64))
    np.testing.assert_array_equal(observation, env.observe(state)[0])
    for step in range(6):
        uniform = stream.spread(torch.tensor(step)).fold(Purpose.TRANSITION).uniform(1, dtype=torch.float64)
        state, reward, _ = env.transition(state, torch.tensor([step % 3]), uniform)
        observation, got, *_ = face.step(step % 3)
        np.testing.assert_array_equal(observation, env.observe(state)[0])
        assert got == float(reward)


def test_terminated_and_truncated_together():
    def flags(limit):
        env = ZopgVectorEnv(cartpole(), 2, limit)
        env.reset(seed=[7, 7])
        for step in range(1, 100):
            _, _, terminated, truncated, _ = env.step(np.array([1, 1]))
            if (terminated | truncated).any():
                return step, terminated.tolist(), truncated.tolist()
        raise AssertionError("no episode ended")

    length, terminated, truncated = flags(500)
    assert (terminated, truncated) == ([True, True], [False, False])
    assert flags(length) == (length, [True, True], [True, True])
    assert flags(length - 1) == (length - 1, [False, False], [True, True])


def test_truncation_by_the_environment_itself():
    env = Fence(cartpole().spec, CPU, torch.float64)
    single, batch = ZopgEnv(env), ZopgVectorEnv(env, 1)
    single.reset(seed=1)
    batch.reset(seed=1)
    flags = []
    for _ in range(8):
        observation, _, terminated, truncated, _ = single.step(1)
        observations, _, _, vector_truncated, _ = batch.step([1])
        assert truncated == bool(vector_truncated[0]) == (abs(observation[0]) > np.float32(0.06))
        assert not terminated
        np.testing.assert_array_equal(observations[0], observation)
        flags.append(truncated)
        if truncated:
            break
    assert flags == [False] * (len(flags) - 1) + [True]
    assert len(flags) > 1


def test_final_observation_in_same_step():
    env = vector("zopg/CartPole-v1", 3, "SameStep", limit=500)
    env.reset(seed=[1, 2, 3])
    for _ in range(60):
        observations, _, terminated, _, infos = env.step(np.array([1, 1, 0]))
        if terminated.any():
            break
        assert infos == {}
    np.testing.assert_array_equal(infos["_final_obs"], terminated)
    np.testing.assert_array_equal(infos["_final_info"], terminated)
    assert infos["final_info"] == {}
    for i in range(3):
        if terminated[i]:
            assert abs(infos["final_obs"][i][2]) > 0.2094
            assert abs(observations[i]).max() <= 0.05
        else:
            assert infos["final_obs"][i] is None
    assert 0 < terminated.sum() < 3


@pytest.mark.parametrize("dtype", KERNEL_AND_TENSORS)
@pytest.mark.parametrize("mode", MODES)
def test_record_episode_statistics(mode, dtype):
    env = RecordEpisodeStatistics(vector("zopg/MountainCarContinuous-v0", 3, mode, limit=5, dtype=dtype))
    env.reset(seed=0)
    env.action_space.seed(1)
    returns, lengths, over, found = np.zeros(3), np.zeros(3, int), np.zeros(3, bool), 0
    for _ in range(22):
        actions = env.action_space.sample()
        _, _, terminated, truncated, infos = env.step(actions)
        took = ~over if mode is AutoresetMode.NEXT_STEP else np.ones(3, bool)
        returns += np.where(took, -0.1 * actions[:, 0].astype(float) ** 2, 0.0)
        lengths += took
        over = terminated | truncated
        for i in np.flatnonzero(over):
            assert infos["episode"]["l"][i] == lengths[i] == 5
            assert infos["episode"]["r"][i] == pytest.approx(returns[i], abs=1e-6)
            returns[i] = lengths[i] = 0
            found += 1
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})
    assert found == 3 * (3 if mode is AutoresetMode.NEXT_STEP else 4)


def test_disabled_resets_only_the_masked():
    env = vector("zopg/CartPole-v1", 3, "Disabled", limit=4)
    env.reset(seed=3)
    env.step([0, 0, 1])
    before, *_ = env.step([0, 1, 1])
    after, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert abs(after[1]).max() <= 0.05
    env.step([0, 0, 0])
    _, _, _, truncated, _ = env.step([0, 0, 0])
    np.testing.assert_array_equal(truncated, [True, False, True])
    with pytest.raises(AssertionError, match=r"\[0, 2\] are finished"):
        env.step([0, 0, 0])
    env.reset(options={"reset_mask": truncated})
    _, _, _, truncated, _ = env.step([0, 0, 0])
    np.testing.assert_array_equal(truncated, [False, False, False])


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0, 0]), np.array([True]), np.zeros(3, bool)])
def test_bad_reset_mask(mask):
    env = vector("zopg/CartPole-v1", 3, "Disabled")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_seeding():
    env = vector("zopg/CartPole-v1", 3)
    first, _ = env.reset(seed=8)
    second, _ = env.reset()
    third, _ = env.reset(seed=[8, None, 20])
    np.testing.assert_array_equal(env.reset(seed=[8, 9, 10])[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    single = gymnasium.make("zopg/CartPole-v1", dtype=torch.float64)
    np.testing.assert_array_equal(single.reset(seed=9)[0], first[1])
    np.testing.assert_array_equal(single.reset()[0], second[1])
    np.testing.assert_array_equal(single.reset()[0], third[1])
    np.testing.assert_array_equal(third[0], first[0])
    np.testing.assert_array_equal(third[2], single.reset(seed=20)[0])
    assert len(np.unique(np.concatenate((first, second)), axis=0)) == 6


def test_without_a_seed_starts_are_random():
    starts = [gymnasium.make("zopg/CartPole-v1").reset()[0] for _ in range(3)]
    starts += list(vector("zopg/CartPole-v1", 2).reset()[0]) + list(vector("zopg/CartPole-v1", 2).reset()[0])
    assert len(np.unique(starts, axis=0)) == 7
    drawn = []
    for env in (vector("zopg/CartPole-v1", 2), vector("zopg/CartPole-v1", 2)):
        env.np_random = np.random.default_rng(0)
        drawn.append(env.reset()[0])
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, -3], [1, 2, 2**63]])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="seed"):
        vector("zopg/CartPole-v1", 3).reset(seed=seed)


@pytest.mark.parametrize("dtype", KERNEL_AND_TENSORS)
@pytest.mark.parametrize(
    ("env_id", "actions"),
    [
        ("zopg/CartPole-v1", [0, 2]),
        ("zopg/CartPole-v1", [0, 2**32 + 1]),
        ("zopg/CartPole-v1", [0, -1]),
        ("zopg/CartPole-v1", [0.0, 1.0]),
        ("zopg/CartPole-v1", [0, 1, 0]),
        ("zopg/Pendulum-v1", [0.5, 0.5]),
        ("zopg/Pendulum-v1", [[0.5], [np.nan]]),
        ("zopg/Pendulum-v1", [["a"], ["b"]]),
    ],
)
def test_bad_actions(env_id, actions, dtype):
    batch, single = vector(env_id, 2, dtype=dtype), gymnasium.make(env_id, disable_env_checker=True, dtype=dtype)
    batch.reset(seed=0)
    single.reset(seed=0)
    with pytest.raises(ValueError, match="actions = "):
        batch.step(actions)
    with pytest.raises(ValueError, match="actions = "):
        single.step(actions[1] if len(actions) == 2 and actions != [0.5, 0.5] else actions)


def test_bad_arguments():
    for options in ({"num_envs": 0}, {"max_episode_steps": 0}, {"autoreset_mode": "Sometimes"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            gymnasium.make_vec("zopg/CartPole-v1", **options)
    for env in (ZopgEnv(cartpole()), ZopgVectorEnv(cartpole(), 2)):
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(env.action_space.sample())
        with pytest.raises(ValueError, match="options has"):
            env.reset(options={"low": 0})
    with pytest.raises(ValueError, match="none was reset before"):
        ZopgVectorEnv(cartpole(), 2).reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="no option gravity"):
        gymnasium.make("zopg/CartPole-v1", gravity=1.0)
    with pytest.raises(TypeError, match="do not render"):
        gymnasium.make("zopg/CartPole-v1", render_mode="rgb_array")


@pytest.mark.parametrize("env_id", ENVS)
def test_arrays_belong_to_the_caller(env_id):
    ours, untouched = (gymnasium.make_vec(f"zopg/{env_id}", 3) for _ in range(2))
    ours.action_space.seed(0)
    found, _ = ours.reset(seed=0)
    untouched.reset(seed=0)
    for _ in range(3):
        found[:] = 99.0
        actions = ours.action_space.sample()
        found, *_ = ours.step(actions)
        np.testing.assert_array_equal(found, untouched.step(actions)[0])


def test_options_reach_the_environment():
    assert gymnasium.make_vec("zopg/RandomMDP-v0", 2, states=8).reset(seed=0)[0].shape == (2, 8)


def test_bit_equal_to_gymnasium_from_the_same_state():
    theirs = gymnasium.make("CartPole-v1")
    ours = gymnasium.make("zopg/CartPole-v1", dtype=torch.float64)
    actions = np.random.default_rng(0).integers(2, size=200)
    lengths = []
    for seed in range(4):
        theirs.reset(seed=seed)
        ours.reset(seed=seed)
        state = torch.as_tensor(theirs.unwrapped.state)[:, None]
        ours.unwrapped.copies.state = CartPoleState(*state)
        for t in range(len(actions)):
            one, two = ours.step(actions[t]), theirs.step(actions[t])
            assert data_equivalence(one, two, exact=True)
            np.testing.assert_array_equal(torch.cat(ours.unwrapped.copies.state), theirs.unwrapped.state)
            if one[2]:
                break
        lengths.append(t + 1)
    assert len(set(lengths)) > 1


def test_streams_and_faces_agree_on_the_seed():
    env = cartpole()
    state = env.reset((3,), streams([40, 41, 42]).fold(Purpose.RESET))
    np.testing.assert_array_equal(ZopgVectorEnv(env, 3).reset(seed=40)[0], env.observe(state).to(torch.float32))
