"""``python -m perla_net.environments [NAME …]``: what there is to learn in.

Without a name: every installed suite and the names in it that are worth a start, and a line for each that is not installed. With names
(``SUITE``, ``SUITE:NAME`` or any ``--env``): these only; with a single environment, its agents one by one.
"""

from __future__ import annotations

import sys
from typing import Any, Sequence

from .ground.errors import InputError
from .world.catalogue import details, table
from .world.environments import SUITES


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. Raises InputError for names that do not exist."""
    from .settings.command_line import parser

    reader = parser("perla_net.environments", "List environments, or describe one.")
    reader.add_argument("names", nargs="*", metavar="NAME", help="a suite, or an environment as in --env")
    given: Any = reader.parse_args(list(arguments))
    for name in given.names:
        if name.partition(":")[0] not in SUITES:
            raise InputError(f"'{name}': there is no such suite; there are {', '.join(SUITES)}")
    one = given.names[0] if len(given.names) == 1 else ""
    whole = one in SUITES and "" not in SUITES[one].names
    for part in [details(one)] if one and not whole else table(given.names):
        print(part, flush=True)
    return 0


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
