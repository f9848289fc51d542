"""``python -m perla_net.watch RUN``: a run that goes on elsewhere, looked at from its folder."""

from __future__ import annotations

import math
import sys
from typing import Sequence

from .ground.errors import InputError
from .ground.files import given as path_given
from .records.view import View, _follow


def main(arguments: Sequence[str]) -> int:
    """Look at a run again and again until it is over, or once."""
    from .settings.command_line import parser

    reader = parser("perla_net.watch", "Follow a run from its folder, also one on another machine.")
    reader.add_argument("run", metavar="RUN", help="the run's folder")
    reader.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between looks (default 2)")
    reader.add_argument("--once", action="store_true", help="look once and leave")
    given = reader.parse_args(list(arguments))
    if not 0.05 <= given.interval < math.inf:
        raise InputError(f"--interval {given.interval:g}: must be at least 0.05 seconds")
    folder = path_given(given.run, "RUN")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, not the folder of a run")
    if given.once and not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without block characters shows question marks
    try:
        return _follow(View(folder), given.interval, given.once)
    except KeyboardInterrupt:
        print()
        return 130


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
