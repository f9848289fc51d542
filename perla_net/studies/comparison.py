"""What the runs of a study say: the table of ``python -m perla_net.study STUDY --table``; ``docs/studies.md`` reads it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.text import columns, rounded
from ..records.checkpoint import read_data
from .statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    optimality_gap,
    paired_difference,
    probability_of_improvement,
)
from .study_file import baseline_of

MEASURES = {
    "final": "At the end of training",
    "absolute": "Absolute metric: the team whose mean return was best at a point of training, over ten times as many episodes",
}
LEGEND = """\
IQM: interquartile mean over runs. difference: to the baseline, mean over pairs of equal seeds, 95 % by Student's t; then by
bootstrap. P(better): that a run is better than one of the baseline. [low, high]: 95 %, runs resampled."""
FEW, OF_FEW = (
    5,
    """\
Some settings have fewer than five runs: [low, high] can never leave what these few gave, and is too narrow; go by ±.""",
)

Setting = tuple[str, ...]
"""Labels on the axes other than the task's."""
Scores = dict[Setting, dict[int, np.ndarray]]
"""Setting → seed → one figure per task."""


def score(folder: Path, metric: str, measure: str = "final") -> float | None:
    """A run's mean of a figure of the greedy team over held-out episodes; None where it was not evaluated so.

    measure: ``final``, the team at the end (the last point of ``evaluations.jsonl``, else ``evaluation.json``); ``absolute``,
    the team that was best at a point, over ten times as many episodes. Raises InputError for a figure that there is not.
    """
    points = folder / "evaluations.jsonl"
    if measure == "absolute":
        if not (folder / "absolute.json").is_file():
            return None
        figures = read_data(folder / "absolute.json", "STUDY")["figures"]
    elif points.is_file() and points.stat().st_size:
        figures = json.loads(points.read_text(encoding="utf-8").splitlines()[-1])["figures"]
    elif (folder / "evaluation.json").is_file():
        greedy = read_data(folder / "evaluation.json", "STUDY")["team, greedy"]
        figures = {name: [values["mean"]] for name, values in greedy.items()}
    else:
        return None
    if metric not in figures:
        raise InputError(f"metric {metric}: {folder} has no such figure; it has {', '.join(figures)}")
    found = math.fsum(figures[metric]) / len(figures[metric])
    if not math.isfinite(found):
        raise InputError(f"metric {metric}: is {found} in {folder}")
    return found


def table(folder: Path, baseline: str | None = None) -> str:
    """The runs that are done, task by task and, where the file says how to normalise, over all tasks.

    baseline: 'AXIS=VALUE,…' in place of the study's own. A setting is compared with that which has these values on these
    axes, and its own on the others. Raises InputError.
    """
    if not (folder / "index.json").is_file():
        raise InputError(f"STUDY {folder}: has no index.json; run the study first")
    index = read_data(folder / "index.json", "STUDY")
    rows = index["runs"]
    done = [row for row in rows if row["state"] == "done"]
    given = index["baseline"] if baseline is None else _pairs(baseline, index["axes"])
    chosen = baseline_of(given, index["axes"], [row["settings"] for row in rows], "--baseline")
    better = "higher" if index["higher_is_better"] else "lower"
    parts = [f"{index['name']}: {len(done)} of {len(rows)} runs are done; {index['metric']}, {better} is better"]
    for measure, title in MEASURES.items():
        found = [(row, score(folder / row["folder"], index["metric"], measure)) for row in done]
        scored = [(row, value) for row, value in found if value is not None]
        if scored:
            parts.append(f"{title}\n{_measured(index, scored, chosen)}")
    if len(parts) == 1:
        raise InputError(f"STUDY {folder}: none of its runs has been evaluated")
    counts = Counter(tuple(row["settings"].items()) for row in done)
    return "\n\n".join([*parts, LEGEND + (f"\n{OF_FEW}" if min(counts.values()) < FEW else "")])


def _pairs(text: str, axes: Sequence[str]) -> dict[str, str]:
    """'AXIS=VALUE,AXIS=VALUE'; values may hold commas and equal signs, as topologies do."""
    pairs = {}
    for part in re.split(f",(?=(?:{'|'.join(map(re.escape, axes))})=)", text):
        axis, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"--baseline {text}: is not AXIS=VALUE,…")
        pairs[axis] = value
    return pairs


def _measured(index: Mapping[str, Any], scored: Sequence[tuple[Any, float]], chosen: Mapping[str, str]) -> str:
    """One measure: rows for every task and, normalised, for all of them."""
    axes = [axis for axis in index["axes"] if axis != _task_axis(index["axes"])]
    by_task: dict[str, dict[Setting, dict[int, float]]] = {}
    for row, value in scored:
        setting = tuple(row["settings"][axis] for axis in axes)
        by_task.setdefault(row["task"], {}).setdefault(setting, {})[row["seed"]] = value
    settings = list(dict.fromkeys(setting for found in by_task.values() for setting in found))
    against = {setting: tuple(chosen.get(axis, own) for axis, own in zip(axes, setting)) for setting in settings}
    lines = []
    for task, found in by_task.items():
        scores = {s: {seed: np.array([value]) for seed, value in runs.items()} for s, runs in found.items()}
        lines += _lines(task, scores, against, 1.0 if index["higher_is_better"] else -1.0, False)
    note = ""
    unknown = [task for task in by_task if task not in index["normalise"]]
    if not unknown:
        # (x − low) / (high − low); 1 minus that where lower is better
        low, high = np.array([index["normalise"][task] for task in by_task]).T
        zero, one = (low, high) if index["higher_is_better"] else (high, low)
        pooled = {}
        for setting in settings:
            runs = [found.get(setting, {}) for found in by_task.values()]
            seeds = sorted(set.intersection(*map(set, runs)))  # those that every task has
            values = {seed: (np.array([run[seed] for run in runs]) - zero) / (one - zero) for seed in seeds}
            pooled |= {setting: values} if values else {}
        lines += _lines("all, 0 to 1", pooled, against, 1.0, True)
    elif len(by_task) > 1:
        note = f"\n  (tasks are not pooled, since normalise has no low and high figure for {', '.join(unknown)})"
    head = ["task", *axes, "runs", "IQM", "optimality gap", "pairs", "difference", "bootstrap", "P(better)"]
    kept = [column for column in range(len(head)) if any(line[column] for line in lines)]
    return columns([[row[column] for column in kept] for row in [head, *lines]]) + note


def _task_axis(axes: Sequence[str]) -> str | None:
    return next((axis for axis in ("task", "env") if axis in axes), None)


def _lines(task: str, scores: Scores, against: Mapping[Setting, Setting], sign: float, gap: bool) -> list[list[str]]:
    """A row per setting. sign: −1 where lower is better; gap: whether the scores have a 1 to fall short of."""
    lines = []
    for setting, runs in scores.items():
        own = np.array(list(runs.values()))  # [runs, tasks]
        line = [task, *setting, str(len(own)), _text(bootstrap_interval(interquartile_mean, own))]
        line.append(_text(bootstrap_interval(optimality_gap, own)) if gap else "")
        base = scores.get(against[setting], {})
        if against[setting] == setting or not base:
            itself = against[setting] == setting and any(other != own for own, other in against.items())
            lines.append([*line, "", "baseline" if itself else "", "", ""])
            continue
        seeds = sorted(set(runs) & set(base))
        pairs = ["", ""]
        if seeds:
            found = paired_difference(np.array([runs[s] for s in seeds]), np.array([base[s] for s in seeds]))
            half = (found.student.high - found.student.low) / 2
            certain = f" ± {rounded(half, 2)}" if len(seeds) > 1 else ""
            pairs = [
                f"{rounded(found.value, 3, '+')}{certain}",
                f"[{rounded(found.bootstrap.low, 3)}, {rounded(found.bootstrap.high, 3)}]",
            ]
        better = bootstrap_interval(probability_of_improvement, sign * own, sign * np.array(list(base.values())))
        lines.append([*line, str(len(seeds)), *pairs, _text(better)])
    return lines


def _text(found: Interval) -> str:
    return f"{rounded(found.value, 4)} [{rounded(found.low, 4)}, {rounded(found.high, 4)}]"
