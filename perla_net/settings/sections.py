"""Options that methods declare in files of their own: a section by the method's name, ``method`` for a class from outside.

The methods stand above the settings, so they hand in who they are (:func:`register`); nothing here imports one before it is asked
for.
"""

from __future__ import annotations

from typing import Any, Protocol

OUTSIDE = "method"
"""The section of a method of one's own, ``--algorithm MODULE.CLASS``."""


class Registry(Protocol):
    """Who knows the methods."""

    def sections(self) -> set[str]:
        """Names of the sections that methods declare."""

    def check(self, algorithm: str, option: str) -> None:
        """Raises InputError naming ``option`` where there is no such method."""

    def section_of(self, algorithm: str) -> str:
        """The section that a method reads, or nothing."""

    def options(self, algorithm: str, option: str) -> type | None:
        """The dataclass that declares a method's options, if it has any. Raises InputError naming ``option``."""


_REGISTRIES: list[Any] = []


def register(registry: Registry) -> None:
    """Let the options of these methods be known."""
    _REGISTRIES[:] = [registry]


def methods() -> Registry:
    """Who knows the methods."""
    return _REGISTRIES[0]


def is_section(name: str) -> bool:
    """Whether an option group belongs to a method."""
    return bool(_REGISTRIES) and (name == OUTSIDE or name in methods().sections())
