"""estimator-errors: how far each estimate of the gradient is off, along one path that all of them are led.

The path is exact normalized gradient descent with the papers' step sizes. Every agent's momentum is fed it in place of
its own iterates, with the noise of R replicates; d_t is its direction at theta_t. Relative to |grad f(theta_t)|:

    std^2     mean |d_t - mean d_t|^2
    bias^2    |mean d_t - grad f|^2 - std^2 / R           0 on average where d_t is unbiased, and so of either sign

The bias is known to about std / sqrt(R).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.algorithm import Schedule
from envs.random import Purpose, streams
from experiments import plots
from experiments.exact import ExactProblem
from experiments.loop import Progress
from experiments.plots import CurveBand
from experiments.statistics import Floats
from experiments.studies.core import Found, Request, open_study, write_table
from experiments.studies.problems import random_mdp
from experiments.studies.tracks import budget_of, log_positions
from rl import HARPG, NMPG, NPGIGT, REINFORCE, STORMPG, Estimator, LaggedNPGIGT, PolicyGradient, causal, official, paper
from rl.core import unit

NAME = "estimator-errors"
ITERATIONS = 128
STEP = Schedule(0.5, 1.0)
"""Of the path."""
CAPTION = "Of {runs}. Left: root of the squared bias less its sampling error, where that is positive."


class Estimated(NamedTuple):
    """An agent whose direction is looked at, with one trajectory per point and the papers' momentum weights."""

    label: str
    agent: PolicyGradient
    estimator: Estimator = Estimator()


ESTIMATED = (
    Estimated("GPOMDP", REINFORCE()),
    Estimated("N-MPG", NMPG()),
    Estimated("N-PG-IGT", NPGIGT()),
    Estimated("N-PG-IGT, lagged eta", LaggedNPGIGT()),
    Estimated("HARPG, paper", HARPG(), Estimator(hvp=paper)),
    Estimated("HARPG, causal", HARPG(), Estimator(hvp=causal)),
    Estimated("HARPG, official", HARPG(), Estimator(hvp=official)),
    Estimated("STORM-PG", STORMPG(alpha=Schedule(1.0, 1.0), batch=1, minibatch=1)),
)


class Errors(NamedTuple):
    """Along the path, [n] each."""

    trajectories: Floats
    bias: Floats
    """NaN where the square is negative."""
    std: Floats

    def row(self, label: str, replicates: int) -> list[str]:
        """The line in the table: at the end of the path."""
        bias, std = float(self.bias[-1]), float(self.std[-1])
        known_to = std / math.sqrt(replicates)
        return [label, "none seen" if math.isnan(bias) else f"{bias:.3g}", f"{known_to:.2g}", f"{std:.3g}"]

    def bands(self, label: str, replicates: int) -> list[CurveBand]:
        """Bias and std as curves."""
        return [
            CurveBand(label, self.trajectories, centre=curve, low=curve, high=curve, runs=replicates)
            for curve in (self.bias, self.std)
        ]


def run_estimator_errors(request: Request) -> Found:
    """The study."""
    open_study(NAME, request)
    problem = random_mdp(0)
    horizon = problem.env.spec.horizon
    budget = budget_of(problem, request, ITERATIONS)
    path = exact_path(problem, budget // horizon)
    steps = [position // horizon - 1 for position in log_positions(budget, horizon)[1:]]
    found = {each.label: errors_along(each, problem, path, steps, request) for each in ESTIMATED}
    header = ["estimate", "relative bias", "known to", "relative std"]
    rows = [errors.row(label, request.seeds) for label, errors in found.items()]
    text, tables = write_table(request.out / "errors", header, rows)
    biases, spreads = zip(*(errors.bands(label, request.seeds) for label, errors in found.items()), strict=True)
    panels = [("relative bias", biases), ("relative standard deviation", spreads)]
    figure = plots.panels_figure(panels, f"{problem.name}: one path for all", "trajectories", CAPTION)
    return Found(text, [*tables, *plots.save(figure, request.out / "errors")])


def exact_path(problem: ExactProblem, iterations: int) -> Tensor:
    """theta_0 .. theta_{T-1} of exact normalized gradient descent, [T, d]."""
    theta, path = problem.init(streams([0])), []
    for t in range(iterations):
        path.append(theta)
        theta = theta - STEP(t) * unit(problem.gradient(theta))
    return torch.cat(path)


def errors_along(
    estimated: Estimated, problem: ExactProblem, path: Tensor, steps: Sequence[int], request: Request
) -> Errors:
    """Relative bias and std of d_t at these steps of the path, and the trajectories spent by then."""
    with request.show(estimated.label) as progress:
        directions, spent = led_along(estimated, problem, path, steps, request.numbers, progress)
    return Errors(spent, *bias_and_std(directions, problem.gradient(path)[steps].numpy()))


def bias_and_std(directions: Floats, exact: Floats) -> tuple[Floats, Floats]:
    """Relative errors [n] of directions [n, R, d] against exact gradients [n, d]; see the module and `Errors`."""
    mean, variance = directions.mean(axis=1), directions.var(axis=1, ddof=1).sum(axis=-1)
    square = np.square(mean - exact).sum(axis=-1) - variance / directions.shape[1]
    scale = np.linalg.norm(exact, axis=-1)
    return np.sqrt(np.where(square > 0, square, np.nan)) / scale, np.sqrt(variance) / scale


def led_along(
    estimated: Estimated,
    problem: ExactProblem,
    path: Tensor,
    steps: Sequence[int],
    seeds: Sequence[int],
    progress: Progress,
) -> tuple[Floats, Floats]:
    """d_t of every replicate at these steps [n, R, d], and the trajectories it took by then [n]."""
    agent, root, found, spent = estimated.agent, streams(seeds), [], []
    view = problem.answered_by(estimated.estimator, 1, None)
    state: Any = agent.init(path[0].expand(len(seeds), -1), root)
    with torch.no_grad():
        for t in range(len(path)):
            state = put(state, path[t], path[max(t - 1, 0)])
            points, state = agent.ask(state, root.fold(Purpose.ASK).at(t))
            answer = view.answer(agent, points, root.fold(Purpose.TRAIN).at(t))
            state, metrics = agent.tell(state, points, answer.feedback)
            spent.append(int(answer.cost.episodes[0]))
            if t in steps:
                found.append(metrics["direction"])
            progress((t + 1) / len(path), f"{t + 1} iterations")
    return torch.stack(found).numpy(), np.cumsum(spent).astype(float)[steps]


def put(state: Any, theta: Tensor, theta_prev: Tensor) -> Any:
    """The state of an agent with these iterates [d] in all runs instead of its own."""
    places = {"theta": theta, "theta_prev": theta_prev}
    return state._replace(**{name: x.expand_as(state.theta) for name, x in places.items() if name in state._fields})
