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

from .network.ledger import PURPOSES

LEDGER_HEAD = ("round", "source", "target", "purpose", "messages", "bytes")


class Recorder:
    """Appends to ``metrics.jsonl`` (only what is deterministic), ``timings.jsonl`` and ``ledger.csv``."""

    def __init__(self, folder: Path, names: Sequence[str], after: int) -> None:
        """``after``: rounds that are kept of files from an earlier part of the run (0: start anew)."""
        self.folder, self.names = folder, names
        for name in ("metrics.jsonl", "timings.jsonl"):
            _keep(folder / name, lambda line: json.loads(line)["round"] <= after, 0)
        _keep(folder / "ledger.csv", lambda line: int(line.split(",", 1)[0]) <= after, 1)
        self.metrics = (folder / "metrics.jsonl").open("a")
        self.timings = (folder / "timings.jsonl").open("a")
        self.ledger = (folder / "ledger.csv").open("a", newline="")
        self.rows = csv.writer(self.ledger, lineterminator="\n")
        if self.ledger.tell() == 0:
            self.rows.writerow(LEDGER_HEAD)

    def write(self, metrics: dict[str, Any], timings: dict[str, Any], ledger: np.ndarray) -> None:
        """One round; ledger rows as :meth:`Ledger.take` of all ranks makes them."""
        self.metrics.write(json.dumps(metrics) + "\n")
        self.timings.write(json.dumps(timings) + "\n")
        for source, target, purpose, messages, size in ledger.astype(np.int64).tolist():
            self.rows.writerow(
                (metrics["round"], self.names[source], self.names[target], PURPOSES[purpose], messages, size)
            )
        for file in (self.metrics, self.timings, self.ledger):
            file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self.metrics, self.timings, self.ledger):
            file.close()


def _keep(file: Path, wanted: Any, head: int) -> None:
    """Keep the first ``head`` lines and those that are wanted; drop the rest, and a line that was cut short."""
    if not file.exists():
        return
    lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = lines[:head] + [line for line in lines[head:] if wanted(line)]
    draft = file.with_suffix(".tmp")
    draft.write_text("".join(kept))
    os.replace(draft, file)


def describe_machine(command: Sequence[str], library: str, ranks: int) -> dict[str, Any]:
    """What a reader needs to repeat the run: command, versions, machine."""
    from importlib.metadata import version

    packages = ("perla_net", "torch", "numpy", "networkx", "mpi4py", "pettingzoo")
    versions = {}
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
