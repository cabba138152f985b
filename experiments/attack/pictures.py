"""Pictures of an attack: original, perturbation and adversarial image side by side; success against queries."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments import plots
from experiments.attack.outcome import Censored, best
from experiments.statistics import kaplan_meier
from zeroth_order.attack import Attacked, Target

SHOWN = 6
"""Images in the picture."""


def side_by_side(found: Attacked, target: Target, title: str) -> Figure:
    """A column for each of the first images that fell: original, perturbation, adversarial image.

    The perturbation is stretched such that its largest change is black or white, and no change grey.
    """
    fallen = found.success.nonzero()[:SHOWN, 0].tolist()
    rows = fallen or found.attacked.nonzero()[:SHOWN, 0].tolist() or [0]
    figure = Figure(figsize=(1.9 * max(len(rows), 3), 6.6), layout="constrained")
    axes = figure.subplots(3, len(rows), squeeze=False)
    before, after = best(found.before), best(found.after)
    for column, row in enumerate(rows):
        change = found.found[row] - found.images[row]
        largest = float(change.abs().max())
        scaled = 0.5 + change / (2 * largest) if largest else change + 0.5
        labels = [f"{target.name_of(int(part[0][row]))}\n{float(part[1][row]):.1%}" for part in (before, after)]
        texts = [labels[0], f"change, at most {largest:.3g}", f"{labels[1]}\n{int(found.queries.loss[row]):,} queries"]
        images = (found.images[row], scaled, found.found[row])
        for axis, image, text in zip(axes[:, column], images, texts, strict=True):
            _show(axis, image.cpu().permute(1, 2, 0).numpy(), text)
    figure.suptitle(title, fontsize="medium")
    return figure


def success_figure(found: Sequence[tuple[str, Censored]], title: str) -> Figure:
    """Share of the images that fell within so many loss queries, for each label; an attack on no image is left out.

    Steps with the pointwise 95 % interval of the Kaplan-Meier estimate: images that held out are censored.
    """
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.subplots()
    for i, (label, attack) in enumerate(found):
        if not len(attack.queries):
            continue
        curve = kaplan_meier(attack.queries, attack.success)
        x = np.append(curve.times.clip(min=1), attack.budget)
        centre, low, high = (1 - np.append(part, part[-1]) for part in (curve.survival, curve.high, curve.low))
        colour, line = plots.COLOURS[i % len(plots.COLOURS)], plots.LINES[i % len(plots.LINES)]
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
        axes.plot(x, centre, drawstyle="steps-post", color=colour, linestyle=line, label=label)
    axes.set(xscale="log", xlabel="loss queries", ylabel="share of images that fell", ylim=(-0.03, 1.03), title=title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(color="#e0e0e0", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """As PNG and PDF."""
    return plots.save(figure, path)


def _show(axes: Axes, image: np.ndarray, text: str) -> None:
    axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
    axes.set_title(text, fontsize="small")
    axes.set_axis_off()
