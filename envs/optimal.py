"""Maximisers of exact returns over stationary policies, in float64.

Under a finite horizon the best policy depends on the time that is left, and dynamic programming over it only bounds
what a stationary policy can reach. The best stationary one has no closed form: J_H is a polynomial in the policy, for a
finite process it may be largest inside the simplices, and it may have several local maxima. So these functions climb
from many starts and return the best point found. Its value is attained, hence a lower bound of the supremum.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from envs.algorithm import check_range

STATIONARY = 1e-7
"""Largest entry of project(policy + gradient) - policy at a maximum; the value is then off by about its square."""
KEPT = 8
"""Starts that are climbed from to the end."""


def check_question(horizon: int, discount: float) -> None:
    """Raise ValueError unless horizon >= 1 and discount is in [0, 1]."""
    check_range("horizon", horizon, 1)
    check_range("discount", discount, 0.0, 1.0)


def project(points: Tensor) -> Tensor:
    """The nearest distributions: Euclidean projection of the last axis onto the simplex (Held, Wolfe, Crowder 1974)."""
    ordered = points.sort(-1, descending=True).values
    counts = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype, device=points.device)
    excess = (ordered.cumsum(-1) - 1.0) / counts
    support = (ordered > excess).sum(-1, keepdim=True)
    return (points - excess.gather(-1, support - 1)).clamp(min=0.0)


def best_distributions(value: Callable[[Tensor], Tensor], starts: Tensor) -> Tensor:
    """The best policy [S, A] that projected gradient ascent on `value` ([..., S, A] -> [...]) finds from [n, S, A].

    A step that is long enough goes to the vertex that is greedy for the gradient, so among deterministic policies this
    is policy iteration; shorter ones follow where mixing actions is better.
    """
    climbed = _climb(value, starts, iterations=50)
    kept = climbed[value(climbed).topk(min(KEPT, len(climbed))).indices]
    climbed = _climb(value, kept, iterations=2000)
    return climbed[value(climbed).argmax()]


def _climb(value: Callable[[Tensor], Tensor], policy: Tensor, iterations: int) -> Tensor:
    """Ascent of all policies [n, S, A] at once: a step doubles after a success and is quartered after a failure."""
    step = torch.full_like(policy[:, :1, :1], 1e3)
    for _ in range(iterations):
        with torch.enable_grad():
            leaf = policy.detach().requires_grad_()
            current = value(leaf)
            (gradient,) = torch.autograd.grad(current.sum(), leaf)
        if bool(((project(policy + gradient) - policy).abs() < STATIONARY).all()):
            break
        candidate = project(policy + step * gradient)
        better = (value(candidate) >= current.detach())[:, None, None]
        policy, step = torch.where(better, candidate, policy), torch.where(better, 2.0 * step, 0.25 * step)
    return policy


def best_matrix(value: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The local maximiser [m, n] of a smooth `value` ([..., m, n] -> [...]) that Newton's method reaches from `start`.

    The eigenvalues of the Hessian are made negative, so that every direction ascends, and the best of halved steps is
    taken, until there is nothing left to gain but rounding.
    """
    point, improved = start, True
    while improved:
        current, gradient, hessian = _derivatives(value, point)
        curvature, axes = torch.linalg.eigh(hessian)
        scale = curvature.abs().clamp(min=1e-12 * float(curvature.abs().max()))
        direction = (axes @ ((axes.mT @ gradient) / scale)).view_as(point)
        candidates = point + direction * 0.5 ** torch.arange(30, dtype=point.dtype, device=point.device)[:, None, None]
        values = value(candidates).nan_to_num(nan=-torch.inf)
        improved = bool(values.max() > current + 1e-14 * current.abs())
        point = candidates[values.argmax()] if improved else point
    return point


def _derivatives(value: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient [p] and Hessian [p, p] at a matrix of p entries."""
    with torch.enable_grad():
        leaf = point.flatten().requires_grad_()
        current = value(leaf.view_as(point))
        (gradient,) = torch.autograd.grad(current, leaf, create_graph=True)
        basis = torch.eye(len(leaf), dtype=leaf.dtype, device=leaf.device)
        (hessian,) = torch.autograd.grad(gradient, leaf, basis, is_grads_batched=True)
    return current.detach(), gradient.detach(), hessian
