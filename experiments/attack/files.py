"""The adversarial images in files: 8-bit PNG, read back and checked, and everything exact in an NPZ.

<out>/png/<image>-as<class after>-is<label>.png    a folder that `zopg attack --data` reads; labels are last
<out>/adversarial.npz                              originals, what was found before it was rounded, scores, queries
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.files import write_atomically
from experiments.attack.images import as_images, as_pixels
from experiments.attack.outcome import best
from experiments.attack.packages import check_package
from zeroth_order.attack import L2, Attacked, Ball, CountedTarget, Linf, TargetError, margin
from zeroth_order.attack.balls import LEVELS, levels


class Saved(NamedTuple):
    """What the files hold."""

    files: list[Path]
    """[m] of the successes."""
    distances: dict[str, Tensor]
    """[n] linf and l2 distance of the image read back to its original, in [0, 1] pixels; NaN without a file."""
    holds: Tensor
    """[n] bool: the image read back lies in the ball and is adversarial."""
    error: str | None = None
    """Why the target could not be asked for the images read back."""


def save_images(found: Attacked, labels: Tensor, ball: Ball, counted: CountedTarget, out: Path) -> Saved:
    """Write the successes, read them back, measure them, and show them to the target once (`verify`).

    Rounding to 8 bits never leaves the ball; it may undo a success. Raises OSError where a file cannot be written.
    """
    check_package("PIL", "writing images")
    from PIL import Image  # of the extra `attack`

    rows = found.success.nonzero()[:, 0]
    holds, after = torch.zeros_like(found.success), best(found.after)[0]
    distances = {name: torch.full((len(labels),), torch.nan, dtype=torch.float64) for name in ("linf", "l2")}
    files, read = [], []
    (out / "png").mkdir(exist_ok=True)
    pixels = as_pixels(ball.pixels(found.images[rows], found.found[rows])) if len(rows) else np.zeros(0)
    for row, image in zip(rows.tolist(), pixels, strict=True):
        path = out / "png" / f"{row:04}-as{int(after[row])}-is{int(labels[row])}.png"
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        write_atomically(path, partial(picture.save, format="PNG"))
        files.append(path)
        with Image.open(path) as saved:
            read.append(np.atleast_3d(np.asarray(saved)))
    if read:
        back = as_images(np.stack(read)).to(found.images)
        exact = levels(found.images[rows]) / LEVELS, levels(back) / LEVELS
        for name, measure in (("linf", Linf(1.0)), ("l2", L2(1.0))):
            distances[name][rows.cpu()] = measure.distance(*exact).cpu()
        near = ball.distance(*exact) <= ball.epsilon * (1 + 1e-12)
        try:
            scores = counted.scores(rows, back, "verify")
        except TargetError as error:
            return Saved(files, distances, holds, str(error))
        holds[rows] = near & (margin(scores, found.classes[rows], found.targeted) < 0)
    return Saved(files, distances, holds)


def save_arrays(found: Attacked, labels: Tensor, path: Path) -> None:
    """Everything that was found, as float32 and int64 arrays; atomic."""
    arrays = {
        "images": found.images, "adversarial": found.found, "labels": labels, "classes": found.classes,
        "success": found.success, "already": found.already, "scores_before": found.before, "scores_after": found.after,
        "loss_queries": found.queries.loss, "checks": found.queries.check,
    }  # fmt: skip
    plain: dict[str, Any] = {name: part.cpu().numpy() for name, part in arrays.items()}

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **plain)

    write_atomically(path, write)
