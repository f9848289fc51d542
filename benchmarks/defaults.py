"""Activations and estimators by learning and by time: what the defaults were chosen from.

    python benchmarks/defaults.py [--seeds 0 1 2] [--rounds 20] [--copies 32] [--ranks 2]

The default job (16 agents, ``traffic:grid``, ring), one option changed at a time, seed after seed. *delay*: seconds per vehicle in the
training episodes that ended in the last 5 rounds (lower is better); seconds of a round, and of its embedding, medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from measure import head, start

from perla_net.ground.text import columns
from perla_net.records.display import interval

VARIANTS = {
    "default: policy tanh, critic relu, exact": {},
    "critic tanh": {"model.critic-activation": "tanh"},
    "policy relu": {"model.policy-activation": "relu"},
    "stratified, K = 16": {"estimator": "stratified", "samples": 16},
    "monte_carlo, K = 16": {"estimator": "monte_carlo", "samples": 16},
    "monte_carlo, K = 100": {"estimator": "monte_carlo", "samples": 100},
}


def one(folder: Path, ranks: int, options: dict[str, object]) -> tuple[float, float, float]:
    """(delay, seconds of a round, seconds of embedding) of one run."""
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    start(ranks, "-m", "perla_net.run", *arguments, "--out", str(folder)).communicate(timeout=1800)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][-5:]
    timings = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()][1:]
    ended = [(row["figures"]["delay"], row["episodes"]) for row in metrics if row["episodes"]]
    delay = sum(value * number for value, number in ended) / sum(number for _, number in ended)
    return delay, *(statistics.median(row[name] for row in timings) for name in ("seconds", "embedding"))


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--rounds", type=int, default=20)
    reader.add_argument("--copies", type=int, default=32)
    reader.add_argument("--ranks", type=int, default=2)
    given = reader.parse_args()
    fixed = {"agents": 16, "rounds": given.rounds, "copies": given.copies, "evaluate-episodes": 0, "display": "none"}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in given.seeds:
            for number, (name, options) in enumerate(VARIANTS.items()):
                place = Path(folder) / f"{number}-{seed}"
                found[name].append(one(place, given.ranks, fixed | options | {"seed": seed}))
    print(
        head(f"{given.rounds} rounds, {given.copies} copies, {given.ranks} ranks, seeds {given.seeds}; ± 95 % interval")
    )
    rows = [["", "delay", "round, s", "embedding, s"]]
    for name, values in found.items():
        delays, rounds, embeddings = zip(*values)
        band = interval(list(delays))
        half = (band["high"] - band["low"]) / 2
        middle = [f"{statistics.median(seconds):.3f}" for seconds in (rounds, embeddings)]
        rows.append([name, f"{band['mean']:.1f} ± {half:.1f}", *middle])
    print(columns(rows))


if __name__ == "__main__":
    main()
