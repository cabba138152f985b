"""CMA-ES: covariance matrix adaptation evolution strategy, by pycma.

Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772, 2016); Hansen, Akimoto, Baudis, "CMA-ES/pycma"
(Zenodo, 2019). The algorithm is pycma's; here is one instance per run behind the common ask / tell:

    1  z_k  ~  N(0, I),  k = 1 .. K          (handed to pycma, counter-based, keyed by the iteration)
    2  x_k  <- m + s B D z_k                 (pycma's ask)
    3  rank the x_k by value, failed queries last
    4  m, s, B, D  <- update                 (pycma's tell)

Deviations from pycma's defaults: the step size is adapted by CSA, as in the tutorial, in every dimension (pycma changes
to TPA from d = 300 on); no mirrored samples when K < 6. A generation in which every query failed is drawn again with
new normals and changes nothing else.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from envs.algorithm import Metrics, Numeric, check_range
from envs.random import Stream
from zeroth_order.core import Invariance, Optimizer, Values
from zeroth_order.evolution.population import default_popsize


@cache
def _pools() -> ThreadpoolController:
    """Found when they are needed first: libraries that are imported later have their own."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Eigendecompositions of this size gain nothing from a second thread and wait for it where cores are busy.

    60 generations of 16 runs at d = 58 on two cores, one of them busy, take 2 s instead of 6 to 20.
    """
    return _pools().limit(limits=1, user_api="blas")


class Engine:
    """One run's pycma instance. It reads its normals from `normals`, never NumPy's generator, and touches no files."""

    def __init__(self, x0: np.ndarray, sigma0: float, popsize: int) -> None:
        import cma  # it brings matplotlib and scipy.stats, which take seconds
        from cma.sigma_adaptation import CMAAdaptSigmaCSA

        self.normals = np.zeros((popsize, len(x0)))
        self.solutions: list[np.ndarray] = []
        options = {
            "popsize": popsize,
            "randn": lambda count, dim: self.normals,
            "seed": np.nan,  # leaves numpy.random alone
            "verbose": -10,  # no output, no log files, no signals file
            "AdaptSigma": CMAAdaptSigmaCSA,
            "CMA_mirrors": 0,
        }
        self.strategy = cma.CMAEvolutionStrategy(x0, sigma0, options)

    def ask(self, normals: np.ndarray) -> np.ndarray:
        """Points [K, d] made of the normals [K, d]."""
        self.normals = normals  # l.1
        self.solutions = self.strategy.ask()  # l.2
        return np.stack(self.solutions)

    def tell(self, values: np.ndarray) -> bool:
        """Learn from the values [K] of the points last asked; False, and nothing learnt, if all of them failed."""
        finite = np.isfinite(values)
        if not finite.any():
            self.strategy.sent_solutions.clear()  # pycma keeps what it has sent until it is told
            return False
        # Only ranks count, so the next number after the worst value is as bad as any penalty and has no scale.
        worst = np.nextafter(values[finite].max(), np.inf)
        self.strategy.tell(self.solutions, np.where(finite, values, worst).tolist())  # l.3, l.4
        return True


class PyCMAState(NamedTuple):
    """Engines, and the values that made them what they are. They move in place: tell a state only once."""

    mean: Tensor
    """[R, d] distribution mean."""
    engines: tuple[Engine, ...]
    """One per run."""
    told: tuple[Tensor, ...]
    """Values [R, K] of every iteration so far, on the CPU."""
    stream: Stream
    """The stream that `ask` was given last."""


@dataclass(frozen=True)
class PyCMA(Optimizer):
    """Configuration; see the module."""

    id = "pycma"
    summary = "covariance matrix adaptation evolution strategy (pycma)"
    paper = "Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772 (2016)"

    sigma0: Numeric = 1.0
    """Initial step size, > 0, in the units of x; pycma advises a quarter of the range where the optimum is expected."""
    popsize: int | None = None
    """lambda >= 3, the K of an ask; None: 4 + floor(3 ln d)."""

    def __post_init__(self) -> None:
        check_range("sigma0", self.sigma0, low=0.0, open_low=True)
        if self.popsize is not None:
            check_range("popsize", self.popsize, low=3)

    @property
    def uniform(self) -> bool:
        """It computes on the host."""
        return False

    def init(self, x0: Tensor, stream: Stream) -> PyCMAState:
        """One engine per row of x0 [R, d]."""
        runs, dim = x0.shape
        popsize = self.popsize or default_popsize(dim)
        starts = x0.double().cpu().numpy()
        sigmas = torch.as_tensor(self.sigma0, dtype=torch.float64).expand(runs).tolist()
        engines = tuple(Engine(start, sigma, popsize) for start, sigma in zip(starts, sigmas, strict=True))
        return PyCMAState(x0, engines, (), stream)

    def ask(self, state: PyCMAState, stream: Stream) -> tuple[Tensor, PyCMAState]:
        """A generation [R, K, d]; the normals depend on the stream and on how many generations were told."""
        popsize, dim = state.engines[0].normals.shape
        lanes = torch.arange(popsize, device=stream.seeds.device)
        normals = stream.at(len(state.told)).spread(lanes).normal(dim, dtype=torch.float64).cpu().numpy()
        with one_blas_thread():
            points = np.stack([engine.ask(z) for engine, z in zip(state.engines, normals, strict=True)])
        return torch.as_tensor(points).to(state.mean), state._replace(stream=stream)

    def tell(self, state: PyCMAState, points: Tensor, feedback: Any) -> tuple[PyCMAState, Metrics]:
        """Learn from the values of the generation that was asked; metrics: sigma (step size)."""
        values = feedback.values.double().cpu()
        with one_blas_thread():
            learnt = [engine.tell(row) for engine, row in zip(state.engines, values.numpy(), strict=True)]
        means = np.stack([engine.strategy.result.xfavorite for engine in state.engines])
        mean = torch.where(
            torch.tensor(learnt, device=state.mean.device)[:, None], torch.as_tensor(means).to(state.mean), state.mean
        )
        sigma = torch.tensor([engine.strategy.sigma for engine in state.engines]).to(state.mean)
        return state._replace(mean=mean, told=(*state.told, values)), {"sigma": sigma}

    def recommend(self, state: PyCMAState) -> Tensor:
        """The distribution mean (pycma's `xfavorite`), [R, d]: with noise a better bet than the best point seen."""
        return state.mean

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Translations, rotations and whatever keeps the order of values."""
        return frozenset({Invariance.TRANSLATION, Invariance.ROTATION, Invariance.MONOTONE})

    def stop(self, state: PyCMAState) -> dict[str, Tensor]:
        """pycma's own criteria (tolfun, tolx, tolfacupx, maxiter, ...), those met by at least one run."""
        # Not checked again: `result`, read by every tell, has done it, and pycma counts flat generations in each check.
        met = [engine.strategy.stop(check=False) for engine in state.engines]
        reasons = sorted({reason for reasons in met for reason in reasons})
        return {name: torch.tensor([name in m for m in met], device=state.mean.device) for name in reasons}

    def pack(self, state: PyCMAState) -> dict[str, Tensor | int | float]:
        """The values told so far [T, R, K] and the stream: enough to replay the engines, and nothing is pickled."""
        runs, popsize = len(state.engines), len(state.engines[0].normals)
        told = torch.stack(state.told) if state.told else torch.zeros(0, runs, popsize, dtype=torch.float64)
        return {"mean": state.mean, "told": told, "seeds": state.stream.seeds, "path": state.stream.path}

    def unpack(self, initial: PyCMAState, parts: dict[str, Any]) -> PyCMAState:
        """Replay of every ask and tell on the engines of `initial`; takes about as long as the engines took."""
        stream = initial.stream._replace(seeds=parts["seeds"], path=parts["path"])
        state = initial._replace(stream=stream)
        for values in parts["told"]:
            points, state = self.ask(state, stream)
            state, _ = self.tell(state, points, Values(values))
        return state._replace(mean=parts["mean"])
