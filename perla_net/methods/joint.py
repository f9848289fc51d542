"""What methods remember whose critics read what everybody saw: every state of a team once, and which state follows which step."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..world.world import Rollout
from .memory import Rows


class JointReplay:
    """The newest ``capacity`` states. A step is a state in which somebody acted; a round's last states, and those that episodes ended with, are
    only there to be followed by."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: Rows = {}
        """[capacity, …] each, made when the first states come; of a state that is no step, the columns of steps are zero."""
        self.at = self.filled = 0
        self.following = np.full(capacity, -1, np.int64)
        """Where what follows a step lies; −1: no step, or one that is not to be drawn."""
        self._steps = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Steps that can be drawn."""
        return len(self._steps)

    def add(self, states: Rows, steps: Rows, rollout: Rollout, kept: np.ndarray | None = None) -> None:
        """Remember a rollout. states: entries of its R states, [R, …]; steps: of its T·B steps, [T·B, …]; kept [T·B] bool: those that are to be
        drawn (default: all)."""
        taken, copies = rollout.reward.size, rollout.reward.shape[1]
        number = len(next(iter(states.values())))
        after = np.full(number, -1, np.int64)
        after[:taken] = np.arange(taken) + copies
        t, copy = rollout.final_at.T
        after[t * copies + copy] = taken + copies + np.arange(len(t))
        if kept is not None:
            after[:taken][~kept] = -1
        if not self.rows:
            self.rows = {
                name: np.zeros((self.capacity, *array.shape[1:]), array.dtype)
                for name, array in (*states.items(), *steps.items())
            }
        skipped = max(number - self.capacity, 0)  # of a rollout that does not fit, the last states
        places = (self.at + np.arange(number)) % self.capacity
        self.following[places[skipped:]] = np.where(after < 0, -1, places[after])[skipped:]
        for name, array in states.items():
            self.rows[name][places[skipped:]] = array[skipped:]
        for name, array in steps.items():
            self.rows[name][places[skipped:taken]] = array[skipped:]
            self.rows[name][places[max(skipped, taken) :]] = 0
        self.at = int((self.at + number) % self.capacity)
        self.filled = min(self.filled + number, self.capacity)
        self._steps = np.flatnonzero(self.following[: self.filled] >= 0)

    def draw(self, rng: np.random.Generator, number: int, after: tuple[str, ...]) -> Rows:
        """Steps drawn with replacement, entries [number, …]; of the columns ``after`` also what follows, as ``next_…``."""
        chosen = self._steps[rng.integers(len(self._steps), size=number)]
        found = {name: array.take(chosen, 0) for name, array in self.rows.items()}
        following = self.following[chosen]
        return found | {f"next_{name}": self.rows[name].take(following, 0) for name in after}

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {f"rows.{name}": array[: self.filled] for name, array in self.rows.items()}
        return arrays | {"following": self.following[: self.filled]}, {"at": self.at, "filled": self.filled}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.at, self.filled = numbers["at"], numbers["filled"]
        self.following[: self.filled] = arrays["following"]
        self._steps = np.flatnonzero(self.following[: self.filled] >= 0)
        for key, array in arrays.items():
            kind, _, name = key.partition(".")
            if kind == "rows":
                self.rows[name] = np.zeros((self.capacity, *array.shape[1:]), array.dtype)
                self.rows[name][: len(array)] = array
