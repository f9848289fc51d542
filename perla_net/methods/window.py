"""What a critic was fitted on in the last rounds, kept for the next fits."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
import torch

Rows = dict[str, torch.Tensor]
"""Steps of a rollout as a critic is fitted on them: x [rows, size], all that it reads; action [rows, words], the own ones; target [rows], in the
units of the return; weight [rows] where some steps do not count."""


class Window:
    """The rows of the last W − 1 rounds, oldest first."""

    def __init__(self, rounds: int) -> None:
        """``rounds``: W, the present one included."""
        self.kept = rounds - 1
        self.rounds: list[Rows] = []

    def with_rows(self, rows: Rows) -> Rows:
        """These rows, those of earlier rounds before them."""
        parts = [*self.rounds, rows]
        return {name: torch.cat([part[name] for part in parts]) for name in rows} if len(parts) > 1 else rows

    def push(self, rows: Rows) -> None:
        """After a round: keep its rows, forget the oldest."""
        self.rounds = [*self.rounds, rows][-self.kept :] if self.kept else []

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {f"{k}.{name}": rows[name].cpu().numpy() for k, rows in enumerate(self.rounds) for name in rows}
        return arrays, {"names": [list(rows) for rows in self.rounds]}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.rounds = [
            {name: torch.from_numpy(np.array(arrays[f"{k}.{name}"])) for name in names}
            for k, names in enumerate(numbers["names"])
        ]
