"""Gaussian processes and random Fourier features as surrogates: against autodiff, gpytorch and dense algebra."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.random import streams
from zeroth_order.federated.cholesky import JITTERS, factorize, rank_one_update
from zeroth_order.federated.gaussian_process import GaussianProcess, Window
from zeroth_order.federated.kernels import Kernel, Matern52, SquaredExponential
from zeroth_order.federated.random_features import CHUNK, RandomFeatures
from zeroth_order.federated.scaling import MinMax, Restricted, Scaling
from zeroth_order.federated.windows import nearest, squared_distances

KERNELS = [SquaredExponential(), Matern52()]
SCALINGS = [MinMax(), Restricted()]
F64 = torch.float64


def draws(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def wave(x: Tensor) -> Tensor:
    return torch.sin(x.sum(-1)) + 0.3 * x.square().sum(-1)


def data(*batch: int, count: int = 12, dim: int = 3, seed: int = 0, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    points = draws(*batch, count, dim, seed=seed, dtype=dtype)
    return points, wave(points)


def dense(kernel: Kernel, a: Tensor, b: Tensor, length: float) -> Tensor:
    """k(a, b) by differences, differentiable where no two points are equal."""
    return kernel.value((a[:, None] - b[None]).square().sum(-1) / length**2)


def rows(window: Window, member: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Points, values and covariance factor of the filled slots of one member."""
    kept = window.filled[member]
    return window.points[member][kept], window.values[member][kept], window.factor[member][kept][:, kept]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_derivatives_of_the_kernels(kernel: Kernel) -> None:
    x, other, length = draws(4), draws(4, seed=1), 0.7

    def k(x: Tensor, other: Tensor) -> Tensor:
        return kernel.value((x - other).square().sum() / length**2)

    u = (x - other).square().sum() / length**2
    gradient = torch.autograd.functional.jacobian(k, (x, other))[0]
    assert_close(gradient, -kernel.slope(u) * (x - other) / length**2, rtol=1e-12, atol=1e-14)
    mixed = torch.autograd.functional.hessian(k, (x, x + 1e-6))[0][1]  # at x itself autodiff divides 0 by 0
    assert_close(mixed, kernel.curvature / length**2 * torch.eye(4, dtype=F64), rtol=1e-8, atol=1e-8)
    assert_close(kernel.slope(torch.zeros(1, dtype=F64)), torch.tensor([kernel.curvature], dtype=F64))


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_posterior_is_gpytorchs(kernel: Kernel, scaling: Scaling) -> None:
    gpytorch = pytest.importorskip("gpytorch")
    noise = torch.tensor([1e-3, 1e-2], dtype=F64)
    process = GaussianProcess(kernel, noise, 16, scaling)
    points, values = data(2, 3, count=20)
    window = process.fit(points, values.index_fill(2, torch.tensor([4, 9]), torch.nan), draws(2, 3).exp())
    found, x = process.posterior(window), draws(2, 3, 5, 3, seed=2)
    for member in [(0, 0), (1, 2)]:
        X, y, scale = window.points[member], window.values[member], found.scale[member]
        variance = (noise[member[0]] * scale**2).expand(16)
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(variance)
        base = (
            gpytorch.kernels.RBFKernel() if isinstance(kernel, SquaredExponential) else gpytorch.kernels.MaternKernel()
        )
        model = exact_gp(gpytorch, X, y, likelihood, base)
        base.lengthscale, model.covar_module.outputscale = window.length[member], scale**2
        model.mean_module.constant = found.shift[member]
        mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        with gpytorch.settings.fast_computations(False, False, False):
            joint = 16 * mll(model(X), y).detach()
            model.eval()
            asked = x[member].clone().requires_grad_()
            mean = model(asked).mean
            (gradient,) = torch.autograd.grad(mean.sum(), asked)
            J = torch.stack([cross_derivative(model.covar_module, X, at) for at in x[member]])
            K = model.covar_module(X).to_dense().detach() + variance.diag()
        assert_close(found.mean(x)[member], mean.detach(), rtol=1e-8, atol=1e-8)
        mine = torch.stack([found.gradient(x[..., p, :])[member] for p in range(5)])
        assert_close(mine, gradient, rtol=1e-8, atol=1e-8)
        explained = (J * torch.linalg.solve(K, J)).sum((-2, -1)) / 3
        assert_close(found.uncertainty(x)[member], found.prior_uncertainty()[member] - explained, rtol=1e-8, atol=1e-8)
        if isinstance(scaling, MinMax):  # the density of the scaled values
            mine = process.log_likelihood(window, window.length)[member]
            assert_close(mine - 16 * scale.log(), joint, rtol=1e-8, atol=1e-8)


def cross_derivative(covariance, points: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda at: covariance(points, at[None]).to_dense()[:, 0], x)


def exact_gp(gpytorch, points: Tensor, values: Tensor, likelihood, base):
    class Model(gpytorch.models.ExactGP):
        def __init__(self) -> None:
            super().__init__(points, values, likelihood)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(base)

        def forward(self, x: Tensor):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    return Model().double()


def test_the_restricted_likelihood_is_that_of_the_contrasts() -> None:
    """Of n - 1 orthonormal combinations of the values in which a constant cancels, at the likeliest variance."""
    process = GaussianProcess(noise=1e-3, capacity=16)
    points, values = data(1, count=11)
    window = process.fit(points, values + 1e3, 1.0)
    contrasts = torch.linalg.qr(torch.cat((torch.ones(11, 1), torch.eye(11)[:, :10]), 1).double()).Q[:, 1:].T
    found = []
    for length in (0.3, 1.0, 4.0):
        covariance = dense(process.kernel, points[0], points[0], length) + 1e-3 * torch.eye(11)
        reduced, z = contrasts @ covariance @ contrasts.T, contrasts @ values[0]
        variance = z @ torch.linalg.solve(reduced, z) / 10
        law = torch.distributions.MultivariateNormal(torch.zeros(10, dtype=F64), variance * reduced)
        at = torch.tensor([length], dtype=F64)
        found.append(process.log_likelihood(window, at)[0] - law.log_prob(z))
        _, scale = process.scaling(window.values, window.filled, process.refit(window, at).factor)
        assert_close(scale[0].square(), variance, rtol=1e-8, atol=0)
    assert_close(torch.stack(found), found[0].expand(3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_the_length_scale_is_the_likeliest_near_the_last(scaling: Scaling) -> None:
    process = GaussianProcess(noise=1e-4, capacity=32, scaling=scaling)
    points, values = data(3, 2, count=30)
    window = process.fit(points, values, 1.0)
    found = process.tune(window, factor=100.0, steps=16)
    grid = torch.logspace(-2, 2, 401, dtype=F64)
    likelihoods = torch.stack([process.log_likelihood(window, length.expand(3, 2)) for length in grid])
    assert_close(found.length.log(), grid[likelihoods.argmax(0)].log(), rtol=0, atol=0.03)
    assert_close(found.factor, process.fit(points, values, found.length).factor, rtol=0, atol=1e-10)
    near = process.tune(process.refit(window, found.length * 1.5))
    assert_close(near.length.log(), found.length.log(), rtol=0, atol=0.03)
    assert torch.equal(process.tune(found, factor=4.0, steps=0).length, found.length)  # both probes are worse


def test_two_points_say_nothing_about_the_length_scale() -> None:
    """The likelihood of one difference is the same for all: rounding must not decide."""
    process = GaussianProcess(capacity=16)
    window = process.fit(*data(3, 2, count=2), 0.8)
    assert bool((process.tune(window).length == 0.8).all())


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_values_that_are_all_equal_say_nothing(scaling: Scaling) -> None:
    process = GaussianProcess(scaling=scaling, capacity=16)
    points, _ = data(2, count=9)
    for values in (torch.full((2, 9), 0.1, dtype=F64), torch.full((2, 9), -1e9 / 3, dtype=F64)):
        window = process.tune(process.fit(points, values, 1.0))
        found = process.posterior(window)
        assert bool((window.length == 1).all())
        assert bool((found.gradient(points[:, 0]) == 0).all())
        assert torch.equal(found.mean(points), values)
        assert bool(torch.isfinite(found.uncertainty(points)).all())
    for few in (0, 1):
        window = process.tune(process.fit(points[:, :1], values[:, :1] if few else torch.full((2, 1), math.nan), 1.0))
        found = process.posterior(window)
        assert bool((window.length == 1).all())
        assert bool((found.gradient(points[:, 3]) == 0).all())
        assert_close(found.uncertainty(points[:, :1] + 1e3)[:, 0], found.prior_uncertainty())


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_scale_and_offset_of_the_values(scaling: Scaling) -> None:
    process = GaussianProcess(scaling=scaling, capacity=16)
    points, values = data(2)
    window, other = process.fit(points, values, 1.0), process.fit(points + 50, 1e3 * values - 1e4, 1.0)
    a, b = process.posterior(window), process.posterior(other)
    assert_close(b.gradient(points[:, 0] + 50.1), 1e3 * a.gradient(points[:, 0] + 0.1), rtol=1e-6, atol=1e-6)
    assert_close(b.uncertainty(points + 50.1), 1e6 * a.uncertainty(points + 0.1), rtol=1e-6, atol=1e-3)
    one = torch.ones(2, dtype=F64)
    gain, same = (process.log_likelihood(w, one) - process.log_likelihood(w, 2 * one) for w in (window, other))
    assert_close(gain, same, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_posterior_goes_through_the_data(kernel: Kernel) -> None:
    points, values = data(2)
    process = GaussianProcess(kernel, 1e-10, 16)
    found = process.posterior(process.fit(points, values, 1.0))
    assert_close(found.mean(points), values, rtol=0, atol=1e-7)
    assert bool((found.uncertainty(points) < found.prior_uncertainty()[:, None]).all())
    assert_close(found.uncertainty(points + 1e3)[:, 0], found.prior_uncertainty(), rtol=1e-12, atol=0)


def test_rank_one_update() -> None:
    root, vector = draws(2, 3, 8, 8), draws(2, 3, 8, seed=1)
    matrix = root @ root.mT + torch.eye(8)
    expected = torch.linalg.cholesky(matrix + vector[..., None] * vector[..., None, :])
    assert_close(rank_one_update(torch.linalg.cholesky(matrix), vector), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", [1e-6, 1e-2])
@pytest.mark.parametrize("capacity", [16, 20])
def test_a_sliding_window_is_the_same_as_one_from_scratch(capacity: int, noise: float) -> None:
    """Members fill up at different times: a third of the queries fails."""
    process = GaussianProcess(noise=noise, capacity=capacity)
    walk = 0.1 * draws(2, 3, 400, 4).cumsum(-2)
    values = torch.where(draws(2, 3, 400, seed=1) > 0.4, torch.nan, wave(walk))
    window = process.empty(walk[..., 0, :], 0.7)
    for t in range(400):
        window = process.append(window, walk[..., t, :], values[..., t])
        if t in (0, 5, 30, 200, 399):
            scratch = process.fit(walk[..., : t + 1, :], values[..., : t + 1], 0.7)
            assert torch.equal(window.filled, scratch.filled)
            assert bool((scratch.squares.diagonal(dim1=-2, dim2=-1) == 0).all())
            filled = window.filled[..., None]
            assert torch.equal(torch.where(filled, window.points, 0), torch.where(filled, scratch.points, 0))
            assert_close(window.factor, scratch.factor, rtol=0, atol=1e-8)
            assert_close(window.factor, process.refit(window, window.length).factor, rtol=0, atol=1e-10)
            x = walk[..., t, :] + 0.05
            mine, theirs = process.posterior(window).gradient(x), process.posterior(scratch).gradient(x)
            assert_close(mine, theirs, rtol=1e-6 if noise == 1e-6 else 1e-8, atol=1e-8)
    assert bool((window.filled.sum(-1) == capacity).all())


def test_many_points_at_once_are_the_same_as_one_after_the_other() -> None:
    process = GaussianProcess(noise=1e-3, capacity=16)
    points, values = data(2, 2, count=25)
    values[0, :, 20:] = torch.inf
    window = process.extend(process.fit(points[..., :7, :], values[..., :7], 0.7), points[..., 7:, :], values[..., 7:])
    step = process.fit(points[..., :7, :], values[..., :7], 0.7)
    for t in range(7, 25):
        step = process.append(step, points[..., t, :], values[..., t])
    assert torch.equal(window.points, step.points)
    assert_close(window.factor, step.factor, rtol=0, atol=1e-10)


def test_a_failed_query_and_an_empty_slot_change_nothing() -> None:
    process = GaussianProcess(capacity=20)
    points, values = data(2, 2, count=9)
    window = process.fit(points, values, 1.0)
    for bad in (torch.nan, torch.inf, -torch.inf):
        after = process.append(window, draws(2, 2, 3, seed=5), torch.tensor([[bad, 1.0], [bad, bad]], dtype=F64))
        for new, old in zip(after, window, strict=True):
            assert torch.equal(new[1], old[1])
            assert torch.equal(new[0, 0], old[0, 0])
        assert after.filled.sum(-1).tolist() == [[9, 10], [9, 9]]
    junk = torch.where(window.filled, window.values, 1e30)
    other = window._replace(points=torch.where(window.filled[..., None], window.points, 7.0), values=junk)
    x = draws(2, 2, 6, 3, seed=3)
    a, b = process.posterior(window), process.posterior(other)
    assert torch.equal(a.mean(x), b.mean(x))
    assert torch.equal(a.gradient(x[..., 0, :]), b.gradient(x[..., 0, :]))
    assert_close(a.uncertainty(x), b.uncertainty(x), rtol=1e-12, atol=0)
    kept, y, _ = rows(window, (0, 1))
    small = GaussianProcess(capacity=9).fit(kept[None], y[None], 1.0)
    assert_close(
        GaussianProcess(capacity=9).posterior(small).mean(x[:1, 1])[0], a.mean(x)[0, 1], rtol=1e-10, atol=1e-10
    )


def test_jitter_only_where_it_is_needed() -> None:
    process = GaussianProcess(noise=0.0, capacity=16)
    points, values = data(2, count=10)
    points[1, 5:] = points[1, :5]
    values[1, 5:] = values[1, :5]
    window = process.fit(points, values, 1.0)
    assert window.jitter.tolist() == [0.0, JITTERS[1]]
    assert_close(process.posterior(window).mean(points), values, rtol=0, atol=1e-6)
    assert process.log_likelihood(window, window.length).isneginf().tolist() == [False, True]
    variance = (window.factor @ window.factor.mT)[:, -1, -1] - 1
    assert_close(variance, window.jitter, rtol=0, atol=1e-14)
    other = process.append(window, points[:, 0] + 5, values[:, 0])
    assert_close((other.factor @ other.factor.mT)[:, -1, -1] - 1, window.jitter, rtol=0, atol=1e-14)
    for _ in range(20):
        window = process.append(window, points[:, 0], values[:, 0])
        assert bool(torch.isfinite(window.factor).all())
    filled = torch.ones(3, 16, dtype=torch.bool)
    defect = torch.eye(16, dtype=F64) * torch.tensor([1.0, -1e-8, -1.0], dtype=F64)[:, None, None]
    factor, jitter = factorize(defect, filled)
    assert jitter.tolist() == [0.0, JITTERS[2], JITTERS[2]]
    assert torch.isfinite(factor).all((-2, -1)).tolist() == [True, True, False]


def test_the_nearest_points() -> None:
    points, values = data(2, 2, count=30)
    values[0, 0, ::2] = torch.nan
    values[1, 1, 3:] = torch.nan
    x = draws(2, 2, 3, seed=4)
    kept, y = nearest(points, values, x, 10)
    assert kept.shape == (2, 2, 10, 3)
    window = GaussianProcess(capacity=10).fit(kept, y, 1.0)
    for member in [(0, 0), (0, 1), (1, 1)]:
        usable = torch.isfinite(values[member])
        distance = (points[member][usable] - x[member]).norm(dim=-1)
        order = distance.argsort()[:10].flip(0)
        assert torch.equal(rows(window, member)[0], points[member][usable][order])
        assert torch.equal(rows(window, member)[1], values[member][usable][order])
    few, _ = nearest(points, values, x, 50)
    assert few.shape == (2, 2, 30, 3)


def test_squared_distances_far_from_the_origin() -> None:
    a, b = 1e4 + draws(2, 5, 3), 1e4 + draws(2, 7, 3, seed=1)
    expected = (a[:, :, None] - b[:, None]).square().sum(-1)
    assert_close(squared_distances(a, b), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_features_have_the_kernel_as_their_mean(kernel: Kernel, orthogonal: bool) -> None:
    """5 standard errors of the mean over 200 runs in 4 cases x 6 entries: wrong by chance in 1 of 70,000 seeds."""
    x = torch.tensor([[0, 0, 0, 0], [0.3, 0, 0, 0], [0.5, -0.5, 0.5, 0.5], [2, 1, 0, 0]], dtype=F64).expand(200, 4, 4)
    features = RandomFeatures(24, orthogonal).draw(kernel, streams(list(range(200))), x[:, 0])
    phi = features.at(x, torch.full((200, 4), 1.3, dtype=F64))
    estimates = (phi @ phi.mT).flatten(1)
    error = estimates.mean(0) - dense(kernel, x[0], x[0], 1.3).flatten()
    assert bool((error.abs() < 5 * estimates.std(0) / 200**0.5 + 1e-12).all())


def test_frequencies_are_normal_or_student() -> None:
    """Mean of |v|^2 / d: 1 and 5 / 3; of 1 / (1 + |v|^2 / 5) for d = 1, t with 5: 5/6. 5 standard errors."""
    like = torch.zeros(1, 1, dtype=F64)
    for orthogonal in (False, True):
        draw = RandomFeatures(40_000, orthogonal).draw
        normal = draw(SquaredExponential(), streams([1]), like).frequencies[0, :40_000, 0].square()
        student = draw(Matern52(), streams([2]), like).frequencies[0, :40_000, 0].square()
        assert abs(float(normal.mean()) - 1) < 5 * (2 / 40_000) ** 0.5
        bounded = 1 / (1 + student / 5)  # a beta variable with parameters 5/2 and 1/2
        assert abs(float(bounded.mean()) - 5 / 6) < 5 * float(bounded.std()) / 200
        assert abs(float(bounded.var()) - (5 / 4) / (9 * 4)) < 0.002


def test_orthogonal_features_vary_less() -> None:
    """Variance of the kernel estimate, 400 runs: a ratio of 0.5 or less is expected, 0.8 is 6 standard errors off."""
    x = torch.tensor([[0.0] * 16, [0.3] * 16], dtype=F64).expand(400, 2, 16)
    variance = []
    for orthogonal in (False, True):
        features = RandomFeatures(16, orthogonal).draw(SquaredExponential(), streams(list(range(400))), x[:, 0])
        z = x @ features.frequencies[:, :16, :16].mT
        variance.append(torch.cos(z[:, 1] - z[:, 0]).mean(-1).var())
    assert float(variance[1] / variance[0]) < 0.8


def test_orthogonal_frequencies_are_orthogonal() -> None:
    features = RandomFeatures(8, True).draw(Matern52(), streams([0]), torch.zeros(1, 8, dtype=F64))
    block = features.frequencies[0, :8, :8]
    gram = block @ block.T
    assert_close(gram - gram.diagonal().diag(), torch.zeros(8, 8, dtype=F64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", [20, CHUNK + 100])
def test_weights_are_ridge_regression(number: int) -> None:
    """In the primal form; and the gradient is that of w . phi."""
    process = GaussianProcess(noise=1e-2, capacity=20)
    points, values = data(2, 3, count=11)
    window, length = process.fit(points, values, 1.0), draws(2, 3, seed=7).exp()
    features = RandomFeatures(number).draw(process.kernel, streams([4, 5]), points[:, 0, 0])
    weights = features.weights(process, window, length)
    residual, _, _ = process.residual(window)
    for run, client in [(0, 0), (1, 2)]:
        phi = features.at(points[:, client], length[run, client].expand(2, 11))[run]
        r = residual[run, client][window.filled[run, client]]
        primal = torch.linalg.solve(phi.T @ phi + 1e-2 * torch.eye(number, dtype=F64), phi.T @ r)
        assert_close(weights[run, client], primal, rtol=1e-8, atol=1e-8)
    x = draws(2, 3, 3, seed=8).requires_grad_()
    value = (features.at(x, length) * weights).sum()
    (expected,) = torch.autograd.grad(value, x)
    assert_close(features.gradient(weights, x.detach(), length), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_gradient_of_the_features_tends_to_the_exact_one(kernel: Kernel) -> None:
    """Error M^(-1/2); the slope over 64 runs has a standard error of 0.023: 0.12 fails by chance 1 time in 10,000."""
    process = GaussianProcess(kernel, 1e-2, 16)
    points, values = data(1, 1, count=16)
    window, x = process.fit(points, values, 1.5), draws(1, 1, 3, seed=9)
    exact = process.posterior(window).gradient(x)
    many = Window(*(part.expand(64, *part.shape[1:]) for part in window))
    sizes, errors = [64, 256, 1024, 4096], []
    for number in sizes:
        features = RandomFeatures(number).draw(kernel, streams(list(range(64))), x[:, 0])
        found = features.gradient(features.weights(process, many, many.length), x.expand(64, 1, 3), many.length)
        errors.append((found - exact).norm(dim=-1).log().mean())
    log_sizes = torch.tensor(sizes, dtype=F64).log()
    centred = log_sizes - log_sizes.mean()
    slope = (centred * torch.stack(errors)).sum() / centred.square().sum()
    assert abs(float(slope) + 0.5) < 0.12


def everything(seeds: list[int], dtype: torch.dtype) -> list[Tensor]:
    """What a federated algorithm does with surrogates, for runs with the given seeds.

    Sizes are odd, so that without whole cache lines matrices would begin anywhere and BLAS would sum in other orders.
    """
    root = streams(seeds)
    process = GaussianProcess(capacity=37, noise=1e-5)
    lanes = torch.arange(3 * 50).view(3, 50)
    points = root.spread(lanes).normal(5, dtype=dtype)
    values = wave(points)
    values[..., 3] = torch.nan
    window = process.tune(process.fit(points[..., :30, :], values[..., :30], 1.0), 10.0, 6)
    for t in range(30, 50):
        window = process.append(window, points[..., t, :], values[..., t])
    window = process.tune(window, steps=4)
    found, x = process.posterior(window), points[..., 0, :] + 0.1
    features = RandomFeatures(100, orthogonal=True).draw(process.kernel, root, points[:, 0, 0])
    weights = features.weights(process, window, window.length)
    history, y = nearest(points, values, x, 10)
    outcome = [found.mean(points), found.gradient(x), found.uncertainty(points), found.prior_uncertainty()]
    return [*window, *outcome, weights, features.gradient(weights, x, window.length), history, y]


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_run_is_the_same_alone_and_among_others(dtype: torch.dtype) -> None:
    seeds = [3, 1, 4, 15, 9]
    together = everything(seeds, dtype)
    for r, seed in enumerate(seeds):
        for i, (part, alone) in enumerate(zip(together, everything([seed], dtype), strict=True)):
            assert torch.equal(part[r].nan_to_num(), alone[0].nan_to_num()), i


def test_single_precision_is_near_double() -> None:
    single, double = everything([0, 1], torch.float32), everything([0, 1], F64)
    count = len(Window._fields)
    assert all(part.dtype in (F64, torch.bool) for part in single[:count])
    assert all(part.dtype == torch.float32 for i, part in enumerate(single[count:]) if i != 3)
    assert_close(single[count + 1].double(), double[count + 1], rtol=1e-3, atol=1e-3)
    assert_close(single[count + 5].double(), double[count + 5], rtol=1e-2, atol=1e-2)


def test_clients_share_features_and_runs_do_not() -> None:
    like = torch.zeros(2, 3, dtype=F64)
    a = RandomFeatures(8).draw(Matern52(), streams([0, 1]), like)
    b = RandomFeatures(8).draw(Matern52(), streams([1, 0]), like)
    assert torch.equal(a.frequencies, b.frequencies.flip(0))
    assert not torch.equal(a.frequencies[0], a.frequencies[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianProcess(noise=-1.0), r"noise = -1.0 is not in \[0, inf\]"),
        (lambda: GaussianProcess(capacity=0), r"capacity = 0 is not in \[1, inf\]"),
        (lambda: RandomFeatures(number=0), r"number = 0 is not in \[1, inf\]"),
    ],
)
def test_bad_parameters(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
