"""What rank 0 shows while a run goes on and at its end."""

from __future__ import annotations

import csv
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..ground.processes import launched
from ..ground.text import about, columns, rounded, size_text

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "srun")

CUT = "cut_off"
"""Figure of an evaluation, where some episode did not end by itself within ``--evaluate-steps``: 1 for those, else 0."""


def on_terminal() -> bool:
    """Whether what this process prints is shown on a terminal.

    Under mpirun its own standard output says nothing of that (MPICH makes it a pipe, Open MPI a pseudo-terminal), so the
    launcher's is looked at, where it runs on this machine.
    """
    if launched()[1] == 1:
        return sys.stdout.isatty()
    process = os.getppid()
    for _ in range(4):
        try:
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")
            if fields[0].partition("(")[2] in LAUNCHERS:
                return os.readlink(f"/proc/{process}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
            process = int(fields[2].split()[1])
        except OSError:
            break  # the launcher is somebody else's, or no longer there
    return False


class Progress:
    """A live line on a terminal, plain lines elsewhere."""

    def __init__(self, mode: str, rounds: int, done: int) -> None:
        self.rounds, self.first = rounds, done
        self.live = mode == "live" or (mode == "auto" and on_terminal())
        self.silent = mode == "none"
        self.every = max(1, rounds // 20)
        self.start = self.last = time.monotonic()
        self.counted = (done, self.start)
        """Round and time from which the time left is reckoned: once there are more, the first round, which tells little, is left out."""
        self.return_text = "-"

    def show(self, metrics: Mapping[str, Any], env_steps: int, bytes_per_agent: float) -> None:
        """The state after a round; ``env_steps``: environment steps of this round, all copies together."""
        now = time.monotonic()
        rate = env_steps / max(now - self.last, 1e-9)
        self.last = now
        done = metrics["round"]
        since, began = self.counted
        left = (now - began) / (done - since) * (self.rounds - done)
        if done - self.first == 1:
            self.counted = (done, now)
        if metrics["team_return"] is not None:
            self.return_text = f"{metrics['team_return']:,.1f}"
            self.return_text += "".join(
                f"  {name} {value:,.3g}" for name, value in list(metrics["figures"].items())[:1]
            )
        if self.silent:
            return
        # The most telling first: a line that goes over itself is cut where the terminal ends.
        told = f"about {about(left)} left" if done < self.rounds else f"took {about(now - self.start)}"
        line = (
            f"round {done:>{len(str(self.rounds))}}/{self.rounds}  {told:<17}  team return {self.return_text}  "
            f"sent {size_text(bytes_per_agent)}/agent  {rate:,.0f} steps/s"
        )
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="\n" if done == self.rounds else "", flush=True)
        elif done - self.first <= 2 or done % self.every == 0 or done == self.rounds:
            print(line, flush=True)


def evaluation_table(evaluation: Mapping[str, Mapping[str, Mapping[str, float]]], episodes: int, most: int) -> str:
    """Mean ± half of the 95 % interval of every figure, a row per controller; and which episodes were cut off after ``most`` steps."""
    figures = list(next(iter(evaluation.values())))
    rows = [["controller", *figures]]
    for name, values in evaluation.items():
        cells = [
            rounded(values[f]["mean"], 4)
            + (f" ± {rounded((values[f]['high'] - values[f]['low']) / 2, 2)}" if episodes > 1 else "")
            for f in figures
        ]
        rows.append([name, *cells])
    what = "s (mean ± 95 % interval)" if episodes > 1 else ""
    cut = {name: round(values[CUT]["mean"] * episodes) for name, values in evaluation.items() if CUT in values}
    lines = [
        f"  {number} of {episodes} episode{'s' * (episodes > 1)} of {name} did not end within {most:,} steps (--evaluate-steps): cut off "
        "there, and counted as they were then"
        for name, number in cut.items()
        if number
    ]
    return "\n".join([f"evaluation over {episodes} held-out episode{what}", columns(rows), *lines])


def traffic_lines(ledger: Path) -> str:
    """What the agents sent one another, from a run's ledger: edges, bytes per edge, purposes."""
    edges: dict[tuple[str, str], int] = {}
    purposes: dict[str, int] = {}
    with ledger.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            edge = row["source"], row["target"]
            edges[edge] = edges.get(edge, 0) + int(row["bytes"])
            purposes[row["purpose"]] = purposes.get(row["purpose"], 0) + int(row["bytes"])
    if not edges:
        return "agent traffic: none"
    sizes = sorted(edges.values())
    mean = size_text(sum(sizes) / len(sizes))
    spread = "each" if sizes[0] == sizes[-1] else f"on average ({size_text(sizes[0])} to {size_text(sizes[-1])})"
    parts = ", ".join(f"{name} {size_text(size)}" for name, size in sorted(purposes.items(), key=lambda item: -item[1]))
    return f"agent traffic: {len(edges)} directed edges, {mean} {spread}\n  {parts}"


def interval(values: Sequence[float]) -> dict[str, float]:
    """mean, and its 95 % interval by Student's t: mean ± t₀.₉₇₅(n−1) s/√n; ``low`` = ``high`` = mean for n = 1."""
    from scipy.special import stdtrit

    number = len(values)
    mean = math.fsum(values) / number
    if number < 2:
        return {"mean": mean, "low": mean, "high": mean, "episodes": number}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (number - 1))
    half = float(stdtrit(number - 1, 0.975)) * deviation / math.sqrt(number)
    return {"mean": mean, "low": mean - half, "high": mean + half, "episodes": number}
