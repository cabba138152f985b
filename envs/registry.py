"""Registries: id -> class, open to third parties through entry points."""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

T = TypeVar("T")


class UnknownId(ValueError):
    """An id that no registry entry has; the message names what there is."""


class Registry(Mapping[str, T], Generic[T]):
    """Read-only mapping of ids; `group` is the entry-point group that adds to it, loaded on a look-up."""

    def __init__(self, kind: str, group: str, entries: Mapping[str, T]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._external = {point.name: point for point in entry_points(group=group)}
        clash = self._entries.keys() & self._external.keys()
        if clash:
            raise ValueError(f"entry points of group {group!r} redefine {sorted(clash)}")

    def __getitem__(self, key: str) -> T:
        if key in self._entries:
            return self._entries[key]
        if key in self._external:
            return self._external[key].load()
        raise UnknownId(f"unknown {self.kind} {key!r}; known: {', '.join(self)}")

    def __contains__(self, key: object) -> bool:
        return key in self._entries or key in self._external

    def __iter__(self) -> Iterator[str]:
        return iter([*self._entries, *self._external])

    def __len__(self) -> int:
        return len(self._entries) + len(self._external)
