"""The tables of docs/studies/when_it_pays.md from its files of curves: who is sooner at the optimum, with whom it hears.

    python benchmarks/when_it_pays.py [FILE.csv …]                         # the tables, markdown
    python benchmarks/when_it_pays.py --collect STUDY [-o FILE.csv]        # a file, from a study's runs
    python benchmarks/when_it_pays.py --predict STUDY.yaml … [-o FILE.csv] # what perla_net.gain says of their tasks, minutes
    python benchmarks/when_it_pays.py --draw FILE.png [FILE.csv …]         # predicted against measured

A file (default: curves.csv and no_harm.csv of docs/studies/when_it_pays/) has a line a run: task, setting, seed, and the mean reward of an agent and
step in every round. Of each setting: that reward at the end (last three rounds) and over all rounds (the area under the curve) as means over seeds; the
paired difference of the area to the best `ippo` (of its learning rates, with λ = 0 and with a critic that is fitted first, where these were run; the best
is the one with the greatest mean area) ± Student's t at 95 %, and in how many seeds it is above 0; in how many seeds a setting is at the end within 2 %
of the best; and for how many samples of `ippo` one of this setting is worth: the ratio of rounds to a threshold, 90 % of the way from the first round to
the better end of either, on the curves' means, with a 95 % interval by bootstrap over seeds. The prediction is in docs/studies/when_it_pays/predicted.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np

from perla_net.ground.pictures import pyplot_for
from perla_net.ground.text import rounded
from perla_net.settings.yaml_files import read_yaml
from perla_net.studies.statistics import paired_difference

PLACE = Path(__file__).parents[1] / "docs" / "studies" / "when_it_pays"
FILES = PLACE / "curves.csv", PLACE / "no_harm.csv"
PREDICTED = PLACE / "predicted.csv"
BASE = "ippo"
ENDS = 3
"""Rounds at the end that are averaged."""
NEAR = 0.02
"""A run is at the best that was reached on its task if it lacks no more than this share of the way from the first round."""
WINDOW = 4
"""Default of --critic.window, from which the critic's samples follow."""
LEVEL = 95
BLIND = ("penalty", "contexts 3")
"""Controls of what no variance in a state tells: where the expected gradient leads, and what others see when they act."""

Curves = dict[tuple[str, str], dict[int, np.ndarray]]
"""(task, setting) → seed → [rounds]."""


# Files


def collect(study: Path, file: Path) -> None:
    """Write the file from the runs of a study that are done."""
    index = json.loads((study / "index.json").read_text())
    lines = []
    for run in index["runs"]:
        metrics = study / run["folder"] / "metrics.jsonl"
        if run["state"] != "done":
            continue
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        rewards = [row["team_reward"] / len(row["agent_rewards"]) for row in rows]
        values = " ".join(f"{value:.6g}" for value in rewards)
        lines.append((run["settings"]["task"], run["settings"]["setting"], run["seed"], values))
    _write(file, ["task", "setting", "seed", "rewards"], lines)


def _write(file: Path, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)


def read(*files: Path) -> Curves:
    """The curves of files."""
    found: Curves = {}
    for file in files:
        with file.open(newline="") as source:
            for row in csv.DictReader(source):
                curve = np.array(row["rewards"].split(), float)
                found.setdefault((row["task"], row["setting"]), {})[int(row["seed"])] = curve
    return found


# What was measured


def best_base(curves: Curves, task: str) -> str:
    """The ippo with the greatest mean area under the curve."""
    rates = [setting for other, setting in curves if other == task and setting.startswith(BASE)]
    return max(rates, key=lambda setting: np.mean([curve.mean() for curve in curves[task, setting].values()]))


def rounds_to(curve: np.ndarray, threshold: float) -> float:
    """The first round at or above the threshold, from 1 on; infinite where there is none."""
    above = np.flatnonzero(curve >= threshold)
    return float(above[0] + 1) if len(above) else math.inf


def speed_up(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """(ratio of rounds, rounds of the base, of ours) to 90 % of the way to the better end; of mean curves, ours and the base's. Where one
    never gets there, the number of rounds that it had stands for it, so that the ratio is a bound."""
    low = (one[0] + other[0]) / 2
    threshold = low + 0.9 * (max(one[-ENDS:].mean(), other[-ENDS:].mean()) - low)
    mine, theirs = rounds_to(one, threshold), rounds_to(other, threshold)
    last = float(len(one))
    return min(theirs, last) / min(mine, last), theirs, mine


class Compared(NamedTuple):
    """A setting beside the best ippo on the seeds that both have: ours and the base's curves [seeds, rounds]."""

    ours: np.ndarray
    base: np.ndarray

    def ratio(self) -> tuple[float, float, float]:
        """Ratio of rounds, and its interval by bootstrap over seeds, which both share."""
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(2000):
            seeds = rng.integers(len(self.ours), size=len(self.ours))
            drawn.append(speed_up(self.ours[seeds].mean(0), self.base[seeds].mean(0))[0])
        low, high = np.percentile(drawn, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
        return speed_up(self.ours.mean(0), self.base.mean(0))[0], float(low), float(high)

    def area(self) -> float:
        """Area under the curve less the base's, as a share of the way that the better of the two went."""
        low = (self.ours[:, 0].mean() + self.base[:, 0].mean()) / 2
        way = max(self.ours[:, -ENDS:].mean(), self.base[:, -ENDS:].mean()) - low
        return float((self.ours.mean() - self.base.mean()) / way)


def compared(curves: Curves, task: str, setting: str) -> Compared:
    """Of the seeds that both have."""
    mine, theirs = curves[task, setting], curves[task, best_base(curves, task)]
    seeds = sorted(set(mine) & set(theirs))
    return Compared(np.array([mine[seed] for seed in seeds]), np.array([theirs[seed] for seed in seeds]))


def tables(curves: Curves) -> str:
    """Markdown, a table a task."""
    text = []
    for task in dict.fromkeys(task for task, _ in curves):
        base = best_base(curves, task)
        settings = [setting for other, setting in curves if other == task]
        ends = {one: np.array([c[-ENDS:].mean() for c in curves[task, one].values()]) for one in settings}
        start = np.mean([c[0] for one in settings for c in curves[task, one].values()])
        best = max(end.max() for end in ends.values())
        text += [f"**{task}** ({len(curves[task, base])} seeds; `{base}` is the best ippo)", ""]
        text += [
            "| setting | at the end | runs at the best | area | area less that of the best ippo | better | rounds to 90 % |"
        ]
        text += ["|---|---|---|---|---|---|---|"]
        for setting in settings:
            both = compared(curves, task, setting)
            area, areas = both.ours.mean(1, keepdims=True), both.base.mean(1, keepdims=True)
            cells = ["–", "–", "–"]
            if setting != base:
                if len(area) > 1:
                    apart = paired_difference(area, areas)
                    half = (apart.student.high - apart.student.low) / 2
                    cell = f"{rounded(apart.value, 3, '+')} ± {rounded(half, 2)}"
                    cells[0] = f"**{cell}**" if abs(apart.value) > half else cell
                    cells[1] = f"{int((area > areas).sum())}/{len(area)}"
                _, theirs, rounds = speed_up(both.ours.mean(0), both.base.mean(0))
                cells[2] = f"{_round(rounds)} ({_round(theirs)})"
            reached = int((ends[setting] >= best - NEAR * (best - start)).sum())
            row = [
                setting,
                f"{ends[setting].mean():.4g}",
                f"{reached}/{len(ends[setting])}",
                f"{area.mean():.4g}",
                *cells,
            ]
            text.append("| " + " | ".join(row) + " |")
        text.append("")
    return "\n".join(text)


def _round(number: float) -> str:
    return "never" if math.isinf(number) else f"{number:.0f}"


# What was predicted


def questions(study: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(task, setting, arguments of perla_net.gain) of every task of a study: its setting ``perla``, with the samples of its rounds; where
    returns of one step are learned from (λ = 0), what happens at once."""
    for row in read_yaml(study)["list"]:
        if row["label"] not in ("perla", "perla λ=0"):
            continue
        words = [row.get("env", "traffic:grid"), "--window", str(WINDOW)]
        words += ["--copies", str(row.get("copies", 64)), "--steps", str(row.get("horizon", 120))]
        for option, name in (("agents", "--agents"), ("returns.gamma", "--gamma"), ("topology", "--topology")):
            if option in row:
                words += [name, str(row[option])]
        if row.get("returns.trace") == 0:
            words += ["--horizon", "1"]
        yield row["task"], row["label"], words


def predict(studies: Sequence[Path], file: Path) -> None:
    """Ask perla_net.gain about every task; what it refuses is said and left out."""
    lines = []
    for task, setting, words in [question for study in studies for question in questions(study)]:
        command = ["python", "-m", "perla_net.gain", *words]
        with tempfile.TemporaryDirectory() as place:
            found = Path(place) / "found.json"
            done = subprocess.run(
                [sys.executable, *command[1:], "--json", str(found)], capture_output=True, text=True, timeout=1800
            )
            if done.returncode:
                print(f"{task}: {done.stderr.strip().splitlines()[-1]}")
                continue
            team = json.loads(found.read_text())["team"]
        lines.append((task, setting, f"{team['gain']:.4g}", f"{team['R'][0]:.4g}", shlex.join(command)))
        print(*lines[-1], flush=True)
    _write(file, ["task", "setting", "predicted", "ceiling", "command"], lines)


class Point(NamedTuple):
    """Predicted and measured: gain in samples; ratio of rounds with its interval; area as of :meth:`Compared.area`."""

    task: str
    setting: str
    predicted: float
    ratio: tuple[float, float, float]
    area: float


def points(curves: Curves, file: Path) -> list[Point]:
    """All that was predicted and measured."""
    found = []
    with file.open(newline="") as source:
        for row in csv.DictReader(source):
            task, setting = row["task"], row["setting"]
            if (task, setting) in curves:
                both = compared(curves, task, setting)
                found.append(Point(task, setting, float(row["predicted"]), both.ratio(), both.area()))
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Spearman's ρ, and its 95 % interval by bootstrap over the points."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    draws = []
    for _ in range(5000):
        chosen = rng.integers(len(one), size=len(one))
        if len(set(one[chosen])) > 1 and len(set(other[chosen])) > 1:
            draws.append(spearmanr(one[chosen], other[chosen])[0])
    low, high = np.percentile(draws, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(spearmanr(one, other)[0]), float(low), float(high)


def prediction_table(found: list[Point]) -> str:
    """Markdown: predicted beside measured, and how their ranks go together."""
    text = [
        "| task | setting | predicted gain in samples | measured: ratio of rounds | area, share of the way |",
        "|---|---|---|---|---|",
    ]
    for each in sorted(found, key=lambda point: -point.predicted):
        ratio, low, high = each.ratio
        measured = f"{ratio:.2f} [{low:.2f}, {high:.2f}]"
        text.append(f"| {each.task} | {each.setting} | {each.predicted:.3g} | {measured} | {each.area:+.3f} |")
    lines = [_together(found, f"Rank correlation of the prediction over {len(found)} points")]
    seen = [point for point in found if point.task not in BLIND]
    if 3 < len(seen) < len(found):
        lines.append(_together(seen, f"without {' and '.join(BLIND)}, {len(seen)} points"))
    return "\n".join([*text, "", "; ".join(lines) + "."])


def _together(found: list[Point], what: str) -> str:
    predicted, told = np.array([point.predicted for point in found]), []
    for name, values in (("ratio of rounds", [p.ratio[0] for p in found]), ("area", [p.area for p in found])):
        value, low, high = rank_correlation(predicted, np.array(values))
        told.append(f"with the {name} {value:.2f} [{low:.2f}, {high:.2f}]")
    return f"{what}: {', '.join(told)}"


def draw(found: list[Point], file: Path) -> None:
    """Predicted gain against measured speed-up."""
    pyplot = pyplot_for(file)
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    axes.axhline(1, color="0.7", linewidth=1)
    for _, _, x, (ratio, low, high), _ in found:
        axes.errorbar(
            x, ratio, [[ratio - low], [high - ratio]], fmt="o", color="tab:blue", elinewidth=1, capsize=2, zorder=3
        )
    axes.set(xscale="log", yscale="log", xlabel="predicted gain in samples (perla_net.gain, untrained policies)")
    axes.set_ylabel("measured: rounds of the best ippo over rounds of perla")
    axes.set_xlim(0.8, 3 * max(point.predicted for point in found))  # room for names
    for axis, ticks in ((axes.xaxis, (1, 2, 5, 10, 20, 50, 100)), (axes.yaxis, (0.3, 0.5, 1, 2, 3, 5))):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    _name(axes, found)
    figure.savefig(file, dpi=110)


def _name(axes: Any, found: list[Point]) -> None:
    """Write the points' names beside them; where points crowd, in a column to their right, one above the other, with a line to each."""
    columns: list[list[Point]] = []
    for point in sorted(found, key=lambda point: point.predicted):
        crowded = bool(columns) and point.predicted < 1.3 * columns[-1][0].predicted
        columns[-1].append(point) if crowded else columns.append([point])
    for column in columns:
        right, lowest = 1.14 * max(point.predicted for point in column), 0.0
        for point in sorted(column, key=lambda point: point.ratio[0]):
            lowest = max(point.ratio[0], lowest * 1.085)
            name = point.task if point.setting == "perla" else f"{point.task}{point.setting.removeprefix('perla')}"
            line = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6}
            at = (point.predicted, point.ratio[0])
            axes.annotate(name, at, (right, lowest), fontsize=8, va="center", arrowprops=line)


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description="Tables and figure of docs/studies/when_it_pays.md.")
    reader.add_argument("files", nargs="*", type=Path, metavar="FILE")
    reader.add_argument("--collect", type=Path, metavar="STUDY")
    reader.add_argument("--predict", nargs="+", type=Path, metavar="STUDY.yaml")
    reader.add_argument("-o", "--out", type=Path)
    reader.add_argument("--draw", type=Path, metavar="FILE")
    given = reader.parse_args()
    if given.collect:
        collect(given.collect, given.out or FILES[0])
    elif given.predict:
        predict(given.predict, given.out or PREDICTED)
    else:
        curves = read(*(given.files or (file for file in FILES if file.is_file())))
        print(tables(curves))
        found = points(curves, PREDICTED)
        print(prediction_table(found))
        if given.draw:
            draw(found, given.draw)


if __name__ == "__main__":
    main()
