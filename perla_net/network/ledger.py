"""The ledger: messages and bytes of agent traffic, by round, directed edge and purpose, counted where they are sent."""

from __future__ import annotations

from collections import defaultdict
from typing import Iterable

import numpy as np

PURPOSES = (
    "envelope",
    "policy",
    "outputs",
    "observations",
    "masks",
    "memory",
    "actions",
    "presence",
    "rewards",
    "parameters",
    "gradients",
    "moments",
    "choices",
    "utilities",
)
"""Envelopes and sections of packets, parameters to average, and what methods say while they learn; methods may name more."""


def purposes(more: Iterable[str]) -> tuple[str, ...]:
    """All purposes of a run, in a fixed order."""
    return (*PURPOSES, *sorted(set(more) - set(PURPOSES)))


class Ledger:
    """What the agents of this rank sent in the present round."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """``more``: purposes beside :data:`PURPOSES`."""
        self.purposes = purposes(more)
        self.counts: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])

    def note(self, source: int, target: int, purpose: str, size: int, messages: int = 1) -> None:
        """Count messages of ``size`` bytes together from agent ``source`` to agent ``target``."""
        entry = self.counts[source, target, self.purposes.index(purpose)]
        entry[0] += messages
        entry[1] += size

    def take(self) -> np.ndarray:
        """Rows (source, target, purpose, messages, bytes) of the round, float64 [rows, 5]; the counts start anew."""
        rows = [[*key, *counts] for key, counts in sorted(self.counts.items())]
        self.counts.clear()
        return np.array(rows, np.float64).reshape(-1, 5)
