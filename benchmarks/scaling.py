"""Time and bytes per agent and round for teams of 16 to 1024 agents at a fixed number of neighbours.

    python benchmarks/scaling.py [--agents 16 64 256 1024] [--degree 4] [--ranks 2] [--rounds 6] [-- OPTIONS OF perla_net.run]

Agents of traffic:grid are packed in a few ranks, with small rollouts; each learns with perla_ippo from its neighbours in a random
regular graph. Medians over the rounds but the first; milliseconds of one agent in one round on one core (seconds of a round ·
ranks / agents), by phase. Bytes should not depend on the team, and time stay within 1.25 of that of 16 agents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import head, start

PHASES = ("world", "exchange", "embedding", "learning", "bookkeeping")
SMALL = ["--copies", "4", "--horizon", "40", "--samples", "16", "--ppo.minibatch", "160", "--ppo.epochs", "4"]
SMALL += ["--evaluate-episodes", "0", "--checkpoint-every", "0", "--display", "none"]


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, nargs="+", default=[16, 64, 256, 1024])
    reader.add_argument("--degree", type=int, default=4)
    reader.add_argument("--ranks", type=int, default=2)
    reader.add_argument("--rounds", type=int, default=6)
    reader.add_argument("more", nargs="*")
    given = reader.parse_args()
    print(head(f"degree {given.degree}, {given.ranks} ranks"))
    print(
        f"{'agents':>6} {'ms per agent and round':>23} {'ratio':>6} {'bytes':>9}" + "".join(f"{p:>12}" for p in PHASES),
        end="",
    )
    print(f"{'MiB a rank':>12}")
    base = None
    with tempfile.TemporaryDirectory() as place:
        for agents in given.agents:
            folder = Path(place) / str(agents)
            options = ["--agents", str(agents), "--topology", f"random_regular:d={given.degree},seed=1"]
            options += ["--rounds", str(given.rounds), "--out", str(folder), *SMALL, *given.more]
            job = start(given.ranks, "-m", "perla_net.run", *options)
            if job.wait(timeout=1800):
                sys.exit(f"the job with {agents} agents failed")
            times = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()][1:]
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            share = 1e3 * given.ranks / agents
            total = share * statistics.median(row["seconds"] for row in times)
            base = base or total
            phases = "".join(f"{share * statistics.median(row[phase] for row in times):>12.2f}" for phase in PHASES)
            size = rows[-1]["bytes"] / agents
            peak = max(row["peak_mib"] for row in times)
            print(f"{agents:>6} {total:>23.2f} {total / base:>6.2f} {size:>9,.0f}{phases}{peak:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
