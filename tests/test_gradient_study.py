"""The study gradient-is-all-you-need: what its parts measure, against closed forms, and the command line."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from envs.algorithm import Schedule
from experiments import plots
from experiments.cli import main
from experiments.statistics import loglog_slope
from experiments.studies import Found, Request, gradient
from experiments.studies.core import write_table
from experiments.studies.gradient import canyon, cosine, deviation, phases, proximal
from experiments.studies.gradient.pictures import paths_figure, phase_figure
from experiments.studies.gradient.steps import starts, steps
from zeroth_order import ConsensusHopping, GradientDescent, GrandCanyon, Sphere

F64 = torch.float64


def request(out: Path, seeds: int = 3) -> Request:
    return Request(out, seeds)


# Steps.


def test_steps_follow_each_other() -> None:
    x0, root = starts([4, 7], 3, 2.0, 0.1)
    first, second = steps(ConsensusHopping(5), Sphere(3), x0, root, 2)
    assert torch.equal(first.before, x0)
    assert torch.equal(second.before, first.after)
    assert first.points.shape == (2, 5, 3)
    assert_allclose(first.values, (first.points**2).sum(-1))
    assert not torch.equal(first.points - x0[:, None], second.points - first.after[:, None])


def test_optimizers_that_want_gradients_get_them() -> None:
    x0, root = starts([0, 1], 3, 2.0, 0.5)
    (step,) = steps(GradientDescent(Schedule(0.25)), Sphere(3), x0, root, 1)
    assert_allclose(step.after, x0 / 2)


def test_starts_are_spread_around_the_centre() -> None:
    x0, _ = starts(list(range(2000)), 2, 3.0, 0.5)
    assert_allclose(x0.mean(), 3.0, atol=0.04)  # 5 standard errors
    assert_allclose(x0.std(), 0.5, atol=0.03)
    assert torch.equal(starts([5], 2, 3.0, 0.5)[0][0], x0[5])


# The canyon.


def test_paths_have_the_start_every_so_many_steps_and_the_end(tmp_path: Path) -> None:
    method = canyon.METHODS[1]._replace(steps=5, every=2)
    path = canyon.follow(method, [1, 2], request(tmp_path))
    x0, root = starts([1, 2], 2, canyon.CENTRE, 0.0)
    after = [step.after for step in steps(method.algorithm, GrandCanyon(), x0, root, 5)]
    assert_allclose(path, torch.stack([x0, after[1], after[3], after[4]]))
    assert (path[0] == 8.0).all()


def test_a_line_of_the_canyon_by_hand() -> None:
    """Three runs: one at the minimiser, one 0.9 from it and one 5 from it; half of three is what the mean keeps."""
    last = np.array([[0.0, 0.0], [0.0, 0.9], [3.0, 4.0]])
    cells = canyon.row(canyon.METHODS[2], last, np.array([1.0, 2.0, 3.0]))
    assert cells[:2] == ["gradient descent", "3"]
    assert cells[2].startswith("0.67 [0.09, 0.99]")
    assert cells[3].startswith("2 [")
    assert cells[4] == "20,000"


def test_the_settings_are_the_papers() -> None:
    """Steps, samples and starts of section 4.2 of the specification; every method pays for what it asks."""
    queries = {method.label: (method.queries, method.steps) for method in canyon.METHODS}
    assert queries == {
        "CBO": (200, 250), "consensus hopping": (200, 250),
        "gradient descent": (2, 10_000), "annealed Langevin": (2, 10_000),
    }  # fmt: skip
    langevin = canyon.METHODS[3].algorithm
    assert_allclose([langevin.sigma(t) for t in (0, 9)], [10 / math.log(2), 10 / math.log(11)])
    for method in canyon.METHODS:
        x0, root = starts([0, 1], 2, canyon.CENTRE, method.spread)
        (step,) = steps(method.algorithm, GrandCanyon(), x0, root, 1)
        assert method.queries == step.points.shape[1] * (1 + method.algorithm.wants_gradients)


# The proximal step.


def test_the_mean_hop_is_the_proximal_step(tmp_path: Path) -> None:
    """500 hops of 1,000 samples: within 4.5 standard errors, which fails by chance once in 10^5 (seeds fixed); the bias
    of a ratio, about 1 / N, is a quarter of one standard error here."""
    found = proximal.hop(2, 1_000, 4.0, request(tmp_path, 500))
    expected = 2**-0.5 / (1 + 4.0 * 2.0 * 0.25)
    assert (np.abs(found.mean(axis=0) - expected) < 4.5 * found.std(axis=0) / 500**0.5).all()
    assert found.std() < 0.05


def test_errors_are_distances_to_the_proximal_step() -> None:
    exact = np.full((1, 4), 0.5 * proximal.contraction(3.0))
    assert_allclose(proximal.contraction(3.0), 1 / 2.5)
    assert_allclose(proximal.errors(exact, 3.0), 0.0, atol=1e-15)
    assert_allclose(proximal.errors(exact + 0.1, 3.0), 0.2)


# The angle to the NES gradient.


def test_one_minus_cosine_is_exact_for_small_angles() -> None:
    angles = torch.tensor([1e-7, 0.1, 3.0], dtype=F64)
    a, b = torch.stack((angles.cos(), angles.sin()), -1), torch.tensor([[5.0, 0.0]], dtype=F64).expand(3, 2)
    assert_allclose(cosine.apart(2 * a, b), 2 * (angles / 2).sin() ** 2, rtol=1e-8)


def test_the_hop_turns_to_the_nes_gradient(tmp_path: Path) -> None:
    """From the mean of the samples as alpha^2; from c it does not turn to it at all."""
    for objective in cosine.OBJECTIVES:
        gaps = []
        for alpha in (1e-3, 1e-2):
            step = cosine.hop(objective, alpha, request(tmp_path, 5))
            g = cosine.nes_gradient(step)
            gaps.append(float(cosine.apart(step.after - step.points.mean(1), -g).mean()))
            assert float(cosine.apart(step.after - step.before, -g).mean()) > 0.2
        assert gaps[0] < 1e-6
        assert 1.9 < math.log10(gaps[1] / gaps[0]) < 2.1


def test_the_nes_gradient_is_that_of_the_smoothed_function() -> None:
    """2 x for the sphere, whose smoothing adds a constant: 1,000 estimates, within 4.5 standard errors."""
    x0, root = starts(list(range(1000)), 3, 1.0, 0.0)
    (step,) = steps(ConsensusHopping(50, Schedule(0.5)), Sphere(3), x0, root, 1)
    found = (cosine.nes_gradient(step) / 0.5**2).numpy()
    expected = 2.0 * 49 / 50  # the mean over the samples is the baseline of each of them
    assert (np.abs(found.mean(axis=0) - expected) < 4.5 * found.std(axis=0) / 1000**0.5).all()


# The deviation from gradient descent.


def test_deviation_of_many_samples_is_that_of_the_proximal_step(tmp_path: Path) -> None:
    """x - tau 2 x against x / (1 + 2 tau): 4 tau^2 |x| / (1 + 2 tau), with a few per cent of noise."""
    for tau in (0.3, 1.0):
        found = deviation.deviation(deviation.hopping(20_000, 4.0, tau), 1, Sphere(4), request(tmp_path, 10))
        assert_allclose(found.mean(), 4 * tau**2 * 1.2 / (1 + 2 * tau), rtol=0.05)


def test_exponents_of_the_noise(tmp_path: Path) -> None:
    """sigma^k after k steps, dt^(1/2), N^(-1/2), and 1/dt - lambda as it is."""
    by_name = {(sweep.symbol, sweep.step): sweep for sweep in deviation.SWEEPS}
    expected = {("σ", 1): 1.0, ("σ", 2): 2.0, ("Δt", 1): 0.5, ("N", 1): -0.5, ("1/Δt - λ", 1): 1.0}
    for name, slope in expected.items():
        sweep = by_name[name]
        sweep = sweep._replace(values=sweep.values[:4])
        found = deviation.deviations(sweep, Sphere(4), request(tmp_path, 30))
        assert found.shape == (30, 4)
        assert abs(float(loglog_slope(sweep.values, found, np.inf).value) - slope) < 0.1, name


def test_with_lambda_dt_one_no_particle_keeps_its_place() -> None:
    """Particles are then c and noise alone, of variance sigma^2 dt |X - c|^2."""
    algorithm = deviation.cbo(sigma=1e-9)
    x0, root = starts([0], 4, 0.6, 0.0)
    first, second = steps(algorithm, Sphere(4), x0, root, 2)
    assert float((first.points - first.after[:, None]).norm()) > 10
    assert float((second.points - first.after[:, None]).norm()) < 1e-6


# The phase diagram.


def test_successes_are_by_variance_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch of all variances holds the runs that each would have alone, in order."""
    monkeypatch.setattr(phases, "STEPS", 60)
    together = phases.successes(100, request(tmp_path, 8), lambda done, message: None)
    assert together.shape == (len(phases.VARIANCES), 8)
    for i, variance in enumerate(phases.VARIANCES):
        with monkeypatch.context() as one:
            one.setattr(phases, "VARIANCES", (variance,))
            alone = phases.successes(100, request(tmp_path, 8), lambda done, message: None)
        assert (alone[0] == together[i]).all()
    assert 0 < together.mean() < 1


def test_the_picture_of_the_phases_has_the_numbers_and_the_border() -> None:
    shares = np.array([[0.0, 0.5], [0.07, 1.0]])
    axes = phase_figure(shares, [2, 50], [0.5, 8.0], 2.0, "title", "caption").axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "50", "7", "100"]
    assert_allclose(axes.lines[0].get_xdata(), 0.5)  # half way, in the logarithm, from 0.5 to 8
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "50"]


def test_the_picture_of_the_canyon_has_every_path() -> None:
    path = np.zeros((4, 3, 2))
    figure = paths_figure(GrandCanyon(), {"a": path, "b": path + 1}, "title")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert len(figure.axes[0].lines) == 3 + 3  # starts, ends and the minimiser


# Through the command line.


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole study in a few seconds; drawing the figures takes most of the time, so they are made but not drawn."""

    def save(figure: Figure, path: Path) -> list[Path]:
        assert figure.axes
        files = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
        for file in files:
            file.write_text(str(figure.axes))
        return files

    monkeypatch.setattr(plots, "save", save)
    for part, name, value in (
        (canyon, "METHODS", tuple(method._replace(steps=4, every=2) for method in canyon.METHODS)),
        (proximal, "SIZES", (10, 100, 1_000)),
        (cosine, "SAMPLES", 20),
        (deviation, "SIZE", 20),
        (deviation, "SWEEPS", tuple(each._replace(make=lambda x: deviation.hopping(9)) for each in deviation.SWEEPS)),
        (phases, "SIZES", (2, 5)),
        (phases, "STEPS", 3),
    ):
        monkeypatch.setattr(part, name, value)


def test_the_study_runs_and_finished_parts_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    words = ["compare", "--preset", gradient.NAME, "--seeds", "2", "--out", str(tmp_path / "out")]
    main(words)
    shown = capsys.readouterr().out
    rows = {
        "canyon": 4,
        "canyon-ends": 8,
        "proximal": 4,
        "proximal-slopes": 3,
        "cosine": 5,
        "deviation": 8,
        "phases": 2,
    }
    for name, count in rows.items():
        with (tmp_path / "out" / f"{name}.csv").open() as file:
            assert len(list(csv.reader(file))) == count + 1
    written = [Path(line.strip()) for line in shown[shown.index("wrote:") :].splitlines()[1:]]
    assert {path.name for path in written} >= {
        f"{name}.{kind}" for name in gradient.PARTS for kind in ("md", "png", "pdf")
    }
    assert all(path.exists() for path in written)
    assert all((tmp_path / "out" / f"{name}.md").read_text() in shown for name in gradient.PARTS)

    made: list[Path] = []

    def again(asked: Request) -> Found:
        made.append(asked.out)
        return Found(*write_table(asked.out / "cosine", ["made"], [["again"]]))

    monkeypatch.setattr(gradient, "PARTS", {name: again for name in gradient.PARTS})
    (tmp_path / "out" / "cosine.md").unlink()
    main([*words, "--resume"])
    resumed = capsys.readouterr().out
    assert made == [tmp_path / "out"]
    assert resumed.count("| again |") == 1
    assert (tmp_path / "out" / "deviation.md").read_text() in resumed


def test_a_budget_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--preset", gradient.NAME, "--budget", "100", "--out", str(tmp_path / "out")])
    assert "budget = 100 is not for gradient-is-all-you-need" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
