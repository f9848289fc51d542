"""The tables of docs/studies/networked.md: methods of networked learning beside the best simple controller of each task, episode by episode.

    python benchmarks/networked_tables.py                       # the tables, markdown
    python benchmarks/networked_tables.py --collect STUDY       # the file, from a study's runs; what it has of other runs stays

``docs/studies/networked/runs.csv`` has a line a run: of the greedy team the task's figure, mean over the same held-out episodes for all, the same less
the controller's on the same episodes, and the share of episodes with a collision; the difference of the sampled team; what all agents say in a step,
and what an agent sends in a round, bytes; seconds of all rounds.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from methods_table import spread
from study_tables import Runs, command, read, table, write

from perla_net.ground.processes import Processes

FILE = Path(__file__).parents[1] / "docs" / "studies" / "networked" / "runs.csv"
TASKS = {
    "catch-up": ("cost", "constant"),
    "slow-down": ("cost", "constant"),
    "slow-down, 300 rounds": ("cost", "constant"),
    "wireless": ("throughput", "aloha"),
    "traffic": ("delay", "max_pressure"),
    "grid4x4": ("delay", "max_pressure"),
}
"""Task → (figure, controller that it is compared with)."""
EPISODES = {"grid4x4": 5}
MANY = 50
HELD_OUT = 1000
HEAD = ("task", "setting", "seed", "figure", "difference", "collided", "sampled", "said", "bytes", "seconds")


def figures_of(folder: Path, task: str) -> list[Any]:
    """What the file says of a run, from ``figure`` on."""
    from perla_net.evaluate import task_of
    from perla_net.simulation.evaluation import by_episode

    figure, controller = TASKS[task]
    episodes = EPISODES.get(task, MANY)
    given = task_of([str(folder), "--episodes", str(episodes)], 1)
    players = [Path(player) for player in given.players]
    found = by_episode(Processes(), given.plan, players, episodes, HELD_OUT, references=[controller])
    assert found is not None
    greedy, sampled = found["team, greedy"], found["team, sampled"]
    base = found[controller][figure]
    less = [[a - b for a, b in zip(of[figure], base, strict=True)] for of in (greedy, sampled)]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines())
    each = statistics.median(row["bytes"] for row in metrics) / len(metrics[-1]["agent_rewards"])
    numbers = [statistics.fmean(greedy[figure]), statistics.fmean(less[0])]
    numbers += [statistics.fmean(greedy.get("collided", [0])), statistics.fmean(less[1])]
    return [*(f"{x:.6g}" for x in numbers), metrics[-1].get("bytes_per_step") or 0, round(each), round(seconds, 1)]


def collect(study: Path) -> None:
    """Write the file from the runs of a study that are done, beside those of others that it has."""
    runs = Runs(study)
    known = {(row["task"], row["setting"], row["seed"]): list(row.values()) for row in read(FILE)}
    for key, folder in runs.done():
        if key not in known:
            known[key] = [*key, *figures_of(folder, key[0])]
    order = sorted(known, key=lambda key: (list(TASKS).index(key[0]), runs.place(*key[:2]), key))
    write(FILE, HEAD, [known[key] for key in order])


def tables() -> str:
    """Markdown: a table a task."""
    rows, text = read(FILE), []
    for task in dict.fromkeys(row["task"] for row in rows):
        figure, controller = TASKS[task]
        lines = []
        crashes = any(float(row["collided"]) for row in rows if row["task"] == task)
        for setting in dict.fromkeys(row["setting"] for row in rows if row["task"] == task):
            runs = [row for row in rows if (row["task"], row["setting"]) == (task, setting)]
            columns = {name: [float(run[name]) for run in runs] for name in HEAD[3:]}
            cells = [setting, str(len(runs)), *(spread(columns[name]) for name in ("figure", "difference", "sampled"))]
            if crashes:
                cells.append(f"{statistics.fmean(columns['collided']):.3f}")
            cells += [f"{statistics.median(columns[name]):,.0f}" for name in ("said", "bytes", "seconds")]
            lines.append(cells)
        head = ["method", "seeds", f"{figure}, greedy", f"less {controller}, greedy", "sampled"]
        head += [*(["collided"] if crashes else []), "bytes a step", "bytes an agent and round", "seconds"]
        text += [f"**{task}**", "", *table(head, lines)]
    return "\n".join(text)


def main() -> None:
    """See the head of the file."""
    command("Tables of docs/studies/networked.md.", collect, tables)


if __name__ == "__main__":
    main()
