"""Numbers and tables as people read them."""

from __future__ import annotations

import shutil
from textwrap import TextWrapper
from typing import Sequence

NARROW, WIDE = 60, 116
"""Columns that wrapped text has at least and at most."""


def rounded(value: float, digits: int, sign: str = "") -> str:
    """A number to so many significant digits, without an exponent where people need none; sign ``+``: always with one."""
    return f"{float(f'{value:.{digits}g}'):{sign},.15g}"


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def many(number: int, what: str) -> str:
    """``1 run``, ``2 runs``, ``1,000 copies``."""
    plural = {"copy": "copies"}.get(what, f"{what}s")
    return f"{number:,} {what if number == 1 else plural}"


def duration_text(seconds: float) -> str:
    """m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def about(seconds: float) -> str:
    """A time as one would say it: ``40 s``, ``3 min``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Text in lines for the present terminal, 80 columns where there is none; names of options stay whole.

    first, rest: what the first line begins with, and all others.
    """
    width = max(NARROW, min(shutil.get_terminal_size().columns - 1, WIDE))
    return TextWrapper(
        width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ).wrap(text)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        for row in rows
    )
