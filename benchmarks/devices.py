"""Many agents in one process: one by one and side by side, on the CPU or on a GPU.

    python benchmarks/devices.py [--device cpu|cuda] [--agents 16 64] [--copies 16] [--pairs 5]
    python benchmarks/devices.py --device cuda --agents 16 256 4096

``ippo`` on ``traffic:grid``, 128 steps a round, 4 epochs. Minibatches of 1024 and of 128 steps: side by side pays where products are
small, or where a GPU is kept busy by many agents at once. Agent-steps per second of the median round after the first, alternating.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from measure import head, spread, start

STEPS = 128


def rate(device: str, agents: int, copies: int, minibatch: int, batch: str, rounds: int) -> float:
    """Agent-steps per second."""
    options = {
        "agents": agents,
        "algorithm": "ippo",
        "topology": "empty",
        "device": device,
        "batch-agents": batch,
        "copies": copies,
        "horizon": STEPS,
        "rounds": rounds,
        "ppo.epochs": 4,
        "ppo.minibatch": minibatch,
        "evaluate-episodes": 0,
        "checkpoint-every": 0,
        "display": "none",
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        start(1, "-m", "perla_net.run", *arguments, "--out", f"{folder}/run").communicate(timeout=3000)
        rows = [json.loads(line) for line in Path(folder, "run", "timings.jsonl").read_text().splitlines()]
    return agents * copies * STEPS / statistics.median(row["seconds"] for row in rows[1:])


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--device", default="cpu")
    reader.add_argument("--agents", type=int, nargs="+", default=[16, 64])
    reader.add_argument("--copies", type=int, default=16)
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--rounds", type=int, default=4)
    given = reader.parse_args()
    print(head(f"agents of one process on {given.device}: agent-steps per second"))
    for agents in given.agents:
        for minibatch in (1024, 128):
            rates: dict[str, list[float]] = {"no": [], "yes": []}
            for _ in range(given.pairs):
                for batch, values in rates.items():
                    values.append(rate(given.device, agents, given.copies, minibatch, batch, given.rounds))
            ratios = [together / alone for alone, together in zip(rates["no"], rates["yes"])]
            print(
                f"{agents:>5} agents, minibatch {minibatch:>4}: one by one {spread(rates['no'], ',.0f')}, side by side "
                f"{spread(rates['yes'], ',.0f')}, ratio {spread(ratios)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
