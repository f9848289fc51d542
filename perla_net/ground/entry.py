"""How every command ends: an InputError is one sentence from rank 0, the exit status says the rest."""

from __future__ import annotations

import sys
import time
from typing import Callable, Sequence

from . import console
from .errors import Diverged, InputError, Stopped, WriteError
from .processes import launched

PATIENCE = 1.0
"""Seconds by which other ranks end later than rank 0: with the first that ends with a status, MPICH's mpirun ends all, and rank 0 has something to say."""


def entry(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run an entry point; an InputError is one sentence from rank 0 and exit status 2 on every rank."""
    console.prepare()
    try:
        status = main(arguments)
    except InputError as error:
        if launched()[0] == 0:
            print(f"perla_net: {error}", file=sys.stderr, flush=True)
        else:
            time.sleep(PATIENCE)
        status = 2
    except SystemExit as error:
        if {"-h", "--help"} & set(arguments):
            raise
        print(f"perla_net: sys.exit({error.code or ''}) was called by what was asked for", file=sys.stderr, flush=True)
        status = 1
    except (Diverged, Stopped, WriteError) as error:  # of a process that is alone; among ranks see guarded
        print(f"perla_net: {error}", file=sys.stderr, flush=True)
        status = getattr(error, "status", 1)
    return status or console.lost()
