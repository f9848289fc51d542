"""The figures of a report as plain numbers: what is drawn on the page, in the PNG and PDF files, and kept in the CSV files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Iterator, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.pictures import graph_places
from ..records.run_folder import PHASES, Curve, Run, graphs_of, json_of, traffic_of
from .groups import Average, Estimate, Group, average_curve, part, shown, thinned

MANY_AGENTS = 24
"""Teams larger than this are shown as quantiles over agents."""
STOPS, CELLS = 60, 60_000
"""Stops of a graph's slider, and numbers (edges × stops × purposes) of all graphs of a page, at most."""


@dataclass(frozen=True)
class Series:
    """One curve, bar or point: x [P] and y [P]; ``low`` and ``high`` [P]: its interval along the measured axis.

    colour: number of its colour. style: ``solid``, ``dashed`` (an unfinished run) or ``faint`` (one run of a group). Of a
    single run's curve that may be chosen, group: its setting, facets: what this consists of, by name.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: int = 0
    style: str = "solid"
    group: str = ""
    facets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """kind: ``lines``; ``points`` (intervals along y); ``bars`` (stacked, x lengths of the bars at y); ``intervals``
    (x with intervals, at y). x_unit, y_unit: ``B``, ``s`` or nothing; both axes say in words what they show. reference:
    where a thin line marks what nothing would look like."""

    key: str
    title: str
    sentence: str
    kind: str
    x_label: str
    y_label: str
    series: list[Series]
    x_unit: str = ""
    y_unit: str = ""
    reference: float | None = None

    def rows(self) -> Iterator[list[Any]]:
        """The figure as a table, head first."""
        yield ["series", self.x_label, self.y_label, "low", "high"]
        for one in self.series:
            nothing = [None] * len(one.x)
            for row in zip(
                one.x, one.y, nothing if one.low is None else one.low, nothing if one.high is None else one.high
            ):
                yield [one.name, *row]


@dataclass(frozen=True)
class Stop:
    """A stretch of rounds of a graph: mean return of each agent [N] (NaN: none known), and for each edge that was there or
    carried bytes: (number of the edge, whether it was in the graph, bytes per round and purpose [Q])."""

    first: int
    last: int
    returns: list[float]
    edges: list[tuple[int, bool, list[float]]]


@dataclass(frozen=True)
class Graph:
    """Who heard whom in one run, and what that cost. positions [N, 2]; the first stop is the whole run."""

    key: str
    title: str
    sentence: str
    agents: tuple[str, ...]
    positions: np.ndarray
    edges: tuple[tuple[int, int], ...]
    purposes: tuple[str, ...]
    stops: list[Stop]
    unit: str = field(default="mean return of an agent")

    def rows(self) -> Iterator[list[Any]]:
        """The figure as a table, head first: agents with their returns, edges with their bytes per round."""
        yield ["rounds", "source", "target", "return", "in the graph", *(f"{name}, B/round" for name in self.purposes)]
        for stop in self.stops:
            rounds = f"{stop.first}-{stop.last}"
            for name, value in zip(self.agents, stop.returns):
                yield [rounds, name, None, value, None, *[None] * len(self.purposes)]
            for pair, present, sizes in stop.edges:
                source, target = self.edges[pair]
                yield [rounds, self.agents[source], self.agents[target], None, int(present), *sizes]


def key_of(*parts: str) -> str:
    """A file name from texts."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(part for part in parts if part)).strip("-").lower()


def unique(keys: Sequence[str]) -> list[str]:
    """The keys, those that occur again with a number behind."""
    found: list[str] = []
    for key in keys:
        ways = (key, *(f"{key}-{number}" for number in range(1, len(keys) + 1)))
        found.append(next(way for way in ways if way not in found))
    return found


def curve(run: Run, source: str) -> Curve:
    """A run's ``evaluation`` or ``training`` curve."""
    return run.evaluation if source == "evaluation" else run.training


def learning(
    key: str, title: str, sentence: str, groups: Sequence[Group], source: str, axis: str, average: Average, metric: str
) -> Chart | None:
    """Curves of groups against ``env_steps`` or ``bytes``: averages of complete runs, other runs by themselves, dashed.

    source: ``evaluation`` (held-out episodes at evaluation points) or ``training`` (episodes of the rounds). None where
    there is nothing to draw.
    """
    series = []
    for colour, group in enumerate(groups):
        found = average_curve([curve(run, source) for run in group.complete if len(curve(run, source))], average)
        if found is not None:
            line, estimate = found
            name = f"{group.name} (n = {len(group.complete)})"
            series.append(Series(name, getattr(line, axis), line.values, estimate.low, estimate.high, colour))
        for run in group.runs:
            alone = None if run.done else average_curve([curve(run, source)], average)
            if alone is not None:
                name = f"{group.name}, seed {run.seed}: {run.state}" + (f", {run.reason}" if run.reason else "")
                series.append(Series(name, getattr(alone[0], axis), alone[0].values, colour=colour, style="dashed"))
    if not series:
        return None
    x_label = "environment steps (all copies)" if axis == "env_steps" else "agent traffic so far"
    return Chart(key, title, sentence, "lines", x_label, metric, series, "" if axis == "env_steps" else "B")


def runs(
    key: str, title: str, sentence: str, groups: Sequence[Group], names: Sequence[str], source: str, metric: str
) -> Chart | None:
    """A curve a run, to be chosen from; None where there are fewer than two. names: of the groups, in order."""
    series = []
    for colour, (group, name) in enumerate(zip(groups, names)):
        facets = {axis: part("", value).strip() or shown(value) for axis, value in group.settings.items()}
        for run in group.runs:
            found = average_curve([curve(run, source)], lambda values: Estimate(values[0]))
            if found is not None:
                label = f"{group.name}, seed {run.seed}" + ("" if run.done else f" ({run.state})")
                style = "solid" if run.done else "dashed"
                line = found[0]
                series.append(Series(label, line.env_steps, line.values, None, None, colour, style, name, facets))
    if len(series) < 2:
        return None
    return Chart(key, title, sentence, "lines", "environment steps (all copies)", metric, series)


def cost(
    key: str,
    title: str,
    sentence: str,
    groups: Sequence[Group],
    finals: dict[int, float],
    average: Average,
    metric: str,
) -> Chart | None:
    """Final value against bytes of the whole run: a point per group with its interval, a faint one per run.

    finals: id of a run → its final value.
    """
    series = []
    for colour, group in enumerate(groups):
        runs = [run for run in group.complete if id(run) in finals]
        if not runs:
            continue
        size = [float(run.training.bytes[-1]) for run in runs]
        values = np.array([finals[id(run)] for run in runs])
        found = average(values)
        if len(runs) > 1:
            series.append(Series(f"{group.name}, runs", size, values, colour=colour, style="faint"))
        low, high = (None, None) if found.low is None else ([float(found.low)], [float(found.high)])
        series.append(
            Series(f"{group.name} (n = {len(runs)})", [float(np.mean(size))], [float(found.value)], low, high, colour)
        )
    if not series:
        return None
    return Chart(key, title, sentence, "points", "agent traffic of the whole run", metric, series, "B")


def agents(group: Group, key: str, average: Average) -> Chart | None:
    """Every agent's training return, averaged over the complete runs of a group (else its first run that has begun)."""
    runs = group.complete or [run for run in group.runs if len(run.training)][:1]
    names = runs[0].agents if runs else ()
    runs = [run for run in runs if run.agent_returns.shape[1] == len(names)]
    if not runs or not names:
        return None
    rounds = min(len(run.agent_returns) for run in runs)
    table = np.mean([run.agent_returns[:rounds] for run in runs], axis=0)
    known = np.flatnonzero(np.isfinite(table).all(1))
    if not len(known):
        return None
    known = known[thinned(len(known))]
    x, table = runs[0].training.env_steps[known], table[known]
    if len(names) <= MANY_AGENTS:
        series = [Series(name, x, table[:, index], colour=index) for index, name in enumerate(names)]
        who = "a line an agent"
    else:
        shares = (("best agent", 100), ("90 %", 90), ("median", 50), ("10 %", 10), ("worst agent", 0))
        series = [
            Series(name, x, np.percentile(table, share, axis=1), colour=k) for k, (name, share) in enumerate(shares)
        ]
        who = f"quantiles over its {len(names)} agents"
    state = f"mean of {len(runs)} runs" if len(runs) > 1 else f"one run ({runs[0].state})"
    return Chart(
        key,
        f"Agents of {group.name}",
        f"Return of the training episodes that ended in each round: {who}, {state}.",
        "lines",
        "environment steps (all copies)",
        "return of an agent",
        series,
    )


def timings(groups: Sequence[Group], names: Sequence[str]) -> Chart | None:
    """Seconds of a round by phase, mean over the rounds of the complete runs of a group (of all, where none is complete);
    names: of the groups, in order."""
    rows = []
    for group, name in zip(groups, names):
        parts = [run.seconds for run in group.complete or group.runs if len(run.seconds)]
        if parts:
            rows.append((name, np.concatenate(parts).mean(0)))
    if not rows:
        return None
    labels = [name for name, _ in rows]
    table = np.array([values for _, values in rows])
    series = [
        Series(phase, table[:, k], labels, colour=k)
        for k, phase in enumerate((*PHASES, "waiting for the slowest rank"))
    ]
    return Chart(
        "timings",
        "Time per phase",
        "Wall-clock seconds of a round by phase, mean over rounds, runs and ranks; figures of different machines, or of "
        "machines that did other work as well, cannot be compared.",
        "bars",
        "seconds per round",
        "",
        series,
        "s",
    )


def graph(run: Run, key: str, title: str, cells: int) -> Graph | None:
    """Who heard whom in a run and what that cost, with at most about ``cells`` numbers; None where nothing is known yet."""
    changes = graphs_of(run.folder)
    names, rounds = run.agents, len(run.training)
    if not changes or not rounds or not names:
        return None
    if max((node for _, edges in changes for edge in edges for node in edge), default=0) >= len(names):
        raise InputError(f"{run.folder / 'graphs.jsonl'}: names an agent that topology.graphml does not have")
    traffic = traffic_of(run.folder, names)
    numbers = {edge: index for index, edge in enumerate(traffic.edges)}
    for _, edges in changes:
        for edge in edges:
            numbers.setdefault(edge, len(numbers))
    purposes = traffic.purposes
    fitting = max(1, cells // max(1, len(numbers) * (1 + len(purposes))))
    windows, left_out = _windows([first for first, _ in changes], rounds, min(STOPS, fitting))
    returns = run.agent_returns
    total = np.bincount(traffic.pairs, traffic.bytes, len(numbers))
    heaviest = np.sort(np.argsort(-total, kind="stable")[: max(100, cells // (2 + 2 * len(purposes)))]).tolist()
    stops = []
    for first, last in [(1, rounds), *windows]:
        there = (traffic.rounds >= first) & (traffic.rounds <= last)
        sizes = np.zeros((len(numbers), len(purposes)))
        np.add.at(sizes, (traffic.pairs[there], traffic.kinds[there]), traffic.bytes[there])
        sizes /= last - first + 1
        # The graph that holds at ``first``, and those that replace it until ``last``.
        held = [edges for at, edges in changes if at <= first][-1:] + [e for at, e in changes if first < at <= last]
        present = {numbers[edge] for edges in held for edge in edges}
        shown = [
            (pair, pair in present, sizes[pair].tolist()) for pair in heaviest if pair in present or sizes[pair].any()
        ]
        block = returns[first - 1 : last]
        known = np.isfinite(block).any(1) if block.size else np.zeros(0, bool)
        mean = block[known].mean(0) if known.any() else np.full(len(names), np.nan)
        stops.append(Stop(first, last, mean.tolist(), shown))
    positions, how = place(run, list(numbers))
    sentence = (
        f"Run {run.label} (seed {run.seed}). An arrow leads from who speaks to who hears, as wide as the bytes that it "
        f"carries in a round; a node's colour is that agent's mean training return. {how} "
        + (f"The graph changes {len(changes) - 1} times. " if len(changes) > 1 else "The graph does not change. ")
        + (f"The slider has {len(windows)} of {left_out + len(windows)} stretches of rounds. " if left_out else "")
        + (
            f"Of {len(numbers)} edges the {len(heaviest)} with most bytes are drawn."
            if len(heaviest) < len(numbers)
            else ""
        )
    )
    return Graph(key, title, sentence.strip(), names, positions, tuple(numbers), purposes, stops)


def _windows(changes: Sequence[int], rounds: int, most: int) -> tuple[list[tuple[int, int]], int]:
    """Stretches of rounds with one graph each, at most ``most``, and how many were left out; of a graph that never changes:
    equal parts of the run."""
    if len(changes) == 1:
        cuts = np.unique(np.linspace(0, rounds, min(most, rounds, 20) + 1).round().astype(int))
        return [(int(a) + 1, int(b)) for a, b in zip(cuts[:-1], cuts[1:])], 0
    starts = [max(1, start) for start in changes if start <= rounds]
    windows = list(zip(starts, [*(start - 1 for start in starts[1:]), rounds]))
    chosen = [windows[index] for index in thinned(len(windows), most)]
    return chosen, len(windows) - len(chosen)


def place(run: Run, edges: Sequence[tuple[int, int]]) -> tuple[np.ndarray, str]:
    """Where the agents are drawn [N, 2] within the unit square, and a sentence on that.

    From the run's schedule, else from the program's own environments where their agents never move, else from the graph
    (Kamada and Kawai 1989; in components or above 80 agents Fruchterman and Reingold 1991).
    """
    number = len(run.agents)
    told = (json_of(run.folder / "schedule.json") or {}).get("positions") or _of_environment(run)
    if told is not None and len(told) == number and len(told[0]) >= 2:
        return _fitted(np.array(told, float)[:, :2]), "Agents stand where the environment has them."
    places, how = graph_places(number, edges)
    return _fitted(np.array([places[node] for node in range(number)])), how


def _of_environment(run: Run) -> Any:
    """Positions that the program's own environments know; other suites are not loaded for a picture."""
    from ..settings.specs import parse_spec
    from ..world.environments import SUITES, make

    env = str(run.options.get("env", ""))
    suite = SUITES.get(parse_spec(env)[0].partition(":")[0])
    if suite is None or not suite.module.startswith("networked."):
        return None
    try:
        return make(env, 1, len(run.agents)).spec.positions
    except InputError:  # such as a road network's file that is not here: then the graph itself is laid out, and said so
        return None


def _fitted(places: np.ndarray) -> np.ndarray:
    """Places shifted and scaled, the same along both axes, into [0, 1]²."""
    low, span = places.min(0), float(np.ptp(places, axis=0).max()) or 1.0
    return (places - low) / span + (1 - np.ptp(places, axis=0) / span) / 2
