"""Numbers and tables as people read them."""

from __future__ import annotations

from typing import Sequence


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


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        for row in rows
    )
