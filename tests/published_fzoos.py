"""The published procedure of FZooS, one client after the other in plain numpy: an oracle for `FZooS.faithful`.

As the project's notes describe the official code (Shu, Lin, Dai, Low, arXiv 2308.04077), but for three of its defects:
gradients are closed forms, the length-scale is that of the likeliest of a grid, refined, and active queries are drawn
at random, since the official code scores them by a covariance around points that it has shifted by mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]
NOISE, RATE, REACH = 1e-6, 0.01, 0.01
LENGTHS = np.linspace(np.log(0.03), np.log(300), 10)


@dataclass
class Sizes:
    """Of the procedure; the defaults are the official ones."""

    steps: int = 10
    initial: int = 10
    active: int = 5
    closing: int = 50
    window: int = 150
    behind_features: int = 500
    features: int = 10_000


@dataclass
class Client:
    """All that a client has seen, and the weights it sent last."""

    f: Callable[[Array], Array]
    points: list[Array] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    weights: Array | None = None

    def ask(self, points: Array) -> None:
        """Query points [K, d]."""
        self.points += list(points)
        self.values += list(self.f(points))

    def nearest(self, x: Array, number: int) -> tuple[Array, Array, float]:
        """Points, their values scaled to [0, 1], and the range."""
        points, values = np.array(self.points), np.array(self.values)
        order = np.argsort(np.square(points - x).sum(1), kind="stable")[:number]
        points, values = points[order], values[order]
        extent = np.ptp(values) or 1.0
        return points, (values - values.min()) / extent, extent


def distances(a: Array) -> Array:
    """|a_i - a_j|."""
    return np.linalg.norm(a[:, None] - a[None], axis=-1)


def matern(r: Array, length: float) -> Array:
    """nu = 5/2, with the noise on the diagonal."""
    a = np.sqrt(5) * r / length
    return (1 + a + a * a / 3) * np.exp(-a) + NOISE * np.eye(len(r))


def likeliest(r: Array, z: Array) -> float:
    """Length-scale."""

    def loss(log: float) -> float:
        factor = np.linalg.cholesky(matern(r, np.exp(log)))
        return np.square(solve_triangular(factor, z, lower=True)).sum() / 2 + np.log(np.diag(factor)).sum()

    best = int(np.argmin([loss(log) for log in LENGTHS]))
    around = LENGTHS[max(best - 1, 0)], LENGTHS[min(best + 1, len(LENGTHS) - 1)]
    return float(np.exp(minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-2}).x))


def surrogate_gradient(client: Client, x: Array, window: int) -> Array:
    """Of the posterior mean."""
    points, z, extent = client.nearest(x, window)
    r = distances(points)
    length = likeliest(r, z)
    alpha = np.linalg.solve(matern(r, length), z)
    a = np.sqrt(5) * np.linalg.norm(x - points, axis=1) / length
    return extent * -(5 / (3 * length**2)) * ((1 + a) * np.exp(-a) * alpha) @ (x - points)


def published_fzoos(
    clients: list[Callable[[Array], Array]], x: Array, rounds: int, sizes: Sizes, rng: np.random.Generator
) -> Array:
    """The server's x after these rounds, from x [d]."""
    d, there = len(x), [Client(f) for f in clients]
    V, b = rng.normal(size=(sizes.features, d)), rng.uniform(0, 2 * np.pi, sizes.features)
    mean: Array | None = None

    def total(x: Array) -> float:
        return float(np.mean([f(x[None])[0] for f in clients]))

    def slope(weights: Array, x: Array) -> Array:
        return -np.sqrt(2 / sizes.features) * (np.sin(V @ x + b) * weights) @ V

    for client in there:
        client.ask(x + REACH * rng.uniform(-1, 1, (sizes.initial, d)))
    for _ in range(rounds):
        ends = []
        for client in there:
            own, m, v = x.copy(), np.zeros(d), np.zeros(d)
            client.ask(own[None])
            for t in range(sizes.steps):
                g = surrogate_gradient(client, own, sizes.window)
                if mean is not None:
                    g = g + (slope(mean, own) - slope(client.weights, own)) / (t + 1)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                own = own - RATE * (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
                client.ask(own[None])
                if t < sizes.steps - 1:
                    client.ask(own + REACH * rng.uniform(-1, 1, (sizes.active, d)))
            ends.append(own)
        proposed = np.mean(ends, 0)
        x = proposed if total(proposed) < total(x) else x
        for client, end in zip(there, ends, strict=True):
            spread = np.abs(x - end).mean() / 2
            client.ask(np.concatenate((x[None], x + spread * rng.uniform(-1, 1, (sizes.closing, d)))))
            points, z, extent = client.nearest(x, sizes.behind_features)
            phi = np.sqrt(2 / sizes.features) * np.cos(points @ V.T + b)
            client.weights = extent * phi.T @ np.linalg.solve(phi @ phi.T + 1e-10 * np.eye(len(z)), z)
        mean = np.mean([client.weights for client in there], 0)
    return x
