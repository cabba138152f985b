"""The loop of `Search.optimize` and `minimize`: ask, evaluate, tell, save."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zeroth_order.ask_tell.evaluation import Evaluator
from zeroth_order.ask_tell.runs import Runs

SAVE_SECONDS = 2.0
"""A killed search loses at most what was found since the last save, and the calls of f under way."""


def optimize(runs: Runs, evaluate: Evaluator, save: Callable[[], object]) -> None:
    """Until every run has stopped; then the recommendations are confirmed, where queries are kept for it."""
    saved = time.monotonic()
    repeats, final, target = runs.limits.repeats, runs.limits.final, runs.limits.target

    def enough(found: np.ndarray) -> bool:
        late = time.monotonic() > saved + SAVE_SECONDS
        return late or (target is not None and bool((found.mean(-1) <= target).any()))

    while bool(runs.found.going.any()):
        points = runs.generation.pending
        values = _values(points, runs.active, repeats, evaluate, enough)
        runs.learn(points[:, : values.shape[1]], values)
        if time.monotonic() > saved + SAVE_SECONDS:
            save()
            saved = time.monotonic()
    if final and not runs.found.confirmed.numel():
        all_runs = torch.ones_like(runs.active)
        runs.confirm(_values(runs.recommended()[:, None], all_runs, final, evaluate, lambda found: False)[:, 0])
    save()


def _values(
    points: Tensor, active: Tensor, repeats: int, evaluate: Evaluator, enough: Callable[[np.ndarray], bool]
) -> Tensor:
    """Values [R, k, repeats] of the first k points [R, K, d] of the active runs, NaN in others.

    k is K unless it is gone one by one, and what was found last was enough to tell it.
    """
    rows = active.cpu().numpy()
    asked = points.cpu().numpy()[rows]
    values = np.full((*points.shape[:2], repeats), np.nan)
    step = 1 if evaluate.one_by_one else points.shape[1]
    for end in range(step, points.shape[1] + 1, step):
        part = asked[:, end - step : end]
        found = evaluate.values(part.reshape(-1, part.shape[-1]).repeat(repeats, 0))
        values[rows, end - step : end] = np.reshape(found, (*part.shape[:2], repeats))
        if enough(values[rows, end - step : end]):
            break
    return torch.from_numpy(values[:, :end]).to(points.device)
