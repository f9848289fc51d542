"""Agents as users name them: by name, by number, or a range of numbers."""

from __future__ import annotations

from typing import Sequence

from .errors import InputError


def selected(selector: str, names: Sequence[str], where: str) -> list[int]:
    """The agents that ``signal_0_1``, ``3`` or ``4-7`` means, by index. Names come first: in a team whose agents are called by numbers
    ``3`` is the agent of that name, and a range that could mean either is refused. Raises InputError that begins with ``where``."""
    if selector in names:
        return [names.index(selector)]
    first, dash, last = selector.partition("-")
    if not (_whole(first) and (_whole(last) if dash else True)):
        raise InputError(
            f"{where}: no agent is called '{selector}'; names are {listed(names)}, indices and ranges like 0-3"
        )
    chosen = range(int(first), int(last or first) + 1)
    if not chosen or chosen[-1] >= len(names):
        wrong = f"is outside 0-{len(names) - 1}" if chosen else "ends before it begins"
        raise InputError(f"{where}: '{selector}' {wrong}")
    called = [names.index(str(number)) for number in chosen if str(number) in names]
    if called and called != list(chosen):
        raise InputError(
            f"{where}: '{selector}' may mean agents by their place or by their names, which are numbers; name them one by one"
        )
    return list(chosen)


def listed(names: Sequence[object], most: int = 4) -> str:
    """The first few names of some agents, for messages."""
    return ", ".join(map(str, names[:most])) + ", …" * (len(names) > most) or "nobody"


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit()
