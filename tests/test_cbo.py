"""CBO and its pieces: steps, weights, batches, memory, corrections, gradients, constraints, and a run that diverges."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import envs
from envs.algorithm import Schedule
from envs.random import Purpose, streams
from experiments import ObjectiveProblem, PolicyProblem, run
from zeroth_order import CBO, Anisotropic, Growth, Isotropic, Sphere, Values, minimize
from zeroth_order.cbo import (
    Constant,
    DriftConstraint,
    Euler,
    Exact,
    Heaviside,
    NoCorrection,
    Noise,
    Penalty,
    PersonalBest,
    Plane,
    SmoothHeaviside,
    SphereSurface,
    TruncatedAnisotropic,
    TruncatedIsotropic,
    consensus_point,
)
from zeroth_order.cbo.swarm import normals


def sphere(points: Tensor) -> Tensor:
    return (points**2).sum(-1)


def advance(algorithm: Any, x0: Tensor, number: int, f: Any = sphere, seeds: list[int] | None = None) -> list[Any]:
    """The states after each step."""
    root = streams(list(range(len(x0))) if seeds is None else seeds)
    state = algorithm.init(x0, root.fold(Purpose.INITIAL))
    states = [state]
    for t in range(number):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, _ = algorithm.tell(state, points, Values(f(points)))
        states.append(state)
    return states


def test_without_noise_a_step_is_a_fraction_of_the_way() -> None:
    x = streams([0]).spread(torch.arange(5)).normal(2, dtype=torch.float64)
    consensus = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    step = Euler()(x, x - consensus[:, None], torch.zeros_like(x), 0.5, 1.0, Isotropic())
    assert_close(step, 0.5 * x + 0.5 * consensus[:, None])


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Isotropic(), [5.0, 10.0]),
        (Anisotropic(), [3.0, -8.0]),
        (Constant(), [1.0, 2.0]),
        (TruncatedIsotropic(2.0), [2.0, 4.0]),
        (TruncatedIsotropic(6.0), [5.0, 10.0]),
        (TruncatedAnisotropic(3.5), [3.0, -7.0]),
        (TruncatedAnisotropic(torch.tensor([2.0], dtype=torch.float64)), [2.0, -4.0]),
        (TruncatedIsotropic(torch.tensor([2.0], dtype=torch.float64)), [2.0, 4.0]),
    ],
)
def test_noise_scales_with_the_distance(noise: Noise, expected: list[float]) -> None:
    difference, xi = torch.tensor([[[3.0, -4.0]]]), torch.tensor([[[1.0, 2.0]]])
    assert noise(difference, xi).tolist() == [[expected]]


P, S = 0.7, 0.9
"""lambda dt and sigma sqrt(dt)"""


def gauss_hermite() -> tuple[Tensor, Tensor]:
    """Nodes and weights with which the mean over a standard normal is a sum, exact for polynomials below degree 80."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    return torch.as_tensor(nodes)[:, None], torch.as_tensor(weights / weights.sum())[:, None]


def test_the_exact_step_has_the_moments_of_geometric_brownian_motion() -> None:
    """E X = c + (x - c) e^-p;  E (X - c)^2 = (x - c)^2 e^(-2 p + s^2)."""
    xi, weight = gauss_hermite()
    difference = torch.full_like(xi, -1.7)
    after = Exact()(difference, difference, xi, P, S, Anisotropic())  # c = 0
    decay = torch.tensor([-P, -2 * P + S**2], dtype=torch.float64).exp()
    assert_close((weight * after).sum(), -1.7 * decay[0], rtol=1e-12, atol=0.0)
    assert_close((weight * after**2).sum(), 1.7**2 * decay[1], rtol=1e-12, atol=0.0)


def test_the_exact_step_has_the_moments_of_ornstein_uhlenbeck() -> None:
    """E X = c + (x - c) e^-p;  Var X = s^2 (1 - e^-2p) / (2 p), and s^2 where nothing draws (p = 0)."""
    xi, weight = gauss_hermite()
    difference = torch.full_like(xi, -1.7)
    decay = torch.tensor(-P, dtype=torch.float64).exp()
    after = Exact()(difference, difference, xi, P, S, Constant())
    mean = (weight * after).sum()
    assert_close(mean, -1.7 * decay, rtol=1e-12, atol=0.0)
    assert_close((weight * (after - mean) ** 2).sum(), S**2 * (1 - decay**2) / (2 * P), rtol=1e-12, atol=0.0)
    assert_close(Exact()(difference, difference, xi, 0.0, S, Constant()), difference + S * xi)


@pytest.mark.parametrize("noise", [Anisotropic(), Constant()])
def test_many_exact_steps_are_one(noise: Noise) -> None:
    """Of a flow: two steps of dt / 2 have the moments of one of dt."""
    xi, weight = gauss_hermite()
    both = weight * weight.T
    start = torch.full_like(xi, 2.0)
    once = Exact()(start, start, xi, P, S, noise)
    half = Exact()(start, start, xi, P / 2, S / 2**0.5, noise).expand(-1, len(xi))
    twice = Exact()(half, half, xi.T, P / 2, S / 2**0.5, noise)
    for power in (1, 2, 3):
        assert_close((both * twice**power).sum(), (weight * once**power).sum(), rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("noise", [Anisotropic(), Constant()])
def test_eulers_step_is_the_exact_one_to_first_order(noise: Noise) -> None:
    """In the mean over xi: the difference falls as dt^2, by about 4 when dt is halved."""
    xi, weight = gauss_hermite()
    x = torch.full_like(xi, 2.0)
    for power in (1, 2):
        errors = []
        for dt in (0.02, 0.01):
            p, s = P * dt, S * dt**0.5
            euler, exact = Euler()(x, x, xi, p, s, noise), Exact()(x, x, xi, p, s, noise)
            errors.append(float((weight * (euler**power - exact**power)).sum().abs()))
        assert 3.8 < errors[0] / errors[1] < 4.2


def test_the_exact_step_is_stable_where_eulers_is_not() -> None:
    """2 lambda > sigma^2, but dt = 5 is far too long for Euler's step."""
    x0 = torch.ones(4, 3, dtype=torch.float64)
    settings: dict[str, Any] = {"dt": 5.0, "sigma": Schedule(0.5), "alpha": Growth(5.0)}
    stable = advance(CBO(step=Exact(), **settings), x0, 40)[-1]
    unstable = advance(CBO(step=Euler(), **settings), x0, 40)[-1]
    assert stable.particles.std(1).max() < 1e-3
    assert unstable.particles.std(1).max() > 1e3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [[0.0, 1e30, -1e30], [3e38, 2e38, 1e38], [-1e-30, 0.0, -1e-5]])
def test_large_alpha_picks_the_best_at_any_scale(values: list[float], dtype: torch.dtype) -> None:
    points = torch.eye(3, dtype=dtype)[None]
    picked = consensus_point(points, torch.tensor([values], dtype=dtype), 1e8)
    assert torch.equal(picked[0], points[0, min(range(3), key=values.__getitem__)])


def test_small_alpha_averages_what_succeeded() -> None:
    points = torch.tensor([[[1.0], [2.0], [6.0], [100.0]]], dtype=torch.float64)
    values = torch.tensor([[5.0, -3.0, 1.0, torch.nan]], dtype=torch.float64)
    assert_close(consensus_point(points, values, 1e-12), torch.tensor([[3.0]], dtype=torch.float64))


def test_every_pass_visits_every_particle_once_and_moves_only_those_asked() -> None:
    algorithm, stream = CBO(particles=12, batch=4, alpha=Growth(0.1)), streams([0, 1])
    state = algorithm.init(torch.zeros(2, 3, dtype=torch.float64), stream)
    passes = []
    for _ in range(2):
        original = state.particles
        asked = []
        for _ in range(3):
            before = state.particles
            points, state = algorithm.ask(state, stream.at(state.t))
            asked.append(points)
            state, _ = algorithm.tell(state, points, Values((points**2).sum(-1)))
            assert ((state.particles != before).any(-1).sum(-1) == 4).all()
        rows = torch.cat(asked, 1)
        for r in range(2):
            assert torch.equal(rows[r][rows[r, :, 0].argsort()], original[r][original[r, :, 0].argsort()])
        passes.append(state.order)
    assert not torch.equal(passes[0][0], passes[0][1])
    assert not torch.equal(passes[0], passes[1])


def test_a_full_update_moves_all_and_asks_for_the_batch_alone() -> None:
    algorithm, x0 = CBO(particles=12, batch=4, full=True, alpha=Growth(0.1)), torch.zeros(2, 3, dtype=torch.float64)
    before, after = advance(algorithm, x0, 1)
    batch = before.particles.gather(1, after.order[:, :4, None].expand(-1, -1, 3))
    assert_close(after.consensus, consensus_point(batch, sphere(batch), 0.1))
    xi = normals(after.stream, 12, x0)
    moved = Euler()(
        before.particles, before.particles - after.consensus[:, None], xi, 0.5, 1.4 * 0.5**0.5, Anisotropic()
    )
    assert torch.equal(after.particles, moved)


def test_reduction_follows_the_variance() -> None:
    """Particles that draw together to half their distance in a pass have a quarter of the variance left."""
    algorithm = CBO(
        particles=40, batch=4, drift=0.5, dt=1.0, sigma=Schedule(1e-9), alpha=Growth(1e-9), full=False, reduction=0.8
    )
    x0 = torch.zeros(3, 2, dtype=torch.float64)
    states = advance(algorithm, x0, 60)
    sizes = [state.alive.sum(-1) for state in states]
    assert all((size % 4 == 0).all() and (size >= 4).all() for size in sizes)
    assert (sizes[9] == 40).all()
    change = states[10].variance  # V, until the next pass begins
    now = states[11].variance
    expected = (40 * (0.8 * now + 0.2 * change) / change / 4).round() * 4
    assert torch.equal(sizes[11].double(), expected)
    assert (sizes[11] < 40).all()
    assert (sizes[-1] < sizes[11]).all()
    # Those that are gone are not asked for, and do not move.
    gone = ~states[11].alive
    for r in range(3):
        assert torch.equal(states[-1].particles[r][gone[r]], states[11].particles[r][gone[r]])


def test_a_pass_of_fewer_particles_visits_each_of_them_once() -> None:
    algorithm = CBO(particles=20, batch=4, alpha=Growth(0.1), sigma=Schedule(0.1), reduction=0.5)
    root = streams([0, 1, 2])
    state = algorithm.init(torch.zeros(3, 2, dtype=torch.float64), root.fold(Purpose.INITIAL))
    visits = torch.zeros(3, 20)
    for t in range(40):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        new = state.start == 0
        finished = visits[new]
        assert ((finished == 0) | (finished == 1)).all()
        visits[new] = 0.0
        visits.scatter_add_(1, state.order.gather(1, state.start[:, None] + torch.arange(4)), torch.ones(3, 4))
        assert (visits <= state.alive).all()
        state, _ = algorithm.tell(state, points, Values(sphere(points)))
    assert (state.alive.sum(-1) < 20).all()


def test_memory_keeps_the_best_place_of_each_particle() -> None:
    def ripples(points: Tensor) -> Tensor:
        return torch.sin(7 * points).sum(-1)

    algorithm = CBO(particles=12, batch=4, memory=PersonalBest(), sigma=Schedule(1.0), alpha=Growth(3.0))
    root = streams([0, 1])
    state = algorithm.init(torch.zeros(2, 3, dtype=torch.float64), root.fold(Purpose.INITIAL))
    best = torch.full((2, 12), torch.inf, dtype=torch.float64)
    for t in range(30):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        index = state.order.gather(1, state.start[:, None] + torch.arange(4))
        values = ripples(points)
        values[:, t % 4] = torch.nan
        state, _ = algorithm.tell(state, points, Values(values))
        best = best.scatter(1, index, torch.fmin(best.gather(1, index), values))
        assert torch.equal(state.best_values, best.nan_to_num())  # a state is finite: the largest number stands for inf
        known = torch.isfinite(best)
        assert_close(ripples(state.best)[known], best[known])
        members = state.best.gather(1, index[..., None].expand(-1, -1, 3))
        assert_close(state.consensus, consensus_point(members, best.gather(1, index), 3.0))


def test_heaviside() -> None:
    excess = torch.tensor([[-1.0, 0.0, 2.0, torch.inf]])
    assert Heaviside()(excess).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert NoCorrection()(excess).tolist() == [[1.0] * 4]
    assert_close(
        SmoothHeaviside(2.0)(excess), torch.tensor([[0.5 - 0.5 * 0.46211716, 0.5, 0.5 + 0.5 * 0.76159416, 1.0]])
    )


@pytest.mark.parametrize("step", [Euler(), Exact()])
def test_a_better_particle_does_not_drift(step: Any) -> None:
    """Without noise it stays; if f(c) fails, all drift."""
    algorithm = CBO(particles=6, correction=Heaviside(), sigma=Schedule(1e-12), alpha=Growth(0.5), step=step)
    root = streams([0, 1])
    state = algorithm.init(torch.ones(2, 3, dtype=torch.float64), root)
    points, state = algorithm.ask(state, root.at(0))
    state, _ = algorithm.tell(state, points, Values(sphere(points)))
    assert torch.equal(state.particles, points)
    consensus, state = algorithm.ask(state, root.at(1))
    value = sphere(consensus)
    told, _ = algorithm.tell(state, consensus, Values(torch.where(torch.tensor([[True], [False]]), value, torch.nan)))
    stays = (told.particles - points).abs().amax(-1) < 1e-9
    assert torch.equal(stays[0], sphere(points)[0] <= value[0])
    assert 0 < stays[0].sum() < 6
    assert not stays[1].any()


def test_gradient_drift() -> None:
    """With a vanishing drift to the consensus it is gradient descent; a gradient that failed is left out."""
    algorithm = CBO(particles=4, drift=1e-12, sigma=Schedule(1e-12), dt=0.1, gradient=2.0)
    assert algorithm.wants_gradients
    root = streams([0])
    state = algorithm.init(torch.ones(1, 3, dtype=torch.float64), root)
    points, state = algorithm.ask(state, root)
    gradients = 2 * points
    gradients[0, 2] = torch.nan
    state, _ = algorithm.tell(state, points, Values(sphere(points), gradients))
    expected = points * (1 - 0.1 * 2.0 * 2)
    expected[0, 2] = points[0, 2]
    assert_close(state.particles, expected, rtol=0.0, atol=1e-9)


def test_gradients_are_asked_of_an_objective_and_charged() -> None:
    """Two queries for each particle and step; a policy, or a plain function, tells no gradients."""
    algorithm = CBO(particles=5, gradient=1.0, dt=0.2, sigma=Schedule(0.1))
    result = run(algorithm, ObjectiveProblem(Sphere(dim=3)), seeds=3, budget=400)
    assert (result.spent.queries == 400).all()
    assert result.iterations == 40
    assert (sphere(result.parameters) < 1e-6).all()
    env = envs.make("RandomMDP-v0", horizon=5)
    with pytest.raises(ValueError, match=r"^cbo wants gradients, RandomMDP-v0 answers optimizers with values only"):
        run(algorithm, PolicyProblem(env, envs.MLP(env.spec, hidden=())), seeds=2, budget=1000)
    with pytest.raises(ValueError, match=r"^algorithm = CBO\(.*\) wants gradients, and f tells values alone"):
        minimize(lambda x: float(x @ x), dim=2, bounds=(-1, 1), algorithm=algorithm)


@pytest.mark.parametrize(
    "surface", [SphereSurface(1.5), Plane((1.0, -2.0, 0.5), 0.3), Plane((2.0,), torch.tensor([0.1, 1.0]).double())]
)
def test_surfaces(surface: Any) -> None:
    """The gradient and the curvature are those of g."""
    x = streams([0, 1]).spread(torch.arange(4)).normal(3, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(surface.g(x).sum(), x)
    assert_close(surface.gradient(x).expand_as(x), gradient)
    for row in range(2):

        def g(point: Tensor, row: int = row) -> Tensor:
            return surface.g(point.expand(2, 1, 3))[row, 0]

        hessian = torch.autograd.functional.hessian(g, x[row, 0].detach())
        assert_close(hessian, surface.curvature * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("surface", [SphereSurface(1.5), Plane((1.0, -2.0, 0.5), 0.3)])
def test_the_implicit_drift_solves_its_equation(surface: Any) -> None:
    """(I + tau Hess g^2(x)) (x' - x) = step - tau grad g^2(x)."""
    x, step = (streams([7 + i]).spread(torch.arange(4)).normal(3, dtype=torch.float64) for i in range(2))
    tau = 0.2 / 0.05
    after = DriftConstraint(surface, eps=0.05).steer(x, x + step, 0.2)

    def square(point: Tensor) -> Tensor:
        return surface.g(point[None, None]).square().sum()

    for k in range(4):
        gradient = torch.autograd.functional.jacobian(square, x[0, k])
        hessian = torch.autograd.functional.hessian(square, x[0, k])
        left = (torch.eye(3, dtype=torch.float64) + tau * hessian) @ (after - x)[0, k]
        assert_close(left, step[0, k] - tau * gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("constraint", "noise"),
    [(DriftConstraint(SphereSurface(2.0), 0.1), Anisotropic()), (Penalty(SphereSurface(2.0), 10.0), Isotropic())],
)
def test_constrained_minimum(constraint: Any, noise: Noise) -> None:
    """The minimiser of x_1 on a circle of radius 2 is (-2, 0)."""
    algorithm = CBO(dt=0.1, sigma=Schedule(1.4), noise=noise, alpha=Growth(30.0), constraint=constraint)
    state = advance(algorithm, torch.tensor([[-0.5, 1.5]] * 4).double(), 200, lambda points: points[..., 0])[-1]
    assert_close(state.consensus, torch.tensor([[-2.0, 0.0]] * 4).double(), rtol=0.0, atol=0.25)
    assert (SphereSurface(2.0).g(state.consensus[:, None]).abs() < 0.1).all()


SHIFT = torch.tensor([3.0, -1.0, 100.0], dtype=torch.float64)
PIECES: list[dict[str, Any]] = [
    {},
    {"noise": Isotropic()},
    {"noise": TruncatedIsotropic(0.5)},
    {"step": Exact()},
    {"batch": 4, "full": True},
    {"memory": PersonalBest()},
    {"correction": Heaviside()},
]


@pytest.mark.parametrize("pieces", PIECES)
def test_translation_invariance(pieces: dict[str, Any]) -> None:
    algorithm = CBO(particles=12, dt=0.2, sigma=Schedule(0.5), alpha=Growth(1.0), **pieces)
    x0 = torch.ones(2, 3, dtype=torch.float64)
    here = advance(algorithm, x0, 10)[-1]
    there = advance(algorithm, x0 + SHIFT, 10, lambda points: sphere(points - SHIFT))[-1]
    assert_close(there.particles, here.particles + SHIFT, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("noise", [Isotropic(), TruncatedIsotropic(0.5), Constant()])
def test_rotation_invariance(noise: Noise) -> None:
    """Turning particles, normals and function turns the step."""
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    x, xi = (streams([i]).spread(torch.arange(5)).normal(3, dtype=torch.float64) for i in range(2))
    here = Euler()(x, x, xi, P, S, noise)
    assert_close(Euler()(x @ turn, x @ turn, xi @ turn, P, S, noise), here @ turn)
    anisotropic = Euler()(x @ turn, x @ turn, xi @ turn, P, S, Anisotropic())
    assert not torch.allclose(anisotropic, Euler()(x, x, xi, P, S, Anisotropic()) @ turn)


def test_adding_to_the_values_or_scaling_them_with_alpha_changes_nothing() -> None:
    x0 = torch.ones(2, 3, dtype=torch.float64)
    plain = advance(CBO(particles=8, dt=0.2, alpha=Growth(2.0, 1.1)), x0, 10)[-1]
    shifted = advance(CBO(particles=8, dt=0.2, alpha=Growth(2.0, 1.1)), x0, 10, lambda x: sphere(x) + 1000.0)[-1]
    scaled = advance(CBO(particles=8, dt=0.2, alpha=Growth(0.5, 1.1)), x0, 10, lambda x: 4 * sphere(x))[-1]
    assert_close(shifted.particles, plain.particles, rtol=0.0, atol=1e-8)
    assert_close(scaled.particles, plain.particles, rtol=0.0, atol=1e-12)


def test_a_diverging_run_does_not_end_the_others() -> None:
    """Its particles stay within the range of float32; a bounded function never fails, so nothing else stops them."""
    algorithm, stream = CBO(sigma=Schedule(torch.tensor([1.4, 1e6]))), streams([0, 1])
    state = algorithm.init(torch.ones(2, 2), stream)
    for t in range(60):
        points, state = algorithm.ask(state, stream.at(t))
        assert torch.isfinite(points).all()
        state, _ = algorithm.tell(state, points, Values(torch.tanh(points.abs().sum(-1))))
    assert state.particles[1].abs().max() > 1e30
    assert torch.isfinite(state.consensus).all()
    assert state.consensus[0].abs().max() < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": Exact(), "noise": Isotropic()}, r"^step = Exact\(\) is not in closed form for noise = Isotropic\(\)"),
        ({"reduction": 0.2}, r"^reduction = 0.2 needs a batch"),
        ({"reduction": 1.0, "batch": 5}, r"^reduction = 1.0 is not in"),
        ({"full": True, "batch": 5, "correction": Heaviside()}, r"^correction = Heaviside\(\) needs the values"),
        ({"gradient": -1.0}, r"^gradient = -1.0 is not in"),
    ],
)
def test_pieces_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CBO(**settings)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: TruncatedIsotropic(0.0), "bound"),
        (lambda: TruncatedAnisotropic(-1.0), "bound"),
        (lambda: PersonalBest(drift=-1.0), "drift"),
        (lambda: PersonalBest(sigma=-1.0), "sigma"),
        (lambda: SmoothHeaviside(0.0), "width"),
        (lambda: SphereSurface(0.0), "radius"),
        (lambda: Plane((0.0, 0.0)), "normal"),
        (lambda: Plane((float("nan"),)), "normal"),
        (lambda: DriftConstraint(eps=0.0), "eps"),
        (lambda: Penalty(weight=0.0), "weight"),
    ],
)
def test_bad_pieces_are_named(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = "):
        make()


def test_a_normal_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^normal = \(1.0, 2.0\) has 2 numbers, allowed are 1 or 3"):
        Plane((1.0, 2.0)).g(torch.zeros(1, 1, 3))
