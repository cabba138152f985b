"""The packages under test are those of this repository, and they import each other only as the design allows."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "envs": {"rl", "zeroth_order", "experiments"},
    "rl": {"zeroth_order", "experiments"},
    "zeroth_order": {"rl", "experiments"},
}


def imported(source: str) -> set[str]:
    """Top-level names of the packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ["envs", "rl", "zeroth_order", "experiments"])
def test_the_package_under_test_is_the_one_in_this_repository(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    assert all(Path(place).resolve() == ROOT / package for place in spec.submodule_search_locations)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    broken = {
        str(file.relative_to(ROOT)): names
        for file in files
        if (names := imported(file.read_text()) & FORBIDDEN[package])
    }
    assert not broken


def test_the_import_reader_sees_every_kind_of_import() -> None:
    source = (
        "import rl.core as core\ndef f():\n    from zeroth_order.cbo import CBO\nif x:\n    import torch, experiments"
    )
    assert imported(source) == {"rl", "zeroth_order", "torch", "experiments"}
    assert imported("from . import rl") == set()
