"""What an agent sees, as plain data: one space, or Dict and Tuple of spaces inside one another; and how that becomes a row of numbers.

The order of a row is that of gymnasium's ``flatten``: the parts of a Dict as the space holds them (gymnasium sorts the keys of a plain dict),
those of a Tuple one after the other, depth first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Iterator, Mapping

import numpy as np


@dataclass(frozen=True)
class Observed:
    """One space of observations.

    kind: ``box``, ``image`` (bytes [height, width, channels], which become numbers from 0 to 1 between ``low`` and ``high``, a number for
    all or one for each), ``discrete`` (one-hot), ``multi_discrete`` (one-hot for each component), ``multi_binary``, ``dict`` or ``tuple``.
    shape: of an observation; (number of values,) of ``discrete``, (number of parts,) of the last two. start: least value of each component;
    sizes: how many values each has, of ``multi_discrete``; key: its place in the Dict or Tuple around it; parts: what is inside.
    """

    kind: str
    shape: tuple[int, ...]
    start: tuple[int, ...] = (0,)
    low: tuple[int, ...] = (0,)
    high: tuple[int, ...] = (255,)
    sizes: tuple[int, ...] = ()
    key: str | int | None = None
    parts: tuple[Observed, ...] = ()

    @cached_property
    def size(self) -> int:
        """Numbers in a row."""
        if self.parts:
            return sum(part.size for part in self.parts)
        return sum(self.sizes) if self.kind == "multi_discrete" else math.prod(self.shape)

    def flatten(self, seen: Any, where: str = "") -> np.ndarray:
        """An observation as ``size`` float32. ``where``: its place in what is around it, ``['map'][0]``.

        Raises ValueError for what is not of the space, in words that follow "the observation of NAME".
        """
        if (
            type(seen) is np.ndarray and self.kind == "box" and seen.shape == self.shape and seen.dtype.kind == "f"
        ):  # by far the most frequent
            return seen.astype(np.float32).ravel()
        try:
            if not self.parts:
                return self._row(seen)
            values = self._inside(seen)
        except ValueError as error:
            raise ValueError(f"at {where} {error}" if where else str(error)) from None
        return np.concatenate(
            [part.flatten(value, f"{where}[{part.key!r}]") for part, value in zip(self.parts, values)]
        )

    def _inside(self, seen: Any) -> list[Any]:
        """What a Dict's or Tuple's observation holds, in the order of the parts."""
        keys = [part.key for part in self.parts]
        if self.kind == "dict":
            if not isinstance(seen, Mapping) or len(seen) != len(keys) or any(key not in seen for key in keys):
                raise ValueError(f"is {_described(seen)}, but its space is a Dict of {_names(keys)}")
            return [seen[key] for key in keys]
        several = isinstance(seen, (tuple, list)) or (isinstance(seen, np.ndarray) and seen.ndim)
        if not several or len(seen) != len(keys):
            raise ValueError(f"is {_described(seen)}, but its space is a Tuple of {len(keys)}")
        return list(seen)

    def _row(self, seen: Any) -> np.ndarray:
        """The row of a space that is neither a Dict nor a Tuple."""
        kind = self.kind
        if isinstance(seen, Mapping):
            raise ValueError(f"is {_described(seen)}, but its space is not a Dict")
        if seen is None:
            raise ValueError("is None")
        array = as_array(seen)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"holds {short(seen)}, not numbers")
        if kind == "discrete":
            return self._one_hot(array, seen)
        if _plain(array.shape) != _plain(self.shape):
            raise ValueError(f"has shape {array.shape}, but its space says {self.shape}")
        if kind == "multi_discrete":
            return self._one_hots(array.ravel())
        if kind == "multi_binary" and not ((array == 0) | (array == 1)).all():
            raise ValueError(f"holds {array[(array != 0) & (array != 1)][0]}, but its space has 0 and 1")
        if kind != "image":
            return array.astype(np.float32).ravel()
        if array.dtype.kind == "f":
            raise ValueError(f"holds {array.dtype}, but its space says bytes (uint8)")
        low, span = self._bytes
        above = array.astype(np.float32).ravel() - low
        if above.min() < 0 or (above > span).any():
            raise ValueError(f"holds numbers from {array.min()} to {array.max()}, which its space does not have")
        return above / span

    def _one_hot(self, array: np.ndarray, seen: Any) -> np.ndarray:
        number = float(array.ravel()[0]) - self.start[0] if array.size == 1 else -1.0
        if not number.is_integer() or not 0 <= number < self.size:
            raise ValueError(f"is {short(seen)}, but its space has {self.start[0]} to {self.start[0] + self.size - 1}")
        row = np.zeros(self.size, np.float32)
        row[int(number)] = 1
        return row

    def _one_hots(self, values: np.ndarray) -> np.ndarray:
        sizes, start = np.array(self.sizes), np.array(self.start)
        numbers = values.astype(np.float64) - start
        if (wrong := (numbers != np.floor(numbers)) | ~((0 <= numbers) & (numbers < sizes))).any():
            odd = int(np.argmax(wrong))
            last = start[odd] + sizes[odd] - 1
            raise ValueError(f"holds {values[odd]} as component {odd}, but its space has {start[odd]} to {last} there")
        row = np.zeros(self.size, np.float32)
        row[np.cumsum(sizes) - sizes + numbers.astype(np.int64)] = 1
        return row

    @cached_property
    def _bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """Least value of each byte, and how many lie above it (1 where none does), float32."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return low, np.where(high > low, high - low, np.float32(1))

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What makes its rows mean the same as those of another space; where values begin to count does not."""
        scale = (self.low, self.high) if self.kind == "image" else ()
        inside = tuple((part.key, part.meaning) for part in self.parts)
        return self.kind, self.shape, scale, self.sizes, inside

    @property
    def leaves(self) -> Iterator[Observed]:
        """The spaces inside that are neither Dict nor Tuple, in the order of a row; itself where it is one."""
        for part in self.parts:
            yield from part.leaves
        if not self.parts:
            yield self

    @property
    def text(self) -> str:
        """The space in a few characters."""
        shape = "×".join(map(str, self.shape))
        if self.kind == "dict":
            return f"Dict({', '.join(f'{part.key}: {part.text}' for part in self.parts)})"
        if self.kind == "tuple":
            return f"Tuple({', '.join(part.text for part in self.parts)})"
        if self.kind == "multi_discrete":
            return f"one of each of {'×'.join(map(str, self.sizes[:6]))}" + "×…" * (len(self.sizes) > 6)
        return {"image": f"image {shape}", "discrete": f"one of {shape}", "multi_binary": f"{shape} bits"}.get(
            self.kind, shape or "one number"
        )


def observed_from_data(entry: dict[str, Any]) -> Observed:
    """An Observed from ``to_data`` of one, as it stands in plans and checkpoints."""
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Observed(**(own | {"parts": tuple(observed_from_data(part) for part in entry["parts"])}))


def _names(keys: Any) -> str:
    return ", ".join(map(str, keys)) or "nothing"


def _described(seen: Any) -> str:
    """What something is that should have been a Dict's or a Tuple's observation."""
    if isinstance(seen, Mapping):
        return f"a dict of {_names(seen)}"
    if isinstance(seen, (tuple, list)):
        return f"a {type(seen).__name__} of {len(seen)}"
    return f"an array of shape {seen.shape}" if isinstance(seen, np.ndarray) and seen.ndim else short(seen)


def as_array(value: Any) -> np.ndarray:
    """Anything as an array; of objects where it cannot be one of numbers (of different lengths, on a device, with a gradient)."""
    try:
        return np.asarray(value)
    except Exception:  # anybody's type
        return np.array([None])


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes of length one, which change nothing."""
    return tuple(length for length in shape if length != 1)


def short(value: Any) -> str:
    """A value in at most 60 characters of one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "…"
