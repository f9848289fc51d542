"""The tables of docs/studies/talking.md: tasks that nobody solves without messages, by distance, kind of message and loss.

    python benchmarks/talking_tables.py                       # the tables, markdown
    python benchmarks/talking_tables.py --collect STUDY       # the files, from a study's runs

``docs/studies/talking/runs.csv`` has a line a run: share of right answers in held-out episodes, sampled and greedy; rounds until the mean share of
three rounds of training is .95 (empty: never); bytes that all agents say in a step. ``losses.csv`` has a line a run of ``relay, 2`` and loss in
execution: share of right answers of the greedy team, as ``python -m perla_net.evaluate RUN --links.loss X`` has it.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from methods_table import spread
from study_tables import Runs, command, read, table, write

from perla_net.ground.processes import Processes
from perla_net.world.networked.telling import Majority

FOLDER = Path(__file__).parents[1] / "docs" / "studies" / "talking"
RUNS = ("task", "setting", "seed", "sampled", "greedy", "rounds", "bytes")
LOSSES = ("setting", "seed", "loss", "right")
SOLVED, OVER = 0.95, 3
"""The share of right answers in so many rounds, from which on a task counts as solved."""
LOST = (0.0, 0.1, 0.3, 0.6)
TASK_OF_LOSSES, EPISODES = "relay, 2", 200
EDGES, STEPS, GOALS = 2, 5, 4
"""Of that task."""


def figures_of(folder: Path) -> list[Any]:
    """What runs.csv says of a run, from ``sampled`` on."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    right = [row["figures"]["right"] for row in metrics]
    means = np.convolve(right, np.ones(OVER) / OVER, "valid")
    solved = np.flatnonzero(means >= SOLVED)
    told = json.loads((folder / "evaluation.json").read_text())
    shares = [told[f"team, {mode}"]["right"]["mean"] for mode in ("sampled", "greedy")]
    return [*shares, int(solved[0]) + OVER if len(solved) else "", metrics[-1].get("bytes_per_step") or 0]


def under_loss(folder: Path, loss: float) -> float:
    """Share of right answers of the greedy team when so many messages are lost."""
    from perla_net.evaluate import task_of
    from perla_net.simulation.evaluation import by_episode

    task = task_of([str(folder), "--episodes", str(EPISODES), "--links.loss", str(loss)], 1)
    players = [Path(player) for player in task.players]
    found = by_episode(Processes(), task.plan, players, EPISODES, task.seed, references=())
    assert found is not None
    return statistics.fmean(found["team, greedy"]["right"])


def best(loss: float) -> float:
    """The greatest chance to be right in that task when so many messages are lost, of those who say at every step what they have heard before it, as
    ``commnet`` does: a step takes what is known one edge on with probability 1 − loss, so P(known) = P(Binomial(steps, 1 − loss) ≥ edges), and who
    does not know guesses."""
    known = sum(
        math.comb(STEPS, many) * (1 - loss) ** many * loss ** (STEPS - many) for many in range(EDGES, STEPS + 1)
    )
    return known + (1 - known) / GOALS


def collect(study: Path) -> None:
    """Write both files from the runs of a study that are done, beside those of others that they have."""
    runs = Runs(study)
    lines = {(row["task"], row["setting"], row["seed"]): list(row.values()) for row in read(FOLDER / "runs.csv")}
    losses = {(row["setting"], row["seed"], row["loss"]): list(row.values()) for row in read(FOLDER / "losses.csv")}
    for key, folder in runs.done():
        if key in lines:
            continue
        task, setting, seed = key
        lines[key] = [*key, *figures_of(folder)]
        for loss in LOST if task == TASK_OF_LOSSES else ():
            losses[setting, seed, str(loss)] = [setting, seed, loss, f"{under_loss(folder, loss):.4g}"]
    order = sorted(lines, key=lambda key: (runs.place(*key[:2]), key))
    write(FOLDER / "runs.csv", RUNS, [lines[key] for key in order])
    order = sorted(losses, key=lambda key: (runs.place(TASK_OF_LOSSES, key[0]), key))
    write(FOLDER / "losses.csv", LOSSES, [losses[key] for key in order])


def tables() -> str:
    """Markdown: a table a task, and that of the losses."""
    rows, text = read(FOLDER / "runs.csv"), []
    for task in dict.fromkeys(row["task"] for row in rows):
        without = 0.25 if task.startswith("relay") else Majority(1, 5).without_messages
        lines = []
        for setting in dict.fromkeys(row["setting"] for row in rows if row["task"] == task):
            runs = [row for row in rows if (row["task"], row["setting"]) == (task, setting)]
            rounds = sorted(int(run["rounds"]) for run in runs if run["rounds"])
            when = f"{rounds[0]} to {rounds[-1]}" if rounds else "never"
            many = f"{len(rounds)} of {len(runs)}"
            shares = [[float(run[mode]) for run in runs] for mode in ("sampled", "greedy")]
            size = statistics.median(float(run["bytes"]) for run in runs)
            lines.append(
                [
                    *(setting, many, when),
                    *(f"{spread(share)} (least {min(share):.3g})" for share in shares),
                    f"{size:,.0f}",
                ]
            )
        head = ["method", "solved", "after rounds", "right, sampled", "right, greedy", "bytes per step"]
        text += [f"**{task}** (without messages at best {without:.4g})", "", *table(head, lines)]
    rows, lines = read(FOLDER / "losses.csv"), []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        cells = [setting]
        for loss in LOST:
            cells.append(
                spread(
                    [float(row["right"]) for row in rows if row["setting"] == setting and float(row["loss"]) == loss]
                )
            )
        lines.append(cells)
    lines.append(["*the best that `commnet` can do*", *(f"{best(loss):.3g}" for loss in LOST)])
    head = [f"{TASK_OF_LOSSES}: trained as", *(f"loss {loss:g} in execution" for loss in LOST)]
    return "\n".join([*text, *table(head, lines)])


def main() -> None:
    """See the head of the file."""
    command("Tables of docs/studies/talking.md.", collect, tables)


if __name__ == "__main__":
    main()
