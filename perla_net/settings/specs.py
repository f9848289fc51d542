"""What users write in one word: ``NAME:key=value,…``, read and written."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Mapping

from ..ground.errors import InputError

QUOTES = ("'", '"')
CLOSING = {"[": "]", "{": "}"}


def parse_spec(text: str, is_file: Callable[[str], bool] = lambda name: False) -> tuple[str, dict[str, Any]]:
    """``'watts_strogatz:k=4,p=0.1'`` → ``('watts_strogatz', {'k': 4, 'p': 0.1})``; names may hold colons themselves.

    Arguments begin behind the first colon that is followed by ``word=``; is_file: whether a name is that of a file, whose own ``:`` and
    ``=`` are then part of it. Values are read as int, float, true, false or none, or text, in this order; text in quotes is text, and may
    hold anything but its own quote before a comma or the end. ``[a,b]`` is a list, ``{key: value}`` a mapping, of such values. Raises
    InputError for what is not key=value, and what is not closed.
    """
    name, arguments = text, {}
    if is_file(text):
        return name, arguments
    places = [match.start() for match in re.finditer(r":(?=[A-Za-z_]\w*=)", text)]
    for place in sorted(places, key=lambda place: not is_file(text[:place]))[:1]:
        name, arguments = text[:place], _Reader(text, place + 1).arguments()
    return name, arguments


class _Reader:
    """Reads ``key=value,…`` of a text from a place on."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def arguments(self) -> dict[str, Any]:
        """All of them, up to the end of the text."""
        found: dict[str, Any] = {}
        while True:
            item = self.text[self.at :].partition(",")[0]
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals or not key or not value:
                raise InputError(f"'{self.text}': '{item}' is not key=value")
            if key in found:
                raise InputError(f"'{self.text}': '{key}' is given twice")
            self.at = self.text.index("=", self.at) + 1
            found[key] = self._value(",")
            if self.at == len(self.text):
                return found
            self.at += 1

    def _value(self, ends: str) -> Any:
        """A value; afterwards :attr:`at` is at one of ``ends``, or the end of the text."""
        self._skip()
        first, start = self.text[self.at : self.at + 1], self.at
        if first in QUOTES:
            value: Any = self._quoted(first, ends)
        elif first in CLOSING:
            value = self._series(first)
            self._skip()
            if self.text[self.at : self.at + 1] not in (*ends, ""):
                raise InputError(f"'{self.text}': '{self.text[self.at :]}' stands behind a closing {CLOSING[first]}")
        else:
            while self.at < len(self.text) and self.text[self.at] not in ends:
                self.at += 1
            value = self.text[start : self.at].strip()
            if not value:
                raise InputError(f"'{self.text}': there is no value before {self.text[start:] or 'the end'}")
            value = _literal(value)
        return value

    def _quoted(self, quote: str, ends: str) -> str:
        """Text up to the first such quote that ends a value: others are part of it."""
        found = re.compile(rf"{quote}\s*(?=[{re.escape(ends)}]|\Z)").search(self.text, self.at + 1)
        if found is None:
            raise InputError(f"'{self.text}': a value that begins with {quote} is not closed")
        value, self.at = self.text[self.at + 1 : found.start()], found.end()
        return value

    def _series(self, opening: str) -> list[Any] | dict[Any, Any]:
        """A list or a mapping, from its opening bracket on."""
        close = CLOSING[opening]
        values: list[Any] = []
        pairs: dict[Any, Any] = {}
        self.at += 1
        self._skip()
        while self.text[self.at : self.at + 1] != close or values or pairs:
            value = self._value("," + close if opening == "[" else ":")
            if opening == "[":
                values.append(value)
            else:
                if isinstance(value, (list, dict)) or self.text[self.at : self.at + 1] != ":":
                    raise InputError(f"'{self.text}': {{…}} holds {value!r}, not key: value")
                if value in pairs:
                    raise InputError(f"'{self.text}': '{value}' is given twice")
                self.at += 1
                pairs[value] = self._value("," + close)
            if self.at == len(self.text):
                raise InputError(f"'{self.text}': a value that begins with {opening} is not closed")
            if self.text[self.at] == close:
                break
            self.at += 1
        self.at += 1
        return values if opening == "[" else pairs

    def _skip(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1


def _literal(text: str) -> Any:
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", text, re.ASCII):
        return float(text)
    return {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)


def written(value: Any) -> str:
    """A value as :func:`parse_spec` reads it back (a tuple as a list). Raises InputError for what cannot be said in words."""
    if value is None or isinstance(value, (bool, int, float)):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{written(key)}:{written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        plain = _literal(text) is text and text == text.strip() != "" and not re.search(r"[,:\[\]{}]|^['\"]", text)
        for whole in [text] * plain + [quote + text + quote for quote in QUOTES]:
            if plain or not re.search(rf"{whole[0]}\s*[,:\]}}]", text):
                return whole
    raise InputError(f"{value!r} cannot be an argument in words")
