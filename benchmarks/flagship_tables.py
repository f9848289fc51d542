"""The tables of docs/studies/flagship.md from the figures of its runs: each setting against ippo, per environment.

    python benchmarks/flagship_tables.py [FILE.csv]

The file (default: docs/studies/flagship/runs.csv) is the table of runs that `python -m perla_net.report STUDY --figures FOLDER`
writes. A cell: probability of improvement with its 95 % bootstrap interval · mean paired difference ± Student's t. Bold: the
interval of the one excludes 0.5 and that of the other 0.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from perla_net.ground.text import rounded
from perla_net.studies.statistics import bootstrap_interval, paired_difference, probability_of_improvement

FILE = Path(__file__).parents[1] / "docs" / "studies" / "flagship" / "runs.csv"
BASE = "ippo"
TITLES = {"final team return": "At the end of training", "absolute team return": "Absolute metric"}


def cell(ours: np.ndarray, base: np.ndarray) -> str:
    """ours, base [seeds, 1], of equal seeds."""
    chance = bootstrap_interval(probability_of_improvement, ours, base)
    apart = paired_difference(ours, base)
    half = (apart.student.high - apart.student.low) / 2
    text = f"{chance.value:.2f} [{chance.low:.2f}, {chance.high:.2f}] · {rounded(apart.value, 3, '+')} ± {rounded(half, 2)}"
    settled = (chance.low > 0.5 or chance.high < 0.5) and abs(apart.value) > half
    return f"**{text}**" if settled else text


def tables(file: Path = FILE) -> str:
    """Markdown."""
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    tasks, settings = (list(dict.fromkeys(row[name] for row in rows)) for name in ("task", "setting"))
    text = []
    for column, title in TITLES.items():
        values: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows:
            values.setdefault((row["setting"], row["task"]), {})[row["seed"]] = float(row[column])
        text += [f"| {title} | {' | '.join(tasks)} |", "|---|" + "---|" * len(tasks)]
        for setting in settings:
            if setting != BASE:
                pairs = [(values[setting, task], values[BASE, task]) for task in tasks]
                cells = [
                    cell(*(np.array([[one[seed]] for seed in base]) for one in (ours, base))) for ours, base in pairs
                ]
                text.append(f"| {setting} | {' | '.join(cells)} |")
        text.append("")
    return "\n".join(text)


if __name__ == "__main__":
    print(tables(*map(Path, sys.argv[1:2])))
