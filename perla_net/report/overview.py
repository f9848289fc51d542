"""The first screen: settings ranked with their intervals, reference controllers beside them, and which curve and graph to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..ground.text import many
from ..records.run_folder import Run
from .figures import Graph
from .groups import Average, Estimate, Group
from .tables import Scores

TEAM = {"team, greedy": "trained team, greedy", "team, sampled": "trained team, sampled"}
"""The controllers of ``evaluation.json`` that were trained; all others are references."""


@dataclass(frozen=True)
class Row:
    """A line of the ranking. low, high: its 95 % interval, None where there is none. detail: what value was averaged over,
    or why there is none. colour: number of its colour, None: a reference. graph: the key of its graph, or nothing."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    detail: str
    colour: int | None
    graph: str = ""


@dataclass(frozen=True)
class Overview:
    """name: of the task, or ``all tasks``. rows: the best first. scale: ends of the axis, beyond which marks point. curve: key
    of the chart beside it, or nothing. graph: key of the graph shown at first, or nothing."""

    name: str
    title: str
    sentence: str
    label: str
    rows: list[Row]
    scale: tuple[float, float]
    curve: str
    graph: str


def of_task(
    groups: Sequence[Group],
    finals: dict[int, float],
    graphs: dict[str, Graph],
    average: Average,
    words: tuple[str, str, str],
    higher: bool,
    metric: str,
    curve: str,
) -> Overview:
    """The settings of one task beside its reference controllers.

    graphs: name of a setting → its graph; words: what is averaged over, from where a final value is, the metric's name.
    """
    over, source, label = words
    done = [run for group in groups for run in group.complete]
    if len(groups) == 1 and done and all("team, greedy" in _of_metric(run, metric) for run in done):
        rows = [
            _row(TEAM.get(name, name), found, detail, 0 if name in TEAM else None)
            for name, found, detail in _controllers(done, metric, average)
        ]
        first = next((graph.key for graph in graphs.values()), "")
        title = "What was learned" if len(rows) > 2 else "The trained team"
        told = f"Final {label}: mean over the same held-out episodes for all; "
        told += (over if len(done) > 1 else "95 % Student-t interval over the episodes of this one run") + "."
        told += " Grey: reference controllers, which do not learn." if len(rows) > 2 else ""
        return _overview(groups[0].task, title, told, label, rows, rows, higher, curve, first)
    rows = []
    for colour, group in enumerate(groups):
        values = np.array([finals[id(run)] for run in group.complete if id(run) in finals])
        found = average(values) if len(values) else Estimate(None)
        why = ", ".join(dict.fromkeys(run.reason or run.state for run in group.runs if not run.done))
        detail = many(len(values), "run") if len(values) else why
        key = graphs[group.name].key if group.name in graphs else ""
        rows.append(_row(group.name, found, detail, colour, key))
    beside = [
        _row(name, found, detail, None)
        for name, found, detail in _controllers(done, metric, average)
        if name not in TEAM
    ]
    sentence = f"Final {label}: {source}; {over} (one run: no interval)."
    sentence += " Grey: reference controllers, which do not learn, at the end." if beside else ""
    ranked = _ranked(rows, higher)
    keys = [row.graph for row in ranked if row.graph]
    talking = {graph.key for graph in graphs.values() if talks(graph)}
    first = next((key for key in keys if key in talking), next(iter(keys), ""))
    title = "Settings, the best first" if len(groups) > 1 else "What was reached"
    return _overview(groups[0].task, title, sentence, label, rows, [*rows, *beside], higher, curve, first)


def of_all(scores: Scores, found: Sequence[Row], graphs: dict[str, Graph], curve: str) -> Overview:
    """The settings over all tasks, by the interquartile means that the comparison has."""
    sentence = (
        f"Interquartile mean of the score over tasks and seeds, 95 % stratified bootstrap interval. {scores.sentence}"
    )
    ranked = _ranked(found, True)
    first = next(
        (row.graph for row in ranked if row.graph in {graph.key for graph in graphs.values() if talks(graph)}), ""
    )
    return _overview("all tasks", "Settings, the best first", sentence, "score", found, found, True, curve, first)


def talks(graph: Graph) -> bool:
    """Whether anything was sent along the graph."""
    return any(sum(sent) for _, _, sent in graph.stops[0].edges)


def _of_metric(run: Run, metric: str) -> dict[str, dict[str, float]]:
    return {name: figures[metric] for name, figures in run.finals.items() if metric in figures}


def _controllers(runs: Sequence[Run], metric: str, average: Average) -> list[tuple[str, Estimate, str]]:
    """What ``evaluation.json`` says of every controller, averaged over seeds; of one run with the interval over episodes.

    A reference does not learn: runs of one seed say the same of it, and count once."""
    found = []
    for name in dict.fromkeys(name for run in runs for name in _of_metric(run, metric)):
        told = [(run.seed, _of_metric(run, metric)[name]) for run in runs if name in _of_metric(run, metric)]
        seeds = {seed: float(np.mean([one["mean"] for at, one in told if at == seed])) for seed, _ in told}
        if len(told) == 1:
            one = told[0][1]
            detail = f"{one['episodes']} episodes" if "episodes" in one else "1 run"
            found.append((name, Estimate(one["mean"], one.get("low"), one.get("high")), detail))
        else:
            detail = many(len(seeds), "seed")
            found.append((name, average(np.array(list(seeds.values()))), detail))
    return found


def _row(name: str, found: Estimate, detail: str, colour: int | None, graph: str = "") -> Row:
    value, low, high = (None if part is None else float(part) for part in (found.value, found.low, found.high))
    return Row(name, value, low, high, detail, colour, graph)


def _ranked(rows: Sequence[Row], higher: bool) -> list[Row]:
    return sorted(rows, key=lambda row: (row.value is None, (row.value or 0.0) * (-1 if higher else 1)))


def _overview(
    name: str,
    title: str,
    sentence: str,
    label: str,
    measured: Sequence[Row],
    rows: Sequence[Row],
    higher: bool,
    curve: str,
    graph: str,
) -> Overview:
    """The axis is that of ``measured``: a far reference would press all settings together."""
    values = [row.value for row in measured if row.value is not None]
    ends = [end for row in measured for end in (row.low, row.high) if end is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    # Two seeds may give intervals that reach far beyond all others: these are cut off, as in the curves.
    usual = float(np.median([row.high - row.low for row in measured if row.low is not None] or [0.0]))
    most = max(high - low, usual)
    left, right = max(low - most, min([low, *ends])), min(high + most, max([high, *ends]))
    beside = 0.04 * ((right - left) or abs(low) or 1.0)
    return Overview(name, title, sentence, label, _ranked(rows, higher), (left - beside, right + beside), curve, graph)
