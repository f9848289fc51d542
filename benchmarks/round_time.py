"""Seconds of a round by phase: world, exchange, embedding, learning, bookkeeping; and the share of the embedding.

    python benchmarks/round_time.py [--ranks 16 2 1] [--rounds 6] [--repeats 5] [-- OPTIONS OF perla_net.run]

16 agents, the default job on a ring (K = 100; auto enumerates the 64 joint actions of two neighbours). Phases are means
over ranks, in wall-clock time; ``round`` is the slowest rank's. The first round is left out. Medians over repeats, which
alternate between numbers of ranks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from measure import head, start

PHASES = ("world", "exchange", "embedding", "learning", "bookkeeping")


def phases(ranks: int, rounds: int, folder: Path, options: list[str]) -> dict[str, float]:
    """Medians over the rounds of one job."""
    arguments = [
        "--agents",
        "16",
        "--topology",
        "ring",
        "--rounds",
        str(rounds),
        "--evaluate-episodes",
        "0",
        "--out",
        str(folder),
    ]
    process = start(ranks, "-m", "perla_net.run", *arguments, *options)
    process.communicate(timeout=900)
    rows = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()][1:]
    return {name: statistics.median(row[name] for row in rows) for name in ("seconds", *PHASES)}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--ranks", type=int, nargs="+", default=[16, 2, 1])
    reader.add_argument("--rounds", type=int, default=6)
    reader.add_argument("--repeats", type=int, default=5)
    given, options = reader.parse_known_args()
    options = [option for option in options if option != "--"]
    print(head("a round by phase, seconds"))
    found: dict[int, list[dict[str, float]]] = {ranks: [] for ranks in given.ranks}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(given.repeats):
            for ranks in given.ranks:
                found[ranks].append(phases(ranks, given.rounds, Path(folder) / f"{ranks}-{repeat}", options))
    print(f"{'ranks':>6} {'round':>8} " + " ".join(f"{name:>11}" for name in PHASES) + "  embedding/round (range)")
    for ranks, rows in found.items():
        middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        shares = [row["embedding"] / row["seconds"] for row in rows]
        print(
            f"{ranks:>6} {middle['seconds']:>8.3f} "
            + " ".join(f"{middle[name]:>11.4f}" for name in PHASES)
            + f"  {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
        )


if __name__ == "__main__":
    main()
