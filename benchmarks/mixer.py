"""What the team's value costs that every rank evaluates alike (``qmix``'s mixer on ``spread``), by the number of ranks.

    python benchmarks/mixer.py [--agents 16] [--ranks 1 2 4] [--rounds 3] [--algorithm qmix]

Every rank holds the mixer and takes the same steps with it (:mod:`perla_net.methods.replica`); agents of one rank share one. Printed are
medians over rounds on rank 0: seconds of a round's learning, seconds of the mixer's steps in it (of the clock, and of processor), their share, and
the bytes that would have to be told in a round if the batch were shared out over the agents and gradients summed, beside those that are told. 64 copies × 128
steps a round, 64 updates of 1024 steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from measure import head, start

from perla_net.ground.processes import connect
from perla_net.methods.replica import Replica
from perla_net.settings.command_line import command_line
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

UPDATES = 64


def inside(agents: int, rounds: int, algorithm: str) -> None:
    """The job of one rank; rank 0 prints."""
    torch.set_num_threads(1)
    spent = [0.0, 0.0]
    step = Replica._step

    def timed(*given: Any) -> Any:
        began, ran = time.perf_counter(), time.process_time()
        answer = step(*given)
        spent[0] += time.perf_counter() - began
        spent[1] += time.process_time() - ran
        return answer

    Replica._step = timed  # type: ignore[method-assign]
    options = {
        "env": "spread",
        "agents": agents,
        "algorithm": algorithm,
        "copies": 64,
        "horizon": 128,
        "rounds": rounds,
        f"{algorithm}.memory": 100_000,
        f"{algorithm}.updates": UPDATES,
        f"{algorithm}.batch": 1024,
    }
    words = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    processes = connect()
    simulation = Simulation(prepare(command_line(words)), processes)
    simulation.start()
    learn, seconds = simulation._learn, [0.0]

    def whole(*given: Any) -> Any:
        began = time.perf_counter()
        found = learn(*given)
        seconds[0] = time.perf_counter() - began
        return found

    simulation._learn = whole  # type: ignore[method-assign]
    for _ in range(rounds):
        spent[:] = 0.0, 0.0
        simulation.round()
        if processes.rank == 0:
            numbers = sum(len(network.flat) for network in simulation.methods[0].replica.value.networks.values())
            told = 8 * 1024 * UPDATES * (agents - 1)
            print(json.dumps([seconds[0], *spent, 4 * numbers * UPDATES * (agents - 1), told]), flush=True)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, default=16)
    reader.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--algorithm", default="qmix")
    reader.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.inside:
        inside(given.agents, given.rounds, given.algorithm)
        return
    print(head(f"the mixer of {given.algorithm}, {given.agents} agents, seconds a round on rank 0"))
    print("ranks  learning   mixer  (processor)  share   told by an agent   if gradients were")
    for ranks in given.ranks:
        more = ["--inside", "--agents", str(given.agents), "--rounds", str(given.rounds)]
        text, _ = start(ranks, __file__, *more, "--algorithm", given.algorithm).communicate(timeout=1800)
        rows = [json.loads(line) for line in text.splitlines() if line.startswith("[")]
        learning, mixer, ran, gradients, told = (statistics.median(column) for column in zip(*rows[1:]))
        print(
            f"{ranks:>5} {learning:>9.2f} {mixer:>7.2f} {ran:>12.2f} {mixer / learning:>6.0%} {told / 2**20:>12.1f} MiB {gradients / 2**20:>14.1f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
