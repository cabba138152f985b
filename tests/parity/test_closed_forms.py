"""The exact returns of LQR and of tabular decision processes against the environments themselves."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.core import Env
from envs.lqr import LQR, LQRState
from envs.random import Purpose, Stream, streams
from envs.tabular import TabularMDP, TabularState, draw

CPU = torch.device("cpu")
GAIN = torch.tensor([[0.3, 0.1, 0.0], [0.0, 0.4, -0.1], [0.1, 0.0, 0.2]], dtype=torch.float64)
A = [[0.9, 0.3], [-0.2, 1.05]]
B = [[0.0], [0.5]]
Q = [[1.0, 0.2], [0.2, 0.5]]
R = [[0.3]]


def play(env: Env, state: tuple, policy, horizon: int, discount: float, stream: Stream | None) -> Tensor:
    """Discounted returns [...] of `policy` (observation, t) -> action from `state`, with `stream` where random."""
    total = torch.zeros(())
    for t in range(horizon):
        draws = env.spec.transition_draws
        uniform = stream.fold(Purpose.TRANSITION).at(t).uniform(draws, dtype=env.dtype) if stream else None
        state, reward, terminated = env.transition(state, policy(env.observe(state), t), uniform)
        assert not bool(terminated.any())
        total = total + discount**t * reward
    return total


def test_lqr_without_noise_is_the_sum_over_the_start_directions() -> None:
    """The return is a quadratic form of x_0, and for x_0 ~ N(0, I) its mean is the sum over the unit vectors."""
    env = LQR.create(CPU, torch.float64, A, B, Q, R, noise_std=0.0)
    K = torch.tensor([[0.4, 0.7]], dtype=torch.float64)
    returns = play(env, LQRState(torch.eye(2, dtype=torch.float64)), lambda x, t: -x @ K.T, 15, 0.9, None)
    assert_close(env.exact_return(K, 15, 0.9), returns.sum(), rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_lqr_exact_return_is_the_mean_of_sampled_returns(sigma: float) -> None:
    """60000 episodes, 4.5 standard errors: a right formula fails for 7e-6 of the seeds, and this one is fixed."""
    env = LQR.create(CPU, torch.float64, noise_std=0.7)
    stream = streams([0]).spread(torch.arange(60_000))
    noise = stream.fold(Purpose.ACTION)
    start = env.reset((1, 60_000), stream.fold(Purpose.RESET))
    returns = play(
        env,
        start,
        lambda x, t: -x @ GAIN.T + sigma * noise.at(t).normal(3, dtype=torch.float64),
        10,
        0.95,
        stream,
    )
    error = returns.std() / returns.numel() ** 0.5
    exact = env.exact_return(GAIN, 10, 0.95, sigma)
    assert abs(float(returns.mean() - exact)) < 4.5 * float(error)
    assert float(error) < 0.006 * abs(float(exact))


def test_lqr_batches_gains_and_sigmas_and_differentiates_both() -> None:
    env = LQR.create(CPU, torch.float64, A, B, Q, R, noise_std=0.3)
    K = torch.tensor([[[0.4, 0.7]], [[0.1, 0.2]]], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.1, 0.6], dtype=torch.float64, requires_grad=True)
    together = env.exact_return(K, 8, 0.9, sigma)
    alone = torch.stack([env.exact_return(k, 8, 0.9, s) for k, s in zip(K, sigma, strict=True)])
    assert_close(together, alone, rtol=1e-14, atol=0.0)
    assert torch.autograd.gradcheck(lambda k, s: env.exact_return(k, 8, 0.9, s), (K, sigma))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}, r"A has shape \(2, 3\)"),
        ({"B": [1.0, 2.0]}, "B = .* is not a matrix"),
        ({"A": [[float("nan"), 0.0], [0.0, 1.0]]}, "A = .* finite"),
        ({"Q": [[1.0, 0.5], [0.0, 1.0]]}, "Q = .* is not symmetric"),
        ({"Q": [[1.0, 2.0], [2.0, 1.0]]}, "Q = .* is not positive semi-definite"),
        ({"R": [[0.0]]}, "R = .* is not positive definite"),
        ({"R": [[1.0, 0.0], [0.0, 1.0]]}, r"R has shape \(2, 2\), it must be \(1, 1\)"),
        ({"noise_std": -0.1}, "noise_std = -0.1"),
    ],
)
def test_lqr_refuses_systems_that_do_not_fit(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LQR.create(CPU, torch.float32, **({"A": A, "B": B, "Q": Q, "R": R} | change))


def test_lqr_takes_a_singular_state_cost() -> None:
    env = LQR.create(CPU, torch.float32, A, B, [[1.0, 0.0], [0.0, 0.0]], R)
    assert (env.spec.observation_size, env.spec.action.size) == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": torch.zeros(3, 2)}, r"K has shape \(3, 2\)"),
        ({"horizon": 0}, "horizon = 0"),
        ({"discount": 1.5}, "discount = 1.5"),
        ({"sigma": -1.0}, "sigma = -1.0"),
    ],
)
def test_lqr_refuses_a_bad_question(change: dict, message: str) -> None:
    env = LQR.create(CPU, torch.float32)
    with pytest.raises(ValueError, match=message):
        env.exact_return(**({"K": GAIN, "horizon": 5, "discount": 0.9} | change))


def softmax_policy(*shape: int) -> Tensor:
    return streams([7]).uniform(int(torch.tensor(shape).prod()), dtype=torch.float64).view(shape).mul(3).softmax(-1)


def test_tabular_dynamic_programming_is_the_sum_over_all_trajectories() -> None:
    env, horizon, discount = TabularMDP.random(3, 2, seed=3, dtype=torch.float64), 4, 0.9
    policy = softmax_policy(3, 2)
    total = 0.0
    for states in product(range(3), repeat=horizon):
        for actions in product(range(2), repeat=horizon):
            weight, gain = float(env.rho[states[0]]), 0.0
            for t, (s, a) in enumerate(zip(states, actions, strict=True)):
                weight *= float(policy[s, a])
                weight *= float(env.P[s, a, states[t + 1]]) if t + 1 < horizon else 1.0
                gain += discount**t * float(env.r[s, a])
            total += weight * gain
    assert abs(float(env.exact_return(policy, horizon, discount)) - total) < 1e-12


def test_tabular_exact_return_is_the_mean_of_sampled_returns() -> None:
    """40000 episodes, 4.5 standard errors: a right formula fails for 7e-6 of the seeds, and this one is fixed."""
    env = TabularMDP.random(5, 3, seed=0, dtype=torch.float64)
    policy = softmax_policy(5, 3)
    stream = streams([1]).spread(torch.arange(40_000))
    start = env.reset((1, 40_000), stream.fold(Purpose.RESET))

    def act(observation: Tensor, t: int) -> Tensor:
        return draw(observation @ policy, stream.fold(Purpose.ACTION).at(t).uniform(1, dtype=torch.float64)[..., 0])

    returns = play(env, start, act, 20, 0.95, stream)
    error = float(returns.std()) / returns.numel() ** 0.5
    exact = float(env.exact_return(policy, 20, 0.95))
    assert abs(float(returns.mean()) - exact) < 4.5 * error
    assert error < 0.001 * exact


def test_tabular_gradient_is_the_finite_difference() -> None:
    env = TabularMDP.random(4, 3, seed=5, dtype=torch.float64)
    policy = softmax_policy(2, 4, 3).requires_grad_()
    assert env.exact_return(policy, 6, 0.9).shape == (2,)
    assert torch.autograd.gradcheck(lambda pi: env.exact_return(pi, 6, 0.9), policy)


def test_tabular_draws_follow_the_distribution_function_and_skip_what_is_impossible() -> None:
    probabilities = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    uniform = torch.tensor([2.0**-24, 0.2499, 0.2501, 0.9, 1 - 2.0**-24])
    assert draw(probabilities, uniform).tolist() == [1, 1, 3, 3, 3]
    # Sums that rounding leaves below one: the largest uniform still falls on a possible entry.
    thirds = torch.tensor([1 / 3, 1 / 3, 1 / 3 - 1e-6, 0.0])
    assert draw(thirds, uniform[-1:]).tolist() == [2]


def test_tabular_process_steps_through_its_tables() -> None:
    P = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    r = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    env = TabularMDP.of(P, r, torch.tensor([0.0, 1.0]))
    half = torch.full((4, 1), 0.5)
    assert env.initial(half).s.tolist() == [1, 1, 1, 1]
    state = TabularState(torch.tensor([0, 0, 1, 1]))
    following, reward, _ = env.transition(state, torch.tensor([0, 1, 0, 1]), half)
    assert following.s.tolist() == [1, 0, 0, 1]
    assert reward.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert env.observe(following).tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P": torch.full((2, 2), 0.5)}, r"P has shape \(2, 2\)"),
        ({"P": torch.full((2, 2, 2), 0.6)}, "P must sum to one"),
        ({"P": torch.tensor([[[1.5, -0.5]], [[0.5, 0.5]]]), "r": torch.zeros(2, 1)}, "P has entries that are negative"),
        ({"P": torch.full((2, 2, 2), float("nan"))}, "P has entries that are negative or NaN"),
        ({"r": torch.zeros(2, 3)}, r"r has shape \(2, 3\)"),
        ({"r": torch.full((2, 2), float("inf"))}, "r = "),
        ({"rho": torch.ones(3) / 3}, r"rho has shape \(3,\)"),
        ({"rho": torch.tensor([0.5, 0.6])}, "rho must sum to one"),
    ],
)
def test_tabular_refuses_tables_that_do_not_fit(change: dict, message: str) -> None:
    tables = {"P": torch.full((2, 2, 2), 0.5), "r": torch.zeros(2, 2), "rho": torch.tensor([0.5, 0.5])}
    with pytest.raises(ValueError, match=message):
        TabularMDP.of(**(tables | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": torch.zeros(3, 2)}, r"policy has shape \(3, 2\)"),
        ({"horizon": 0}, "horizon = 0"),
        ({"discount": -0.1}, "discount = -0.1"),
    ],
)
def test_tabular_refuses_a_bad_question(change: dict, message: str) -> None:
    env = TabularMDP.random(5, 3, seed=0)
    with pytest.raises(ValueError, match=message):
        env.exact_return(**({"policy": softmax_policy(5, 3), "horizon": 5, "discount": 0.9} | change))


def test_random_processes_depend_on_the_seed_alone() -> None:
    first, again, other = (TabularMDP.random(6, 2, seed) for seed in (1, 1, 2))
    assert torch.equal(first.P, again.P)
    assert not torch.equal(first.P, other.P)
    assert torch.equal(first.P, TabularMDP.random(6, 2, 1, dtype=torch.float64).P.float())
    assert float(first.r.min()) >= 0.0
    assert float(first.r.max()) <= 1.0


def test_processes_of_one_size_are_not_equal() -> None:
    """What is kept per environment must not mix up instances whose specs are the same."""
    first, second = TabularMDP.random(6, 2, 1), TabularMDP.random(6, 2, 2)
    assert first.spec == second.spec
    assert first != second
    assert len({first, second}) == 2
