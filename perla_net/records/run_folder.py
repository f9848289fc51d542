"""What a run's folder holds, read while it is still being written or after: for ``report`` and ``watch``.

Nothing here writes, and nothing asks the processes of the run: the folder may lie on another machine's disk.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np

from ..ground.errors import InputError

TALKING = ("bytes_per_step", "bytes_per_step_and_edge", "talked", "communication_seconds")
"""What ``metrics.jsonl`` says of a round in which agents say something at every step."""
PHASES = ("world", "exchange", "embedding", "learning", "bookkeeping")
"""The phases of a round in ``timings.jsonl``; the remainder of ``seconds`` is waiting for the slowest rank."""


class Rows:
    """The rows of a file of JSON lines that may still grow; a last line that is only half there waits for the next look."""

    def __init__(self, file: Path) -> None:
        self.file, self.offset, self.number, self.node = file, 0, 0, -1

    def new(self) -> tuple[bool, list[dict[str, Any]]]:
        """(whether the file is another than at the last look, as after --resume; the rows since then). Raises InputError."""
        try:
            with self.file.open("rb") as file:
                status = os.fstat(file.fileno())
                anew = status.st_ino != self.node or status.st_size < self.offset
                if anew:
                    self.offset, self.number, self.node = 0, 0, status.st_ino
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return False, []
        except OSError as error:
            raise InputError(f"{self.file}: cannot be read ({error.strerror})") from None
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return anew, [self._row(line) for line in whole.splitlines()]

    def _row(self, line: bytes) -> dict[str, Any]:
        self.number += 1
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{self.file}, line {self.number}: is not a JSON object")
        return row


def rows_of(file: Path) -> list[dict[str, Any]]:
    """All whole rows of a file of JSON lines; none where there is no such file. Raises InputError for what is not JSON."""
    return Rows(file).new()[1]


def json_of(file: Path) -> Any:
    """What a JSON file holds; None where there is no such file. Raises InputError for what is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None


def options_of(folder: Path) -> dict[str, Any]:
    """The resolved options of the run in a folder, nested as in ``config.yaml``. Raises InputError."""
    from ..settings.yaml_files import read_yaml

    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder}: is not the folder of a run (it has no config.yaml)")
    return read_yaml(folder / "config.yaml", "RUN")


def flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name; what agents override stays together."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict) and prefix + name not in ("agents.default", "agents.overrides"):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


@dataclass(frozen=True)
class Curve:
    """A metric along a run: rounds [P], env_steps [P], bytes [P] of agent traffic until then, values [P] (NaN: unknown)."""

    rounds: np.ndarray
    env_steps: np.ndarray
    bytes: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> Curve:
        """From rows (round, env_steps, bytes, value)."""
        return cls(*np.array(rows, float).reshape(-1, 4).T)

    def __len__(self) -> int:
        return len(self.rounds)


NOTHING = Curve.of([])


@dataclass(frozen=True)
class Run:
    """One run as the report sees it.

    settings: what its group is told apart by; options: all of them, by dotted name. state: ``done``, or why not:
    ``unfinished``, ``not begun``, and in a study ``waiting``, ``running``, ``failed``. training: the metric over finished
    training episodes of each round; evaluation: over the held-out episodes of each evaluation point. agents: names [N];
    agent_returns [R, N] (NaN: no episode ended); seconds [R, phases + waiting]. finals: figure of the evaluation at the
    end by controller; absolute: the metric of the best point's team on other episodes, or None.
    """

    folder: Path
    label: str
    task: str
    settings: dict[str, Any]
    seed: int
    state: str
    reason: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    agents: tuple[str, ...] = ()
    training: Curve = NOTHING
    evaluation: Curve = NOTHING
    agent_returns: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    seconds: np.ndarray = field(default_factory=lambda: np.zeros((0, len(PHASES) + 1)))
    finals: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    absolute: float | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    talking: dict[str, float] = field(default_factory=dict)
    """Of what agents say while they act, means over rounds; see :data:`TALKING`."""

    @property
    def done(self) -> bool:
        """True when nothing is missing of it."""
        return self.state == "done"


def open_run(folder: Path, metric: str = "return") -> Run:
    """Read a run's folder. metric: ``return`` (of the team), or a figure of the environment. Raises InputError."""
    nested = options_of(folder)
    options = flat(nested)
    metrics = rows_of(folder / "metrics.jsonl")
    spent = np.cumsum([row.get("bytes", 0) for row in metrics])
    try:
        training = [
            (row["round"], row["env_steps"], size, _number(_training(row, metric))) for row, size in zip(metrics, spent)
        ]
        returns = [row["agent_returns"] for row in metrics]
        timings = [_phases(row) for row in rows_of(folder / "timings.jsonl")]
        points = [
            (row["round"], row["env_steps"], row["bytes"], _mean(_figure(row, metric, folder)))
            for row in rows_of(folder / "evaluations.jsonl")
        ]
        best = json_of(folder / "absolute.json")
        talking = _talking(metrics)
        absolute = None if best is None else _mean(_figure(best, metric, folder))
        known = {name for row in metrics for name in row["figures"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder}: its files are not those of a run of this program ({error!r})") from None
    if metric != "return" and known and metric not in known:
        raise InputError(f"--metric {metric}: {folder} has no such figure; it has return, {', '.join(sorted(known))}")
    width = len(next((row for row in returns if row is not None), ()))
    rounds, planned = len(metrics), options.get("rounds") or 0
    state, reason = "done", ""
    if rounds < planned:
        state = "unfinished" if rounds else "not begun"
        reason = f"{rounds} of {planned} rounds"
    elif options.get("evaluate_episodes") and not (folder / "evaluation.json").is_file():
        state, reason = "unfinished", "all rounds, but no evaluation"
    machines = rows_of(folder / "run.jsonl")
    return Run(
        folder=folder,
        label=folder.resolve().name,
        task=str(options.get("env")),
        settings=options,
        seed=int(options.get("seed") or 0),
        state=state,
        reason=reason,
        options=options,
        agents=agents_of(folder, width),
        training=Curve.of(training),
        evaluation=Curve.of(points),
        agent_returns=np.array([row or [np.nan] * width for row in returns], float).reshape(rounds, width),
        seconds=np.array(timings, float).reshape(-1, len(PHASES) + 1),
        finals=json_of(folder / "evaluation.json") or {},
        absolute=absolute,
        machine=machines[-1] if machines else {},
        talking=talking,
    )


def _talking(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    known = {name: [row[name] for row in metrics if row.get(name) is not None] for name in TALKING}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _training(row: dict[str, Any], metric: str) -> float | None:
    return row["team_return"] if metric == "return" else row["figures"].get(metric)


def _figure(row: dict[str, Any], metric: str, folder: Path) -> list[float]:
    if metric not in row["figures"]:
        raise InputError(f"--metric {metric}: {folder} has no such figure; it has {', '.join(row['figures'])}")
    return row["figures"][metric]


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _phases(row: dict[str, Any]) -> list[float]:
    """Seconds of each phase (mean over ranks), and what the slowest rank took more than the mean."""
    parts = [row[name] for name in PHASES]
    return [*parts, max(row["seconds"] - sum(parts), 0.0)]


def agents_of(folder: Path, number: int) -> tuple[str, ...]:
    """The names of the agents, from ``topology.graphml``; their numbers where that is not there (yet)."""
    import networkx as nx

    file = folder / "topology.graphml"
    if not file.is_file():
        return tuple(map(str, range(number)))
    graph = nx.read_graphml(file)
    return tuple(str(graph.nodes[node].get("agent", node)) for node in graph)


def open_study(folder: Path, metric: str | None = None) -> tuple[dict[str, Any], list[Run]]:
    """The index of a study and its runs, in the order of the index, those without a folder included. Raises InputError.

    metric: in place of the one that the study names.
    """
    index = json_of(folder / "index.json")
    runs = []
    try:
        metric = metric or index.get("metric") or "return"
        for entry in index["runs"]:
            place, state = folder / entry["folder"], entry["state"]
            known = {
                "label": entry["label"],
                "task": str(entry["task"]),
                "settings": entry["settings"],
                "seed": int(entry["seed"]),
                "state": state,
                "reason": entry.get("reason") or "",
            }
            if (place / "config.yaml").is_file():
                run = open_run(place, metric)
                known["reason"] = known["reason"] or ("" if state == "done" else run.reason)
                if state == "done" and not run.done:
                    known |= {"state": run.state, "reason": run.reason}
                runs.append(Run(**{**vars(run), **known}))
            else:
                runs.append(Run(folder=place, **known))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'index.json'}: is not the index of a study ({error!r})") from None
    return index, runs


@dataclass(frozen=True)
class Traffic:
    """Agent traffic of a run. edges: directed pairs (j, i), i hears j; purposes [Q]; rounds [M], pairs [M] (index into
    edges), kinds [M] (index into purposes) and bytes [M]: the rows of ``ledger.csv``."""

    edges: tuple[tuple[int, int], ...]
    purposes: tuple[str, ...]
    rounds: np.ndarray
    pairs: np.ndarray
    kinds: np.ndarray
    bytes: np.ndarray


def traffic_of(folder: Path, agents: Sequence[str]) -> Traffic:
    """The ledger of a run. Raises InputError for a file that is none."""
    index = {name: number for number, name in enumerate(agents)}
    edges: dict[tuple[int, int], int] = {}
    purposes: dict[str, int] = {}
    found = []
    for number, line in enumerate(_lines(folder / "ledger.csv")):
        if number == 0:
            continue
        try:
            at, source, target, purpose, _, size = line
            pair = edges.setdefault((index[source], index[target]), len(edges))
            found.append((int(at), pair, purposes.setdefault(purpose, len(purposes)), int(size)))
        except (ValueError, KeyError):
            raise InputError(f"{folder / 'ledger.csv'}, line {number + 1}: is not a row of a ledger") from None
    table = np.array(found, np.int64).reshape(-1, 4).T
    return Traffic(tuple(edges), tuple(purposes), *table)


def _lines(file: Path) -> Iterator[list[str]]:
    """The whole lines of a CSV file; none where there is no such file."""
    if file.exists():
        with file.open(newline="", encoding="utf-8") as lines:
            yield from csv.reader(line for line in lines if line.endswith("\n"))


def graphs_of(folder: Path) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
    """(round from which it holds, edges) of every graph of a run, from ``graphs.jsonl``."""
    return [
        (int(row["round"]), tuple((int(j), int(i)) for j, i in row["edges"]))
        for row in rows_of(folder / "graphs.jsonl")
    ]
