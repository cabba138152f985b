"""Figures show the data they were given, hide none of it, and are written whole."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.testing import assert_allclose, assert_array_equal

from experiments.plots import (
    CurveBand,
    Panel,
    comparison_figure,
    curves_figure,
    draw_guide,
    grid_figure,
    save,
    survival_band,
    survival_figure,
)
from experiments.statistics import kaplan_meier

LABELS = ["n-pg-igt", "n-harpg", "cma-es", "consensus-based-optimization", "reinforce"]
BUDGET = 200_000.0


def bands(labels=LABELS, points=40, runs=32):
    x = np.linspace(0, BUDGET, points)
    centres = [500 * (1 - np.exp(-x / (30_000 * (i + 1)))) for i in range(len(labels))]
    return [CurveBand(label, x, c, c - 10 - c / 50, c + 12, runs) for label, c in zip(labels, centres, strict=True)]


def survivals(labels=LABELS, runs=32):
    times = np.random.default_rng(0).exponential(60_000.0, (len(labels), runs))
    return [
        survival_band(label, np.minimum(t, BUDGET), t < BUDGET, BUDGET) for label, t in zip(labels, times, strict=True)
    ]


def assert_shows(axes: Axes, expected: list[CurveBand], steps: bool) -> None:
    lines = {line.get_label(): line for line in axes.lines}
    assert len(axes.collections) == len(expected)
    for band, filled in zip(expected, axes.collections, strict=True):
        line = lines[band.label]
        assert_array_equal(line.get_xydata(), np.stack([band.x, band.centre], axis=1))
        assert line.get_drawstyle() == ("steps-post" if steps else "default")
        assert line.get_color() == line.get_markerfacecolor()
        corners = {(float(x), float(y)) for x, y in filled.get_paths()[0].vertices}
        assert {(x, y) for edge in (band.low, band.high) for x, y in zip(band.x, edge, strict=True)} <= corners


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in (legend.get_title(), *legend.get_texts())]


def test_curves_show_the_data_the_threshold_and_what_they_are():
    figure = curves_figure(bands(), "CartPole-v1", "environment steps", "return", threshold=475.0)
    (axes,) = figure.axes
    assert_shows(axes, bands(), steps=False)
    (level,) = [line for line in axes.lines if line.get_label() == "threshold 475"]
    assert_array_equal(level.get_ydata(), [475, 475])
    assert level.get_linestyle() == "--"
    assert texts(figure) == ["CartPole-v1", *LABELS, "threshold 475"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "return")
    for word in ("interquartile mean", "32 runs", "95 %", "stratified-bootstrap"):
        assert word in figure.get_supxlabel()


def test_the_caption_says_how_many_runs():
    mixed = [*bands(LABELS[:1], runs=30), *bands(LABELS[1:2], runs=32)]
    assert "30 to 32 runs" in curves_figure(mixed, "", "", "").get_supxlabel()
    assert "1 run." in curves_figure(bands(runs=1), "", "", "").get_supxlabel()
    failed = comparison_figure(bands(runs=30), survivals(runs=32), "", "", "", 475.0)
    assert "30 to 32 runs" in failed.get_supxlabel()


def test_survival_shows_the_complement_of_kaplan_meier():
    times, reached = [10.0, 30, 30, 50], [True, True, False, False]
    band, curve = survival_band("a", times, reached, until=50), kaplan_meier(times, reached)
    assert_array_equal(band.x, curve.times)
    assert_allclose([band.centre, band.low, band.high], 1 - np.stack([curve.survival, curve.high, curve.low]))
    assert band.runs == 4
    figure = survival_figure([band], "", "queries", 475.0)
    assert_shows(figure.axes[0], [band], steps=True)
    assert figure.axes[0].get_ylabel() == "share of runs that reached 475"


def test_survival_is_drawn_to_the_budget_only_where_it_is_known():
    assert_array_equal(survival_band("a", [1.0, 2.0], [True, True], until=9.0).x, [0, 1, 2, 9])
    assert survival_band("a", [1.0, 2.0], [True, True], until=9.0).centre[-1] == 1
    assert_array_equal(survival_band("a", [1.0, 2.0], [True, False], until=9.0).x, [0, 1, 2])


def test_comparison_has_a_panel_for_either_and_one_legend():
    figure = comparison_figure(bands(), survivals(), "t", "steps", "return", threshold=475.0)
    left, right = figure.axes
    assert_shows(left, bands(), steps=False)
    assert_shows(right, survivals(), steps=True)
    assert texts(figure) == ["t", *LABELS, "threshold 475"]
    colours = [[line.get_color() for line in axes.lines if line.get_label() in LABELS] for axes in figure.axes]
    assert colours[0] == colours[1]


def test_a_grid_has_rows_of_panels_and_one_legend():
    small = [band._replace(x=(band.x + 1) / BUDGET, centre=band.centre + 1) for band in bands()]
    panels = [Panel("steps", "gap", bands()), Panel("sigma", "error", small), Panel("dt", "error", small)]
    figure = grid_figure(panels, "t", "of {runs}", columns=2)
    places = [axes.get_subplotspec() for axes in figure.axes]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [(0, 0), (0, 1), (1, 0)]
    for axes, panel in zip(figure.axes, panels, strict=True):
        assert_shows(axes, list(panel.curves), steps=False)
        assert (axes.get_xlabel(), axes.get_ylabel()) == (panel.x_label, panel.y_label)
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert texts(figure) == ["t", *LABELS]
    assert figure.get_supxlabel() == "of 32 runs"
    assert figure.axes[1].xaxis.get_major_formatter()(0.1) == r"$\mathdefault{10^{-1}}$"


def test_a_guide_has_its_slope_and_height():
    (axes,) = grid_figure([Panel("x", "y", bands())], "t", "", columns=1).axes
    draw_guide(axes, np.array([10.0, 100.0, 1000.0]), 7.0, -0.5, "-1/2")
    assert_allclose(axes.lines[-1].get_ydata(), 7 * np.array([1.0, 0.1, 0.01]) ** 0.5)
    assert [text.get_text() for text in axes.texts] == ["-1/2"]


def test_comparison_without_a_threshold_has_curves_only():
    (axes,) = comparison_figure(bands(), [], "", "", "").axes
    assert_shows(axes, bands(), steps=False)
    assert len(axes.lines) == len(LABELS)


def test_many_curves_look_different():
    labels = [str(i) for i in range(30)]
    (axes,) = curves_figure(bands(labels), "", "", "").axes
    colours = [line.get_color() for line in axes.lines]
    dashes = [str(line._dash_pattern) for line in axes.lines]  # no public name has the pattern
    markers = [line.get_marker() for line in axes.lines]
    assert (len({*colours[:7]}), len({*dashes[:5]}), len({*markers[:6]})) == (7, 5, 6)
    assert len({*zip(colours, dashes, markers, strict=True)}) == 30


@pytest.mark.parametrize("columns", [1, 2])
def test_nothing_overlaps_or_is_cut(columns):
    figure = (
        curves_figure(bands(), "A title that is rather long, as they are", "steps", "return", 475.0)
        if columns == 1
        else comparison_figure(bands(), survivals(), "A title that is rather long", "steps", "return", 475.0)
    )
    figure.draw_without_rendering()
    (legend,), (caption,) = figure.legends, figure.texts
    boxes = [*(axes.get_tightbbox() for axes in figure.axes), legend.get_window_extent(), caption.get_window_extent()]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(("top", "expected"), [(200_000, {"0", "50k", "200k"}), (3e6, {"0", "1M", "3M"})])
def test_costs_are_written_in_thousands_and_millions(top, expected):
    band = CurveBand("a", np.array([0.0, top]), np.zeros(2), np.zeros(2), np.ones(2), 2)
    (axes,) = curves_figure([band], "", "", "").axes
    axes.figure.draw_without_rendering()
    assert expected <= {tick.get_text() for tick in axes.get_xticklabels()}


def test_log_scales_and_gaps_in_the_data_can_be_drawn(tmp_path):
    band = bands(LABELS[:1])[0]
    part = band._replace(centre=np.where(band.x < 5e4, np.nan, band.centre), low=np.full(40, np.nan))
    figure = comparison_figure([part], survivals(LABELS[:1]), "", "", "", 475.0, x_scale="log", y_scale="log")
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    save(figure, tmp_path / "log")


def test_save_writes_both_files_whole_and_leaves_nothing_else(tmp_path):
    figure = curves_figure(bands(), "CartPole-v1", "steps", "return", 475.0)
    (tmp_path / "run.1.png").write_text("an older figure")
    paths = save(figure, tmp_path / "run.1")
    assert paths == [tmp_path / "run.1.png", tmp_path / "run.1.pdf"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    pixels = imread(paths[0])
    assert pixels.shape[:2] == (750, 1050)
    ink = (pixels[..., :3].min(axis=-1) < 0.9).mean()
    assert 0.02 < ink < 0.6
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in paths[1].read_bytes()
    before = [path.read_bytes() for path in paths]
    save(figure, str(tmp_path / "run.1"))
    assert [path.read_bytes() for path in paths] == before


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    figure = curves_figure(bands(), "", "", "")
    old = [path.read_bytes() for path in save(figure, tmp_path / "curves")]

    def fail(part, **_):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, tmp_path / "curves")
    assert [path.read_bytes() for path in (tmp_path / "curves.png", tmp_path / "curves.pdf")] == old
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="curves is empty"):
        curves_figure([], "", "", "")
    with pytest.raises(ValueError, match="both panels need the same"):
        comparison_figure(bands(), survivals(LABELS[::-1]), "", "", "", 475.0)
