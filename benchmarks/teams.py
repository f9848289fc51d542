"""Teams for comparisons: trained by a job each, then acting in the same held-out episodes as reference controllers."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from measure import start

from perla_net.evaluate import task_of
from perla_net.ground.processes import Processes
from perla_net.records.display import interval
from perla_net.simulation.evaluation import by_episode

HELD_OUT = 1000
"""Seed of the episodes that teams are compared on."""

Figures = dict[str, dict[str, list[float]]]
"""Controller → figure → value per episode."""


def arguments_of(doc: str | None, out: str, ranks: int, episodes: int) -> argparse.ArgumentParser:
    """What all programs that compare teams take."""
    reader = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--out", type=Path, default=Path(out))
    reader.add_argument("--methods", nargs="+", default=["perla_ippo", "ippo"])
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--ranks", type=int, default=ranks)
    reader.add_argument("--episodes", type=int, default=episodes)
    reader.add_argument("--timeout", type=float, default=3600, help="seconds for one training")
    return reader


def parsed(reader: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and what is meant for ``perla_net.run``."""
    given, more = reader.parse_known_args()
    return given, [option for option in more if option != "--"]


def trained(folder: Path, ranks: int, timeout: float, options: list[str]) -> None:
    """Train a team into ``folder``, unless that has been done already."""
    if (folder / "trained").exists():
        return
    job = start(ranks, "-m", "perla_net.run", "--evaluate-episodes", "0", "--out", str(folder), *options)
    try:
        output, _ = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        job.terminate()  # mpirun ends its ranks; killed, it could not
        raise SystemExit(f"{folder}: not trained after {timeout:g} s")
    if job.returncode:
        raise SystemExit(f"{folder}: exit status {job.returncode}\n{output}")
    (folder / "trained").touch()


def evaluated(folder: Path, episodes: int, env: str = "", references: Sequence[str] | None = None) -> Figures:
    """The trained team, greedy and sampled, and reference controllers (all there are, or those named), in the held-out
    episodes of its own environment or another, unless that has been done already."""
    kind = "".join(letter if letter.isalnum() else "-" for letter in env)
    file = folder / f"episodes-{episodes}{kind and '-' + kind}.json"
    if not file.exists():
        task = task_of([str(folder), *(("--env", env) if env else ())], 1)
        players = [Path(player) for player in task.players]
        found = by_episode(Processes(), task.plan, players, episodes, HELD_OUT, references)
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def around(values: list[float], form: str) -> str:
    """Mean ± half of the 95 % interval."""
    found = interval(values)
    return f"{found['mean']:{form}} ± {(found['high'] - found['low']) / 2:{form.lstrip('+')}}"


def minus(values: list[float], others: list[float]) -> list[float]:
    """Differences, episode by episode."""
    return [value - other for value, other in zip(values, others)]


def seconds(folder: Path) -> float:
    """How long a training took."""
    return sum(json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines())
