"""Compression of what is sent: how float32 numbers are coded, and what a receiver gets back.

``float16``, ``bfloat16``: rounded to nearest. ``int8``: x ≈ s q with q in −127 … 127 and a scale s = max|x| / 127 for each
group of numbers: each tensor of a network, each column of a table; −1e9, the logit of a forbidden action, has the code −128. ``top_k``: the k largest entries, by magnitude, of the
difference to what the receiver holds; what is left out stays in the next difference (error feedback, as in CHOCO: Koloskova
et al. 2019, arXiv 1902.00340).
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

TYPES = {"raw": 0, "float16": 1, "bfloat16": 2, "int8": 3, "top_k": 4}
"""Codes of the codings in a section's header."""

BLOCKED = -1e9
"""Logit of an action that is forbidden."""

Groups = tuple[int, ...]
"""Numbers that share a scale: sizes of consecutive pieces of a vector; () for a table, whose columns do."""


def coded_size(coding: str, shape: Sequence[int], groups: Groups, kept: int) -> int:
    """Bytes of an array of that shape, coded; ``kept``: k of ``top_k``."""
    numbers = math.prod(shape)
    return {
        "raw": 4 * numbers,
        "float16": 2 * numbers,
        "bfloat16": 2 * numbers,
        "int8": numbers + 4 * (len(groups) or math.prod(shape[1:])),
        "top_k": 8 * kept,
    }[coding]


def encode(coding: str, values: np.ndarray, groups: Groups, kept: int) -> np.ndarray:
    """Float32 numbers as uint8 [:func:`coded_size`]. For ``top_k`` the values are the difference."""
    if coding == "float16":
        # What does not fit becomes the largest number that does, not an infinity, which the receiver would reject.
        coded: list[np.ndarray] = [np.clip(values, -65504, 65504).astype(np.float16)]
    elif coding == "bfloat16":
        words = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
        rounded = words + 0x7FFF + ((words >> 16) & 1)  # to nearest, ties to even
        coded = [(rounded >> 16).astype(np.uint16)]
    elif coding == "int8":
        blocked = values <= BLOCKED
        table, scale = _grouped(np.where(blocked, np.float32(0), values), groups)
        quotient = np.divide(table, scale, out=np.zeros_like(table), where=scale > 0)
        codes = np.where(blocked, -128, np.rint(quotient)).astype(np.int8)
        coded = [scale.reshape(-1) if not groups else _first_of(scale, groups), codes]
    elif coding == "top_k":
        flat = values.reshape(-1)
        chosen = np.sort(np.argpartition(-np.abs(flat), kept - 1)[:kept]) if kept < flat.size else np.arange(kept)
        coded = [chosen.astype(np.uint32), flat[chosen]]
    else:
        coded = [values]
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in coded])


def decode(coding: str, payload: np.ndarray, shape: tuple[int, ...], groups: Groups, kept: int) -> np.ndarray:
    """The inverse of :func:`encode`, float32 of the shape; for ``top_k`` the difference, zero where nothing was sent.

    Raises ValueError for an index outside.
    """
    if coding == "raw":
        return payload.view(np.float32).reshape(shape)
    if coding == "float16":
        return payload.view(np.float16).astype(np.float32).reshape(shape)
    if coding == "bfloat16":
        return (payload.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if coding == "int8":
        number = len(groups) or math.prod(shape[1:])
        scale = payload[: 4 * number].view(np.float32)
        codes = payload[4 * number :].view(np.int8).reshape(shape)
        scales = np.repeat(scale, groups).reshape(shape) if groups else scale.reshape(shape[1:])
        return np.where(codes == -128, np.float32(BLOCKED), codes * scales)
    index = payload[: 4 * kept].view(np.uint32)
    difference = np.zeros(math.prod(shape), np.float32)
    if len(index) and index.max() >= difference.size:
        raise ValueError("index")
    difference[index] = payload[4 * kept :].view(np.float32)
    return difference.reshape(shape)


def _grouped(values: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, and the scale of each: of its group, or its column's."""
    if not groups:
        return values, (np.abs(values).max(0, initial=0) / np.float32(127)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(groups)[:-1]])
    largest = np.maximum.reduceat(np.abs(values), starts) / np.float32(127)
    return values, np.repeat(largest.astype(np.float32), groups)


def _first_of(scale: np.ndarray, groups: Groups) -> np.ndarray:
    return scale[np.concatenate([[0], np.cumsum(groups)[:-1]])]
