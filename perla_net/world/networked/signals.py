"""The suite ``traffic``: a grid of signals, or the signals of any road graph."""

from __future__ import annotations

from typing import Any

from .base import build
from .traffic import TrafficGrid


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Any:
    """``traffic:grid``, see :class:`TrafficGrid` for the arguments; any other name is the file of a road graph."""
    if name != "grid":
        from .roads import make_roads  # networkx takes long to import, and a grid needs none

        return make_roads(name, arguments, copies, agents)
    return build(TrafficGrid, "traffic:grid", arguments, copies, agents)


def any_number(name: str, arguments: dict[str, Any]) -> bool:
    """Where no shape of the grid is given, nor a file."""
    return name == "grid" and not {"rows", "columns"} & set(arguments)
