"""CBO: consensus-based optimization.

Pinnau, Totzeck, Tse, Martin, "A consensus-based model for global optimization and its mean-field limit" (M3AS 2017);
anisotropic noise and random batches: Carrillo, Jin, Li, Zhu, "A consensus-based global optimization method for high
dimensional machine learning problems" (ESAIM: COCV 2021). Particles drift to a consensus point, a softmin-weighted
mean, and diffuse the more the farther they are from it:

    dX^i = -lambda (X^i - c) dt + sigma D(X^i - c) dB^i,   D(v) = |v| I  or  diag(v)

    1  X^i  ~  N(x_0, spread^2 I),  i = 1 .. N
    2  B    <- the next n of a random permutation of the particles, a new one for every pass      (B = all by default)
    3  w_i  <- exp(-alpha_t f(X^i)) / sum_{j in B} exp(-alpha_t f(X^j)),  i in B
    4  c    <- sum_{i in B} w_i X^i
    5  X^i  <- X^i - lambda dt (X^i - c) + sigma_t sqrt(dt) D(X^i - c) xi^i,  xi^i ~ N(0, I),  i in B

The pieces may be changed: `noise` is D, `step` the integrator of line 5, `alpha` and `sigma` the schedules; `full`
moves all particles and not the batch alone. What is off by default:

    6  X^i  <- X^i - gradient dt grad f(X^i)                     before line 3    (`gradient`; Riedl, arXiv 2211.12184)
    7  Y^i  <- the best place X^i has been at; lines 3 and 4 take the Y^i         (`memory`)
    8  lambda <- lambda H(f(X^i) - f(c)) in line 5, f(c) is one more query        (`correction`)
    9  X^i  <- a step towards Y^i                                after line 5     (`memory`)
   10  the constraint: a penalty in line 3, or a drift after line 9               (`constraint`)

Deviations (more in cbo.md): the drifts of lines 5, 6 and 9 act one after the other (Lie splitting), the papers add them
up. The second paper's noise when the consensus stalls is left out; the batch size divides N. A particle whose query
failed has weight 0 and still drifts; if all of a batch failed, that run stays as it is. A particle that would leave the
range of floating-point numbers stays where it is, so that one diverging run of a sweep does not end the others.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.algorithm import Decay, Metrics, Numeric, Schedule, along_runs, check_range
from envs.random import Stream
from zeroth_order.cbo import fused, swarm
from zeroth_order.cbo.batches import Seats, advance, all_seated, begin_pass, put, take
from zeroth_order.cbo.consensus import consensus_point, softmin
from zeroth_order.cbo.constraints import Constraint, Unconstrained
from zeroth_order.cbo.correction import Correction, NoCorrection
from zeroth_order.cbo.memory import Memory, NoMemory, improved
from zeroth_order.cbo.noise import Anisotropic, Euler, Isotropic, Noise, Step
from zeroth_order.cbo.schedules import Alpha, Growth
from zeroth_order.core import Invariance, Optimizer, succeeded


class CBOState(NamedTuple):
    """The particles, and what the coming step will use."""

    particles: Tensor
    """[R, N, d] X."""
    consensus: Tensor
    """[R, d] c of the last step; x_0 before the first."""
    best: Tensor
    """[R, N, d] Y; without a memory [R, 0, d]."""
    best_values: Tensor
    """[R, N] f(Y), the largest number until a query succeeds; without a memory [R, 0]."""
    values: Tensor
    """[R, K] f(X) while f(c) is asked for, the largest number where it failed; without a correction [R, 0]."""
    order: Tensor
    """[R, N] as `Seats`, and so the next three."""
    alive: Tensor
    """[R, N]"""
    start: Tensor
    """[R]"""
    variance: Tensor
    """[R]"""
    stream: Stream
    """Of the last ask: the step draws its normals from it, because `tell` has no stream."""
    t: int


@dataclass(frozen=True)
class CBO(Optimizer):
    """Configuration; see the module."""

    id = "cbo"
    summary = "particles that drift to their softmin-weighted mean"
    paper = "Pinnau, Totzeck, Tse, Martin, A consensus-based model for global optimization, M3AS 27 (2017)"

    particles: int = 50
    """N >= 2."""
    batch: int | None = None
    """Batch size n >= 2 that divides N, the queries of one step; None: all particles."""
    drift: Numeric = 1.0
    """lambda > 0. Papers: 1."""
    dt: Numeric = 0.5
    """Time step, > 0. Papers: 0.01 to 0.1; with few queries, long steps find more."""
    sigma: Decay = Schedule(1.4)
    """sigma_t, > 0. Theory: sigma^2 < 2 lambda (anisotropic) or d sigma^2 < 2 lambda (isotropic); small stops early."""
    alpha: Alpha = Growth(30.0, 1.05)
    """alpha_t, > 0, in 1 / units of f; large is greedy. Papers: constant 30 or more. CBXpy: 1.05^t up to 1e5."""
    noise: Noise = Anisotropic()
    """D: anisotropic noise grows with each coordinate of X - c, isotropic noise with its norm."""
    spread: Numeric = 1.0
    """Standard deviation of the initial particles around the start, > 0, in the units of x."""
    step: Step = Euler()
    """Integrator: Euler, or the exact law with c frozen, stable for any dt (anisotropic and constant noise)."""
    full: bool = False
    """Whether all particles move towards the consensus of the batch, and not the batch alone."""
    reduction: Numeric = 0.0
    """mu in [0, 1): how fast the number of particles follows their variance; needs a batch. Fornasier et al.: 0.2."""
    memory: Memory = NoMemory()
    """Whether particles remember their best places and drift to them."""
    correction: Correction = NoCorrection()
    """H: whether particles better than the consensus drift to it; one more query a step."""
    gradient: Numeric = 0.0
    """Drift down the gradient, >= 0; if not 0, the objective has to tell gradients, charged like queries."""
    constraint: Constraint = Unconstrained()
    """A surface on which the solution has to lie."""

    def __post_init__(self) -> None:
        check_range("particles", self.particles, low=2)
        if self.batch is not None:
            check_range("batch", self.batch, low=2, high=self.particles)
            if self.particles % self.batch:
                raise ValueError(f"batch = {self.batch} does not divide particles = {self.particles}")
        for name in ("drift", "dt", "spread"):
            check_range(name, getattr(self, name), low=0.0, open_low=True)
        check_range("gradient", self.gradient, low=0.0)
        check_range("reduction", self.reduction, low=0.0, high=0.99)
        self.sigma.check("sigma")
        self.alpha.check("alpha")
        self.step.check(self.noise)
        if self.batch is None and _is_on(self.reduction):
            raise ValueError(f"reduction = {self.reduction} needs a batch: every step costs the same")
        if self.full and self.correction.asks:
            raise ValueError(f"correction = {self.correction} needs the values of all that move, full = True has not")

    @property
    def wants_gradients(self) -> bool:
        """Whether there is a gradient drift."""
        return _is_on(self.gradient)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Of its pieces: a constraint has its place, the gradient and H have the scale of the values."""
        if self.constraint != Unconstrained():
            return frozenset({Invariance.OFFSET})
        scaled = self.wants_gradients or self.correction.asks
        found = {Invariance.TRANSLATION, Invariance.OFFSET if scaled else self.alpha.invariance}
        return frozenset(found | {Invariance.ROTATION} if self.noise.isotropic else found)

    @property
    def uniform(self) -> bool:
        """Without a correction, which takes two iterations a step."""
        return not self.correction.asks

    def init(self, x0: Tensor, stream: Stream) -> CBOState:
        """Particles around x0 [R, d]."""
        particles = swarm.gaussian(x0, self.spread, self.particles, stream)  # l.1
        best = particles if self.memory.remembers else particles[:, :0]
        unknown = torch.full_like(best[..., 0], torch.finfo(best.dtype).max)
        kept = (self.batch or self.particles) if self.correction.asks else 0
        values = particles.new_zeros(len(x0), kept)
        return CBOState(particles, x0, best, unknown, values, *all_seated(particles), stream, 0)

    def ask(self, state: CBOState, stream: Stream) -> tuple[Tensor, CBOState]:
        """The particles of this step's batch, [R, K, d], and, where there is a correction, the consensus [R, 1, d]."""
        state = state._replace(stream=stream)
        if self._at_consensus(state):
            return state.consensus[:, None], state
        if self.batch is not None:
            seats = begin_pass(_seats(state), state.particles, self.batch, self.reduction, stream)  # l.2
            state = state._replace(**seats._asdict())
        return self._of_batch(state, state.particles), state

    def tell(self, state: CBOState, points: Tensor, feedback: Any) -> tuple[CBOState, Metrics]:
        """One step of the batch, or the first half of one where f(c) is still to be asked for.

        Metrics: diameter (root mean squared distance of the batch to its consensus), failed (share of failed values).
        """
        if self._at_consensus(state):
            return self._tell_at_consensus(state, feedback)
        values = self.constraint.penalised(points, feedback.values)  # l.10
        success = succeeded(values)
        if self._is_plain and fused.pays(points, self.particles):
            return self._fused(state, points, values)
        known, known_values = points, values
        if self.memory.remembers:
            known, best_values = self._of_batch(state, state.best), self._of_batch(state, state.best_values)
            known, best_values = improved(points, swarm.stored(values, best_values), known, best_values)  # l.7
            known_values = swarm.recalled(best_values)
            state = self._with(state, best=known, best_values=best_values)
        consensus = consensus_point(known, known_values, self.alpha.of(self._steps(state), known_values))  # l.3, l.4
        state = state._replace(consensus=swarm.agreed(consensus, state.consensus, success))
        metrics = swarm.report(points, state.consensus, success)
        if self.wants_gradients:
            moved = points - along_runs(self.gradient * self.dt, points) * feedback.gradients  # l.6
            state = self._with(state, particles=torch.where(torch.isfinite(moved), moved, points))
        if self.correction.asks:
            return state._replace(values=swarm.stored(values, state.values), t=state.t + 1), metrics
        return self._moved(state, success, 1.0), metrics

    def recommend(self, state: CBOState) -> Tensor:
        """The consensus point, [R, d]."""
        return state.consensus

    def pack(self, state: CBOState) -> dict[str, Tensor | int | float]:
        """All but the stream."""
        return swarm.without_stream(state)

    def _tell_at_consensus(self, state: CBOState, feedback: Any) -> tuple[CBOState, Metrics]:
        """The second half of a step with a correction; where f(c) failed, H = 1."""
        success = succeeded(swarm.recalled(state.values))
        metrics = swarm.report(self._of_batch(state, state.particles), state.consensus, success)
        at_consensus = feedback.values.to(state.values)
        factor = self.correction(state.values - at_consensus)
        factor = torch.where(succeeded(at_consensus), factor, 1.0)[..., None]  # l.8
        return self._moved(state, success, factor), metrics

    def _moved(self, state: CBOState, success: Tensor, factor: Numeric) -> CBOState:
        x = state.particles if self.full else self._of_batch(state, state.particles)
        whole = self.full or not self.memory.remembers
        best = state.best if whole else self._of_batch(state, state.best)
        xi = swarm.normals(state.stream, x.shape[1], x)
        p = along_runs(self.drift * self.dt, x) * factor
        s = along_runs(self.sigma(self._steps(state)) * self.dt**0.5, x)
        moved = self.step(x, x - state.consensus[:, None], xi, p, s, self.noise)  # l.5
        after = self.particles + 1  # lanes beyond those of xi and of the order
        moved = self.memory.pull(moved, best, state.stream, after, self.dt, self.step, self.noise)  # l.9
        moved = swarm.settle(x, self.constraint.steer(x, moved, self.dt), success)  # l.10
        state = state._replace(particles=moved) if self.full else self._with(state, particles=moved)
        return state._replace(**advance(_seats(state), self.batch)._asdict(), t=state.t + 1)

    def _fused(self, state: CBOState, points: Tensor, values: Tensor) -> tuple[CBOState, Metrics]:
        """Lines 3 to 5 in one kernel."""
        alpha, p, s = self.alpha.of(state.t, values), self.drift * self.dt, self.sigma(state.t) * self.dt**0.5
        weights, isotropic = softmin(values, alpha), isinstance(self.noise, Isotropic)
        moved, consensus, square = fused.step(points, state.consensus, weights, p, s, isotropic, state.stream)
        state = state._replace(particles=moved, consensus=consensus, t=state.t + 1)
        return state, swarm.metrics_of(square, succeeded(values))

    @property
    def _is_plain(self) -> bool:
        """Whether a step is lines 3 to 5 alone, with all particles, as the fused kernel has them."""
        pieces = (self.step, self.memory, self.correction, self.constraint)
        usual = isinstance(self.noise, Isotropic | Anisotropic) and not self.wants_gradients
        return self.batch is None and usual and pieces == (Euler(), NoMemory(), NoCorrection(), Unconstrained())

    def _steps(self, state: CBOState) -> int:
        """Whole steps so far."""
        return state.t // 2 if self.correction.asks else state.t

    def _at_consensus(self, state: CBOState) -> bool:
        """Whether f(c) is what is asked for."""
        return self.correction.asks and state.t % 2 == 1

    def _of_batch(self, state: CBOState, whole: Tensor) -> Tensor:
        """The batch's part [R, K, ...] of what there is of all particles [R, N, ...]."""
        return take(whole, _seats(state), self.batch)

    def _with(self, state: CBOState, **parts: Tensor) -> CBOState:
        """The state with the batch's parts [R, K, ...] of what there is of all particles put in."""
        whole: Any = {name: put(getattr(state, name), part, _seats(state), self.batch) for name, part in parts.items()}
        return state._replace(**whole)


def _seats(state: CBOState) -> Seats:
    return Seats(state.order, state.alive, state.start, state.variance)


def _is_on(value: Numeric) -> bool:
    """Whether a number that switches something off at 0 leaves it on."""
    return isinstance(value, Tensor) or value != 0
