"""``python -m perla_net.run``: command line → configuration → simulation."""

from __future__ import annotations

import sys
from typing import Sequence

from .ground.processes import connect, guarded, launched
from .settings.config import Config
from .settings.help import page, topic
from .simulation.running import agree_on_plan, plan_of, simulate


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. Raises InputError for help on what does not exist."""
    about = topic(arguments)
    if about is not None:
        text = page(about)
        if launched()[0] == 0:
            print(text)
        return 0
    processes = connect()

    def work() -> int:
        from_options = lambda: plan_of(_command_line(arguments), processes.size)  # noqa: E731
        agreed = agree_on_plan(processes, from_options)
        if agreed is None:
            return 2
        simulate(processes, agreed[0], ["python", "-m", "perla_net.run", *arguments])
        return 0

    return guarded(processes, work)


def _command_line(arguments: Sequence[str]) -> Config:
    from .settings.command_line import command_line

    return command_line(arguments)


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
