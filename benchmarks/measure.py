"""What the benchmark programs share: how they start jobs, medians, and the head that says where a figure is from."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

MPIRUN = str(Path(sys.executable).parent / "mpirun")
if not Path(MPIRUN).exists():
    MPIRUN = shutil.which("mpirun") or "mpirun"


def mpi_command(ranks: int, *arguments: str) -> list[str]:
    """A command line of this Python on so many ranks (1: without mpirun)."""
    python = [sys.executable, "-W", "ignore", *arguments]
    if ranks == 1:
        return python
    text = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    more = ["--oversubscribe"] if "Open MPI" in text else []
    return [MPIRUN, *more, "-n", str(ranks), *python]


def start(ranks: int, *arguments: str) -> subprocess.Popen:
    """Such a job, its output as text."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.Popen(
        mpi_command(ranks, *arguments),
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | allowed,
    )


def in_turn(comm: Any, once: Mapping[str, Callable[[int], Any]], turns: range, warm: int) -> dict[str, list[float]]:
    """Seconds of each of several collectives, one after the other in every turn, between barriers; the first ``warm`` turns do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in once}
    for number, turn in enumerate(turns):
        for name, run in once.items():
            comm.Barrier()
            began = time.perf_counter()
            run(turn)
            comm.Barrier()
            if number >= warm:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def head(title: str) -> str:
    """Title, versions and machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("perla_net", "torch", "numpy", "mpi4py"))
    return f"# {title}\n{platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}; {packages}"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
