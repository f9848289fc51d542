"""What ``--draw FILE`` needs of matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InputError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b5ea7", "#5f6b6d")
"""Okabe and Ito (2008), told apart also by people who confuse red and green; without their yellow and black."""


def pyplot_for(file: Path) -> Any:
    """matplotlib's pyplot without a display. Raises InputError where it is not installed, or cannot write such a file."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise InputError('--draw needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"') from None
    known = pyplot.Figure().canvas.get_supported_filetypes()
    if file.suffix[1:].lower() not in known:
        raise InputError(f"--draw {file}: cannot be written; the name must end in one of {', '.join(sorted(known))}")
    return pyplot
