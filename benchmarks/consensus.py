"""Consensus alone, from random starts: the rate at which disagreement falls against the one that the spectrum predicts.

    python benchmarks/consensus.py [--agents 16]

Measured rate: per round, over the second half of the rounds that a fall to 1e-4 should take. Predicted: |λ₂| of the averaging
matrix (Metropolis weights; for directed graphs equal shares of push-sum). Then, with links that fail together (30 %, in bursts
of 3 rounds, and bit errors), how far the mean has moved after 200 rounds; and with directed loss and random delays, how far
from the mean of the start push-sum is after 300.
"""

from __future__ import annotations

import argparse

import networkx as nx
import numpy as np
from measure import head

from perla_net.network.consensus import ConsensusAlone
from perla_net.network.graphs import graph_of, schedule_of
from perla_net.network.measures import metropolis
from perla_net.settings.config import Compression, Consensus, Links

SIZE = 1000
SPECTRAL = ("ring", "grid", "star", "exponential", "erdos_renyi:p=0.3", "hypercube", "complete")
FAILING = ("ring", "grid", "star", "erdos_renyi:p=0.2,every=1", "matching")
DIRECTED = ("exponential", "one_peer_exponential", "star", "erdos_renyi:p=0.3,directed=true,every=1")


def alone(topology: str, number: int, weights: str, **links: float) -> ConsensusAlone:
    """Consensus on a topology."""
    schedule = schedule_of(topology, [str(index) for index in range(number)], None, 0)
    return ConsensusAlone(schedule, Consensus("policies", weights=weights), Links(**links), Compression(), SIZE, 0)


def matrix(experiment: ConsensusAlone) -> np.ndarray:
    """With which one round averages."""
    schedule = experiment.schedule
    edges = schedule.edges(1)
    if schedule.undirected():
        return metropolis(nx.Graph(graph_of(edges, [""] * schedule.agents).to_undirected()))
    weights = np.eye(schedule.agents)
    for source, target in edges:
        weights[target, source] = 1
    return weights / weights.sum(0)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, default=16)
    number = reader.parse_args().agents
    print(head(f"consensus of {number} agents, vectors of {SIZE}"))
    print(f"{'graph':<40} {'predicted':>10} {'measured':>10} {'rounds':>7}")
    for topology in SPECTRAL:
        directed = topology == "exponential"
        experiment = alone(topology, number, "push_sum" if directed else "metropolis")
        predicted = sorted(np.abs(np.linalg.eigvals(matrix(experiment))))[-2]
        rounds = max(2, int(np.log(1e-4) / np.log(predicted))) if predicted > 1e-6 else 2
        found = experiment.run(rounds)
        measured = (
            (found[-1] / found[rounds // 2]) ** (1 / max(1, rounds - 1 - rounds // 2)) if rounds > 2 else found[0]
        )
        print(f"{topology:<40} {predicted:>10.4f} {measured:>10.4f} {rounds:>7}")
    print(f"\n{'links that fail together':<40} {'mean moved':>10} {'disagreement':>13}")
    for topology in FAILING:
        experiment = alone(topology, number, "metropolis", loss=0.3, burst=3.0, bit_errors=1e-6)
        found = experiment.run(200)
        print(f"{topology:<40} {np.abs(experiment.vectors.mean(0) - experiment.mean).max():>10.1e} {found[-1]:>13.1e}")
    print(f"\n{'push-sum, directed loss and delays':<40} {'from mean':>10}")
    for topology in DIRECTED:
        experiment = alone(topology, number, "push_sum", loss=0.3, delay=1.0, delay_model="geometric")
        experiment.run(300)
        print(f"{topology:<40} {np.abs(experiment.vectors - experiment.mean).max():>10.1e}")


if __name__ == "__main__":
    main()
