"""Two pictures of the study that are not curves: paths on a contour plot, and a phase diagram."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.plots import COLOURS, GREY
from experiments.statistics import Floats
from zeroth_order.objectives import Synthetic

RESOLUTION = 300
"""Points along an axis of a contour plot."""
LEVELS = 22
MARGIN = 1.5
"""Beyond the upper corner of the box, around which the runs begin."""
PATHS = "Line: a run. Square: its start. Dot: its end. Star: the global minimiser. Shade: f, dark is low."


def paths_figure(objective: Synthetic, paths: Mapping[str, Floats], title: str) -> Figure:
    """A panel for each label with its paths [G, R, 2] over the contours of a function on a square."""
    figure = Figure(figsize=(4.2 * len(paths), 5.0), layout=ConstrainedLayoutEngine(w_pad=0.1))
    figure.suptitle(title, fontsize="large")
    figure.supxlabel(PATHS, fontsize="small", color=GREY)
    for i, (label, path) in enumerate(paths.items()):
        axes = figure.add_subplot(1, len(paths), i + 1)
        _draw_contours(axes, objective)
        _draw_paths(axes, path, objective.optimum[0].numpy())
        axes.set(title=label, xlabel="x", ylabel="y" if i == 0 else "", aspect="equal")
    return figure


def _draw_contours(axes: Axes, objective: Synthetic) -> None:
    low, high = objective.box[0], objective.box[1] + MARGIN
    line = torch.linspace(low, high, RESOLUTION, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    values = objective(torch.stack((x, y), -1)).numpy()
    axes.contourf(x, y, values, levels=LEVELS, cmap="Greys_r", alpha=0.55)
    axes.set(xlim=(low, high), ylim=(low, high))


def _draw_paths(axes: Axes, path: Floats, minimiser: Floats) -> None:
    axes.plot(path[..., 0], path[..., 1], color=COLOURS[0], linewidth=0.7, alpha=0.3)
    axes.plot(path[0, :, 0], path[0, :, 1], "s", color=COLOURS[4], markersize=4, markeredgecolor="black",
              markeredgewidth=0.4)  # fmt: skip
    axes.plot(path[-1, :, 0], path[-1, :, 1], "o", color=COLOURS[1], markersize=5, markeredgecolor="black",
              markeredgewidth=0.4, alpha=0.8)  # fmt: skip
    axes.plot(*minimiser, "*", color="white", markersize=14, markeredgecolor="black", zorder=3)


def phase_figure(
    shares: Floats, sizes: Sequence[int], variances: Sequence[float], border: float, title: str, caption: str
) -> Figure:
    """Success rates [sizes, variances] as shaded cells with their percentage.

    `variances` ascend in equal ratios; a dashed line is drawn where they are `border`.
    """
    figure = Figure(figsize=(7.5, 5.4), layout=ConstrainedLayoutEngine(w_pad=0.12))
    figure.suptitle(title, fontsize="large")
    figure.supxlabel(caption, fontsize="small", color=GREY)
    axes = figure.add_subplot()
    image = axes.imshow(shares, origin="lower", aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    for (i, j), value in np.ndenumerate(shares):
        axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="white" if value < 0.6 else "black")
    at = np.interp(np.log(border), np.log(variances), range(len(variances)))
    axes.axvline(at, color="white", linestyle="--", linewidth=1.8)
    axes.set_xticks(range(len(variances)), [f"{variance:.3g}" for variance in variances])
    axes.set_yticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set(xlabel="σ²", ylabel="particles N")
    figure.colorbar(image, label="success rate")
    return figure
