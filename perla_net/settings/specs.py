"""What users write in one word: ``NAME:key=value,…``."""

from __future__ import annotations

import re
from typing import Any, Callable

from ..ground.errors import InputError


def parse_spec(text: str, is_file: Callable[[str], bool] = lambda name: False) -> tuple[str, dict[str, Any]]:
    """``'watts_strogatz:k=4,p=0.1'`` → ``('watts_strogatz', {'k': 4, 'p': 0.1})``; names may hold colons themselves.

    Arguments begin behind the first colon that is followed by ``word=``; is_file: whether a name is that of a file, whose own ``:`` and
    ``=`` are then part of it. Values are read as int, float, true, false or none, or text, in this order; text in quotes is text, and may
    hold commas. Raises InputError for what is not key=value.
    """
    name, arguments = text, {}
    if is_file(text):
        return name, arguments
    places = [match.start() for match in re.finditer(r":(?=[A-Za-z_]\w*=)", text)]
    for place in sorted(places, key=lambda place: not is_file(text[:place]))[:1]:
        name = text[:place]
        for item in _items(text[place + 1 :]):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals or not key or not value:
                raise InputError(f"'{text}': '{item}' is not key=value")
            if key in arguments:
                raise InputError(f"'{text}': '{key}' is given twice")
            arguments[key] = _literal(value)
    return name, arguments


def _items(text: str) -> list[str]:
    """``key=value`` parts between commas that stand outside quotes."""
    found: list[str] = []
    for part in text.split(","):
        value = found[-1].partition("=")[2].strip() if found else ""
        quoted = value[:1] in ("'", '"') and (len(value) == 1 or value[-1] != value[0])
        if quoted:
            found[-1] += "," + part
        else:
            found.append(part)
    return found


def _literal(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", text, re.ASCII):
        return float(text)
    return {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
