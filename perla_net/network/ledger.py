"""The ledger: messages and bytes of agent traffic, by round, directed edge and purpose, counted where they are sent."""

from __future__ import annotations

from collections import defaultdict

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
)
"""Envelopes and sections of packets, parameters to average, and what agents under parameter sharing send one another."""


class Ledger:
    """What the agents of this rank sent in the present round."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])

    def note(self, source: int, target: int, purpose: str, size: int, messages: int = 1) -> None:
        """Count messages of ``size`` bytes together from agent ``source`` to agent ``target``."""
        entry = self.counts[source, target, PURPOSES.index(purpose)]
        entry[0] += messages
        entry[1] += size

    def take(self) -> np.ndarray:
        """Rows (source, target, purpose, messages, bytes) of the round, float64 [rows, 5]; the counts start anew."""
        rows = [[*key, *counts] for key, counts in sorted(self.counts.items())]
        self.counts.clear()
        return np.array(rows, np.float64).reshape(-1, 5)
