"""MirrorCBO: consensus-based optimization in a dual space, for constraints and sparsity.

Bungert, Roith, Wacker, "MirrorCBO: a consensus-based optimization method in the spirit of mirror descent" (arXiv
2501.12189). The particles' mirror images move; the particles follow by a mirror map, which keeps them feasible:

    1  y^i  ~  N(grad phi(x_0), spread^2 I),   x^i <- grad phi*(y^i)
    2  c    <- sum_i w_i x^i,  w_i proportional to exp(-alpha_t f(x^i))
    3  y^i  <- y^i - lambda dt (x^i - c) + sigma_t sqrt(dt) D(x^i - c) xi^i,  xi^i ~ N(0, I)
    4  x^i  <- grad phi*(y^i)

Deviations: the initial particles are spread out in the dual space, where there is room around every point. On a sphere,
which is not convex, the nearest point to c is recommended. Failures as in `zeroth_order.cbo.cbo`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo.consensus import consensus_point
from zeroth_order.cbo.mirror_maps import Box, MirrorMap
from zeroth_order.cbo.noise import Anisotropic, Euler, Noise
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.cbo.swarm import agreed, gaussian, normals, report, settle, without_stream
from zeroth_order.core import Invariance, Optimizer, succeeded


class MirrorState(NamedTuple):
    """The mirror images, and what the coming step will use."""

    duals: Tensor
    """[R, N, d] y."""
    consensus: Tensor
    """[R, d] c of the last step, or what stands for it; x_0 before the first."""
    stream: Stream
    """Of the last ask."""
    t: int


@dataclass(frozen=True)
class MirrorCBO(Optimizer):
    """Configuration; see the module."""

    id = "mirror-cbo"
    summary = "CBO in a dual space: constraints and sparsity"
    paper = "Bungert, Roith, Wacker, MirrorCBO, arXiv 2501.12189 (2025)"

    particles: int = 50
    """N >= 2."""
    drift: Numeric = 1.0
    """lambda > 0. Paper: 1."""
    dt: Numeric = 0.5
    """Time step, > 0. Paper: 0.01 to 0.1; with few queries, long steps find more."""
    sigma: Decay = Schedule(1.4)
    """sigma_t, > 0. Paper: 0.1 to 5."""
    alpha: Alpha = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy."""
    noise: Noise = Anisotropic()
    """D: anisotropic noise grows with each coordinate of X - c, isotropic noise with its norm."""
    spread: Numeric = 1.0
    """Standard deviation of the initial mirror images, > 0, in the units of y."""
    map: MirrorMap = Box()
    """phi: what is feasible."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        for name in ("drift", "dt", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        self.sigma.check("sigma")
        self.alpha.check("alpha")

    def init(self, x0: Tensor, stream: Stream) -> MirrorState:
        """Mirror images around that of x0 [R, d]."""
        return MirrorState(gaussian(self.map.to_dual(x0), self.spread, self.particles, stream), x0, stream, 0)  # l.1

    def ask(self, state: MirrorState, stream: Stream) -> tuple[Tensor, MirrorState]:
        """The particles, [R, N, d], all of them feasible."""
        return self.map.to_primal(state.duals), state._replace(stream=stream)  # l.4

    def tell(self, state: MirrorState, points: Tensor, feedback: Any) -> tuple[MirrorState, Metrics]:
        """One step; metrics: diameter, failed, as in CBO."""
        success = succeeded(feedback.values)
        consensus = consensus_point(points, feedback.values, self.alpha.of(state.t, feedback.values))  # l.2
        xi = normals(state.stream, self.particles, points)
        p, s = along_runs(self.drift * self.dt, points), along_runs(self.sigma(state.t) * self.dt**0.5, points)
        moved = Euler()(state.duals, points - consensus[:, None], xi, p, s, self.noise)  # l.3
        duals = settle(state.duals, moved, success)
        consensus = agreed(self.map.feasible(consensus), state.consensus, success)
        return MirrorState(duals, consensus, state.stream, state.t + 1), report(points, consensus, success)

    def recommend(self, state: MirrorState) -> Tensor:
        """The consensus point, [R, d]."""
        return state.consensus

    def pack(self, state: MirrorState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return without_stream(state)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Those of the weights: what is feasible has its place."""
        return frozenset({self.alpha.invariance})
