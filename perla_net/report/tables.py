"""The tables of a report, as plain rows: settings, runs, controllers, differences; and the statistics of a comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Sequence

import numpy as np

from ..records.run_folder import TALKING, Run
from .figures import Chart, Series, key_of
from .groups import WITHOUT_EFFECT, Average, Group, different, number_text, shown

ALL_PAIRS, MOST_PAIRS = 8, 300
"""Up to so many methods every pair is compared; of more, pairs that differ in one setting, if these are not too many."""


@dataclass(frozen=True)
class Table:
    """A head and rows of numbers, texts and None (not known). groups: the setting that each row belongs to, where a page may
    show the rows of some."""

    key: str
    title: str
    sentence: str
    head: list[str]
    body: list[list[Any]]
    groups: list[str] = field(default_factory=list)

    def without_single_task(self) -> Table:
        """Without the column ``task`` where all rows have the same."""
        at = self.head.index("task") if "task" in self.head else None
        if at is None or len({row[at] for row in self.body}) > 1:
            return self
        return replace(self, head=_without(self.head, at), body=[_without(row, at) for row in self.body])


def _without(row: list[Any], at: int) -> list[Any]:
    return row[:at] + row[at + 1 :]


def settings(
    groups: Sequence[Group], finals: dict[int, float], source: str, average: Average, metric: str, interval: str
) -> Table:
    """A row a group: what was reached, and what it took."""
    head = ["setting", "task", "runs done", "other runs", f"final {metric}", "low", "high", f"absolute {metric}"]
    head += ["spread over agents", "agent traffic, B", "environment steps", "time, s"]
    body = []
    for group in groups:
        runs = group.complete
        known = np.array([finals[id(run)] for run in runs if id(run) in finals])
        found = average(known) if len(known) else None
        best = [run.absolute for run in runs if run.absolute is not None]
        others = Counter(run.state for run in group.runs if not run.done)
        body.append(
            [
                group.name,
                group.task,
                len(runs),
                ", ".join(f"{number} {state}" for state, number in others.items()) or None,
                None if found is None else float(found.value),
                None if found is None or found.low is None else float(found.low),
                None if found is None or found.high is None else float(found.high),
                float(np.mean(best)) if best and len(best) == len(runs) else None,
                _average([_spread(run) for run in runs]),
                _average([float(run.training.bytes[-1]) for run in runs if len(run.training)]),
                _average([float(run.training.env_steps[-1]) for run in runs if len(run.training)]),
                _average([_seconds(run) for run in runs]),
            ]
        )
    sentence = (
        f"Final {metric}: {source}; {interval} (one run: no interval). Absolute: the best evaluation point's team on other "
        "episodes, mean over runs. Spread: standard deviation of the agents' returns in the last tenth of training. Traffic "
        "and steps: of a whole run. Time: of all rounds."
    )
    return Table("settings", "Settings", sentence, head, body)


def runs(every: Sequence[Group], finals: dict[int, float], metric: str, names: Sequence[str]) -> Table:
    """A row a run, those that are not done included. names: of the groups, in order, distinct also between tasks."""
    head = ["setting", "task", "seed", "state", "reason", "rounds", f"final {metric}", f"absolute {metric}"]
    head += ["agent traffic, B", "time, s", "ranks", "run"]
    body = [
        [
            group.name,
            group.task,
            run.seed,
            run.state,
            run.reason or None,
            len(run.training),
            finals.get(id(run)),
            run.absolute,
            float(run.training.bytes[-1]) if len(run.training) else None,
            _seconds(run),
            run.machine.get("ranks"),
            run.label,
        ]
        for group in every
        for run in group.runs
    ]
    sentence = "Every run, also those that failed, wait or are not finished; only those that are done are averaged."
    return Table("runs", "Runs", sentence, head, body, [name for one, name in zip(every, names) for _ in one.runs])


def controllers(groups: Sequence[Group], average: Average) -> Table | None:
    """The evaluation at the end: every figure of every controller, reference controllers beside the team."""
    body = []
    for group in groups:
        done = [run.finals for run in group.complete if run.finals]
        for name in dict.fromkeys(name for finals in done for name in finals):
            for figure in dict.fromkeys(figure for finals in done for figure in finals.get(name, {})):
                values = [finals[name][figure]["mean"] for finals in done if figure in finals.get(name, {})]
                found = average(np.array(values, float))
                low, high = (None, None) if found.low is None else (float(found.low), float(found.high))
                body.append([group.name, group.task, name, figure, float(found.value), low, high, len(values)])
    if not body:
        return None
    head = ["setting", "task", "controller", "figure", "value", "low", "high", "runs"]
    sentence = "The trained team (greedy and sampled) and the reference controllers on the same held-out episodes, "
    sentence += "which are others than those of the evaluation points."
    return Table("controllers", "Evaluation at the end", sentence, head, body)


def talking(groups: Sequence[Group]) -> Table | None:
    """What talking at every step costs, of the settings in which agents do."""
    body = []
    for group in groups:
        told = [run.talking for run in group.complete if "bytes_per_step" in run.talking]
        if told:
            columns = [[run[name] for run in told if name in run] for name in TALKING]
            body.append([group.name, group.task, *(float(np.mean(column)) if column else None for column in columns)])
    if not body:
        return None
    head = ["setting", "task", "bytes a step", "bytes a step and edge", "share of steps", "communication, s"]
    sentence = (
        "What all agents say in a step before they act, and what goes over an edge of the graph; the share of steps in which agents that may be silent "
        "spoke; simulated seconds of communication a round, under a cost model. Means over rounds and runs."
    )
    return Table("talking", "Talking while acting", sentence, head, body)


def differences(groups: Sequence[Group]) -> Table | None:
    """The options in which settings differ, a column each."""
    known = [{n: v for n, v in _options(group).items() if n not in WITHOUT_EFFECT} for group in groups]
    names = different(known)
    if not names:
        return None
    body = [
        [group.name, group.task, *(shown(options[name]) if name in options else None for name in names)]
        for group, options in zip(groups, known)
    ]
    return Table(
        "differences",
        "What differs",
        "Only options whose value is not the same everywhere.",
        ["setting", "task", *names],
        body,
    )


def common(groups: Sequence[Group]) -> Table:
    """The options that are the same everywhere."""
    known = [options for options in map(_options, groups) if options]
    apart = set(different(known))
    first = known[0] if known else {}
    body = [[name, shown(value)] for name, value in first.items() if name not in apart and name not in WITHOUT_EFFECT]
    return Table("common", "What is the same", "Options with one value in all runs.", ["option", "value"], body)


def _options(group: Group) -> dict[str, Any]:
    return next((run.options for run in group.runs if run.options), {})


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _seconds(run: Run) -> float | None:
    return float(run.seconds.sum()) if len(run.seconds) else None


def _spread(run: Run) -> float | None:
    last = run.agent_returns[-max(1, len(run.training) // 10) :]
    last = last[np.isfinite(last).all(1)] if last.size else last
    return float(last.mean(0).std()) if last.size else None


@dataclass(frozen=True)
class Scores:
    """Final values on one scale. seeds: method → seeds that it has done on every task; methods: method → [seeds, tasks];
    curves: method → [seeds, tasks, points], its evaluation points on that scale, where all runs have as many."""

    seeds: dict[str, list[int]]
    methods: dict[str, np.ndarray]
    settings: dict[str, dict[str, Any]]
    sentence: str
    scaled: bool
    curves: dict[str, np.ndarray]


def scores(
    groups: Sequence[Group], finals: dict[int, float], ranges: dict[str, Sequence[float]], higher: bool
) -> Scores | str:
    """What can be compared: methods with at least two seeds done on every task, or a sentence why there is nothing.

    ranges: task → (low, high) that become 0 and 1; where a task has none and there are several, its lowest and highest
    value of all runs, at the end or an evaluation point, are taken. A figure of which less is better changes its sign (or becomes 1 − x).
    """
    tasks = list(dict.fromkeys(group.task for group in groups))
    methods = list(dict.fromkeys(group.name for group in groups))
    table, points = {}, {}
    for group in groups:
        for run in group.complete:
            if id(run) in finals:
                table[group.name, group.task, run.seed] = finals[id(run)]
                points[group.name, group.task, run.seed] = run.evaluation.values

    def complete(name: str) -> set[int]:
        return set.intersection(*({seed for one, at, seed in table if (one, at) == (name, task)} for task in tasks))

    seeds = {name: sorted(complete(name)) for name in methods}
    few = [name for name in methods if len(seeds[name]) < 2]
    seeds = {name: done for name, done in seeds.items() if name not in few}
    if len(seeds) < 2:
        return "fewer than two settings have two seeds done on every task."
    values = {
        name: np.array([[table[name, task, seed] for task in tasks] for seed in done], float)
        for name, done in seeds.items()
    }
    numbers = sorted({len(done) for done in seeds.values()})
    scaled = len(tasks) > 1 or tasks[0] in ranges
    sentence = f"{len(seeds)} settings, {len(tasks)} task{'s' * (len(tasks) > 1)}, "
    sentence += f"{' to '.join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))} seeds each."
    sentence += f" Left out, with fewer than two seeds done: {', '.join(few)}." if few else ""
    low, span, sign = np.zeros(len(tasks)), np.ones(len(tasks)), 1 if higher else -1
    if scaled:
        seen = {task: [] for task in tasks}
        for (_, task, _), value in table.items():
            seen[task].append(value)
        for (_, task, _), line in points.items():
            seen[task] += line.tolist()
        limits = np.array([ranges.get(task, (np.min(seen[task]), np.max(seen[task]))) for task in tasks], float)
        low, high = limits[:, 0], limits[:, 1]
        span = np.where(high > low, high - low, 1.0)
        ends = "; ".join(
            f"{task} {number_text(a)} → 0" + (f", {number_text(b)} → 1" if b > a else " (all are equal)")
            for task, a, b in zip(tasks, low, high)
        )
        sentence += f" Scores are scaled per task: {ends}."
        if set(tasks) - set(ranges):
            sentence += " Ends that the study does not give are the lowest and highest value at the end or at an evaluation point."
    elif not higher:
        sentence += " Less is better of this figure: scores have its sign changed."

    def score(found: np.ndarray) -> np.ndarray:
        """Values [..., tasks] as scores."""
        return sign * (found - low) / span + (0 if higher or not scaled else 1)

    curves = {}
    if len({len(line) for line in points.values()}) == 1 and len(next(iter(points.values()))) > 1:
        for name, done in seeds.items():
            lines = np.array([[points[name, task, seed] for task in tasks] for seed in done])
            curves[name] = np.moveaxis(score(np.moveaxis(lines, 2, 1)), 1, 2)
    settings = {group.name: group.settings for group in groups}
    values = {name: score(table) for name, table in values.items()}
    return Scores(seeds, values, settings, sentence, scaled, curves)


def _pairs(found: Scores) -> tuple[list[tuple[str, str]], str]:
    """Which methods are compared with which, and a sentence on those that are not."""
    every = list(combinations(found.methods, 2))
    if len(found.methods) <= ALL_PAIRS:
        return every, ""
    near = [
        (x, y)
        for x, y in every
        if sum(found.settings[x].get(name) != value for name, value in found.settings[y].items()) == 1
    ]
    if near and len(near) <= MOST_PAIRS:
        return near, " Only pairs that differ in one setting."
    first = next(iter(found.methods))
    return [(name, first) for name in found.methods if name != first], " Each setting against the first."


def compare(found: Scores, ending: str = "") -> tuple[list[Table], list[Chart]]:
    """Interquartile mean, mean, median over tasks and optimality gap of every method; probability of improvement and paired differences
    of pairs; performance profiles and sample efficiency (``statistics.py``, with 95 % stratified bootstrap intervals)."""
    from ..studies import statistics

    kinds = [("IQM", statistics.interquartile_mean), ("mean", statistics.mean)]
    if next(iter(found.methods.values())).shape[1] > 1:
        kinds.append(("median over tasks", statistics.median))
    kinds += [("optimality gap", statistics.optimality_gap)] if found.scaled else []
    head, body, middle = ["setting"], [], []
    for name, _ in kinds:
        head += [name, f"{name}, low", f"{name}, high"]
    for method, table in found.methods.items():
        intervals = [statistics.bootstrap_interval(statistic, table) for _, statistic in kinds]
        middle.append(intervals[0])
        body.append([method, *(float(part) for i in intervals for part in (i.value, i.low, i.high))])
    aggregate = Table(
        key_of("aggregates", ending),
        "Aggregates",
        f"{found.sentence} 95 % stratified bootstrap intervals, 50 000 resamples.",
        head,
        body,
    )
    names = list(found.methods)
    pairs, which = _pairs(found)
    improved, rows = [], []
    for x, y in pairs:
        one, two = found.methods[x], found.methods[y]
        chance = statistics.bootstrap_interval(statistics.probability_of_improvement, one, two, repetitions=10_000)
        shared = sorted(set(found.seeds[x]) & set(found.seeds[y]))
        improved.append((f"{x}  over  {y}", chance))
        rows.append([x, y, *map(float, (chance.value, chance.low, chance.high)), len(shared), *[None] * 5])
        if len(shared) > 1:
            of_seeds = [[found.seeds[name].index(seed) for seed in shared] for name in (x, y)]
            apart = statistics.paired_difference(one[of_seeds[0]], two[of_seeds[1]], repetitions=10_000)
            ends = (apart.student.low, apart.student.high, apart.bootstrap.low, apart.bootstrap.high)
            rows[-1][-5:] = [float(apart.value), *map(float, ends)]
    head = ["X", "Y", "P(X > Y)", "low", "high", "equal seeds", "X − Y on these", "Student low", "Student high"]
    pairwise = Table(
        key_of("pairs", ending),
        "Pairs",
        "Probability that a run of X beats a run of Y on a task (ties count half; 0.5: neither is better), and the mean "
        "difference of runs with equal seeds, with intervals by Student's t and by bootstrap (10 000 resamples)."
        + which,
        [*head, "bootstrap low", "bootstrap high"],
        rows,
    )
    charts = [
        _intervals(
            key_of("iqm", ending), "Interquartile mean", aggregate.sentence, "score", list(zip(names, middle)), None
        )
    ]
    if len(improved) <= 30:
        charts.append(
            _intervals(
                key_of("improvement", ending),
                "Probability of improvement",
                "How probably a run of the first beats one of the second; at 0.5 neither does.",
                "P(X > Y)",
                improved,
                0.5,
            )
        )
    everything = np.concatenate(list(found.methods.values()))
    beside = 0.02 * float(everything.max() - everything.min())
    taus = np.linspace(everything.min() - beside, everything.max() + beside, 105)  # all runs are above the first
    profiles = []
    for k, (name, table) in enumerate(found.methods.items()):
        band = statistics.bootstrap_interval(
            lambda drawn: statistics.performance_profile(drawn, taus), table, repetitions=2_000
        )
        profiles.append(Series(name, taus, band.value, band.low, band.high, k))
    charts.append(
        Chart(
            key_of("profiles", ending),
            "Performance profiles",
            "Share of the runs (over tasks and seeds) that end above a score; 95 % stratified bootstrap bands.",
            "lines",
            "score",
            "share of runs above it",
            profiles,
        )
    )
    if found.curves:
        charts.append(_efficiency(found, key_of("efficiency", ending)))
    return [aggregate, pairwise], charts


def _efficiency(found: Scores, key: str) -> Chart:
    """Interquartile mean over tasks and seeds at every evaluation point."""
    from ..studies.statistics import sample_efficiency

    series = []
    for k, (name, curves) in enumerate(found.curves.items()):
        band = sample_efficiency(curves)
        series.append(Series(name, np.linspace(0, 100, curves.shape[2]), band.value, band.low, band.high, k))
    return Chart(
        key,
        "Sample efficiency",
        "Interquartile mean of the score over tasks and seeds at every evaluation point; 95 % stratified bootstrap bands.",
        "lines",
        "evaluation points, % of the run",
        "score",
        series,
    )


def _intervals(
    key: str, title: str, sentence: str, label: str, entries: Sequence[tuple[str, Any]], at: float | None
) -> Chart:
    series = [
        Series(name, [float(i.value)], [name], [float(i.low)], [float(i.high)], 0 if at is not None else k)
        for k, (name, i) in enumerate(entries)
    ]
    return Chart(key, title, sentence, "intervals", label, "", series, reference=at)
