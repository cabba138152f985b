"""The agents' update rules on exact oracles, where what they compute is known.

Golden tests of the specification: transport on a quadratic, the two-step value by hand, reductions to N-SGD.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from oracles import F64, Quadratic, Scripted, noisy, random_quadratic, trace, transport_error
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.policies import Linear
from envs.random import Purpose, streams
from envs.tabular import TabularMDP
from experiments.loop import run
from experiments.policy_problem import PolicyProblem
from rl import HARPG, NHARPG, NMPG, NPGIGT, NSGD, PGIGT, REINFORCE, LaggedNPGIGT, PolicyGradient, unit


@pytest.mark.parametrize(
    "agent",
    [
        NPGIGT(gamma=Schedule(0.3, 1.0)),
        NPGIGT(gamma=Schedule(0.3, 0.5), eta=Schedule(1.0, 0.8, 0.05)),
        NHARPG(gamma=Schedule(0.3, 1.0)),
        NHARPG(gamma=Schedule(0.3, 0.5), eta=Schedule(1.0, 1.0, 0.05)),
        HARPG(gamma=Schedule(0.02, 0.5)),
    ],
)
def test_transport_is_exact_on_a_quadratic(agent: PolicyGradient) -> None:
    """d_t is the gradient at theta_t, whatever the steps: past gradients do not lag behind."""
    assert transport_error(agent) < 1e-12


@pytest.mark.parametrize("agent", [LaggedNPGIGT(gamma=Schedule(0.3, 1.0)), NMPG(gamma=Schedule(0.3, 1.0))])
def test_transport_fails_with_a_lagged_eta_and_without_extrapolation(agent: PolicyGradient) -> None:
    assert transport_error(agent) > 1e-3


def test_two_steps_by_hand() -> None:
    """From theta = 0 with gradients of J (3, 4) and (0, 2), eta = 1 and 1/2: look-ahead at 2 theta_1, d = (1.5, 3)."""
    ascent = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=F64)
    agent = NPGIGT(gamma=Schedule(2.0), eta=Schedule(1.0, math.log(2) / math.log(1.5)))
    found = trace(agent, torch.zeros(1, 2, dtype=F64), lambda _, t: Scripted(-ascent[t : t + 1]), 2)
    theta_1 = torch.tensor([[1.2, 1.6]], dtype=F64)
    assert_close(found.states[1].theta, theta_1, rtol=1e-14, atol=0.0)
    assert_close(found.points[1][:, 0], 2 * theta_1, rtol=1e-14, atol=0.0)
    assert_close(found.metrics[1]["lookahead_distance"], torch.tensor([2.0], dtype=F64), rtol=1e-14, atol=0.0)
    direction = torch.tensor([[1.5, 3.0]], dtype=F64)
    assert_close(found.states[2].direction, -direction, rtol=1e-14, atol=0.0)
    assert_close(found.states[2].theta, theta_1 + 2 * direction / 11.25**0.5, rtol=1e-14, atol=0.0)


def test_the_second_product_of_n_harpg_is_at_a_random_point_of_the_step() -> None:
    """Between theta_{t-1} and theta_t, uniformly: 2000 runs, mean within 5 standard errors (rate 6e-7)."""
    theta, previous = torch.ones(2000, 3, dtype=F64), torch.zeros(2000, 3, dtype=F64)
    agent = NHARPG()
    state = agent.init(theta, streams(range(2000)))._replace(theta_prev=previous, t=4)
    points, _ = agent.ask(state, streams(range(2000)).fold(Purpose.ASK).at(4))
    assert torch.equal(points[:, 0], theta)
    q = points[:, 1, 0]
    assert torch.equal(points[:, 1], q[:, None].expand(-1, 3))
    assert 0 < float(q.min()) < 0.01
    assert 0.99 < float(q.max()) < 1
    assert abs(float(q.mean()) - 0.5) < 5 / (12 * 2000) ** 0.5


def test_n_harpg_uses_the_product_at_its_own_point_times_the_step() -> None:
    """Two iterations by hand with f(x) = sum x^3 / 6: the Hessian depends on the point."""

    @dataclass(frozen=True)
    class Cubic(Quadratic):
        def gradient(self, at: Tensor | None = None) -> Tensor:
            return (self.points if at is None else at) ** 2 / 2

        def hvp(self, u: Tensor) -> Tensor:
            return self.points * u

        def at_point(self, k: int, copies: int = 1) -> "Cubic":
            return Cubic(self.A, self.points[:, k : k + 1])

    x0 = torch.tensor([[1.0, 2.0]], dtype=F64)
    for agent, step in (
        (NHARPG(Schedule(0.5), Schedule(1.0, 1.0)), unit),
        (HARPG(Schedule(0.5), Schedule(1.0, 1.0)), lambda d: d),
    ):
        found = trace(agent, x0, lambda points, t: Cubic(x0, points), 2)
        theta_1 = x0 - 0.5 * step(x0**2 / 2)
        assert_close(found.states[1].theta, theta_1, rtol=1e-14, atol=0.0)
        between, eta = found.points[1][:, 1], 2 / 3
        transport = between * (theta_1 - x0)
        direction = (1 - eta) * (x0**2 / 2 + transport) + eta * theta_1**2 / 2
        assert_close(found.states[2].direction, direction, rtol=1e-14, atol=0.0)
        assert_close(found.states[2].theta, theta_1 - 0.5 * step(direction), rtol=1e-14, atol=0.0)
        assert_close(found.metrics[1]["transport_norm"], transport.norm(dim=-1), rtol=1e-14, atol=0.0)


@dataclass(frozen=True)
class Nodes:
    """A stream whose uniforms are given numbers [R, n]."""

    q: Tensor

    def uniform(self, size: int, dtype: torch.dtype = F64) -> Tensor:
        return self.q[:, :size]


@dataclass(frozen=True)
class Quartic(Quadratic):
    """Exact oracle of f(x) = sum x^4 / 24, whose third derivative is not constant."""

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return (self.points if at is None else at) ** 3 / 6

    def hvp(self, u: Tensor) -> Tensor:
        return self.points**2 / 2 * u


@pytest.mark.parametrize("make", [HARPG, NHARPG])
def test_transport_is_unbiased_and_products_average(make: type[HARPG]) -> None:
    """The mean of v_t over q, by quadrature in two q, is the difference of gradients; two products halve its variance.

    Of gradients at theta and where the momentum stands, which is any point.
    """
    nodes, weights = (torch.tensor(part, dtype=F64) for part in leggauss(5))
    q = (torch.cartesian_prod(nodes, nodes) + 1) / 2
    weights = torch.cartesian_prod(weights, weights).prod(-1) / 4
    theta, stands = torch.tensor([1.0, -2.0], dtype=F64), torch.tensor([0.4, -0.5], dtype=F64)
    exact, spread = (theta**3 - stands**3) / 6, []
    for products in (1, 2):
        agent = make(products=products)
        state = agent.init(theta.expand(25, 2), streams([0]))._replace(theta_prev=stands.expand(25, 2), t=3)
        points, _ = agent.ask(state, Nodes(q))
        transport = agent.transport(state, Quartic(theta, points))
        assert_close(weights @ transport, exact, rtol=1e-13, atol=1e-14)
        spread.append(weights @ (transport - exact).square())
    assert_close(spread[1], spread[0] / 2, rtol=1e-12, atol=0.0)
    assert float(spread[0].min()) > 1e-3


def test_the_points_of_several_products_are_independent() -> None:
    """2000 runs: correlations below 5 standard errors (rate 6e-7 each), and the first point is that of one product."""
    runs, (theta, before) = streams(range(2000)).at(4), torch.tensor([1.0, 0.0], dtype=F64)
    one, three = (
        agent.ask(
            agent.init(theta.expand(2000, 2), runs)._replace(theta_prev=before.expand(2000, 2)), runs.fold(Purpose.ASK)
        )[0]
        for agent in (HARPG(), HARPG(products=3))
    )
    assert torch.equal(three[:, :2], one)
    correlation = torch.corrcoef(three[:, 1:, 0].T) - torch.eye(3, dtype=F64)
    assert float(correlation.abs().max()) < 5 / 2000**0.5


@pytest.mark.parametrize("make", [HARPG, NHARPG])
@pytest.mark.parametrize("every", [2, 5])
def test_rare_products_carry_the_accumulated_displacement(make: type[HARPG], every: int) -> None:
    """On a quadratic d_t is always the gradient where it stands, and that is theta_t after every product."""
    A, x0 = random_quadratic()
    agent = make(gamma=Schedule(0.02, 0.5), eta=Schedule(1.0, 1.0, 0.05), every=every)
    found = trace(agent, x0, lambda points, t: Quadratic(A, points), 60)
    for t, (before, after) in enumerate(zip(found.states[:-1], found.states[1:], strict=True)):
        assert_close(after.direction, after.theta_prev @ A, rtol=1e-11, atol=1e-11)
        product = t % every == every - 1
        assert found.points[t].shape[1] == (2 if product else 1)
        assert torch.equal(after.theta_prev, before.theta) == (product or t == 0)
        assert bool((found.metrics[t]["transport_norm"] > 0).all()) == product


def test_rare_and_several_products_are_counted() -> None:
    """Points 1, 1 + 2, 1, 1 + 2: episodes and products of four iterations in the ledger."""
    mdp = TabularMDP.random(3, 2, seed=0, dtype=F64)
    problem = PolicyProblem(mdp, Linear(mdp.spec, bias=False), 0.9, evaluation_episodes=1)
    result = run(HARPG(products=2, every=2), problem, seeds=2, budget=8 * mdp.spec.horizon, evaluations=1)
    assert result.iterations == 4
    assert result.spent.episodes.tolist() == [8, 8]
    assert result.spent.hvps.tolist() == [4, 4]


@pytest.mark.parametrize("make", [NPGIGT, NHARPG, NMPG])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_without_momentum_all_of_them_are_n_sgd(make: type[NPGIGT], dtype: torch.dtype) -> None:
    """Bit for bit."""
    x0 = random_quadratic()[1].to(dtype)
    reference = trace(NSGD(gamma=Schedule(0.2, 0.5)), x0, noisy, 30)
    found = trace(make(gamma=Schedule(0.2, 0.5), eta=Schedule(1.0)), x0, noisy, 30)
    for one, other in zip(found.states, reference.states, strict=True):
        assert torch.equal(one.theta, other.theta)
    assert not torch.equal(reference.states[-1].theta, x0)


def test_n_sgd_steps_along_the_unit_gradient() -> None:
    A, x0 = random_quadratic()
    found = trace(NSGD(gamma=Schedule(0.2)), x0, lambda points, t: Quadratic(A, points), 1)
    gradient = x0 @ A
    expected = x0 - 0.2 * gradient / gradient.norm(dim=-1, keepdim=True)
    assert_close(found.states[1].theta, expected, rtol=1e-14, atol=1e-15)
    assert_close(found.metrics[0]["gradient_norm"], gradient.norm(dim=-1), rtol=1e-14, atol=0.0)


def test_n_mpg_averages_gradients() -> None:
    x0 = torch.zeros(1, 2, dtype=F64)
    gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=F64)
    found = trace(NMPG(gamma=Schedule(0.1), eta=Schedule(1.0, 1.0)), x0, lambda _, t: Scripted(gradients[t : t + 1]), 2)
    assert_close(found.states[2].direction, torch.tensor([[1 / 3, 4 / 3]], dtype=F64), rtol=1e-15, atol=0.0)
    assert torch.equal(found.points[1][:, 0], found.states[1].theta)


def test_reinforce_is_gradient_descent() -> None:
    A, x0 = random_quadratic()
    found = trace(REINFORCE(gamma=Schedule(0.1, 1.0)), x0, lambda points, t: Quadratic(A, points), 2)
    theta_1 = x0 - 0.1 * x0 @ A
    assert_close(found.states[1].theta, theta_1, rtol=1e-14, atol=1e-15)
    assert_close(found.states[2].theta, theta_1 - 0.1 * 2 / 3 * theta_1 @ A, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [REINFORCE, NSGD, NMPG, NPGIGT, HARPG, NHARPG])
def test_a_zero_gradient_keeps_the_iterate(make: type[NPGIGT]) -> None:
    x0 = random_quadratic()[1]
    found = trace(make(), x0, lambda points, t: Scripted(torch.zeros_like(x0)), 5)
    assert torch.equal(found.states[-1].theta, x0)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_unit_vectors(dtype: torch.dtype) -> None:
    """Of every length down to the smallest, and zero stays zero."""
    tiny = torch.finfo(dtype).tiny
    v = torch.tensor([[3.0, 4.0], [3e-6, 4e-6], [tiny, 0.0], [0.0, 0.0]], dtype=dtype)
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0], [0.0, 0.0]], dtype=dtype)
    assert_close(unit(v), expected)


def test_a_failed_estimate_does_not_touch_other_runs() -> None:
    x0 = random_quadratic()[1]

    def failing(points: Tensor, t: int) -> Scripted:
        answer = noisy(points, t).answer
        return Scripted(torch.where(torch.tensor([True, False, False, False, False])[:, None], torch.nan, answer))

    for make in (REINFORCE, NSGD, NMPG, NPGIGT, HARPG, NHARPG):
        healthy, mixed = (trace(make(), x0, oracle, 5).states[-1].theta for oracle in (noisy, failing))
        assert torch.equal(healthy[1:], mixed[1:])
        assert mixed[0].isnan().all()


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Schedule(0.3), {0: 0.3, 1: 0.3, 1000: 0.3}),
        (Schedule(0.3, 1.0), {0: 0.3, 1: 0.2, 4: 0.1, 998: 0.0006}),
        (Schedule(1.0, 0.8), {0: 1.0, 6: 0.25**0.8, 62: 0.03125**0.8}),
        (Schedule(1.0, 1.0, 0.1), {0: 1.0, 8: 0.2, 18: 0.1, 19: 0.1, 10_000: 0.1}),
        (Schedule(0.2, 0.5, 0.3), {0: 0.3, 5: 0.3}),
    ],
)
def test_schedules_follow_their_formula(schedule: Schedule, values: dict[int, float]) -> None:
    """Scale (2 / (t + 2))^exponent, and not below the floor."""
    for t, value in values.items():
        assert schedule(t) == pytest.approx(value, rel=1e-14)


def test_schedules_along_runs() -> None:
    scale, exponent, floor = (torch.tensor(x, dtype=F64) for x in ([0.1, 0.2, 0.3], [0.0, 0.5, 1.0], [0.0, 0.15, 0.0]))
    for t in (0, 3, 50):
        alone = [Schedule(*(float(x[r]) for x in (scale, exponent, floor)))(t) for r in range(3)]
        assert_close(Schedule(scale, exponent, floor)(t), torch.tensor(alone, dtype=F64), rtol=1e-14, atol=0.0)
    mixed = Schedule(0.2, 0.5, floor)(6)
    assert_close(mixed, torch.tensor([0.1, 0.15, 0.1], dtype=F64), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: REINFORCE(gamma=Schedule(0.0)), r"gamma\.scale = 0\.0 is not in \(0, inf\]"),
        (lambda: REINFORCE(gamma=Schedule(float("nan"))), r"gamma\.scale = nan"),
        (lambda: NSGD(gamma=Schedule(-0.1)), r"gamma\.scale = -0\.1"),
        (lambda: NSGD(eta=Schedule(0.5)), r"eta = .*0\.5.* must be 1 for N-SGD; use N-MPG"),
        (lambda: NSGD(eta=Schedule(torch.tensor([1.0, 0.5]))), r"eta = .*must be 1 for N-SGD; use N-MPG"),
        (lambda: NMPG(eta=Schedule(1.5)), r"eta\.scale = 1\.5 is not in \(0, 1\]"),
        (lambda: NMPG(gamma=Schedule(0.1, -1.0)), r"gamma\.exponent = -1\.0"),
        (lambda: NPGIGT(eta=Schedule(0.0)), r"eta\.scale = 0\.0 is not in \(0, 1\]"),
        (lambda: NPGIGT(eta=Schedule(1.0, 0.8, 1.1)), r"eta\.floor = 1\.1 is not in \[0, 1\]"),
        (lambda: NPGIGT(gamma=Schedule(torch.tensor([0.1, -0.1]))), r"gamma\.scale = \[0\.1.*, -0\.1.*\]"),
        (lambda: HARPG(gamma=Schedule(float("inf"))), r"gamma\.scale = inf"),
        (lambda: HARPG(eta=Schedule(2.0)), r"eta\.scale = 2\.0"),
        (lambda: NHARPG(gamma=Schedule(0.1, 1.0, -0.1)), r"gamma\.floor = -0\.1"),
        (lambda: HARPG(products=0), r"products = 0 is not in \[1, inf\]"),
        (lambda: NHARPG(every=0), r"every = 0 is not in \[1, inf\]"),
        (lambda: NHARPG(eta=Schedule(-1.0)), r"eta\.scale = -1\.0"),
    ],
)
def test_bad_configurations_are_refused(make: Callable[[], PolicyGradient], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_the_lagged_variant_extrapolates_with_the_previous_eta() -> None:
    """Two iterations by hand, and the transport on a quadratic, exact with the right eta, is lost."""
    A, x0 = random_quadratic()
    found = trace(LaggedNPGIGT(gamma=Schedule(0.3)), x0, lambda points, t: Quadratic(A, points), 4)
    for t in (1, 2, 3):
        theta, before, eta = found.states[t].theta, found.states[t].theta_prev, (2 / (t + 1)) ** 0.8
        assert_close(found.points[t][:, 0], theta + (1 - eta) / eta * (theta - before), rtol=1e-12, atol=1e-12)
    assert float((found.states[3].direction - found.states[2].theta @ A).norm()) > 1e-3


def test_without_normalization_the_step_is_the_direction() -> None:
    A, x0 = random_quadratic()
    found = trace(PGIGT(gamma=Schedule(0.01, 0.5)), x0, lambda points, t: Quadratic(A, points), 5)
    for t in range(4):
        step = found.states[t].theta - found.states[t + 1].theta
        assert_close(step, Schedule(0.01, 0.5)(t) * found.states[t + 1].direction, rtol=1e-9, atol=1e-14)
