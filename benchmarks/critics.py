"""What a round costs by how the critic is fitted, over that of ippo: one process, rounds alternating.

    python benchmarks/critics.py [--rounds 8] [--tasks convention additive traffic]

Prints seconds of a round of ippo, and for every critic the median (range) of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from measure import head

from perla_net.ground.processes import Processes
from perla_net.ground.text import columns
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

ONE_STEP = {"agents": 32, "copies": 64, "horizon": 1, "ppo": {"minibatch": 64}}
TASKS = {
    "convention": {"env": "games:convention", **ONE_STEP},
    "additive": {"env": "games:additive", "share": "outputs", **ONE_STEP},
    "traffic": {"env": "traffic:grid", "agents": 16, "copies": 16, "horizon": 120, "samples": 16},
}
"""Rings of 32 and sums over 32 with rounds of 64 samples; and signals with 1920."""
CRITICS = {
    "default (residual, folds)": {},
    "action": {"form": "action"},
    "ridge, first": {"form": "action", "critic": {"fit": "ridge"}, "model": {"critic_hidden": []}},
    "ridge, own action an input": {
        "form": "action",
        "critic": {"fit": "ridge", "own_action": "input"},
        "model": {"critic_hidden": []},
    },
    "network, first": {"form": "action", "critic": {"fit": "gradient", "order": "first"}},
    "network, folds": {"critic": {"fit": "gradient", "order": "folds"}},
    "network, together": {"form": "control", "critic": {"order": "together", "coefficient": "one"}},
}


def simulation(**options: object) -> Simulation:
    """A run that is never ended."""
    found = Simulation(prepare(validated({"rounds": 1000, **options})), Processes())
    found.start()
    return found


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description="Seconds of a round by critic, over those of ippo.")
    reader.add_argument("--rounds", type=int, default=8)
    reader.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    given = reader.parse_args()
    print(head("critics"))
    for task in given.tasks:
        base = simulation(**TASKS[task], algorithm="ippo")
        rows = [["critic", "over ippo's round", "range"]]
        seconds = []
        for name, options in CRITICS.items():
            other = simulation(**TASKS[task], algorithm="perla_ippo", **options)
            for one in (base, other, other, other, other):  # buffers, and a full window
                one.round()
            ratios = []
            for _ in range(given.rounds):
                times = []
                for one in (base, other):
                    began = time.perf_counter()
                    one.round()
                    times.append(time.perf_counter() - began)
                seconds.append(times[0])
                ratios.append(times[1] / times[0])
            rows.append([name, f"{np.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"])
        print(f"\n{task}: a round of ippo {np.median(seconds):.3f} s")
        print(columns(rows))


if __name__ == "__main__":
    main()
