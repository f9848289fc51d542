"""``python -m perla_net.methods [NAME …]``: how agents can act and learn.

Without a name: every method, with what it needs and says, and how it was checked. With names, or MODULE.CLASS: these, with all their
options. ``--markdown``: the table of the documentation.
"""

from __future__ import annotations

import sys
from typing import Any, Sequence

from ..settings.command_line import parser


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. Raises InputError for names that do not exist."""
    reader = parser("perla_net.methods", "List methods, or describe some with all their options.")
    reader.add_argument("names", nargs="*", metavar="NAME", help="a method, or MODULE.CLASS of your own")
    reader.add_argument("--markdown", action="store_true", help="the table of the documentation")
    given: Any = reader.parse_args(list(arguments))
    from .listing import describe, markdown  # with torch: not for --help

    print(markdown() if given.markdown else describe(given.names))
    return 0


if __name__ == "__main__":
    from ..ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
