"""What the programs that make a page's tables of a study's runs share: a file with a line a run, kept beside the page, and a table of markdown.

A file keeps what it has of a run: who changes a run's settings deletes its line, so that it is collected anew.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence


class Runs:
    """Of the runs of a study: their tasks and settings, in its order."""

    def __init__(self, study: Path) -> None:
        self.study, self._runs = study, json.loads((study / "index.json").read_text())["runs"]
        self._order = list(dict.fromkeys(self._pair(run) for run in self._runs))

    @staticmethod
    def _pair(run: dict[str, Any]) -> tuple[str, str]:
        return run["settings"]["task"], run["settings"]["setting"]

    def done(self) -> Iterator[tuple[tuple[str, str, str], Path]]:
        """(task, setting, seed) and folder of each run that is done."""
        for run in self._runs:
            if run["state"] == "done":
                yield (*self._pair(run), str(run["seed"])), self.study / run["folder"]

    def place(self, task: str, setting: str) -> int:
        """Where these come; of another study: last."""
        pair = task, setting
        return self._order.index(pair) if pair in self._order else len(self._order)


def read(file: Path) -> list[dict[str, str]]:
    """Rows of a file; none where it is not there."""
    if not file.is_file():
        return []
    with file.open(newline="") as source:
        return list(csv.DictReader(source))


def write(file: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A file of these rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([head, *rows])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of markdown."""
    head = list(head)
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)] + [""]


def command(what: str, collect: Callable[[Path], None], tables: Callable[[], str]) -> None:
    """The command line of a program that collects a study's runs into files, and prints tables of these."""
    reader = argparse.ArgumentParser(description=what)
    reader.add_argument("--collect", type=Path, metavar="STUDY")
    given = reader.parse_args()
    if given.collect:
        collect(given.collect)
    else:
        print(tables())
