"""Ranks that stay: jobs of one number of ranks, one after another in one mpirun, so that torch is loaded once a rank and not once a rank and job.

``mpirun -n RANKS python standing.py FOLDER OWNER``: each rank takes ``FOLDER/K.json`` (K = 0, 1, …: the module and its arguments), runs it as
``python -m`` would and writes ``FOLDER/K.RANK.json`` (exit status, stdout, stderr). They end with the process OWNER, or when FOLDER is gone.
Ranks look for work between naps, not in a collective: those that wait take no core.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

NAP = 0.01


def put(file: Path, data: Any) -> None:
    """Whoever looks finds nothing or all of it."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(data))
    draft.rename(file)


class Standing:
    """Ranks that wait for jobs, from the side of the tests."""

    def __init__(self, command: list[str], ranks: int, environment: dict[str, str], place: Path) -> None:
        """command: starts a script of these tests on the ranks, to which its arguments are added."""
        self.folder = Path(tempfile.mkdtemp(prefix="perla-ranks-"))
        self.ranks, self.number = ranks, 0
        self.log = (self.folder / "log").open("w+")
        self.process = subprocess.Popen(
            [*command, str(self.folder), str(os.getpid())],
            cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, module: str, arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess:
        """A job to its end. Raises TimeoutExpired, and ends the ranks, as where a job of its own takes too long."""
        put(self.folder / f"{self.number}.json", [module, *arguments])
        files = [self.folder / f"{self.number}.{rank}.json" for rank in range(self.ranks)]
        self.number += 1
        deadline = time.monotonic() + timeout
        while not all(file.exists() for file in files):
            if self.process.poll() is not None:
                break
            if time.monotonic() > deadline:
                self.end()
                raise subprocess.TimeoutExpired([module, *arguments], timeout, self._said())
            time.sleep(NAP)
        told = [json.loads(file.read_text()) for file in files if file.exists()]
        status = max((one[0] for one in told), default=1)
        if len(told) < self.ranks:
            status = status or self.process.returncode or 1
        out, err = ("".join(one[k] for one in told) for k in (1, 2))
        return subprocess.CompletedProcess([module, *arguments], status, out, err + self._said())

    def _said(self) -> str:
        """What the launcher and libraries said, which do not go through Python."""
        self.log.seek(0)
        return self.log.read()

    @property
    def alive(self) -> bool:
        """Whether they wait for the next job."""
        return self.process.poll() is None

    def end(self) -> None:
        """Let them go."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()


def serve(folder: Path, owner: int, rank: int, here: Callable[..., subprocess.CompletedProcess]) -> None:
    """The side of a rank."""
    number = 0
    while folder.exists():
        file = folder / f"{number}.json"
        if not file.exists():
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                return
            time.sleep(NAP)
            continue
        module, *arguments = json.loads(file.read_text())
        done = here(module, tuple(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        put(folder / f"{number}.{rank}.json", [done.returncode, done.stdout, done.stderr])
        number += 1


if __name__ == "__main__":
    from conftest import here

    from perla_net.ground.processes import launched

    for name in ("perla_net.run", "perla_net.simulation.simulation", "perla_net.methods.actor_critic"):
        importlib.import_module(name)
    serve(Path(sys.argv[1]), int(sys.argv[2]), launched()[0], here)
