"""Where graph files are found: a path, or the bare name of a file that comes with the program."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .files import given as path_given
from .files import shipped


def topologies_folder() -> Path:
    """Where the graph files that come with the program are."""
    return shipped("topologies")


def find_file(name: str | Path) -> Path | None:
    """The file of that path, else the one of that name in :func:`topologies_folder`, else None."""
    try:
        given = path_given(name, "FILE")
    except InputError:  # what no file can be called
        return None
    if given.exists():
        return given
    shipped = topologies_folder() / given.name
    return shipped if shipped.exists() else None
