"""Actions of players in pictures: by colour on their graph, by a frame in a table."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from .drawing import COLOURS, Lines, Marks, Scale

PAID = Scale("paid, mean of the two players", "cividis")
ACTION = Scale("last action", "viridis")
MOST_TICKS = 12


def chosen_marks(places: np.ndarray, chosen: np.ndarray, names: Sequence[str] | None) -> list[Any]:
    """Players at places [agents, 2] by their actions ``chosen`` [agents]: a colour for each action, of many or continuous ones a scale."""
    if names is None or len(names) > len(COLOURS):
        return [Marks(places, "player", chosen, ACTION, size=330)]
    return [
        Marks(places[chosen == action], f"action {name}", colour=COLOURS[action], size=330, edge="white")
        for action, name in enumerate(names)
    ]


def played(x: Any, y: Any, shown: bool) -> Lines:
    """Frames around the cells of a table whose middles are at (x, y), numbers or [n]."""
    middles = np.stack([np.atleast_1d(x), np.atleast_1d(y)], 1)[: None if shown else 0]
    corners = middles[:, None] + 0.42 * np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]])
    return Lines(
        np.stack([corners, np.roll(corners, -1, 1)], 2).reshape(-1, 2, 2), "done in the last step", colour=COLOURS[1],
        width=4,
    )  # fmt: skip


def few(number: int) -> list[tuple[float, str]]:
    """Names of 0 … number − 1 for an axis, at most about a dozen."""
    return [(index, str(index)) for index in range(0, number, -(-number // MOST_TICKS))]
