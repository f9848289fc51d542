"""What a learner knows of an environment before the first step, as plain data that rank 0 can broadcast."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Mapping

import numpy as np

from .observed import Observed, as_array, observed_from_data


@dataclass(frozen=True)
class Part:
    """One space inside an action space: Discrete, MultiDiscrete or Box.

    key: its place in a Tuple or Dict, None where it is the whole; kind: ``discrete``, ``multi_discrete`` or ``continuous``;
    shape and dtype (numpy's name) of an action in it.
    """

    key: Any
    kind: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def components(self) -> int:
        """How many numbers an action in it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ActionSpec:
    """One agent's action space.

    kind: ``discrete`` (sizes = one number), ``multi_discrete`` (a number per component), ``continuous`` (low and high per
    component; infinite bounds are allowed) or ``mixed`` (both: first all discrete components, then all continuous ones).
    ``start``: what the first action of each discrete component is called in the space; in here actions count from 0.
    ``parts``: the spaces that it is made of, in the space's order, of environments that take actions in their own terms;
    ``container``: ``dict`` or ``tuple`` where these stand in one.
    """

    kind: str
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    container: str = ""

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

    @property
    def bare(self) -> ActionSpec:
        """What a policy knows of it: how actions are called and packed in the space is none of its business."""
        return replace(self, start=(), parts=(), container="")

    def native(self, words: np.ndarray) -> Any:
        """An action [words] float32 (int32 bits where discrete) in the space's own terms: an int for Discrete, else arrays of
        the space's shapes and types, within its bounds to the last bit; a dict or tuple of these where it is one."""
        if self.kind == "discrete" and not self.container:  # by far the most frequent
            return int(words[:1].view(np.int32)[0]) + (self.start[0] if self.start else 0)
        whole = words[: len(self.sizes)].view(np.int32).astype(np.int64)
        whole += np.array(self.start or (0,) * len(self.sizes), np.int64)
        values = words[len(self.sizes) :]
        found, first, second = [], 0, 0
        for part in self.parts or self._itself:
            if part.kind == "continuous":
                piece = slice(second, second := second + part.components)
                found.append(self.in_bounds(values[piece], part.dtype, piece).reshape(part.shape))
            else:
                piece = slice(first, first := first + part.components)
                counted = whole[piece]
                found.append(int(counted[0]) if part.kind == "discrete" else counted.astype(part.dtype))
        if not self.container:
            return found[0]
        keys = [part.key for part in self.parts]
        return dict(zip(keys, found)) if self.container == "dict" else tuple(found)

    @cached_property
    def _itself(self) -> tuple[Part, ...]:
        """The parts of a space that came without any."""
        number = max(len(self.sizes), len(self.low))
        return (Part(None, self.kind, (number,), "float32" if self.low else "int64"),)

    def in_bounds(self, values: np.ndarray, dtype: str, components: slice = slice(None)) -> np.ndarray:
        """A policy's continuous actions [..., components] in the space's units and type: [−1, 1] onto a bounded component, clipping
        elsewhere. Within the bounds to the last bit: rounding to the type may leave them, hence the second clipping."""
        low, high = (bound[components] for bound in self._bounds)
        values = values.astype(np.float64)
        share = (np.clip(values, -1, 1) + 1) / 2
        with np.errstate(invalid="ignore"):
            inside = low * (1 - share) + high * share  # not low + share (high − low), which may overflow
        most = np.finfo(dtype).max
        found = np.where(np.isfinite(low) & np.isfinite(high), inside, np.clip(values, low, high))
        return np.clip(np.clip(found, -most, most).astype(dtype), low.astype(dtype), high.astype(dtype))

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest values, float64."""
        return np.array(self.low, np.float64), np.array(self.high, np.float64)

    def internal(self, native: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`native` for whole rows of one space: bounded components back onto [−1, 1], actions counted
        from 0."""
        if self.kind != "continuous":
            return native - np.array(self.start or (0,) * len(self.sizes))
        low, high = self._bounds
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = np.where(high > low, (native / 2 - low / 2) / (high / 2 - low / 2) * 2 - 1, 0.0)
        return np.where(np.isfinite(low) & np.isfinite(high), inside, native)

    @property
    def joint(self) -> int | None:
        """Number of distinct actions; None when some component is continuous."""
        return None if self.low else math.prod(self.sizes)


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its name, its observation (flattened to ``observation_size`` float32) and its actions.

    ``observation_kind`` and ``observation_shape`` tell the original space, so that two observations of equal
    length but different meaning are not taken for one another: see :class:`~.observed.Observed`, which is made of them;
    ``observation`` is that itself where they cannot tell it: of a Dict, a Tuple or a MultiDiscrete.
    ``masked``: an action mask comes with every observation, one flag per logit.
    """

    name: str
    observation_size: int
    observation_kind: str
    observation_shape: tuple[int, ...]
    action: ActionSpec
    masked: bool = False
    observation_start: int = 0
    observation_low: tuple[int, ...] = (0,)
    observation_high: tuple[int, ...] = (255,)
    observation: Observed | None = None

    @cached_property
    def seen(self) -> Observed:
        """What it observes."""
        start = (self.observation_start,)
        flat = self.observation_kind, self.observation_shape, start, self.observation_low, self.observation_high
        return self.observation or Observed(*flat)

    def flatten(self, seen: Any) -> np.ndarray:
        """An observation of the space (without an action mask) as ``observation_size`` float32.

        Raises ValueError for what is not of the space, in words that follow "the observation of NAME".
        """
        return self.seen.flatten(seen)

    def apart(self, seen: Mapping[Any, Any]) -> tuple[Any, Any]:
        """(observation, action mask) of a Dict with an ``action_mask``: what is called ``observation``, or else all the rest."""
        rest = {key: value for key, value in seen.items() if key != "action_mask"}
        within = {part.key for part in self.seen.parts}
        alone = set(rest) == {"observation"} or ("observation" in rest and "observation" not in within)
        return rest["observation"] if alone else rest, seen["action_mask"]

    def allowed(self, mask: Any) -> np.ndarray:
        """An action mask as ``action.flags`` float32, each 1 (allowed) or 0. None: everything is allowed.

        A component that has no action allowed can only take its first one, as gymnasium's ``sample(mask)`` does. Flags come as one
        array, or one for each component. Raises ValueError in words that follow "the action mask of NAME".
        """
        if mask is None:
            return np.ones(self.action.flags, np.float32)
        if isinstance(mask, Mapping):
            keys = [part.key for part in self.action.parts if part.kind != "continuous"]
            if missing := [key for key in keys if key not in mask]:
                raise ValueError(f"has no flags for {missing[0]}")
            mask = [mask[key] for key in keys]
        if isinstance(mask, (tuple, list)) or (isinstance(mask, np.ndarray) and mask.dtype == object):
            mask = np.concatenate([np.zeros(0, bool), *_leaves(mask)])
        flags = as_array(mask)
        if flags.dtype.kind not in "fiub" or flags.size != self.action.flags:
            raise ValueError(f"has {flags.size} flags, but there are {self.action.flags} actions, one flag each")
        flags = flags.ravel()
        if not ((flags == 0) | (flags == 1)).all():
            raise ValueError(f"holds {flags[(flags != 0) & (flags != 1)][0]}; a flag is 1 (allowed) or 0")
        flags = flags.astype(np.float32)
        self.allow_something(flags)
        return flags

    def allow_something(self, flags: np.ndarray) -> None:
        """In masks [..., flags], allow the first action of every component in which nothing is allowed."""
        start = 0
        for size in self.action.sizes:
            flags[..., start] += ~flags[..., start : start + size].any(-1)
            start += size

    def reads_like(self, other: AgentSpec) -> bool:
        """True when a policy for one observation can be evaluated on the other."""
        return self.seen.meaning == other.seen.meaning


def _leaves(value: Any) -> list[np.ndarray]:
    """The arrays in nested tuples and lists of flags, flat."""
    if isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [leaf for part in value for leaf in _leaves(part)]
    return [np.ravel(as_array(value))]


@dataclass(frozen=True)
class WorldSpec:
    """An environment: agents in order, who influences whom (j → i), the usual length of an episode, and where agents are:
    ``positions`` ``[agents][dimensions]`` if they never move, ``moves`` if the environment tells them as it goes; ``state``: numbers in the
    state of the whole that it tells, for learning together; 0 where it tells none."""

    name: str
    agents: tuple[AgentSpec, ...]
    interaction: tuple[tuple[int, int], ...] | None = None
    horizon: int | None = None
    references: tuple[str, ...] = ()
    positions: tuple[tuple[float, ...], ...] | None = None
    moves: bool = False
    state: int = 0

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> WorldSpec:
        """The inverse of ``config.to_data``."""
        agents = tuple(agent_from_data(entry) for entry in data["agents"])
        interaction = data["interaction"]
        edges = None if interaction is None else tuple((source, target) for source, target in interaction)
        places = None if data["positions"] is None else tuple(tuple(place) for place in data["positions"])
        references = tuple(data["references"])
        return cls(data["name"], agents, edges, data["horizon"], references, places, data["moves"], data["state"])


def agent_from_data(entry: dict[str, Any]) -> AgentSpec:
    """An AgentSpec from ``config.to_data`` of one, as it stands in checkpoints too."""
    action = {key: tuple(value) if isinstance(value, list) else value for key, value in entry["action"].items()}
    action["parts"] = tuple(Part(**(part | {"shape": tuple(part["shape"])})) for part in action["parts"])
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    if entry.get("observation"):
        own["observation"] = observed_from_data(entry["observation"])
    return AgentSpec(**(own | {"action": ActionSpec(**action)}))
