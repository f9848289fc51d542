"""Dataclasses as plain data, and back: what is broadcast, kept in a run's folder, or read from YAML."""

from __future__ import annotations

import os
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_type_hints


def to_data(value: Any) -> Any:
    """Dataclasses as plain JSON/YAML data; tuples become lists, paths text."""
    if is_dataclass(value):
        return to_data(asdict(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: to_data(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_data(item) for item in value]
    return value


def from_data(kind: type, data: dict[str, Any]) -> Any:
    """The inverse of :func:`to_data` for data that rank 0 has validated already."""
    hints = get_type_hints(kind)
    values = {}
    for entry in fields(kind):
        value = data[entry.name]
        if is_dataclass(hints[entry.name]):
            value = from_data(hints[entry.name], value)
        elif isinstance(value, list):
            value = tuple(value)
        values[entry.name] = value
    return kind(**values)
