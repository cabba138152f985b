"""Gaussian processes as surrogates of a function and of its gradient, from the values a client has seen.

Shu, Dai, Sng, Verma, Jaillet, Low, "Zeroth-order optimization with trajectory-informed derivative estimation"
(ICLR 2023); Shu, Lin, Dai, Low, "Federated zeroth-order optimization using trajectory-informed surrogate gradients"
(arXiv 2308.04077), section 4.1. With K = k(X, X), r = y - shift and c_j = slope(u_j) alpha_j / l^2, where slope and u_j
are those of `zeroth_order.federated.kernels`:

    alpha       = (K + s^2 I)^-1 r
    mu(x)       = shift + k(x, X) alpha
    grad mu(x)  = -sum_j c_j (x - X_j)                                        one n x d matrix times a vector
    dSigma(x)   = curvature / l^2 * I - J' (K + s^2 I)^-1 J,  J = d k(X, x) / dx  [n, d]

    *B leading axes, runs first, such as [R, C] for C clients · n slots · d dimension · P points

Everything is computed in float64; what is returned has the type of the points asked for. All leading axes advance as
one; a member has the same bits alone and among others.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Numeric, along_runs, check_range
from zeroth_order.cbo.swarm import product
from zeroth_order.core import succeeded
from zeroth_order.federated.cholesky import JITTERS, drop_slot, factorize, push_slot, solve
from zeroth_order.federated.golden import golden_section
from zeroth_order.federated.kernels import Kernel, Matern52
from zeroth_order.federated.scaling import Restricted, Scaling
from zeroth_order.federated.windows import latest, squared_distances

ENOUGH_NOISE = 1e-8
"""s^2 with which K + s^2 I is positive definite whatever rounding does to K: it is off by 1e-16 n for n slots."""
LEAST_GAIN = 1e-3
"""Of the log likelihood, for another length-scale: where the data do not tell, rounding errors must not decide."""


class Window(NamedTuple):
    """The points a surrogate is made of, oldest first. Empty slots come before all others.

    n is the capacity rounded up to a multiple of 16, for the sake of the bits; slots beyond the capacity stay empty.
    """

    points: Tensor
    """[*B, n, d] float64; of an empty slot anything finite."""
    values: Tensor
    """[*B, n] float64; of an empty slot anything finite."""
    filled: Tensor
    """[*B, n] bool."""
    squares: Tensor
    """[*B, n, n] float64 squared distances, so that another length-scale needs no pass over the coordinates."""
    factor: Tensor
    """[*B, n, n] float64 lower Cholesky factor of K + (s^2 + jitter) I."""
    length: Tensor
    """[*B] float64 length-scale l, in the units of x."""
    jitter: Tensor
    """[*B] float64, 0 but where K + s^2 I is singular to working precision."""


class Posterior(NamedTuple):
    """The process given a window."""

    kernel: Kernel
    window: Window
    shift: Tensor
    """[*B] prior mean, in the units of f."""
    scale: Tensor
    """[*B] prior standard deviation, in the units of f."""
    weights: Tensor
    """[*B, n] alpha, in the units of f; 0 in empty slots."""

    def mean(self, x: Tensor) -> Tensor:
        """mu [*B, P] at x [*B, P, d]."""
        k = self.kernel.value(self._scaled_squares(x))
        return (self.shift[..., None] + (k * self.weights[..., None, :]).sum(-1)).to(x)

    def gradient(self, x: Tensor) -> Tensor:
        """grad mu [*B, d] at x [*B, d]: O(n d)."""
        offsets = x[..., None, :].double() - self.window.points
        u = offsets.square().sum(-1) / self.window.length[..., None].square()
        c = self.kernel.slope(u) * self.weights / self.window.length[..., None].square()
        return -(c[..., None] * offsets).sum(-2).to(x)

    def prior_uncertainty(self) -> Tensor:
        """What `uncertainty` is far from all points, [*B]."""
        return self.scale.square() * self.kernel.curvature / self.window.length.square()

    def uncertainty(self, x: Tensor) -> Tensor:
        """trace dSigma / d at x [*B, P, d]: mean variance of a partial derivative, [*B, P], in (units of f / of x)^2.

        J_j . J_k = slope_j slope_k (|x - X_j|^2 + |x - X_k|^2 - |X_j - X_k|^2) / (2 l^4), so the trace needs distances
        only: O(n^2) for each point and O(n^3) for all together, whatever d is.
        """
        window, squares = self.window, squared_distances(x.double(), self.window.points)
        length = window.length[..., None]
        c = torch.where(window.filled[..., None, :], self.kernel.slope(squares / length[..., None].square()), 0.0)
        inverse = torch.cholesky_inverse(window.factor)
        both = product(c, inverse) * squares - product(c, inverse * window.squares) / 2
        explained = (c * both).sum(-1) / (x.shape[-1] * length.square().square())
        variance = (self.kernel.curvature / length.square() - explained).clamp(min=0.0)
        return (self.scale[..., None].square() * variance).to(x)

    def _scaled_squares(self, x: Tensor) -> Tensor:
        return squared_distances(x.double(), self.window.points) / self.window.length[..., None, None].square()


@dataclass(frozen=True)
class GaussianProcess:
    """The prior, and what is done with windows: every method takes one and returns a new one."""

    kernel: Kernel = Matern52()
    """k; its length-scale belongs to the window."""
    noise: Numeric = 1e-6
    """s^2 >= 0, variance of the noise in units of `scaling`'s scale squared; [R] gives one to each run. FZooS: 1e-6."""
    capacity: int = 150
    """Points that are kept, >= 1. FZooS: 150."""
    scaling: Scaling = Restricted()
    """How the prior's mean and standard deviation follow from the values of the window. FZooS: `MinMax`."""

    def __post_init__(self) -> None:
        check_range("noise", self.noise, 0.0)
        check_range("capacity", self.capacity, 1)

    @property
    def jitters(self) -> tuple[float, ...]:
        """What may be added to the diagonal: nothing where the noise is enough by itself."""
        return (0.0,) if isinstance(self.noise, float) and self.noise >= ENOUGH_NOISE else JITTERS

    def empty(self, like: Tensor, length: Tensor | float) -> Window:
        """A window without points, for points such as `like` [*B, d]; length-scale [*B]."""
        return self.fit(like[..., None, :], torch.full_like(like[..., :1], torch.nan), length)

    def fit(self, points: Tensor, values: Tensor, length: Tensor | float) -> Window:
        """A window of the last `capacity` of the points [*B, m, d] whose values [*B, m] are finite: O(n^2 (n + d))."""
        points, values, filled = latest(points, values, self.capacity)
        squares = squared_distances(points, points)
        squares.diagonal(dim1=-2, dim2=-1).zero_()
        length = torch.as_tensor(length, dtype=torch.float64, device=points.device).expand(values.shape[:-1])
        factor, jitter = factorize(self._covariance(squares, filled, length), filled, self.jitters)
        return Window(points, values, filled, squares, factor, length, jitter)

    def extend(self, window: Window, points: Tensor, values: Tensor) -> Window:
        """The window with points [*B, m, d] appended in turn, from scratch: the cheaper the more they are."""
        known = torch.where(window.filled, window.values, torch.nan)
        return self.fit(torch.cat((window.points, points), -2), torch.cat((known, values), -1), window.length)

    def refit(self, window: Window, length: Tensor) -> Window:
        """The window with another length-scale [*B]: O(n^3)."""
        factor, jitter = factorize(self._covariance(window.squares, window.filled, length), window.filled, self.jitters)
        return window._replace(factor=factor, length=length, jitter=jitter)

    def append(self, window: Window, point: Tensor, value: Tensor) -> Window:
        """The window with a newest point [*B, d], without the oldest where it was full: O(n^2 + n d).

        It stays as it is where the value [*B] is not finite.
        """
        first = window.filled.shape[-1] - self.capacity
        counts, point = succeeded(value), point.double()
        points = torch.cat((window.points[..., 1:, :], point[..., None, :]), -2)
        values = torch.cat((window.values[..., 1:], value.double()[..., None]), -1)
        filled = torch.nn.functional.pad(window.filled[..., 1:], (0, 1), value=True)
        filled[..., :first] = False
        to_point = (points - point[..., None, :]).square().sum(-1)
        squares = torch.nn.functional.pad(window.squares[..., 1:, 1:], (0, 1, 0, 1))
        squares[..., -1, :] = squares[..., :, -1] = to_point
        ridge = self._noise(window.jitter) + window.jitter
        covariance = torch.where(filled, self.kernel.value(to_point / window.length[..., None].square()), 0.0)
        factor = push_slot(drop_slot(window.factor, first), covariance, 1 + ridge, ridge.clamp(min=JITTERS[1]))
        appended = Window(points, values, filled, squares, factor, window.length, window.jitter)
        return Window(*(_where(counts, new, old) for new, old in zip(appended, window, strict=True)))

    def posterior(self, window: Window) -> Posterior:
        """The process given the values of the window: O(n^2)."""
        residual, shift, scale = self.residual(window)
        return Posterior(self.kernel, window, shift, scale, solve(window.factor, residual))

    def residual(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """r = y - shift [*B, n], 0 in empty slots; shift and scale, [*B] each. All in the units of f."""
        shift, scale = self.scaling(window.values, window.filled, window.factor)
        return torch.where(window.filled, window.values - shift[..., None], 0.0), shift, scale

    def log_likelihood(self, window: Window, length: Tensor) -> Tensor:
        """That of length-scales [*B], [*B]: O(n^3); -inf where K + s^2 I is singular to working precision."""
        factor, info = torch.linalg.cholesky_ex(self._covariance(window.squares, window.filled, length))
        likelihood = self.scaling.log_likelihood(window.values, window.filled, factor)
        return torch.where(info == 0, likelihood, -torch.inf)

    def tune(self, window: Window, factor: float = 4.0, steps: int = 10) -> Window:
        """The window with its likeliest length-scale: a refit."""
        return self.refit(window, self.likeliest_length(window, factor, steps))

    def likeliest_length(self, window: Window, factor: float = 4.0, steps: int = 10) -> Tensor:
        """The likeliest length-scale [*B] between that of the window divided and multiplied by `factor`.

        Golden section search in log l, `steps` + 4 likelihoods: 10 steps find l up to 1.4 % if the factor is 4. Where
        that gains less than LEAST_GAIN l stays, and so it does where all values are equal.
        """
        last, reach = window.length.log(), math.log(factor)
        found = golden_section(lambda log: self.log_likelihood(window, log.exp()), last - reach, last + reach, steps)
        gain = self.log_likelihood(window, found.exp()) - self.log_likelihood(window, window.length)
        informative = (self.residual(window)[0] != 0).any(-1)
        return torch.where((gain > LEAST_GAIN) & informative, found.exp(), window.length)

    def with_noise(self, k: Tensor, filled: Tensor) -> Tensor:
        """K + s^2 I [*B, n, n] of K; the row of an empty slot is that of the identity."""
        k = torch.where(filled[..., None] & filled[..., None, :], k, 0.0)
        k.diagonal(dim1=-2, dim2=-1).add_(torch.where(filled, self._noise(k[..., 0, 0])[..., None], 1.0))
        return k

    def _covariance(self, squares: Tensor, filled: Tensor, length: Tensor) -> Tensor:
        """K + s^2 I, [*B, n, n]."""
        return self.with_noise(self.kernel.value(squares / length[..., None, None].square()), filled)

    def _noise(self, like: Tensor) -> Tensor:
        """s^2 for `like` [*B], float64."""
        return torch.as_tensor(along_runs(self.noise, like), dtype=like.dtype, device=like.device).expand(like.shape)


def _where(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(condition.view(*condition.shape, *(1,) * (new.dim() - condition.dim())), new, old)
