"""ARS: augmented random search.

Mania, Guy, Recht, "Simple random search of static linear policies is competitive for reinforcement learning" (NeurIPS
2018, arXiv 1803.07055), Algorithm 1, version V1-t: random directions, the best of them, and steps in units of the
standard deviation of the values that are used.

    1  delta_k ~ N(0, I),  k = 1 .. N;  evaluate f+_k = f(x + nu delta_k) and f-_k = f(x - nu delta_k)
    2  keep the b directions with the lowest min(f+_k, f-_k)
    3  s <- standard deviation of their 2 b values
    4  x <- x - alpha_t / (b s) sum over the kept of (f+_k - f-_k) delta_k

With b = N it is the paper's V1. V2 is V1 on observations that are normalised by running means and variances: a matter
of the policy problem and not of the optimizer, see `experiments/normalisation.py`.

Deviations: a pair of which a member failed is dropped before line 2, so fewer than b may be kept; with no pair left, or
with equal values, nothing changes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import normals
from zeroth_order.core import Invariance, Optimizer
from zeroth_order.evolution.pairs import Pairs, around, paired


class ARSState(NamedTuple):
    """The search point."""

    x: Tensor
    """[R, d]"""
    t: int


@dataclass(frozen=True)
class ARS(Optimizer):
    """Configuration; see the module."""

    id = "ars"
    summary = "random search along the best of symmetric directions"
    paper = "Mania, Guy, Recht, Simple random search of static linear policies, NeurIPS (2018)"

    directions: int = 10
    """N >= 1: 2 N queries a step. The paper's Humanoid: 230."""
    top: int = 5
    """b in [1, N], directions that are used; b = N is V1. The paper's Humanoid: 230."""
    alpha: Decay = Schedule(0.02)
    """Step size alpha_t > 0, in the units of x. The paper's Humanoid: 0.02, constant."""
    nu: Numeric = 0.03
    """Standard deviation of the directions, > 0, in the units of x. The paper's Humanoid: 0.0075."""

    def __post_init__(self) -> None:
        check_range("directions", self.directions, 1)
        check_range("top", self.top, 1, self.directions)
        self.alpha.check("alpha")
        check_range("nu", self.nu, 0.0, open_low=True)

    def init(self, x0: Tensor, stream: Stream) -> ARSState:
        """The search point is x0 [R, d]."""
        return ARSState(x0, 0)

    def ask(self, state: ARSState, stream: Stream) -> tuple[Tensor, ARSState]:
        """Points [R, 2 N, d]: all x + nu delta_k, then all x - nu delta_k."""
        delta = normals(stream, self.directions, state.x)
        return around(state.x, along_runs(self.nu, delta) * delta), state  # l.1

    def tell(self, state: ARSState, points: Tensor, feedback: Any) -> tuple[ARSState, Metrics]:
        """One step; metrics: value_std (s), step_norm, failed (share of dropped pairs)."""
        found = paired(points, feedback.values, ranks=False)
        used = best(found, self.top)  # l.2
        std = deviation(used)  # l.3
        gradient = 2 * used.slope() / (along_runs(self.nu, state.x) * torch.where(std > 0, std, torch.inf)[:, None])
        x = state.x - along_runs(self.alpha(state.t), gradient) * gradient  # l.4
        metrics = {"value_std": std, "step_norm": (x - state.x).norm(dim=-1), "failed": found.failed}
        return ARSState(x, state.t + 1), metrics

    def recommend(self, state: ARSState) -> Tensor:
        """x, [R, d]."""
        return state.x

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations, and a f + b."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, Invariance.AFFINE})


def best(found: Pairs, top: int) -> Pairs:
    """The pairs with all but the `top` best of those that count dropped; a pair is as good as its better member."""
    better = torch.where(found.counts, found.plus.minimum(found.minus), torch.inf)
    place = better.argsort(stable=True, dim=-1).argsort(-1)
    kept = found.counts & (place < top)
    return Pairs(found.eps, torch.where(kept, found.plus, 0.0), torch.where(kept, found.minus, 0.0), kept)


def deviation(used: Pairs) -> Tensor:
    """Standard deviation [R] of the 2 b values of the pairs that count, divided by 2 b; 0 where there are none."""
    mean = used.mean((used.plus + used.minus) / 2)[:, None]
    square = ((used.plus - mean) ** 2 + (used.minus - mean) ** 2) / 2
    return used.mean(torch.where(used.counts, square, 0.0)).sqrt()
