"""Other people's libraries: whether one is installed, and which version."""

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple


class Library(NamedTuple):
    """A Python package of somebody else's."""

    module: str
    """What is imported."""
    package: str
    """What is installed."""

    @property
    def missing(self) -> bool:
        """Whether it is not installed."""
        return find_spec(self.module) is None

    @property
    def version(self) -> str:
        """Name and version of the installed package."""
        return f"{self.package} {version(self.package)}"


def versions(libraries: Iterable[Library]) -> list[str]:
    """Of those that are installed, each once."""
    return sorted({library.version for library in libraries if not library.missing})
