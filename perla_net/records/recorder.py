"""A run's folder: metrics, timings and ledger, a row at a time, by rank 0 alone."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.errors import WriteError
from ..ground.files import write_whole, writing
from ..network.ledger import purposes

HEADS = {
    "ledger.csv": ("round", "source", "target", "purpose", "messages", "bytes"),
    "neighbours.csv": ("round", "agent", "neighbour", "age", "hops"),
}
LINES = ("metrics.jsonl", "timings.jsonl", "graphs.jsonl")
POINTS = "evaluations.jsonl"
"""Only there where the team is evaluated during the run."""


class Recorder:
    """Appends to ``metrics.jsonl`` (only what is deterministic), ``timings.jsonl``, ``ledger.csv``, ``neighbours.csv`` (whom
    each agent embedded, how old that policy was, along how many edges it came; no age: absent) and ``graphs.jsonl`` (the
    communication graph of each round in which it is not that of the round before), ``evaluations.jsonl`` (the team at evenly
    spaced points)."""

    def __init__(self, folder: Path, names: Sequence[str], after: int, more: Sequence[str] = ()) -> None:
        """``after``: rounds that are kept of files from an earlier part of the run (0: start anew); ``more``: purposes of the ledger beside
        the usual ones."""
        self.folder, self.names, self.purposes = folder, names, purposes(more)
        for name in (*LINES, POINTS):
            _keep(folder / name, lambda line: json.loads(line)["round"] <= after, 0)
        for name in HEADS:
            _keep(folder / name, lambda line: int(line.split(",", 1)[0]) <= after, 1)
        self.edges = _last_edges(folder / "graphs.jsonl")
        self.files = {name: (folder / name).open("a", newline="", encoding="utf-8") for name in (*LINES, *HEADS)}
        self.rows = {name: csv.writer(self.files[name], lineterminator="\n") for name in HEADS}
        for name, head in HEADS.items():
            if self.files[name].tell() == 0:
                self.rows[name].writerow(head)

    def write(
        self,
        metrics: dict[str, Any],
        timings: dict[str, Any],
        ledger: np.ndarray,
        neighbours: np.ndarray,
        edges: Sequence[tuple[int, int]],
    ) -> None:
        """One round; ledger rows as :meth:`Ledger.take` of all ranks makes them; neighbours: rows (agent, neighbour, age, hops)
        with age −1 for an absent one. Raises WriteError."""
        with writing(self.folder):
            number, names = metrics["round"], self.names
            self.files["metrics.jsonl"].write(json.dumps(metrics) + "\n")
            self.files["timings.jsonl"].write(json.dumps(timings) + "\n")
            for source, target, purpose, messages, size in ledger.astype(np.int64).tolist():
                row = (number, names[source], names[target], self.purposes[purpose], messages, size)
                self.rows["ledger.csv"].writerow(row)
            for agent, other, age, hops in neighbours.astype(np.int64).tolist():
                self.rows["neighbours.csv"].writerow((number, names[agent], names[other], "" if age < 0 else age, hops))
            if self.edges != edges:
                self.edges = edges
                self.files["graphs.jsonl"].write(json.dumps({"round": number, "edges": edges}) + "\n")
            for file in self.files.values():
                file.flush()
            if not os.fstat(self.files["metrics.jsonl"].fileno()).st_nlink:
                raise WriteError(f"{self.folder}: is gone; somebody removed it while the run was writing there")

    def write_evaluation(self, row: dict[str, Any]) -> None:
        """A point at which the team was evaluated, see :func:`perla_net.evaluate.at_point`."""
        with writing(self.folder / POINTS), (self.folder / POINTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Close the files."""
        with writing(self.folder):
            for file in self.files.values():
                file.close()


def _last_edges(file: Path) -> Any:
    """The edges in the last line of ``graphs.jsonl``; None before the first."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return tuple((j, i) for j, i in json.loads(lines[-1])["edges"]) if lines else None


def _keep(file: Path, wanted: Any, head: int) -> None:
    """Keep the first ``head`` lines and those that are wanted; drop the rest, and a line that was cut short."""
    if not file.exists():
        return
    lines = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    kept = lines[:head] + [line for line in lines[head:] if wanted(line)]
    write_whole(file, "".join(kept))


def describe_machine(command: Sequence[str], library: str, ranks: int) -> dict[str, Any]:
    """What a reader needs to repeat the run: command, versions, machine."""
    from importlib.metadata import version

    from .. import __version__

    packages = ("torch", "numpy", "networkx", "mpi4py", "pettingzoo")
    versions = {"perla_net": __version__}
    for package in packages:
        try:
            versions[package] = version(package)
        except ImportError:
            continue
    return {
        "command": list(command),
        "ranks": ranks,
        "mpi": library,
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
    }
