"""What an attack achieved, in numbers: success against queries, and what images cost."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.statistics import Floats
from zeroth_order.attack import Attacked

COLUMNS = (
    "images", "already wrong", "attacked", "success", "area", "median", "mean", "median of all", "mean of all",
    "loss queries", "checks", "verifications", "files that hold",
)  # fmt: skip


class Summary(NamedTuple):
    """Over the images that were attacked; queries are those for the loss, images that held out count the budget."""

    images: int
    already: int
    attacked: int
    success: float
    """Share, in [0, 1]; NaN where none was attacked."""
    area: float
    """Under the curve of success against queries, from 0 to the budget, in units of the budget."""
    median: float
    """Over successes; NaN where there are none."""
    mean: float
    median_all: float
    mean_all: float
    loss: int
    check: int
    verify: int
    files: int
    """Saved images that are adversarial as they were saved."""


class Censored(NamedTuple):
    """What the curve of success against queries is made of."""

    queries: Floats
    """[m] loss queries of the images attacked, the budget where they held out."""
    success: np.ndarray
    """[m] bool."""
    budget: int


def censored(found: Attacked) -> Censored:
    """Of the images attacked."""
    rows = found.attacked.cpu()
    success = found.success.cpu()[rows].numpy()
    queries = np.where(success, found.queries.loss[rows].numpy(), found.budget).astype(np.float64)
    return Censored(queries, success, found.budget)


def summarise(found: Attacked, holds: Tensor) -> Summary:
    """The numbers; `holds` [n] bool says which saved images are adversarial."""
    queries, success, _ = censored(found)
    won = queries[success]
    return Summary(
        images=len(found.images),
        already=int(found.already.sum()),
        attacked=len(queries),
        success=float(success.mean()) if len(success) else float("nan"),
        area=float(np.where(success, 1 - queries / found.budget, 0.0).mean()) if len(queries) else float("nan"),
        median=_or_nan(np.median, won),
        mean=_or_nan(np.mean, won),
        median_all=_or_nan(np.median, queries),
        mean_all=_or_nan(np.mean, queries),
        loss=int(found.queries.loss.sum()),
        check=int(found.queries.check.sum()),
        verify=int(found.queries.verify.sum()),
        files=int(holds.sum()),
    )


def cells(summary: Summary) -> list[str]:
    """For people, in the order of `COLUMNS`."""
    texts = []
    for name, value in summary._asdict().items():
        if isinstance(value, int):
            texts.append(f"{value:,}")
        elif value != value:
            texts.append("-")
        else:
            texts.append(f"{value:.1%}" if name == "success" else f"{value:.3f}" if name == "area" else f"{value:,.1f}")
    return texts


def best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The class with the best score, and its probability, [n] each."""
    confidence, number = scores.double().softmax(-1).max(-1)
    return number, confidence


def image_rows(found: Attacked, distances: dict[str, Tensor], holds: Tensor) -> list[list[Any]]:
    """A table with one row for each image, the first one its header; `distances` [n] are those of the files."""
    before, after = best(found.before), best(found.after)
    columns: dict[str, Tensor] = {
        "image": torch.arange(len(found.images)),
        "wanted" if found.targeted else "label": found.classes,
        "already": found.already,
        "success": found.success,
        "loss_queries": found.queries.loss,
        "checks": found.queries.check,
        "verifications": found.queries.verify,
        "class_before": before[0],
        "confidence_before": before[1],
        "class_after": after[0],
        "confidence_after": after[1],
        **{f"{name}_of_file": values for name, values in distances.items()},
        "file_holds": holds,
    }
    return [list(columns), *map(list, zip(*(column.tolist() for column in columns.values()), strict=True))]


def _or_nan(statistic: Any, values: Floats) -> float:
    return float(statistic(values)) if len(values) else float("nan")
