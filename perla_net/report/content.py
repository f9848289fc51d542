"""What a report says: its headline, notes and sections, from runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Sequence

import numpy as np

from ..ground.text import many
from ..records.run_folder import Run
from ..studies.comparison import FEW
from . import figures, overview, tables
from .figures import Chart, Graph
from .groups import AVERAGES, POINTS, Average, Estimate, Group, different, group, number_text, part
from .overview import Overview, Row
from .packing import points_of
from .tables import Scores, Table

CHOICES = 40
"""Graphs, and figures of agents, of at most so many groups."""


@dataclass(frozen=True)
class Choice:
    """Figures of which one is shown at a time, by name; first: the number of the one shown at first."""

    label: str
    options: list[tuple[str, Chart | Graph]]
    first: int = 0


@dataclass(frozen=True)
class Section:
    """A part of the page: a tab, or a fold of a tab where several have its title and each a part of its own."""

    title: str
    items: list[Chart | Graph | Table | Choice]
    part: str = ""


@dataclass(frozen=True)
class Report:
    """headline: what was compared; lines: what stands below it; notes: what a reader must know before he trusts a figure;
    overviews: the first screen, one for each task, and one over all of several."""

    headline: str
    lines: list[str]
    notes: list[str]
    overviews: list[Overview] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def figures(self) -> list[Chart | Graph]:
        """Every figure, in order."""
        found: list[Chart | Graph] = []
        for section in self.sections:
            for item in section.items:
                if isinstance(item, Choice):
                    found += [figure for _, figure in item.options]
                elif not isinstance(item, Table):
                    found.append(item)
        return found

    def tables(self) -> list[Table]:
        """Every table, in order."""
        return [item for section in self.sections for item in section.items if isinstance(item, Table)]


def build(
    title: str,
    runs: Sequence[Run],
    metric: str = "return",
    higher: bool = True,
    ranges: dict[str, Sequence[float]] | None = None,
    average: str = "mean",
    score: str = "final",
) -> Report:
    """A report on runs, at least one of which has begun.

    metric: ``return`` of the team or a figure of the environments; higher: whether more of it is better; ranges: task →
    (low, high) by which scores are scaled; average: a name in ``AVERAGES``; score: ``final`` or ``absolute``, what settings
    are compared by.
    """
    groups = group(runs)
    by_task = {task: [one for one in groups if one.task == task] for task in dict.fromkeys(one.task for one in groups)}
    averaged, interval = AVERAGES[average]
    finals, source = _finals(runs, metric, score)
    name = "team return" if metric == "return" else metric
    comparisons, compared, missing = _comparisons(by_task, finals, ranges or {}, higher)
    names = _names(groups)
    drawn = _choices("Who heard whom", by_task, "graph", _graph_maker(groups))
    learning = _learning(by_task, finals, source, averaged, interval, name)
    results = [tables.settings(groups, finals, source, averaged, name, interval), tables.controllers(groups, averaged)]
    results.append(tables.talking(groups))
    sections = [
        Section("Results", _there(*results)),
        *learning,
        Section("Runs", [*_single_runs(by_task, name), tables.runs(groups, finals, name, names)]),
        *comparisons,
        drawn,
        _choices("Agents", by_task, "agents", lambda one, key: figures.agents(one, key, averaged)),
        Section("Time", _there(figures.timings(groups, names))),
        Section("Configuration", _there(tables.differences(groups), tables.common(groups))),
    ]
    graphs = {called: made for item in drawn.items for called, made in item.options}
    screens = []
    for section, members in zip(learning, by_task.values()):
        of_members = {one.name: graphs[name] for one, name in zip(members, _names(members, groups)) if name in graphs}
        curve = section.items[0].key if section.items else ""
        words = (interval, source, name)
        screens.append(overview.of_task(members, finals, of_members, averaged, words, higher, metric, curve))
    if len(by_task) > 1 and "all tasks" in compared:
        screens.insert(0, _over_all(*compared["all tasks"], next(iter(by_task)), graphs))
    lines = _lines(groups, by_task, finals, averaged, name, higher)
    report = Report(title, lines, [], screens, [_tidy(section) for section in sections if section.items])
    return replace(report, notes=[*_notes(groups, runs, points_of(report.figures())), *missing])


def _there(*items: Chart | Table | None) -> list[Any]:
    return [item for item in items if item]


def _over_all(scores: Scores, items: list[Chart | Table], task: str, graphs: dict[str, Graph]) -> Overview:
    """The first screen over all tasks; its graphs are those of the first task."""
    charts = {item.key.partition("-")[0]: item for item in items if isinstance(item, Chart)}
    rows = []
    for colour, one in enumerate(charts["iqm"].series):
        graph = graphs.get(f"{one.name} on {task}")
        seeds = many(len(scores.seeds[one.name]), "seed")
        rows.append(Row(one.name, one.x[0], one.low[0], one.high[0], seeds, colour, graph.key if graph else ""))
    return overview.of_all(scores, rows, graphs, charts.get("efficiency", charts["profiles"]).key)


def _tidy(section: Section) -> Section:
    items = [item.without_single_task() if isinstance(item, Table) else item for item in section.items]
    return replace(section, items=items)


def _finals(runs: Sequence[Run], metric: str, score: str) -> tuple[dict[int, float], str]:
    """(id of a run → its final value, where that is from): the first source that all complete runs have."""
    sources: list[tuple[str, Callable[[Run], float | None]]] = [
        (
            "mean of the greedy team over the held-out episodes of the last evaluation point",
            lambda run: float(run.evaluation.values[-1]) if len(run.evaluation) else None,
        ),
        (
            "mean of the greedy team over the held-out episodes at the end",
            lambda run: run.finals.get("team, greedy", {}).get(metric, {}).get("mean"),
        ),
        ("mean over the training episodes of the last tenth of the rounds", _last_tenth),
    ]
    if score == "absolute":
        sources = [
            (
                "absolute metric, the best evaluation point's team on ten times as many other episodes",
                lambda r: r.absolute,
            )
        ]
    done = [run for run in runs if run.done]
    found, source = {}, sources[-1][0]
    for text, value in sources:
        found = {id(run): number for run in done if (number := value(run)) is not None and np.isfinite(number)}
        if len(found) == len(done):
            return found, text
    return found, source


def _last_tenth(run: Run) -> float | None:
    last = run.training.values[-max(1, len(run.training) // 10) :]
    known = last[np.isfinite(last)]
    return float(known.mean()) if len(known) else None


def _learning(
    by_task: dict[str, list[Group]],
    finals: dict[int, float],
    source: str,
    average: Average,
    interval: str,
    metric: str,
) -> list[Section]:
    found = []
    evaluated = any(len(run.evaluation) for groups in by_task.values() for one in groups for run in one.runs)
    held_out = f"{metric} of the greedy team on held-out episodes, at the evaluation points during training"
    trained = f"{metric} of the training episodes that ended in each round (actions sampled)"
    kinds = [("evaluation", held_out)] if evaluated else []
    kinds += [("training", trained)]
    for task, groups in by_task.items():
        items: list[Chart | Graph | Table | Choice] = []
        over = interval if any(len(one.complete) > 1 for one in groups) else "one run, no interval"
        where, dashed = f" on {task}", " Dashed: a run that is not done, by itself."
        main, text = kinds[0]
        entries = [
            figures.learning(
                figures.key_of("learning", kind, task if len(by_task) > 1 else ""),
                ("Learning curves" if kind == main else "Training returns") + where,
                f"{words[0].upper()}{words[1:]}; {over}."
                + dashed * any(not run.done for one in groups for run in one.runs),
                groups,
                kind,
                "env_steps",
                average,
                metric,
            )
            for kind, words in kinds
        ]
        ending = task if len(by_task) > 1 else ""
        entries.insert(
            1,
            figures.learning(
                figures.key_of("traffic", ending),
                f"{metric[0].upper()}{metric[1:]} against bytes" + where,
                f"The curves of above over what the agents had sent one another until then (mean over seeds). A setting "
                f"without agent traffic stands at 0. {text[0].upper()}{text[1:]}.",
                groups,
                main,
                "bytes",
                average,
                metric,
            ),
        )
        entries.insert(
            2,
            figures.cost(
                figures.key_of("cost", ending),
                "What the end cost" + where,
                f"Final {metric} ({source}) against the bytes of the whole run; {over}. Faint: single runs.",
                groups,
                finals,
                average,
                metric,
            ),
        )
        items += [entry for entry in entries if entry]
        found.append(Section("Learning", items, ending))
    return found


def _single_runs(by_task: dict[str, list[Group]], metric: str) -> list[Chart | Choice]:
    """Curves of single runs, on one task at a time."""
    options = []
    for task, groups in by_task.items():
        evaluated = any(len(run.evaluation) for one in groups for run in one.runs)
        made = figures.runs(
            figures.key_of("runs", task if len(by_task) > 1 else ""),
            f"Single runs on {task}",
            f"{metric[0].upper()}{metric[1:]} of every run by itself, "
            + ("at the evaluation points." if evaluated else "of the training episodes.")
            + (" Press what is to be compared; pressed again, it is let go." if len(groups) > 1 else "")
            + " Dashed: a run that is not done." * any(not run.done for one in groups for run in one.runs),
            groups,
            _names(groups, [one for groups in by_task.values() for one in groups]),
            "evaluation" if evaluated else "training",
            metric,
        )
        options += [(task, made)] if made else []
    return [Choice("task", options)] if options else []


def _comparisons(
    by_task: dict[str, list[Group]], finals: dict[int, float], ranges: dict[str, Sequence[float]], higher: bool
) -> tuple[list[Section], dict[str, tuple[Scores, list[Chart | Table]]], list[str]]:
    """Statistics of the settings over all tasks where there are several, and on each task: as sections, and by task with their
    scores; and why some are missing."""
    everything = [one for groups in by_task.values() for one in groups]
    parts = [("all tasks", everything)] if len(by_task) > 1 else []
    parts += list(by_task.items())
    found, compared, missing = [], {}, []
    for name, groups in parts:
        if len({one.name for one in groups}) < 2:
            continue
        scores = tables.scores(groups, finals, ranges, higher)
        if isinstance(scores, str):
            missing.append(f"No comparison{f' over {name}' if name == 'all tasks' else f' on {name}'}: {scores}")
            continue
        ending = "" if len(by_task) == 1 else name
        made, charts = tables.compare(scores, ending)
        found.append(Section("Comparison", [*charts, *made], ending))
        compared[name] = scores, found[-1].items
    return found, compared, missing


def _names(groups: Sequence[Group], every: Sequence[Group] | None = None) -> list[str]:
    """Names of groups by which they are told apart among all of a report (default: these are all)."""
    several = len({one.task for one in every or groups}) > 1
    return [f"{one.name} on {one.task}" if several else one.name for one in groups]


def _choices(
    title: str, by_task: dict[str, list[Group]], prefix: str, make: Callable[[Group, str], Chart | Graph | None]
) -> Section:
    """A figure for each of the first groups, one shown at a time."""
    groups = [one for groups in by_task.values() for one in groups][:CHOICES]
    names = _names([one for groups in by_task.values() for one in groups])[:CHOICES]
    keys = figures.unique([figures.key_of(prefix, name) for name in names])
    options = [(name, made) for one, name, key in zip(groups, names, keys) if (made := make(one, key)) is not None]
    talking = (k for k, (_, made) in enumerate(options) if isinstance(made, Graph) and overview.talks(made))
    return Section(title, [Choice("setting", options, next(talking, 0))] if options else [])


def _graph_maker(groups: Sequence[Group]) -> Callable[[Group, str], Graph | None]:
    cells = figures.CELLS * 4 // max(4, min(CHOICES, len(groups)))

    def make(one: Group, key: str) -> Graph | None:
        run = next((run for run in [*one.complete, *one.runs] if len(run.training)), None)
        return run and figures.graph(run, key, f"Communication of {one.name}", cells)

    return make


def _lines(
    groups: Sequence[Group],
    by_task: dict[str, list[Group]],
    finals: dict[int, float],
    average: Average,
    metric: str,
    higher: bool,
) -> list[str]:
    runs = [run for one in groups for run in one.runs]
    seeds = sorted({run.seed for run in runs})
    done = sum(run.done for run in runs)
    tasks = ", ".join(by_task)
    lines = [
        f"{many(len(runs), 'run')} ({done} done) of {many(len({one.name for one in groups}), 'setting')} on {tasks}, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds[:12]))}{', …' if len(seeds) > 12 else ''}."
    ]
    apart = different([one.settings for one in groups])
    if apart:
        values = {
            name: list(dict.fromkeys(part("", one.settings[name]).strip() or "none" for one in groups))
            for name in apart
        }
        told = [f"{name} ({', '.join(v[:6])}{', …' if len(v) > 6 else ''})" for name, v in values.items() if len(v) > 1]
        lines.append("Compared: " + "; ".join(told) + ".")
    for task, members in by_task.items():
        best = _best(members, finals, average, higher) if len(members) > 1 else None
        if best:
            names, found, number = best
            text = number_text(found.value)
            text += "" if found.low is None else f" [{number_text(found.low)}, {number_text(found.high)}]"
            runs_text = many(number, "run")
            who = names[0] + (f" and {many(len(names) - 1, 'other setting')} alike" if len(names) > 1 else "")
            lines.append(
                f"{'Highest' if higher else 'Lowest'} final {metric} on {task}: {text} by {who} ({runs_text})."
            )
    return lines


def _best(
    groups: Sequence[Group], finals: dict[int, float], average: Average, higher: bool
) -> tuple[list[str], Estimate, int] | None:
    """The settings with the best average (several if equal), the first one's estimate and number of runs."""
    found = []
    for one in groups:
        values = np.array([finals[id(run)] for run in one.complete if id(run) in finals])
        if len(values):
            found.append((one.name, average(values), len(values)))
    if not found:
        return None
    best = (max if higher else min)(float(estimate.value) for _, estimate, _ in found)
    alike = [entry for entry in found if float(entry[1].value) == best]
    return [name for name, _, _ in alike], *alike[0][1:]


def _notes(groups: Sequence[Group], runs: Sequence[Run], points: int) -> list[str]:
    notes = []
    states: dict[str, list[str]] = {}
    several = len({one.task for one in groups}) > 1
    for one in groups:
        for run in one.runs:
            if not run.done:
                states.setdefault(run.state, []).append(
                    (f"{one.name} on {one.task}" if several else one.name)
                    + f", seed {run.seed}"
                    + (f" ({run.reason})" if run.reason else "")
                )
    for state, names in states.items():
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        notes.append(
            f"{state[0].upper()}{state[1:]}: {'; '.join(names[:8])}{more}. Not in any average; dashed where drawn."
        )
    if any(len(one.seeds) == 1 for one in groups):
        notes.append("Settings with a single complete run have no interval: nothing can be said of other seeds.")
    if any(1 < len(one.seeds) < FEW for one in groups):
        notes.append(
            f"Settings with fewer than {FEW} complete runs: intervals by bootstrap (comparison) can never leave what these few gave, "
            "and are too narrow; go by Student's."
        )
    numbers = sorted({len(one.complete) for one in groups})
    if len(numbers) > 1:
        notes.append(f"Settings have different numbers of complete runs ({', '.join(map(str, numbers))}).")
    if any(len(run.training) > points for run in runs):
        notes.append(
            f"Curves are drawn here with {points} evenly spaced points; the CSV files of --figures have up to {POINTS}, the runs' "
            "folders every round."
        )
    if len(groups) > CHOICES:
        notes.append(f"Graphs and agents are shown for the first {CHOICES} of {len(groups)} settings.")
    machines: dict[tuple[Any, Any], int] = {}
    for run in runs:
        if run.machine:
            key = (run.machine.get("machine"), run.machine.get("versions", {}).get("torch"))
            machines[key] = machines.get(key, 0) + 1
    if len(machines) > 1:
        notes.append(
            "The runs come from different machines or versions of torch, so even equal seeds may differ in the last bits."
        )
    return notes
