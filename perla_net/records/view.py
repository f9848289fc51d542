"""``python -m perla_net.watch RUN``: a run that goes on elsewhere, looked at from its folder.

It reads files and nothing else, so it works over any shared folder; a run that has not begun, or whose last line is only half
written, is waited for. On a terminal the view stays in place; elsewhere it is a line for each look that found something new.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import deque
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import Any, Iterable, Sequence

from ..ground.errors import InputError
from ..ground.text import duration_text, size_text
from .run_folder import PHASES, Rows, agents_of, options_of

BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = 4096
"""Rounds whose returns are kept for the curves; of longer runs the last ones."""
RECENT = 20
"""Rounds that say how long one takes."""
PATIENCE = 5
"""Times the usual length of a round (and at least ``SILENCE`` seconds) after which a run counts as silent."""
SILENCE = 30.0


class View:
    """What is known of a run; :meth:`look` brings it up to date."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics, self.timings = Rows(folder / "metrics.jsonl"), Rows(folder / "timings.jsonl")
        self.evaluations = Rows(folder / "evaluations.jsonl")
        self._forget()
        self.names: tuple[str, ...] = ()
        self.options: dict[str, Any] = {}
        self.written = 0.0
        """When config.yaml was written, as far as it has been read."""
        self.points: list[tuple[int, float]] = []
        self.phases: deque[dict[str, float]] = deque(maxlen=RECENT)

    def _forget(self) -> None:
        self.row: dict[str, Any] | None = None
        self.sent = 0
        self.returns: deque[float | None] = deque(maxlen=KEPT)
        self.agents: deque[Sequence[float] | None] = deque(maxlen=KEPT)

    def look(self) -> bool:
        """Read what is new; True where there was something. Raises InputError for files that are not those of a run."""
        news = self._configured()
        anew, rows = self.metrics.new()
        if anew:
            self._forget()
        try:
            for row in rows:
                self.row = row
                self.sent += row.get("bytes", 0)
                self.returns.append(row["team_return"])
                self.agents.append(row["agent_returns"])
            self.phases.extend(self.timings.new()[1])
            anew, points = self.evaluations.new()
            self.points = [] if anew else self.points
            self.points += [
                (row["round"], math.fsum(row["figures"]["return"]) / len(row["figures"]["return"])) for row in points
            ]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.folder}: its files are not those of a run of this program ({error!r})") from None
        return news or bool(rows or points)

    def _configured(self) -> bool:
        """Read config.yaml where it is new: --resume may raise the number of rounds. Half of one is not read."""
        file = self.folder / "config.yaml"
        written = file.stat().st_mtime if file.exists() else 0.0
        if written == self.written:
            return False
        try:
            options = options_of(self.folder)
        except InputError:
            if (self.folder / "metrics.jsonl").exists():  # nobody is writing it any more
                raise
            return False
        if "rounds" not in options or "evaluate_episodes" not in options:
            return False
        self.options, self.written = options, written
        return True

    @property
    def done(self) -> int:
        """Rounds so far."""
        return self.row["round"] if self.row else 0

    @property
    def over(self) -> bool:
        """True when all rounds are there, and the evaluation where one was asked for."""
        if not self.options or self.done < self.options["rounds"]:
            return False
        return not self.options["evaluate_episodes"] or (self.folder / "evaluation.json").exists()

    def seconds(self) -> float | None:
        """How long a round takes: the median of the last ones; None before the first."""
        return median(row["seconds"] for row in self.phases) if self.phases else None

    def state(self, now: float) -> str:
        """Whether the run lives, by the age of its last line. now: seconds since the epoch, by this machine's clock."""
        if not self.options:
            there = self.folder.is_dir()
            return f"not begun: {self.folder} {'has no complete config.yaml yet' if there else 'is not there yet'}"
        if self.over:
            return "over"
        file = self.metrics.file if self.row else self.folder / "config.yaml"
        age = max(0.0, now - file.stat().st_mtime)
        usual = self.seconds()
        told = f"{'last line' if self.row else 'started'} {duration_text(age)} ago"
        if self.done >= self.options["rounds"]:
            return f"evaluating; {told}"
        if usual is not None and age > max(SILENCE, PATIENCE * usual):
            return f"silent: {told}, and a round takes {usual:.3g} s; it may have been stopped"
        return f"running; {told}"

    def block(self, width: int, height: int, now: float) -> list[str]:
        """The whole view, at most ``height`` lines of ``width`` characters."""
        state = self.state(now)
        if not self.options:
            return wrap(state, width)[:height]
        options = self.options
        lines = [
            f"{self.folder.name or self.folder}: {options.get('algorithm')} on {options.get('env')}, {options.get('topology')} topology, "
            f"seed {options.get('seed')}",
            self._progress(width, state, now),
        ]
        if self.row:
            known = [value for value in self.returns if value is not None]
            label = f"team return {_number(known[-1] if known else None)} "
            best = f"  best {_number(max(known))}" if known else ""
            lines.append(label + curve(self.returns, width - len(label) - len(best)) + best)
            if self.points:
                at, value = self.points[-1]
                best = max(self.points, key=lambda point: point[1])
                label = f"evaluation at round {at}: {_number(value)} (best {_number(best[1])}, round {best[0]}) "
                lines.append(
                    label + curve([value for _, value in self.points], min(width - len(label), len(self.points)))
                )
            figures = "  ".join(f"{name} {_number(value)}" for name, value in self.row["figures"].items())
            lines += [figures] if figures else []
            lines.append(
                f"sent {size_text(self.row.get('bytes', 0))} in the last round, {size_text(self.sent)} in all, over "
                f"{self.row.get('edges', 0)} directed edges"
            )
        if self.phases:
            parts = {name: sum(row[name] for row in self.phases) / len(self.phases) for name in PHASES}
            lines.append("seconds a round: " + "  ".join(f"{name} {value:.3g}" for name, value in parts.items()))
        lines = [part for line in lines for part in wrap(line, width, subsequent_indent="  ") or [""]]
        return [line[:width] for line in [*lines, *self._agents(width, height - len(lines))]][:height]

    def _progress(self, width: int, state: str, now: float) -> str:
        rounds, usual = self.options["rounds"], self.seconds()
        bar = max(0, min(30, width - 60))
        full = round(bar * min(1.0, self.done / rounds))
        line = f"round {self.done}/{rounds} " + "█" * full + "░" * (bar - full)
        if usual is not None and not self.over and self.done < rounds:
            left = usual * (rounds - self.done)
            line += f"  {duration_text(left)} left, until {time.strftime('%H:%M', time.localtime(now + left))}"
        return f"{line}  {state}"

    def _agents(self, width: int, room: int) -> list[str]:
        """Return and curve of every agent, in as many columns as fit."""
        table = [row for row in self.agents if row is not None]
        if not table or room < 1:
            return []
        if len(self.names) != len(table[-1]):
            self.names = agents_of(self.folder, len(table[-1]))
        names = self.names
        longest = max(map(len, names))
        cells = [
            f"{name:<{longest}} {curve([row[index] for row in table], 10):<10} {_number(table[-1][index]):>8}"
            for index, name in enumerate(names)
        ]
        columns = max(1, (width + 3) // (len(cells[0]) + 3))
        lines = ["   ".join(cells[first : first + columns]) for first in range(0, len(cells), columns)]
        if len(lines) > room:
            shown = (room - 1) * columns
            lines = [*lines[: room - 1], f"… and {len(cells) - shown} more agents"]
        return lines

    def line(self, now: float) -> str:
        """The state in one line, for where there is no terminal."""
        known = [value for value in self.returns if value is not None]
        start = f"round {self.done}/{self.options['rounds']}  " if self.options else ""
        middle = (
            f"team return {_number(known[-1] if known else None)}  sent {size_text(self.sent)}  " if self.row else ""
        )
        return start + middle + self.state(now)


def curve(values: Iterable[float | None], width: int) -> str:
    """Values as a curve of blocks, at most ``width`` wide: each block the mean of a stretch, a space where nothing is known."""
    values = list(values)
    width = min(width, len(values))
    if width < 1:
        return ""
    cuts = [index * len(values) // width for index in range(width + 1)]
    stretches = [[v for v in values[a:b] if v is not None and math.isfinite(v)] for a, b in zip(cuts, cuts[1:])]
    means = [math.fsum(stretch) / len(stretch) if stretch else None for stretch in stretches]
    known = [value for value in means if value is not None]
    if not known:
        return " " * width
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(" " if v is None else BLOCKS[min(7, int(8 * (v - low) / span))] for v in means)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def _follow(view: View, interval: float, once: bool) -> int:
    live = sys.stdout.isatty() and not once
    before, last = 0, None
    while True:
        news = view.look()
        now, over = time.time(), view.over  # before it is shown: what ends this loop has been on the screen
        # What changes by itself between two looks, such as the age of the last line, is no news without a terminal.
        kind = (view.state(now).partition(" ")[0], view.done)
        if live or once:
            size = shutil.get_terminal_size()
            block = view.block(size.columns, max(3, size.lines - 1) if live else 10**6, now)
            print((f"\033[{before}F" if before else "") + ("\033[J" if live else "") + "\n".join(block), flush=True)
            before = len(block)
        elif news or kind != last:
            print(view.line(now), flush=True)
        last = kind
        if once or over:
            return 0
        time.sleep(interval)
