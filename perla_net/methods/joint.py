"""What methods remember whose critics read what everybody saw: every state of a team once, and which state follows which step."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import torch

from ..learning.distributions import Categorical, Distribution
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
        t, copy = rollout.final_at.T
        number = taken + copies + len(t)
        after = np.full(number, -1, np.int64)
        after[:taken] = np.arange(taken) + copies
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

    def choose(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Which steps are drawn with replacement; the same in every memory that was filled in step with this one."""
        return self._steps[rng.integers(len(self._steps), size=number)]

    def take(self, chosen: np.ndarray, after: tuple[str, ...]) -> Rows:
        """What was chosen, entries [number, …]; of the columns ``after`` also what follows, as ``next_…``."""
        found = {name: array.take(chosen, 0) for name, array in self.rows.items()}
        following = self.following[chosen]
        return found | {f"next_{name}": self.rows[name].take(following, 0) for name in after if name in self.rows}

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


class TeamMemory:
    """What all agents of a team remember alike: observations and actions in the order of agents, and who was there. Agents that sit together keep one,
    and the first of them that draws steps, or encodes actions, does it for the others."""

    def __init__(self, capacity: int, distributions: Sequence[Distribution], words: Sequence[int]) -> None:
        """``words``: in each agent's actions."""
        self.memory, self.distributions, self.words = JointReplay(capacity), distributions, list(words)
        self.round = 0
        """Rounds that are remembered."""
        self.brought = False
        """Whether a checkpoint was restored."""
        self._drawn: tuple[np.ndarray, dict[str, torch.Tensor]] | None = None
        self._encoded: tuple[np.ndarray, torch.Tensor] | None = None

    def remember(self, round_number: int, states: Rows, steps: Rows, rollout: Rollout) -> None:
        """A round: ``states``: observation [R, Σ], there [R, agents]; ``steps``: done [T·B, Σ words]."""
        assert round_number == self.round + 1, "a team's memory and its agents are in the same round"
        self.memory.add(states, steps, rollout)
        self.round, self._drawn = round_number, None

    def take(self, chosen: np.ndarray, device: torch.device) -> dict[str, torch.Tensor]:
        """What was chosen, and as ``encoded`` [M, Σ width] what critics read of what was done."""
        if self._drawn is None or not np.array_equal(self._drawn[0], chosen):
            taken = self.memory.take(chosen, ("observation", "there"))
            rows = {name: torch.from_numpy(row).to(device) for name, row in taken.items()}
            rows["encoded"] = self._encode(rows["done"], rows["there"])
            self._drawn, self._encoded = (chosen, rows), None
        return dict(self._drawn[1])

    def encode(self, words: np.ndarray, there: torch.Tensor) -> torch.Tensor:
        """What critics read of these actions, words [agents, M, most words], in what follows the steps that were taken last."""
        if self._encoded is None or not np.array_equal(self._encoded[0], words):
            done = np.concatenate([mine[:, :number] for mine, number in zip(words, self.words)], 1)
            self._encoded = words, self._encode(torch.from_numpy(done).to(there.device), there)
        return self._encoded[1]

    def _encode(self, done: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        parts = zip(self.distributions, done.split(self.words, 1), there.unbind(1))
        whole = [isinstance(distribution, Categorical) for distribution in self.distributions]
        return torch.cat(
            [one.encode(words.long() if of else words, here) for of, (one, words, here) in zip(whole, parts)], 1
        )

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays, numbers = self.memory.state()
        return arrays, numbers | {"round": self.round}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.memory.restore(arrays, numbers)
        self.round, self.brought = numbers["round"], True
