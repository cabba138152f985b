"""Components on the command line: chosen by name, their settings flags of their own."""

from pathlib import Path
from typing import Any

import pytest

from envs.algorithm import Schedule
from experiments import cli
from experiments.arguments import command_line_name, component_flags, components, with_components
from rl import NPG
from zeroth_order import CBO, CBS, Growth, Isotropic
from zeroth_order.cbo import (
    DriftConstraint,
    EffectiveSamples,
    LogCooling,
    PersonalBest,
    Plane,
    SphereSurface,
    TruncatedIsotropic,
)


def chosen(settings: Any, words: str) -> Any:
    return with_components(settings, words.split(), "zopg run")


def test_names() -> None:
    assert command_line_name(TruncatedIsotropic) == "truncated-isotropic"
    assert command_line_name(CBO) == "cbo"


def test_what_can_be_chosen() -> None:
    found = {component.path: (component.current, set(component.classes)) for component in components(CBO())}
    assert found["noise"][0] == "anisotropic"
    assert found["noise"][1] >= {"isotropic", "anisotropic", "constant", "truncated-isotropic", "truncated-anisotropic"}
    assert found["step"] == ("euler", {"euler", "exact"})
    assert "constraint.surface" not in found
    inner = {component.path for component in components(CBO(constraint=DriftConstraint()))}
    assert "constraint.surface" in inner
    assert {component.path for component in components(NPG())} == {"step_size"}


def test_a_component_is_replaced_by_one_in_its_default_settings() -> None:
    assert chosen(CBO(), "--noise isotropic --seeds 3") == CBO(noise=Isotropic())
    assert chosen(CBO(dt=0.1), "--memory personal-best --alpha effective-samples") == CBO(
        dt=0.1, memory=PersonalBest(), alpha=EffectiveSamples()
    )
    assert chosen(CBS(), "--alpha=growth") == CBS(alpha=Growth())


def test_one_of_the_same_class_keeps_its_settings() -> None:
    tuned = CBO(alpha=Growth(0.5), noise=TruncatedIsotropic(7.0))
    assert chosen(tuned, "--alpha growth --noise truncated-isotropic") == tuned


def test_what_has_no_default_is_kept() -> None:
    assert chosen(CBO(sigma=Schedule(0.3, 0.5)), "--sigma log-cooling") == CBO(sigma=LogCooling(0.3))


def test_a_component_of_a_component() -> None:
    words = "--constraint drift-constraint --constraint.surface plane"
    assert chosen(CBO(), words) == CBO(constraint=DriftConstraint(Plane()))
    assert chosen(CBO(), "--constraint drift-constraint") == CBO(constraint=DriftConstraint(SphereSurface()))


def test_flags_hold_what_the_settings_have() -> None:
    flags = component_flags(CBO(noise=Isotropic()))
    assert (flags.noise, flags.alpha, flags.memory) == ("isotropic", "growth", "no-memory")


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chosen(CBO(), "--noise fancy")
    assert "fancy" in capsys.readouterr().err


def test_settings_of_components_reach_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(cli, "_compare", lambda flags, comparison: seen.append(comparison.overrides[0][1]))
    words = (
        "run --algorithm cbo --objective sphere --noise truncated-isotropic --noise.bound 2 --alpha effective-samples "
        "--alpha.share 0.3 --constraint penalty --constraint.surface plane --constraint.surface.normal 1 2 --dt 0.1"
    )
    cli.main([*words.split(), "--out", str(tmp_path / "out")])
    (settings,) = seen
    assert settings.noise == TruncatedIsotropic(2.0)
    assert settings.alpha == EffectiveSamples(0.3)
    assert settings.constraint.surface == Plane((1.0, 2.0))
    assert settings.dt == 0.1


def test_help_names_the_choices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["run", "--algorithm", "cbo", "--noise", "truncated-isotropic", "--help"])
    printed = capsys.readouterr().out
    assert "--noise {isotropic,anisotropic," in printed
    assert "--noise.bound" in printed
    assert "--memory {no-memory,personal-best}" in printed
