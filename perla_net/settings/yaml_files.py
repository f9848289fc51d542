"""YAML and JSON files as data, held to what they are: no key twice, keys as they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ..ground.errors import InputError


class _Reader(yaml.SafeLoader):
    """YAML in which no mapping has a key twice: the specification forbids it, and the last would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; raises ConstructorError for a key that is there already."""
        seen = set()
        names = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in names:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is there twice", key.start_mark
                )
            seen.add(key.value)
        self.flatten_mapping(node)
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            return super().construct_mapping(node, deep)
        # Keys are names, as they are written: 010 is no octal number, and on is no truth.
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key '{twice}' is there twice")
    return found


def read_yaml(file: Path, option: str = "--config") -> dict[str, Any]:
    """A YAML or (by its ending) JSON mapping as data. Raises InputError when the file cannot be read or holds something else."""
    kind = "JSON" if file.suffix.lower() == ".json" else "YAML"
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text, object_pairs_hook=_once) if kind == "JSON" else yaml.load(text, _Reader)
    except OSError as error:
        raise InputError(f"{option} {file}: cannot be read ({error.strerror})") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: not UTF-8, not JSON, a number of 5000 digits
        raise InputError(f"{option} {file}: is not {kind} ({' '.join(str(error).split())})") from None
    if not isinstance(data or {}, dict):
        raise InputError(f"{option} {file}: holds a {type(data).__name__}, not a mapping of options")
    return data or {}
