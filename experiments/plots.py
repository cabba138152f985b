"""Figures: a curve and its band for each algorithm, and the share of runs that reached a threshold.

Colours are Okabe and Ito's (2008), told apart by the colour-blind; line styles and markers tell them apart in grey.
Figures are made without pyplot, so nothing here has global state or needs a display.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogFormatterMathtext, NullFormatter
from numpy.typing import ArrayLike

from envs.files import write_atomically
from experiments.statistics import Floats, kaplan_meier

Scale: TypeAlias = Literal["linear", "log"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2, 2, 2, 2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#666666"
MARKERS_PER_CURVE = 8
DPI = 150
MOST_TICKS = 6
CURVES = "Line: interquartile mean of {runs}. Band: pointwise 95 % stratified-bootstrap interval."
REACHED = "Line: Kaplan-Meier estimate from {runs}. Band: pointwise 95 % log-log interval."
BOTH = (
    "{runs}. Left: interquartile mean, stratified-bootstrap interval. "
    "Right: Kaplan-Meier estimate, log-log interval. Bands are pointwise, 95 %."
)

SENSITIVITY = "Interquartile mean of {runs}, 95 % stratified-bootstrap interval. Star: chosen. Cross: a run failed."


class CurveBand(NamedTuple):
    """One algorithm's curve; NaN is left out of the drawing."""

    label: str
    x: Floats
    """[G] cost, ascending."""
    centre: Floats
    low: Floats
    high: Floats
    runs: int
    """n behind each point."""


class Panel(NamedTuple):
    """Some curves in logarithmic axes of their own."""

    x_label: str
    y_label: str
    curves: Sequence[CurveBand]


def survival_band(label: str, times: ArrayLike, reached: ArrayLike, until: float) -> CurveBand:
    """Share of runs that have reached the threshold, from 0 to at most `until`, the budget.

    `times` [n] and `reached` [n] are as in `statistics.kaplan_meier`. Once all runs have reached it the share stays.
    """
    curve = kaplan_meier(times, reached)
    x, centre, low, high = curve.times, 1 - curve.survival, 1 - curve.high, 1 - curve.low
    if centre[-1] == 1 and x[-1] < until:
        x, centre, low, high = np.append(x, until), *(np.append(part, part[-1]) for part in (centre, low, high))
    return CurveBand(label, x, centre, low, high, np.size(times))


def curves_figure(
    curves: Sequence[CurveBand],
    title: str,
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
) -> Figure:
    """Curves against cost, with a dashed grey line at the threshold. Raises ValueError without curves."""
    figure, (axes,) = _panels(1, CURVES, curves)
    _draw_curves(axes, curves, x_label, y_label, threshold, x_scale, y_scale)
    _head(figure, axes, title, columns=2)
    return figure


def survival_figure(
    curves: Sequence[CurveBand], title: str, x_label: str, threshold: float, x_scale: Scale = "linear"
) -> Figure:
    """Share of runs that reached the threshold against cost; curves from `survival_band`. Raises ValueError without."""
    figure, (axes,) = _panels(1, REACHED, curves)
    _draw_survival(axes, curves, x_label, threshold, x_scale)
    _head(figure, axes, title, columns=2)
    return figure


def sensitivity_figure(
    curves: Sequence[CurveBand], chosen: Sequence[float], title: str, x_label: str, y_label: str
) -> Figure:
    """Scores against step sizes x > 0 on a logarithmic axis, with a star at each curve's `chosen` x.

    A centre that is NaN is a step size with which a run failed: a cross on the axis. Raises ValueError without curves.
    """
    figure, (axes,) = _panels(1, SENSITIVITY, curves)
    _draw_curves(axes, curves, x_label, y_label, None, "log", "linear")
    for band, best, line in zip(curves, chosen, list(axes.lines), strict=True):
        at, failed = band.x == best, np.isnan(band.centre)
        axes.plot(
            band.x[at], band.centre[at], "*", color=line.get_color(), markersize=15, markeredgecolor="black", zorder=3
        )
        axes.plot(
            band.x[failed], np.zeros(failed.sum()), "x", color=line.get_color(), markersize=8, clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    _head(figure, axes, title, columns=2)
    return figure


def comparison_figure(
    curves: Sequence[CurveBand],
    survivals: Sequence[CurveBand],
    title: str,
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
) -> Figure:
    """`curves_figure` left and `survival_figure` right, or the former alone where there is no threshold.

    Raises ValueError without curves, and where the panels do not name the same algorithms in the same order.
    """
    if threshold is None:
        return curves_figure(curves, title, x_label, y_label, None, x_scale, y_scale)
    labels = [[band.label for band in bands] for bands in (curves, survivals)]
    if labels[0] != labels[1]:
        raise ValueError(f"curves are of {labels[0]} and survivals of {labels[1]}; both panels need the same, in order")
    figure, (left, right) = _panels(2, BOTH, [*curves, *survivals])
    _draw_curves(left, curves, x_label, y_label, threshold, x_scale, y_scale)
    _draw_survival(right, survivals, x_label, threshold, x_scale)
    _head(figure, left, title, columns=3)
    return figure


def panels_figure(
    panels: Sequence[tuple[str, Sequence[CurveBand]]], title: str, x_label: str, caption: str = CURVES
) -> Figure:
    """A panel for each (y label, curves) in logarithmic axes, with the same algorithms in the same order.

    `caption` says what lines and bands are; "{runs}" in it is filled in. Raises ValueError without curves.
    """
    drawn = [Panel(x_label, y_label, curves) for y_label, curves in panels]
    return grid_figure(drawn, title, caption, columns=len(panels))


def grid_figure(panels: Sequence[Panel], title: str, caption: str, columns: int) -> Figure:
    """The panels in rows of `columns`, with the same algorithms in the same order; otherwise as `panels_figure`."""
    figure, axes = _panels(len(panels), caption, [band for panel in panels for band in panel.curves], columns)
    for place, panel in zip(axes, panels, strict=True):
        _draw_curves(place, panel.curves, panel.x_label, panel.y_label, None, "log", "log")
        if min(band.x[0] for band in panel.curves) < 1:  # no cost, and so without 1k and 1M
            place.xaxis.set_major_formatter(LogFormatterMathtext())
        x = panel.curves[0].x
        if len(x) <= MOST_TICKS and x[-1] < 100 * x[0]:  # powers of ten alone would label next to nothing
            place.set_xticks(x)
    _head(figure, axes[0], title, columns=4)
    return figure


def draw_guide(axes: Axes, x: Floats, start: float, slope: float, text: str) -> None:
    """A grey line of that slope in logarithmic axes, along x from the height `start`, with the text at its end."""
    y = start * (x / x[0]) ** slope
    axes.plot(x, y, color=GREY, linestyle=":", linewidth=1.5)
    axes.annotate(
        text, (x[-1], y[-1]), color=GREY, fontsize="small", xytext=(3, 0), textcoords="offset points", va="center"
    )


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write `path`.png at DPI and `path`.pdf; either appears whole or not at all. Returns both paths."""
    path = Path(path)
    # Laid out once for both; a second time, at the resolution of the PDF, would take as long as drawing it.
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return [_write(figure, path.with_name(f"{path.name}.{suffix}")) for suffix in ("png", "pdf")]


def _write(figure: Figure, path: Path) -> Path:
    # The same data gives the same bytes, and text stays text in the PDF: fonts as TrueType, no date.
    kind = path.suffix[1:]
    metadata = {"CreationDate": None} if kind == "pdf" else {}
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        write_atomically(path, lambda part: figure.savefig(part, format=kind, dpi=DPI, metadata=metadata))
    return path


def _panels(
    count: int, caption: str, curves: Sequence[CurveBand], columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    if not curves:
        raise ValueError("curves is empty; a figure needs at least one")
    columns = columns or count
    rows = -(-count // columns)
    size = (7.0 if columns == 1 else 5.5 * columns, 5.0 if rows == 1 else 4.2 * rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08 if rows > 1 else None))
    fewest, most = min(band.runs for band in curves), max(band.runs for band in curves)
    runs = f"{most} run{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} runs"
    figure.supxlabel(caption.format(runs=runs), fontsize="small", color=GREY)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def _draw_curves(
    axes: Axes,
    curves: Sequence[CurveBand],
    x_label: str,
    y_label: str,
    threshold: float | None,
    x_scale: Scale,
    y_scale: Scale,
) -> None:
    _draw(axes, curves, steps=False)
    if threshold is not None:
        axes.axhline(threshold, color=GREY, linestyle="--", linewidth=1.2, label=f"threshold {threshold:g}", zorder=1)
    axes.set(xlabel=x_label, ylabel=y_label, yscale=y_scale)
    _finish(axes, x_scale)


def _draw_survival(axes: Axes, curves: Sequence[CurveBand], x_label: str, threshold: float, x_scale: Scale) -> None:
    _draw(axes, curves, steps=True)
    axes.set(xlabel=x_label, ylabel=f"share of runs that reached {threshold:g}", ylim=(-0.03, 1.03))
    _finish(axes, x_scale)


def _draw(axes: Axes, curves: Sequence[CurveBand], steps: bool) -> None:
    # Bands of many curves that lie over each other would add up to a wall.
    opacity = min(0.12, 0.5 / len(curves))
    for i, band in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        every = max(1, len(band.x) // MARKERS_PER_CURVE)
        axes.fill_between(
            band.x, band.low, band.high, step="post" if steps else None, color=colour, alpha=opacity, linewidth=0
        )
        axes.plot(
            band.x,
            band.centre,
            label=band.label,
            color=colour,
            linestyle=LINES[i % len(LINES)],
            marker=MARKERS[i % len(MARKERS)],
            # Shifted from curve to curve, so that markers of overlapping curves do not hide each other.
            markevery=(i % every, every),
            markersize=5,
            linewidth=1.8,
            drawstyle="steps-post" if steps else "default",
        )


def _finish(axes: Axes, x_scale: Scale) -> None:
    axes.set_xscale(x_scale)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e0e0e0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _head(figure: Figure, axes: Axes, title: str, columns: int) -> None:
    """Title and legend in one block above the panels, where it can hide neither data nor each other."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontsize="large",
        loc="outside upper center",
        ncols=min(len(labels), columns),
        frameon=False,
        handlelength=3.5,
    )
