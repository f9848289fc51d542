"""What off-policy methods remember: steps, or whole episodes for networks with memory; saved with a checkpoint."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..ground.errors import InputError
from ..world.world import Rollout

Rows = dict[str, np.ndarray]
"""Name → one entry per step."""


def steps_of(rollout: Rollout, action: np.ndarray) -> Rows:
    """The T·B steps of a rollout, each entry [T, B, …].

    observation, mask: before the step; following, following_mask: after it, of an episode that was cut off there what it ended with; action
    [T, B]; alive: the agent acted; terminated: its life ended with the step, so that nothing follows.
    """
    following, masks = rollout.observation[1:].copy(), None if rollout.mask is None else rollout.mask[1:].copy()
    t, copy = rollout.final_at.T
    following[t, copy] = rollout.final_observation
    rows = {
        "observation": rollout.observation[:-1],
        "following": following,
        "action": action.reshape(rollout.reward.shape),
        "alive": rollout.alive[:-1],
        "terminated": rollout.terminated,
    }
    if masks is not None:
        masks[t, copy] = rollout.final_mask
        rows |= {"mask": rollout.mask[:-1], "following_mask": masks}
    return rows


class Replay:
    """The newest ``capacity`` steps: one by one, or as whole episodes, of which the oldest give way to new ones."""

    def __init__(self, capacity: int, episodes: bool, longest: int = 0) -> None:
        """``longest``: with episodes, steps after which one is kept as it is, and goes on as another."""
        self.capacity, self.episodes, self.longest = capacity, episodes, min(longest or capacity, capacity)
        self.rows: Rows = {}
        """[capacity, …] each, made when the first steps come."""
        self.at = self.filled = 0
        self.spans: list[tuple[int, int]] = []
        """(first row, steps) of each episode that is kept, oldest first."""
        self.open: list[list[Rows]] = []
        """Of every copy, the steps of its running episode, in pieces."""

    def __len__(self) -> int:
        """Steps that can be drawn."""
        return sum(length for _, length in self.spans) if self.episodes else self.filled

    def add(self, rows: Rows, begins: np.ndarray, kept: np.ndarray | None = None) -> None:
        """Remember steps, entries [T, B, …]. begins [T+1, B]: an episode begins there, so that the step before was the last of one; kept [T, B]:
        steps worth keeping, where they are kept one by one (default: all)."""
        over = begins[1:]
        if not self.rows:
            self.rows = {name: np.zeros((self.capacity, *array.shape[2:]), array.dtype) for name, array in rows.items()}
        if not self.episodes:
            chosen = slice(None) if kept is None else kept.ravel()
            self._append({name: array.reshape(-1, *array.shape[2:])[chosen] for name, array in rows.items()})
            return
        steps, copies = over.shape
        self.open = self.open or [[] for _ in range(copies)]
        for copy in range(copies):
            if begins[0, copy]:  # what is open here was given up
                self.open[copy].clear()
            start = 0
            for stop in [*(np.flatnonzero(over[:, copy]) + 1).tolist(), steps]:
                if stop > start:
                    self.open[copy].append({name: array[start:stop, copy].copy() for name, array in rows.items()})
                if stop > start or over[stop - 1, copy]:
                    self._close(copy, bool(over[stop - 1, copy]))
                start = stop

    def _append(self, rows: Rows) -> None:
        """Steps one by one, over the oldest ones."""
        number = len(next(iter(rows.values())))
        if number > self.capacity:
            rows = {name: array[-self.capacity :] for name, array in rows.items()}
            number = self.capacity
        places = (self.at + np.arange(number)) % self.capacity
        for name, array in rows.items():
            self.rows[name][places] = array
        self.at = (self.at + number) % self.capacity
        self.filled = min(self.filled + number, self.capacity)

    def _close(self, copy: int, over: bool) -> None:
        """Keep a copy's episode where it is over, or as long as can be."""
        pieces = self.open[copy]
        length = sum(len(piece["alive"]) for piece in pieces)
        while length and (over or length >= self.longest):
            whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
            part = min(length, self.longest)
            self._store({name: array[:part] for name, array in whole.items()}, part)
            length -= part
            pieces[:] = [{name: array[part:] for name, array in whole.items()}] if length else []

    def _store(self, rows: Rows, length: int) -> None:
        if self.at + length > self.capacity:  # an episode lies in one piece
            self.at = 0
        first, stop = self.at, self.at + length
        self.spans = [span for span in self.spans if span[0] >= stop or span[0] + span[1] <= first]
        for name, array in rows.items():
            self.rows[name][first:stop] = array
        self.spans.append((first, length))
        self.at = stop
        self.filled = max(self.filled, stop)

    def choose(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Which steps, or which episodes, are drawn with replacement; the same in every memory that was filled in step with this one."""
        return rng.integers(len(self.spans) if self.episodes else self.filled, size=number)

    def steps(self, chosen: np.ndarray) -> Rows:
        """These steps."""
        return {name: array.take(chosen, 0) for name, array in self.rows.items()}  # faster than [chosen]

    def whole(self, chosen: np.ndarray) -> Rows:
        """These episodes, entries [longest, number, …], zeros behind the shorter ones; ``there`` [longest, number] bool."""
        spans = [self.spans[k] for k in chosen]
        number, longest = len(spans), max(length for _, length in spans)
        found = {name: np.zeros((longest, number, *array.shape[1:]), array.dtype) for name, array in self.rows.items()}
        found["there"] = np.zeros((longest, number), bool)
        for column, (first, length) in enumerate(spans):
            for name, array in self.rows.items():
                found[name][:length, column] = array[first : first + length]
            found["there"][:length, column] = True
        return found

    def take(self, chosen: np.ndarray) -> Rows:
        """What was chosen: :meth:`steps`, or :meth:`whole` episodes."""
        return self.whole(chosen) if self.episodes else self.steps(chosen)

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {f"rows.{name}": array[: self.filled] for name, array in self.rows.items()}
        lengths = [sum(len(piece["alive"]) for piece in pieces) for pieces in self.open]
        for name in self.rows if any(lengths) else ():
            arrays[f"open.{name}"] = np.concatenate([piece[name] for pieces in self.open for piece in pieces])
        return arrays, {"at": self.at, "filled": self.filled, "spans": self.spans, "open": lengths}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.at, self.filled = numbers["at"], numbers["filled"]
        self.spans = [(first, length) for first, length in numbers["spans"]]
        for key, array in arrays.items():
            kind, _, name = key.partition(".")
            if kind == "rows":
                self.rows[name] = np.zeros((self.capacity, *array.shape[1:]), array.dtype)
                self.rows[name][: len(array)] = array
        starts = np.cumsum([0, *numbers["open"]])
        self.open = [
            [{name: arrays[f"open.{name}"][start:stop].copy() for name in self.rows}] if stop > start else []
            for start, stop in zip(starts, starts[1:])
        ]


def check_begin(options: Mapping[str, Any], flag: str) -> None:
    """Raises InputError where a memory holds fewer steps than learning begins with; options: a method's section, flag: its name."""
    if options["memory"] < options["begin"]:
        raise InputError(
            f"{flag}.memory {options['memory']}: holds fewer steps than learning begins with, {flag}.begin {options['begin']}"
        )
