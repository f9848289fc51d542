"""Seconds of a round by phase; shares of embedding and collectives; the world's step over the bare environment's.

    python benchmarks/round_time.py [--ranks 16 4 2 1] [--rounds 6] [--repeats 5] [-- OPTIONS OF perla_net.run]

16 agents, the default job on a ring (K = 100; auto enumerates the 64 joint actions of two neighbours). Phases are means
over ranks, in wall-clock time; ``round`` is the slowest rank's. The first round is left out. Collectives: seconds in which a rank
waits for any exchange, among them those for a rank that still computes. Bare step: the environment stepped with random actions,
observations written, by one process per host at the same number of copies, without agents. Medians over repeats, which alternate
between numbers of ranks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from measure import head, spread, start

from perla_net.settings.config import Config
from perla_net.world.environments import make

PHASES = ("world", "exchange", "embedding", "learning", "bookkeeping")
AGENTS = 16


def phases(ranks: int, rounds: int, folder: Path, options: list[str]) -> dict[str, float]:
    """Medians over the rounds of one job."""
    fixed = f"--agents {AGENTS} --topology ring --rounds {rounds} --evaluate-episodes 0 --display none --out {folder}"
    process = start(ranks, "-m", "perla_net.run", *fixed.split(), *options)
    process.communicate(timeout=900)
    rows = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()][1:]
    return {name: statistics.median(row[name] for row in rows) for name in ("seconds", *PHASES, "collectives")}


def bare_step(env: str, copies: int) -> float:
    """Seconds per step of so many copies, random actions, observations written."""
    environment = make(env, copies, AGENTS)
    environment.reset(np.arange(copies), [np.random.SeedSequence(copy) for copy in range(copies)])
    spec = environment.spec
    rows = [np.zeros((copies, agent.observation_size), np.float32) for agent in spec.agents]
    rng = np.random.default_rng(0)
    steps = min(100, (spec.horizon or 100) - 1)
    actions = [list(rng.integers(0, spec.agents[0].action.sizes[0], (AGENTS, copies))) for _ in range(steps)]
    began = time.perf_counter()
    for action in actions:
        environment.step(action)
        environment.observe(slice(None), rows, [None] * AGENTS)
    return (time.perf_counter() - began) / steps


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--ranks", type=int, nargs="+", default=[16, 4, 2, 1])
    reader.add_argument("--rounds", type=int, default=6)
    reader.add_argument("--repeats", type=int, default=5)
    reader.add_argument("--env", default=Config().env)
    reader.add_argument("--copies", type=int, default=Config().copies)
    reader.add_argument("--horizon", type=int, default=Config().horizon)
    given, options = reader.parse_known_args()
    options = [option for option in options if option != "--"]
    options += ["--env", given.env, "--copies", str(given.copies), "--horizon", str(given.horizon)]
    print(head(f"a round of {given.env} by phase, seconds"))
    found: dict[int, list[dict[str, float]]] = {ranks: [] for ranks in given.ranks}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(given.repeats):
            for ranks in given.ranks:
                row = phases(ranks, given.rounds, Path(folder) / f"{ranks}-{repeat}", options)
                hosts = min(ranks, 2)
                with get_context("spawn").Pool(hosts) as pool:  # as many at once as there are hosts
                    share = (given.env, given.copies // hosts)
                    row["bare"] = max(pool.starmap(bare_step, [share] * hosts)) * given.horizon
                found[ranks].append(row)
    names = (*PHASES, "collectives")
    print(f"{'ranks':>6} {'round':>8} " + " ".join(f"{name:>11}" for name in names))
    for ranks, rows in found.items():
        middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        print(f"{ranks:>6} {middle['seconds']:>8.3f} " + " ".join(f"{middle[name]:>11.4f}" for name in names))
    for ranks, rows in found.items():
        shares = {name: [100 * row[name] / row["seconds"] for row in rows] for name in ("embedding", "collectives")}
        world = [row["world"] / row["bare"] for row in rows]
        print(
            f"{ranks:>6} ranks: embedding {spread(shares['embedding'], '.1f')} % of a round, collectives "
            f"{spread(shares['collectives'], '.1f')} %; world over bare steps {spread(world)}"
        )
    if {1, 2} <= set(found):
        ratios = [one["seconds"] / two["seconds"] for one, two in zip(found[1], found[2])]
        print(f"rounds with -n 2 are {spread(ratios)} times as fast as with -n 1")


if __name__ == "__main__":
    main()
