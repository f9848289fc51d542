"""Seconds of a round and of the start of whole runs, in two checkouts of this program, in turn.

    git worktree add /tmp/before e086799
    python -m compileall -q /tmp/before/perla_net perla_net     # where PYTHONDONTWRITEBYTECODE is set
    python benchmarks/checkouts.py /tmp/before . --pairs 5

A round is the median of a run's rounds after the first, by ``timings.jsonl``; the start is the time from the command to the first line of
``metrics.jsonl``, less that round. Ratios are those of the second checkout to the first, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from measure import head, mpi_command, spread

JOBS = {
    # name → (ranks, options)
    "perla_ippo, ring, 16 agents, 2 ranks": (2, []),
    "perla_ippo, ring, 16 agents, 16 ranks": (16, []),
    "ippo on spread, 16 agents, 2 ranks": (2, ["--algorithm", "ippo", "--env", "spread", "--horizon", "128"]),
    "ps_ippo, 16 agents, 2 ranks": (2, ["--algorithm", "ps_ippo"]),
    "ps_ippo, 16 agents, 16 ranks": (16, ["--algorithm", "ps_ippo"]),
}


def run(checkout: Path, ranks: int, options: list[str], rounds: int) -> tuple[float, float]:
    """(seconds of a round, of the start)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        words = [
            "-m",
            "perla_net.run",
            "--agents",
            "16",
            "--evaluate-episodes",
            "0",
            "--display",
            "none",
            "--rounds",
            str(rounds),
        ]
        began = time.time()
        process = subprocess.Popen(
            mpi_command(ranks, *words, "--out", str(folder), *options),
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
            stdout=subprocess.DEVNULL,
        )
        first = None
        while process.poll() is None:
            if first is None and (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size:
                first = time.time() - began
            time.sleep(0.01)
        if process.returncode or first is None:
            raise SystemExit(f"{checkout}: exit status {process.returncode}")
        seconds = [json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines()]
    round_ = statistics.median(seconds[1:])
    return round_, first - seconds[0]


def main() -> None:
    """The table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("checkouts", nargs=2, type=Path)
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--job", nargs="+", type=int, help="which jobs, from 0 on (default: all)")
    given = reader.parse_args()
    print(head("Whole runs in two checkouts"))
    for number, (name, (ranks, options)) in enumerate(JOBS.items()):
        if given.job and number not in given.job:
            continue
        rounds, starts, seconds = [], [], []
        for pair in range(given.pairs):
            order = given.checkouts if pair % 2 == 0 else given.checkouts[::-1]  # who comes first changes
            found = {checkout: run(checkout, ranks, options, given.rounds) for checkout in order}
            (before, began), (after, begins) = (found[checkout] for checkout in given.checkouts)
            rounds.append(after / before)
            starts.append(begins / began)
            seconds.append(after)
        print(
            f"{name}: round {spread(rounds)}, start {spread(starts)} of the first checkout; a round {spread(seconds)} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
