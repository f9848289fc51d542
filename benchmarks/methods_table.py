"""The tables of docs/studies/methods.md: every method on four tasks, by return, speed and bytes.

    python benchmarks/methods_table.py [FILE.csv]                    # the tables, markdown
    python benchmarks/methods_table.py --collect STUDY [-o FILE.csv] # the file, from a study's runs

The file (default: docs/studies/methods/runs.csv) has a line a run: task, setting, seed; environment steps, seconds of all rounds, bytes that an agent sent in
a round; the team's return in training (last tenth of the rounds), sampled and greedy on held-out episodes, and ``won`` where the task tells it. Tables: means
over seeds ± Student's t at 95 % (of one or two seeds: the values); bytes are medians, and steps per second those of the fastest seed: what runs beside a
run on the same cores can only make it slower.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from perla_net.ground.text import rounded

FILE = Path(__file__).parents[1] / "docs" / "studies" / "methods" / "runs.csv"
HEAD = ("task", "setting", "seed", "steps", "seconds", "bytes", "training", "sampled", "greedy", "won")
LEARNERS = ("team, sampled", "team, greedy")


def figures_of(folder: Path) -> list[Any]:
    """What the file says of a run, from ``steps`` on."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines())
    with (folder / "ledger.csv").open(newline="") as source:
        sent = sum(int(row["bytes"]) for row in csv.DictReader(source))
    each = sent / len(metrics) / len(metrics[-1]["agent_rewards"])
    late = [row["team_return"] for row in metrics[-max(len(metrics) // 10, 1) :] if row["team_return"] is not None]
    told = json.loads((folder / "evaluation.json").read_text())
    returns = [told[name]["return"]["mean"] for name in LEARNERS]
    won = told[LEARNERS[1]].get("won", {}).get("mean", math.nan)
    training = float(np.mean(late)) if late else math.nan
    return [metrics[-1]["env_steps"], round(seconds, 2), round(each), *(f"{x:.6g}" for x in (training, *returns, won))]


def collect(study: Path, file: Path) -> None:
    """Write the file from the runs of a study that are done."""
    lines = []
    for run in json.loads((study / "index.json").read_text())["runs"]:
        if run["state"] == "done":
            lines.append(
                [run["settings"]["task"], run["settings"]["setting"], run["seed"], *figures_of(study / run["folder"])]
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEAD)
        writer.writerows(lines)


def spread(values: list[float]) -> str:
    """Mean ± half of the 95 % interval; of fewer than three, each."""
    mean = float(np.mean(values))
    if math.isnan(mean):
        return "–"
    if len(values) < 3:
        return " and ".join(rounded(value, 3) for value in values)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{rounded(mean, 3)} ± {rounded(float(half), 2)}"


def tables(file: Path = FILE) -> str:
    """Markdown, a table a task."""
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    text = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        wins = any(not math.isnan(float(row["won"])) for row in of_task)
        head = ["method", "seeds", "steps", "return, training", "sampled", "greedy", *(["won"] if wins else [])]
        head += ["steps per second", "kB per agent and round"]
        text += [f"**{task}**", "", f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
        for setting in dict.fromkeys(row["setting"] for row in of_task):
            runs = [row for row in of_task if row["setting"] == setting]
            columns = {name: [float(run[name]) for run in runs] for name in HEAD[3:]}
            speed = np.max(np.array(columns["steps"]) / columns["seconds"])
            cells = [setting, str(len(runs)), f"{np.median(columns['steps']):,.0f}"]
            cells += [spread(columns[name]) for name in ("training", "sampled", "greedy", *(["won"] if wins else []))]
            cells += [f"{speed:,.0f}", rounded(float(np.median(columns["bytes"])) / 1000, 3)]
            text.append(f"| {' | '.join(cells)} |")
        text.append("")
    return "\n".join(text)


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description="Tables of docs/studies/methods.md.")
    reader.add_argument("file", nargs="?", type=Path, default=FILE)
    reader.add_argument("--collect", type=Path, metavar="STUDY")
    reader.add_argument("-o", "--out", type=Path, default=FILE)
    given = reader.parse_args()
    if given.collect:
        collect(given.collect, given.out)
    else:
        print(tables(given.file))


if __name__ == "__main__":
    main()
