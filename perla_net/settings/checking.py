"""Data checked against a dataclass of options, and what such a dataclass says of itself."""

from __future__ import annotations

import dataclasses
import difflib
import types
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..ground.errors import InputError
from .config import AgentSettings, Config, Section

PER_AGENT = tuple(entry.name for entry in dataclasses.fields(AgentSettings))
"""Options that agents may differ in."""


def flag(name: str) -> str:
    """An option's name on the command line."""
    return "--" + name.replace("_", "-")


@lru_cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def check(kind: type, data: dict[str, Any], source: str, options: dict[str, str]) -> Any:
    """Data as an object of a dataclass. Raises InputError that names ``source``, or the option of a dotted name in ``options``."""
    data = _as_written(kind, data)
    try:
        return _adapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        own, whole = ({entry.name for entry in dataclasses.fields(part)} for part in (AgentSettings, Config))
        if kind is AgentSettings and name in whole - own:
            raise InputError(f"{source}: unknown key '{name}': it is the whole run's, and agents cannot differ in it")
        known = [entry[0] for entry in flat(kind)] + [entry.name for entry in dataclasses.fields(kind)]
        close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(name.split(".")[-1], known, 1)
        raise InputError(f"{source}: unknown key '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
    where = options.get(name, f"{source}: {name}")
    reason = first["msg"][0].lower() + first["msg"][1:]
    raise InputError(f"{where} {first['input']!r}: {reason.replace('input should', 'it should')}")


def _as_written(kind: type, data: Any) -> Any:
    """Data with YAML's booleans turned into what they were written as (``symmetric: no``), where an option's values are texts."""
    if not isinstance(data, dict):
        return data
    hints, found = get_type_hints(kind, include_extras=True), dict(data)
    for name, value in data.items():
        hint = hints.get(name)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found[name] = _as_written(hint, value)
        elif isinstance(value, str) and value.lower() == "none" and get_origin(bare(hint)[0]) is tuple:
            found[name] = []
        elif isinstance(value, bool) and hint is not None:
            plain, optional = bare(hint)
            if get_origin(plain) is Literal and {"yes", "no"} <= set(get_args(plain)):
                found[name] = "yes" if value else "no"
            elif plain is str:
                found[name] = "true" if value else None if optional else "false"
    return found


def flat(kind: type, prefix: str = "") -> list[tuple[str, Any, Any, str]]:
    """(dotted name, type, default, sentence) of every option below a dataclass."""
    rows = []
    hints = get_type_hints(kind, include_extras=True)
    # Run-wide options first: they are what a newcomer looks for.
    own = [entry for entry in dataclasses.fields(kind) if entry.name not in PER_AGENT or kind is not Config]
    rest = [entry for entry in dataclasses.fields(kind) if entry not in own]
    for entry in own + rest:
        if entry.metadata.get("hidden"):
            continue
        hint = hints[entry.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            rows += flat(hint, prefix + entry.name + ".")
        else:
            default = entry.default_factory() if entry.default is dataclasses.MISSING else entry.default
            rows.append((prefix + entry.name, hint, default, entry.metadata["help"]))
    return rows


def bare(hint: Any) -> tuple[Any, bool]:
    """A type without its bounds, and whether it may be None."""
    if get_origin(hint) is Annotated:
        return bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return bare(next(part for part in get_args(hint) if part is not type(None)))[0], True
    return hint, False


def type_name(hint: Any) -> str:
    """A type in words, for `--help`."""
    plain, optional = bare(hint)
    if get_origin(plain) is Literal:
        name = "one of " + ", ".join(get_args(plain))
    elif get_origin(plain) is tuple:
        name = "integers with commas"
    else:
        name = {int: "integer", float: "number", str: "text", bool: "true or false"}.get(plain, "mapping")
    return name + (", optional" if optional else "")


def read_word(text: str, hint: Any) -> Any:
    """A word of the command line as what an option of that type takes."""
    if hint is None:
        return text
    plain, optional = bare(hint)
    if optional and text.lower() == "none":
        return None
    if get_origin(plain) is tuple and text.lower() != "none":
        return [part for part in text.split(",") if part]
    return text
