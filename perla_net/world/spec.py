"""What a learner knows of an environment before the first step, as plain data that rank 0 can broadcast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ActionSpec:
    """One agent's action space.

    kind: ``discrete`` (sizes = one number), ``multi_discrete`` (a number per component), ``continuous`` (low and high per
    component; infinite bounds are allowed) or ``mixed`` (both: first all discrete components, then all continuous ones).
    ``start``: what the first action of each discrete component is called in the space; in here actions count from 0.
    ``shape``: that of a continuous action in the space. ``parts``: of a mixed space, each (key, kind, shape) in its order.
    """

    kind: str
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    parts: tuple[tuple[Any, str, tuple[int, ...]], ...] = ()

    @property
    def words(self) -> int:
        """Four-byte words of one action: an int32 per discrete component, then a float32 per continuous one."""
        return len(self.sizes) + len(self.low)

    @property
    def outputs(self) -> int:
        """Numbers that a policy puts out for a state: logits of all components, then means."""
        return sum(self.sizes) + len(self.low)

    @property
    def flags(self) -> int:
        """Numbers in an action mask: one per logit."""
        return sum(self.sizes)

    def native(self, words: np.ndarray) -> Any:
        """An action [words] float32 (int32 bits where discrete) in the space's own terms."""
        whole, values = words[: len(self.sizes)].view(np.int32), words[len(self.sizes) :]
        whole = whole + np.array(self.start or (0,) * len(self.sizes), np.int32)
        if self.kind == "mixed":
            return self._in_parts(whole, self._scaled(values))
        return self._scaled(values).reshape(self.shape or values.shape) if self.kind == "continuous" else whole

    def _in_parts(self, whole: np.ndarray, values: np.ndarray) -> Any:
        found: dict[Any, Any] = {}
        for key, kind, shape in self.parts:
            count = math.prod(shape)
            if kind == "continuous":
                found[key], values = values[:count].reshape(shape), values[count:]
            else:
                found[key], whole = int(whole[0]) if kind == "discrete" else whole[:count], whole[count:]
        return found if isinstance(self.parts[0][0], str) else tuple(found.values())

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """A policy's continuous action in the space's units: [-1, 1] onto a bounded component, clipping elsewhere."""
        low, high, bounded = self._bounds
        with np.errstate(invalid="ignore"):
            inside = low + (np.clip(values, -1, 1) + 1) / 2 * (high - low)
        return np.where(bounded, inside, np.clip(values, low, high))

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Least and greatest values, and where both are finite."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return low, high, np.isfinite(low) & np.isfinite(high)

    def internal(self, native: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`native` for whole rows: bounded components back onto [−1, 1], actions counted from 0."""
        if self.kind != "continuous":
            return native - np.array(self.start or (0,) * len(self.sizes))
        low, high, bounded = self._bounds
        with np.errstate(invalid="ignore"):
            return np.where(bounded, (native - low) / (high - low) * 2 - 1, native)

    @property
    def joint(self) -> int | None:
        """Number of distinct actions; None when some component is continuous."""
        return None if self.low else math.prod(self.sizes)


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its name, its observation (flattened to ``observation_size`` float32) and its actions.

    ``observation_kind`` and ``observation_shape`` tell the original space, so that two observations of equal
    length but different meaning are not taken for one another: ``box``, ``image`` (bytes [height, width, channels], which
    become numbers from 0 to 1), ``discrete`` (one-hot; ``observation_start`` is its least value) or ``multi_binary``.
    ``masked``: an action mask comes with every observation, one flag per logit.
    """

    name: str
    observation_size: int
    observation_kind: str
    observation_shape: tuple[int, ...]
    action: ActionSpec
    masked: bool = False
    observation_start: int = 0

    def flatten(self, seen: Any) -> np.ndarray:
        """An observation of the space (without a Dict around it) as ``observation_size`` float32."""
        if self.observation_kind == "discrete":
            return np.eye(self.observation_size, dtype=np.float32)[int(seen) - self.observation_start]
        flat = np.asarray(seen, np.float32).ravel()
        return flat / np.float32(255) if self.observation_kind == "image" else flat

    def reads_like(self, other: AgentSpec) -> bool:
        """True when a policy for one observation can be evaluated on the other."""
        return (self.observation_kind, self.observation_shape) == (other.observation_kind, other.observation_shape)


@dataclass(frozen=True)
class WorldSpec:
    """An environment: agents in order, who influences whom (j → i), the usual length of an episode, and where agents are:
    ``positions`` [agents][dimensions] if they never move, ``moves`` if the environment tells them as it goes."""

    name: str
    agents: tuple[AgentSpec, ...]
    interaction: tuple[tuple[int, int], ...] | None = None
    horizon: int | None = None
    references: tuple[str, ...] = ()
    positions: tuple[tuple[float, ...], ...] | None = None
    moves: bool = False

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> WorldSpec:
        """The inverse of ``config.to_data``."""
        agents = tuple(agent_from_data(entry) for entry in data["agents"])
        interaction = data["interaction"]
        edges = None if interaction is None else tuple((source, target) for source, target in interaction)
        places = None if data["positions"] is None else tuple(tuple(place) for place in data["positions"])
        return cls(data["name"], agents, edges, data["horizon"], tuple(data["references"]), places, data["moves"])


def agent_from_data(entry: dict[str, Any]) -> AgentSpec:
    """An AgentSpec from ``config.to_data`` of one, as it stands in checkpoints too."""
    action = {key: _tuples(value) for key, value in entry["action"].items()}
    shape = tuple(entry["observation_shape"])
    return AgentSpec(**(entry | {"action": ActionSpec(**action), "observation_shape": shape}))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
