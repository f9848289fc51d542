"""``python -m perla_net``: what there is to type."""

from __future__ import annotations

import difflib
import sys
from typing import Sequence

from . import __version__
from .ground.errors import InputError
from .ground.processes import launched

COMMANDS = {
    "before a run": {
        "environments": "what there is to learn in",
        "methods": "how agents can act and learn",
        "topology SPEC": "what a communication graph is like",
        "gain ENV": "whom each agent must hear; will it pay?",
        "placement SPEC": "which rank runs on which host",
    },
    "runs": {
        "run": "train a team; --help: what people set",
        "watch RUN": "follow a run from its folder",
        "evaluate RUN": "a trained team once more; its film",
        "study FILE.yaml": "many runs: settings × seeds",
        "report RUN": "one page on runs, or on a study",
    },
    "beside": {
        "launch": "scripts for clusters, Slurm and others",
        "theory": "what embedding promises, on small games",
    },
}
"""Command and what it takes → what it is for."""


def page() -> str:
    """The page."""
    lines = [
        f"perla_net {__version__}: learning agents in a network, each an MPI rank of its own.",
        "An agent hears only its neighbours in a graph, and its critic averages out the",
        "policies that it hears. Who must talk to whom for a team to learn?",
        "",
        "first:",
        "  python -m perla_net.run --rounds 5    16 traffic signals learn, in one process",
        "  mpirun -n 16 python -m perla_net.run  the same for 50 rounds, each a rank",
    ]
    for title, commands in COMMANDS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {f'python -m perla_net.{name}':<38}{sentence}" for name, sentence in commands.items()]
    lines += [
        "",
        "Each says more with --help. docs/tutorial.md leads from here to a study in ten",
        "minutes; docs/ has the rest.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. Raises InputError for words behind it."""
    words = [word for word in arguments if word not in ("-h", "--help")]
    if words:
        known = [name.partition(" ")[0] for commands in COMMANDS.values() for name in commands]
        close = difflib.get_close_matches(words[0], known, 1)
        raise InputError(
            f"{words[0]}: `python -m perla_net` takes no words; type "
            + (f"python -m perla_net.{close[0]}" if close else "it alone for a list")
        )
    if launched()[0] == 0:
        print(page())
    return 0


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
