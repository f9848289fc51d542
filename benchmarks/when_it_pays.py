"""The tables of docs/studies/when_it_pays.md from its one file of curves: who is sooner at the optimum, with whom it hears.

    python benchmarks/when_it_pays.py [FILE.csv]                           # the tables, markdown
    python benchmarks/when_it_pays.py --collect STUDY [-o FILE.csv]        # the file, from the study's runs
    python benchmarks/when_it_pays.py --draw FILE.png [FILE.csv]           # predicted against measured

The file (default: docs/studies/when_it_pays/curves.csv) has a line a run: task, setting, seed, and the mean reward of an agent and step in every
round. Of each setting: that reward at the end (last three rounds) and over all rounds (the area under the curve) as means over seeds; the paired
difference of the area to `ippo` (with the best of its learning rates) ± Student's t at 95 %, and in how many seeds it is above 0; and for how many
samples of `ippo` one of this setting is worth: the ratio of rounds to a threshold, 90 % of the way from the first round to the best end
of either, on the curves' means. The prediction is that of `python -m perla_net.gain` (docs/studies/when_it_pays/predicted.csv).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np

from perla_net.ground.text import rounded
from perla_net.studies.statistics import paired_difference

PLACE = Path(__file__).parents[1] / "docs" / "studies" / "when_it_pays"
BASE = "ippo"
ENDS = 3
"""Rounds at the end that are averaged."""

Curves = dict[tuple[str, str], dict[int, np.ndarray]]
"""(task, setting) → seed → [rounds]."""


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
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["task", "setting", "seed", "rewards"])
        writer.writerows(lines)


def read(file: Path) -> Curves:
    """The curves of a file."""
    found: Curves = {}
    with file.open(newline="") as source:
        for row in csv.DictReader(source):
            curve = np.array(row["rewards"].split(), float)
            found.setdefault((row["task"], row["setting"]), {})[int(row["seed"])] = curve
    return found


def best_base(curves: Curves, task: str) -> str:
    """The learning rate of ippo with the greatest mean area under the curve."""
    rates = [setting for other, setting in curves if other == task and setting.startswith(f"{BASE} 0.")]
    rates = rates or [setting for other, setting in curves if other == task and setting.startswith(BASE)]
    return max(rates, key=lambda setting: np.mean([curve.mean() for curve in curves[task, setting].values()]))


def rounds_to(curve: np.ndarray, threshold: float) -> float:
    """The first round at or above the threshold, from 1 on; infinite where there is none."""
    above = np.flatnonzero(curve >= threshold)
    return float(above[0] + 1) if len(above) else math.inf


def speed_up(ours: dict[int, np.ndarray], base: dict[int, np.ndarray]) -> tuple[float, float, float]:
    """(ratio of rounds, rounds of the base, of ours) to 90 % of the way to the better end; on means over equal seeds. Where one never gets
    there, the number of rounds that it had stands for it, so that the ratio is a bound."""
    seeds = sorted(set(ours) & set(base))
    one, other = (np.mean([curves[seed] for seed in seeds], 0) for curves in (ours, base))
    low = (one[0] + other[0]) / 2
    threshold = low + 0.9 * (max(one[-ENDS:].mean(), other[-ENDS:].mean()) - low)
    mine, theirs = rounds_to(one, threshold), rounds_to(other, threshold)
    last = float(len(one))
    return min(theirs, last) / min(mine, last), theirs, mine


def tables(curves: Curves) -> str:
    """Markdown, a table a task."""
    text = []
    for task in dict.fromkeys(task for task, _ in curves):
        base = best_base(curves, task)
        number = len(curves[task, base])
        text += [f"**{task}** ({number} seeds; `{base}` is the best of its learning rates)", ""]
        text += ["| setting | at the end | area | area less that of the best ippo | better | rounds to 90 % |"]
        text += ["|---|---|---|---|---|---|"]
        for (other, setting), mine in curves.items():
            if other != task:
                continue
            seeds = sorted(set(mine) & set(curves[task, base]))
            area = np.array([[mine[seed].mean()] for seed in seeds])
            areas = np.array([[curves[task, base][seed].mean()] for seed in seeds])
            end = np.mean([mine[seed][-ENDS:].mean() for seed in seeds])
            cells = ["–", "–"]
            if setting != base and len(seeds) > 1:
                apart = paired_difference(area, areas)
                half = (apart.student.high - apart.student.low) / 2
                cell = f"{rounded(apart.value, 3, '+')} ± {rounded(half, 2)}"
                cells = [
                    f"**{cell}**" if abs(apart.value) > half else cell,
                    f"{int((area > areas).sum())}/{len(seeds)}",
                ]
            _, theirs, rounds = speed_up(mine, curves[task, base])
            told = "–" if math.isinf(rounds) else f"{rounds:.0f} ({'never' if math.isinf(theirs) else f'{theirs:.0f}'})"
            row = [setting, f"{end:.4g}", f"{area.mean():.4g}", *cells, told if setting != base else "–"]
            text.append("| " + " | ".join(row) + " |")
        text.append("")
    return "\n".join(text)


def predicted(file: Path) -> dict[tuple[str, str], float]:
    """(task, setting) → gain in samples, as ``gain`` predicted it."""
    with file.open(newline="") as source:
        return {(row["task"], row["setting"]): float(row["predicted"]) for row in csv.DictReader(source)}


def points(curves: Curves, gains: dict[tuple[str, str], float]) -> list[tuple[str, str, float, float]]:
    """(task, setting, predicted, measured) of all that was predicted."""
    found = []
    for (task, setting), gain in gains.items():
        if (task, setting) in curves:
            ratio, *_ = speed_up(curves[task, setting], curves[task, best_base(curves, task)])
            found.append((task, setting, gain, ratio))
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
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(spearmanr(one, other)[0]), float(low), float(high)


def draw(found: list[tuple[str, str, float, float]], file: Path) -> None:
    """Predicted gain against measured speed-up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5.5), layout="constrained")
    most = max(max(x, y) for *_, x, y in found) * 1.2
    axes.plot([0.8, most], [0.8, most], color="0.7", linewidth=1)
    for task, setting, x, y in found:
        axes.scatter(x, y, color="tab:blue" if setting == "perla" else "tab:orange", zorder=3)
        axes.annotate(task, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
    for setting, colour in (("perla", "tab:blue"), ("perla action", "tab:orange")):
        axes.scatter([], [], color=colour, label=setting)
    axes.set(xscale="log", yscale="log", xlabel="predicted gain in samples (perla_net.gain, untrained policies)")
    axes.set_ylabel("measured: rounds of ippo over rounds with hearing")
    axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description="Tables and figure of docs/studies/when_it_pays.md.")
    reader.add_argument("file", nargs="?", type=Path, default=PLACE / "curves.csv")
    reader.add_argument("--collect", type=Path, metavar="STUDY")
    reader.add_argument("-o", "--out", type=Path, default=PLACE / "curves.csv")
    reader.add_argument("--draw", type=Path, metavar="FILE")
    given = reader.parse_args()
    if given.collect:
        collect(given.collect, given.out)
        return
    curves = read(given.file)
    print(tables(curves))
    if (PLACE / "predicted.csv").is_file():
        found = points(curves, predicted(PLACE / "predicted.csv"))
        print("| task | setting | predicted | measured |\n|---|---|---|---|")
        for task, setting, x, y in found:
            print(f"| {task} | {setting} | {x:.2f} | {y:.2f} |")
        if len(found) > 3:
            value, low, high = rank_correlation(*np.array([(x, y) for *_, x, y in found]).T)
            print(f"\nRank correlation over {len(found)} points: {value:.2f} [{low:.2f}, {high:.2f}].")
        if given.draw:
            draw(found, given.draw)


if __name__ == "__main__":
    main()
