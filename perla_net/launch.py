"""``python -m perla_net.launch NAME``: the scripts that start a run on machines and clusters, to look at and to copy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Sequence

from .ground.errors import InputError
from .ground.files import given as path_given
from .ground.files import shipped, writing

NAMES = {
    "local": ("local.sh", "this machine, a rank per agent"),
    "hosts": ("hosts.sh", "several machines that ssh reaches"),
    "slurm": ("slurm.sh", "Slurm; REQUEUE=yes queues its own continuation"),
    "pbs": ("pbs.sh", "PBS"),
    "kubernetes": ("mpijob.yaml", "Kubernetes with the MPI Operator, on an image"),
    "image": ("Dockerfile", "an image for Kubernetes, built from a clone"),
    "two_hosts": ("two_hosts.sh", "two hosts simulated on this machine (root)"),
    "readme": ("README.md", "how each is used, and what must hold there"),
}
"""Name → (file of ``launch/``, where it starts a run)."""


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.launch``: what there is; with a name, prints that file, or writes it, or says where it lies."""
    from .settings.command_line import parser

    reader = parser(
        "perla_net.launch", "Scripts that start a run on machines and clusters; without a name, lists them."
    )
    reader.add_argument("name", nargs="?", help=", ".join(NAMES))
    where = reader.add_mutually_exclusive_group()
    where.add_argument("-o", "--out", metavar="FILE", help="write it to a new file, executable where it is a script")
    where.add_argument("--path", action="store_true", help="print where the installed one lies, to start it from there")
    given = reader.parse_args(list(arguments))
    if given.name is None:
        if given.out is not None or given.path:
            raise InputError(f"which script? name one of {', '.join(NAMES)}")
        for name, (file, place) in NAMES.items():
            print(f"{name:<12}{file:<14}{place}")
        print("next: python -m perla_net.launch slurm -o slurm.sh")
        return 0
    if given.name not in NAMES:
        raise InputError(f"'{given.name}': there is no such script; there are {', '.join(NAMES)}")
    source = shipped("launch") / NAMES[given.name][0]
    if given.path:
        print(source)
    elif given.out is None:
        print(source.read_text(encoding="utf-8"), end="")
    else:
        _write(path_given(given.out, "--out"), source)
        print(f"written to {given.out}; its head says how it is used")
    return 0


def _write(file: Path, source: Path) -> None:
    """A copy in a file that was not there. Raises InputError where one was, or where none can be made."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if source.suffix == ".sh" else 0o666)
    except FileExistsError:
        raise InputError(f"--out {file}: is there already; choose another, or remove it first") from None
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror})") from None
    with writing(file):
        try:
            with os.fdopen(descriptor, "wb") as copy:
                copy.write(source.read_bytes())
        except OSError:
            file.unlink(missing_ok=True)
            raise


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
