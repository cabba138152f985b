"""ZoRD: zeroth-order optimization with trajectory-informed derivative estimation.

Shu, Dai, Sng, Verma, Jaillet, Low (ICLR 2023). A Gaussian process made of all queries so far estimates the gradient
without a query of its own; so several updates are taken between two queries, as long as the estimate is certain:

    1  query x_0 and I - 1 points around it                         (box: uniform in it)
    2  mu, dSigma <- the process given the window: the last n queries, or the n nearest to x_best
    3  z_v <- P(z_{v-1} + step(grad mu(z_{v-1}))),  z_0 = x_best,  v = 1 .. V
    4  v   <- the first with trace dSigma(z_v) / d > threshold * curvature / l^2, or V
    5  query P(z_v + explore * v * gamma * xi / d^(1/2)),  xi ~ N(0, I)
    6  x_best <- the best queried;  gamma <- grow * gamma if it is the last one, else shrink * gamma
    7  the step's moments begin anew after `patience` queries without improvement

mu, dSigma: `zeroth_order.federated.gaussian_process`, at unit prior variance; its length-scale l is tuned in every
`tuning`-th iteration. P: on the box, if there is one. Two settings have names: `faithful()` follows the paper and its
code, and the default is ours: see zord.md.

Deviations of both: x_0 is among the first points; until two queries have succeeded, others are drawn as in line 1; the
uncertainty is that of the mean partial derivative, under the kernel of mu, in units of the prior's; l is found by a
search around the last one; the window is chosen once a query, and not at every virtual update.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from envs.algorithm import Metrics, Numeric, check_range
from envs.random import Stream
from zeroth_order.cbo.swarm import as_tensor, gaussian, normals, recalled, stored
from zeroth_order.core import Invariance, Optimizer, succeeded
from zeroth_order.federated.gaussian_process import GaussianProcess, Posterior
from zeroth_order.federated.history import History
from zeroth_order.federated.scaling import MinMax
from zeroth_order.federated.windows import nearest
from zeroth_order.steps import Adam, ClipUp, Step
from zeroth_order.zord.state import ZoRDState


@dataclass(frozen=True)
class ZoRD(Optimizer):
    """Configuration; see the module."""

    id = "zord"
    summary = "steps along the gradient of a Gaussian process"
    paper = "Shu et al., Zeroth-order optimization with trajectory-informed derivative estimation, ICLR (2023)"

    process: GaussianProcess = GaussianProcess()
    """The prior, and n = `process.capacity`. Paper: Matern-5/2, noise 1e-6; code: 150 points."""
    history: int = 0
    """H >= 0, queries of which the n nearest to x_best are taken; 0: the window is the last n. Code: all, nearest."""
    initial: int = 10
    """I >= 1, points of the first iteration, x_0 among them. Code: 15."""
    spread: Numeric = 1.0
    """Standard deviation of the first points around x_0, > 0, in the units of x; of no use where there is a box."""
    box: tuple[float, float] | None = None
    """Smallest and largest coordinate of every query; None: any. Code: the domain, scaled to (0, 10)."""
    steps: int = 5
    """V >= 1, virtual updates between two queries at most. Paper: 10."""
    threshold: Numeric = 0.5
    """Uncertainty at which they end, >= 0, in units of the prior's. Code: 0.35, of another kernel."""
    gamma: Numeric = 0.2
    """Step size of a virtual update at first, > 0, in the units of x. Code: 0.1, for a box of 10."""
    step: Step = ClipUp(momentum=0.0, max_speed=1.0)
    """What is done with a gradient; by default an update is gamma long. Paper: Adam."""
    grow: Numeric = 1.5
    """Factor >= 1 of gamma after an improvement. Paper: 1."""
    shrink: Numeric = 0.7
    """Factor in (0, 1] of gamma otherwise. Paper: 1."""
    explore: Numeric = 0.6
    """Length of the random part of a query, >= 0, in units of the virtual updates' path. Paper: 0."""
    patience: int = 10
    """Queries >= 1 without improvement after which the step's moments begin anew. Code: 10."""
    tuning: int = 10
    """Iterations >= 1 between two searches for the length-scale. Code: 1."""

    def __post_init__(self) -> None:
        check_range("history", self.history, 0)
        check_range("initial", self.initial, 1)
        check_range("spread", self.spread, 0.0, open_low=True)
        if self.box is not None:
            check_range("box[0]", self.box[0])
            check_range("box[1]", self.box[1], self.box[0], open_low=True)
        check_range("steps", self.steps, 1)
        check_range("threshold", self.threshold, 0.0)
        check_range("gamma", self.gamma, 0.0, open_low=True)
        check_range("grow", self.grow, 1.0)
        check_range("shrink", self.shrink, 0.0, 1.0, open_low=True)
        check_range("explore", self.explore, 0.0)
        check_range("patience", self.patience, 1)
        check_range("tuning", self.tuning, 1)

    @classmethod
    def faithful(cls, **changes: Any) -> Self:
        """What the paper and its code do, but for the defects of the code: see zord.md."""
        settings: dict[str, Any] = {
            "process": GaussianProcess(scaling=MinMax()),
            "history": 1_500,
            "initial": 15,
            "steps": 10,
            "threshold": 0.35,
            "gamma": 0.1,
            "step": Adam(),
            "grow": 1.0,
            "shrink": 1.0,
            "explore": 0.0,
            "tuning": 1,
        }
        return cls(**settings | changes)

    @property
    def uniform(self) -> bool:
        """The first iteration asks for more points, and the process is tuned now and then."""
        return False

    def init(self, x0: Tensor, stream: Stream) -> ZoRDState:
        """State at x0 [R, d], nothing seen."""
        runs = len(x0)
        window = self.process.empty(x0, self._first_length(x0))
        seen = History.empty(x0[:, None], self.history)
        return ZoRDState(
            best=x0,
            best_value=x0.new_full((runs,), torch.finfo(x0.dtype).max),
            gamma=as_tensor(self.gamma, x0[:, 0]).expand(runs),
            moments=self.step.start(x0),
            taken=x0.new_zeros(runs),
            last=x0.new_zeros(runs),
            idle=torch.zeros(runs, dtype=torch.int64, device=x0.device),
            seen=seen.points[:, 0],
            seen_values=seen.values[:, 0],
            **window._asdict(),
            t=0,
        )

    def ask(self, state: ZoRDState, stream: Stream) -> tuple[Tensor, ZoRDState]:
        """Points [R, I, d] in the first iteration, then [R, 1, d]."""
        if state.t == 0:
            others = self._scattered(state.best, self.initial - 1, stream)
            return torch.cat((state.best[:, None], others), 1), state  # l.1
        z, state = self._updated(state, self.process.posterior(state.window))  # l.2, l.3, l.4
        xi = normals(stream, 1, z)[:, 0]
        reach = as_tensor(self.explore, z) * (state.last * state.gamma)[:, None]
        explored = self._projected(z + reach * xi / z.shape[1] ** 0.5)[:, None]  # l.5
        unknown = (state.filled.sum(-1) < 2)[:, None, None]
        return torch.where(unknown, self._scattered(state.best, 1, stream), explored), state

    def tell(self, state: ZoRDState, points: Tensor, feedback: Any) -> tuple[ZoRDState, Metrics]:
        """What was found there.

        Metrics: gamma, updates (virtual ones before this query), length (length-scale), failed (share of failed
        values).
        """
        metrics = {
            "gamma": state.gamma,
            "updates": state.last,
            "length": state.length,
            "failed": 1 - succeeded(feedback.values).to(points.dtype).mean(-1),
        }
        values = stored(feedback.values, points)
        state = self._compared(state, points, values)  # l.6, l.7
        state = self._learned(state, points, recalled(values))
        return state._replace(t=state.t + 1), metrics

    def recommend(self, state: ZoRDState) -> Tensor:
        """x_best, [R, d]."""
        return state.best

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations if the step looks at no single coordinate, a f + b if it sees only directions."""
        values = Invariance.AFFINE if isinstance(self.step, ClipUp) else Invariance.OFFSET
        if self.box is not None:
            return frozenset({values})
        space = {Invariance.TRANSLATION, Invariance.ROTATION} if self.step.isotropic else {Invariance.TRANSLATION}
        return frozenset({values} | space)

    def _first_length(self, x0: Tensor) -> Tensor:
        """[R] typical distance of the first points to their centre."""
        spread = self.spread if self.box is None else (self.box[1] - self.box[0]) / 12**0.5
        return as_tensor(spread, x0[:, 0]).expand(len(x0)) * x0.shape[1] ** 0.5

    def _scattered(self, centre: Tensor, count: int, stream: Stream) -> Tensor:
        """Points [R, count, d] around the centres [R, d], or in the box."""
        if self.box is None:
            return gaussian(centre, self.spread, count, stream)
        low, high = self.box
        lanes = torch.arange(count, device=centre.device)
        return low + (high - low) * stream.spread(lanes).uniform(centre.shape[1], dtype=centre.dtype)

    def _projected(self, points: Tensor) -> Tensor:
        return points if self.box is None else points.clamp(*self.box)

    def _updated(self, state: ZoRDState, posterior: Posterior) -> tuple[Tensor, ZoRDState]:
        """z_v [R, d], and the state with the moments there: all V updates are made, and those past v forgotten."""
        z, moments = state.best, state.moments
        path, remembered = [], []
        for v in range(self.steps):
            gradient = torch.nan_to_num(posterior.gradient(z), 0.0, 0.0, 0.0)
            displacement, moments = self.step(gradient, moments, state.gamma, state.taken[:, None] + v)
            z = self._projected(z + displacement)  # l.3
            path.append(z)
            remembered.append(moments)
        unit = posterior._replace(scale=torch.ones_like(posterior.scale))
        limit = as_tensor(self.threshold, state.length) * unit.prior_uncertainty()
        points = torch.stack(path, 1)
        certain = unit.uncertainty(points[:, :-1]) <= limit[:, None]
        last = certain.to(torch.int64).cumprod(-1).sum(-1)  # l.4, from 0
        z = torch.take_along_dim(points, last[:, None, None], 1)[:, 0]
        moments = torch.take_along_dim(torch.stack(remembered, 1), last[:, None, None, None], 1)[:, 0]
        number = (last + 1).to(state.taken)
        return z, state._replace(moments=moments, taken=state.taken + number, last=number)

    def _compared(self, state: ZoRDState, points: Tensor, values: Tensor) -> ZoRDState:
        """With the best so far, of points [R, K, d] and stored values [R, K]."""
        value, index = values.min(-1)
        candidate = torch.take_along_dim(points, index[:, None, None], 1)[:, 0]
        better = value < state.best_value
        factor = torch.where(better, as_tensor(self.grow, value), as_tensor(self.shrink, value))
        idle = torch.where(better, 0, state.idle + 1)
        anew = idle > self.patience
        return state._replace(
            best=torch.where(better[:, None], candidate, state.best),
            best_value=torch.where(better, value, state.best_value),
            gamma=state.gamma * factor if state.t > 0 else state.gamma,
            moments=torch.where(anew[:, None, None], 0.0, state.moments),
            taken=torch.where(anew, 0.0, state.taken),
            idle=torch.where(anew, 0, idle),
        )

    def _learned(self, state: ZoRDState, points: Tensor, values: Tensor) -> ZoRDState:
        """With the window for the next updates, of points [R, K, d] and values [R, K], +inf where a query failed."""
        window = state.window
        if self.history:
            seen = History(state.seen, state.seen_values).appended(points, values)
            state = state._replace(seen=seen.points, seen_values=seen.values)
            chosen = nearest(seen.points, seen.known(), state.best, self.process.capacity)
            window = self.process.fit(*chosen, window.length)
        elif state.t == 0:
            window = self.process.fit(points, values, window.length)
        else:
            window = self.process.append(window, points[:, 0], values[:, 0])
        if state.t % self.tuning == 0:
            window = self.process.tune(window)
        return state._replace(**window._asdict())
