"""What a round of a large team would take on a cluster, from what one agent takes here and the cost model of a network.

    python benchmarks/scaling_model.py [--agents 1024 10000 100000] [--ms 25] [--bytes 201472] [--cores 64]

Arithmetic on figures that ``scaling.py`` measures; only what rank 0 takes to record an agent's round is measured here. Agents
are in equal blocks, one rank a core. Of a graph of degree d that was placed well, a share ``--cut`` of the edges leaves its node. Seconds of a round:

    compute     agents per rank · ms                        (learning, embedding, acting; perfectly parallel)
    network     agents per node · d · cut · bytes / bandwidth + latency     (``--cost.preset cluster``)
    root        what rank 0 alone does: rows of metrics, ledger and neighbours of all agents
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from perla_net.network.cost import MEDIA
from perla_net.records.recorder import Recorder

ROW_BYTES = 8 * (1 + 8 + 16)
"""Float64 figures of an agent that are gathered in a round (reward, statistics, network)."""
LEDGER_BYTES, AGE_BYTES = 8 * 5, 8 * 4
"""Of an edge and purpose, and of an edge."""


def seconds_of_recording(agents: int, degree: int, purposes: int) -> float:
    """Seconds per agent that the recorder takes for a round, median of five."""
    edges = tuple((agent, (agent + hop) % agents) for agent in range(agents) for hop in range(1, degree + 1))
    ledger = np.array([[j, i, purpose, 1, 1000] for j, i in edges for purpose in range(purposes)], float)
    ages = np.array([[i, j, 0, 1] for j, i in edges], float)
    metrics = {"agent_returns": [0.123456789] * agents, "agent_rewards": [0.123456789] * agents}
    taken = []
    with tempfile.TemporaryDirectory() as place:
        recorder = Recorder(Path(place), [f"agent_{index}" for index in range(agents)], 0)
        for number in range(1, 6):
            began = time.perf_counter()
            recorder.write(metrics | {"round": number}, {"round": number}, ledger, ages, edges)
            taken.append(time.perf_counter() - began)
        recorder.close()
    return statistics.median(taken) / agents


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, nargs="+", default=[1024, 10_000, 100_000])
    reader.add_argument("--agents-per-rank", type=int, default=32)
    reader.add_argument("--ms", type=float, default=25.0, help="of one agent in one round on one core")
    reader.add_argument("--bytes", type=float, default=50_368, help="that an agent sends one neighbour in a round")
    reader.add_argument("--degree", type=int, default=4)
    reader.add_argument("--purposes", type=int, default=5, help="rows of the ledger per edge and round")
    reader.add_argument("--cut", type=float, default=0.5, help="share of edges between nodes")
    reader.add_argument("--cores", type=int, default=64, help="ranks of a node")
    reader.add_argument("--preset", choices=MEDIA, default="cluster")
    given = reader.parse_args()
    medium = MEDIA[given.preset]
    recording = seconds_of_recording(4096, given.degree, given.purposes)
    print(f"rank 0 takes {1e6 * recording:.1f} µs to record an agent's round")
    print(
        f"{'agents':>8} {'ranks':>6} {'nodes':>6} {'compute s':>10} {'network s':>10} {'root s':>8} {'to root MB':>11}"
    )
    for agents in given.agents:
        ranks = -(-agents // given.agents_per_rank)
        nodes = -(-ranks // given.cores)
        compute = given.agents_per_rank * given.ms / 1e3
        per_node = min(agents, given.cores * given.agents_per_rank)
        crossing = per_node * given.degree * given.cut * given.bytes if nodes > 1 else 0.0
        network = crossing / medium.bandwidth + medium.latency
        gathered = agents * (ROW_BYTES + given.degree * (given.purposes * LEDGER_BYTES + AGE_BYTES))
        root = agents * recording + (gathered / medium.bandwidth if nodes > 1 else 0.0)
        print(
            f"{agents:>8} {ranks:>6} {nodes:>6} {compute:>10.2f} {network:>10.4f} {root:>8.2f} {gathered / 1e6:>11.1f}"
        )


if __name__ == "__main__":
    main()
