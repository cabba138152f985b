"""Runtime distributions as COCO draws them, with every curve's name at its end."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.plots import COLOURS, GREY, LINES
from experiments.statistics import Floats

CAPTION = (
    "Share of the pairs of a run and one of its 51 targets, $f_{opt} + 10^2$ to $f_{opt} + 10^{-8}$, "
    "that were reached. Names are in the order of the curves' ends."
)
COLUMNS = 2
GAP = 0.045
"""Between two names, as a share of the height; less where there are many."""


class Curve(NamedTuple):
    """One contender's distribution."""

    label: str
    x: Floats
    """[G] queries per dimension, ascending from 1."""
    share: Floats
    """[G]"""


def ecdf_figure(panels: Sequence[tuple[str, Sequence[Curve]]], title: str, budget: int) -> Figure:
    """A panel for each (name, curves); a contender looks the same in all. Raises ValueError without panels."""
    if not panels:
        raise ValueError("panels is empty; a figure needs at least one")
    labels = list(dict.fromkeys(curve.label for _, curves in panels for curve in curves))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.6 * columns, 4.6 * rows + 0.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(title)
    figure.supxlabel(CAPTION, fontsize="small", color=GREY)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    highest = max(float(curve.share.max()) for _, curves in panels for curve in curves)
    for axes, (name, curves) in zip(places, panels, strict=False):
        axes.set(xscale="log", xlim=(1, budget), ylim=(0, min(1.0, 0.05 + np.ceil(highest * 20) / 20)))
        _draw(axes, name, curves, labels)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    return figure


def _draw(axes: Axes, name: str, curves: Sequence[Curve], labels: Sequence[str]) -> None:
    ordered = sorted(curves, key=lambda curve: (curve.share[-1], curve.share.sum()))
    ends = np.array([curve.share[-1] for curve in ordered]) / axes.get_ylim()[1]
    for curve, end, height in zip(ordered, ends, spread_out(ends), strict=True):
        i = labels.index(curve.label)
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}
        axes.plot(curve.x, curve.share, linewidth=1.6, **look)
        beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1.0, 1.06], [end, height], linewidth=1.0, **look, **beside)
        axes.text(1.07, height, curve.label, color=look["color"], fontsize="small", va="center", **beside)
    axes.set(xlabel="queries per dimension", ylabel="share of targets")
    axes.set_title(name, fontsize="medium")
    axes.grid(color="#e0e0e0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def spread_out(ends: Floats) -> Floats:
    """Heights in [0, 1] for names, in the order of `ends` [n] (ascending) and near them, but apart from each other."""
    gap = min(GAP, 1 / max(1, len(ends) - 1))
    heights = np.array(ends, dtype=float)
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    heights[-1] = min(heights[-1], 1.0)
    for i in range(len(heights) - 2, -1, -1):
        heights[i] = min(heights[i], heights[i + 1] - gap)
    return heights
