"""What talking at every step costs: the exchange of a step over a bare neighbourhood collective, and rounds of every talking or networked method.

    python benchmarks/talking.py [--ranks 2 4 16] [--repeats 200]     # the exchange
    python benchmarks/talking.py --rounds [--ranks 2 16] [--methods commnet "ippo, GRU"]      # seconds of a round, bytes an agent

Exchange: one agent a rank, 64 numbers in 16 copies to each neighbour, on a ring and on the complete graph; the bare loop is a ``Neighbor_alltoallv`` of
the same bytes on a distributed-graph communicator, from and to buffers that are there already, in turn with ours. Rounds: traffic on a 4×4 grid, 16
agents, 16 copies of 60 steps, four epochs; the median of a run's rounds but the first, ``ippo`` with a GRU beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import head, in_turn, spread, start

SHAPES, SIZE, COPIES = ("ring", "complete"), 64, 16
METHODS = {
    "ippo, GRU": "--algorithm ippo --model.memory gru",
    "commnet, side by side": "--algorithm commnet --batch-agents yes",
    "the same, chunks": "--algorithm commnet --batch-agents yes --ppo.chunk 10",
    **{
        name: f"--algorithm {name}"
        for name in (
            *("commnet", "ic3net", "dial", "neurcomm", "tarmac", "fingerprint", "perla_commnet"),
            *("ippo", "consensus", "consensus_reward", "kappa_hop", "adopt"),
        )
    },
}
ROUNDS = 5


def inside(repeats: int) -> None:
    """Within mpirun: rank 0 prints a JSON line for each graph."""
    from perla_net.ground.processes import connect, cores_by_host
    from perla_net.network.channel import MARK, Channel
    from perla_net.network.families import generated
    from perla_net.network.links import LinkModel
    from perla_net.settings.config import Links

    processes = connect()
    cores_by_host(processes)
    rank, ranks = processes.rank, processes.size
    blocks = [range(place, place + 1) for place in range(ranks)]
    for shape in SHAPES:
        edges = generated(shape, ranks, 0)
        links = LinkModel(Links(), 0, False, {})
        channel = Channel(processes, blocks, dict.fromkeys(range(ranks), (SIZE,)), edges, links, COPIES, repeats)
        channel.begin(1, edges)
        size = COPIES * (4 * SIZE + MARK)
        seconds = alternating(processes, channel, edges, rank, size, repeats)
        if rank == 0:
            print(json.dumps({"graph": shape, "bytes": size, **seconds}), flush=True)


def alternating(processes: Any, channel: Any, edges: Any, rank: int, size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each exchange of ours and of the bare collective, in turn; ``size``: bytes to each neighbour."""
    from perla_net.network.channel import Said

    comm = processes.comm
    sources = sorted(j for j, i in edges if i == rank)
    targets = sorted(i for j, i in edges if j == rank)
    graph = comm.Create_dist_graph_adjacent(sources, targets)
    send, receive = (np.zeros(size * len(those), np.uint8) for those in (targets, sources))
    said = {rank: Said(np.random.default_rng(rank).standard_normal((COPIES, SIZE)).astype("f"), np.ones(COPIES, bool))}
    once = {
        "ours": lambda turn: channel.say(turn, 0, said),
        "bare": lambda turn: graph.Neighbor_alltoallv([send, [size] * len(targets)], [receive, [size] * len(sources)]),
    }
    return in_turn(comm, once, range(repeats), 5)


def exchange(ranks: list[int], repeats: int) -> None:
    """The table of the exchange."""
    print(head("a step's messages against a bare Neighbor_alltoallv of the same bytes"))
    print(f"{'ranks':>5} {'graph':>9} {'bytes':>6} {'bare ms':>9} {'ours ms':>9}  ratio of medians")
    for number in ranks:
        job = start(number, __file__, "--inside", "--repeats", str(repeats))
        output, _ = job.communicate(timeout=600)
        for line in output.splitlines():
            row = json.loads(line)
            bare, ours = (1e3 * statistics.median(row[name]) for name in ("bare", "ours"))
            print(f"{number:>5} {row['graph']:>9} {row['bytes']:>6} {bare:>9.3f} {ours:>9.3f}  {ours / bare:.2f}")
            sys.stdout.flush()


def rounds(ranks: list[int], methods: list[str]) -> None:
    """The table of the rounds."""
    print(head("seconds of a round of 16 agents, and bytes an agent sends in it"))
    print(f"{'method':>21} {'ranks':>5} {'kB/agent':>9}  seconds of a round")
    with tempfile.TemporaryDirectory() as place:
        for name in methods:
            for number in ranks:
                folder = Path(place) / f"{name}-{number}"
                options = "--agents 16 --copies 16 --horizon 60 --ppo.epochs 4 --evaluate-episodes 0 --display none"
                run = [
                    "-m",
                    "perla_net.run",
                    *options.split(),
                    *METHODS[name].split(),
                    "--rounds",
                    str(ROUNDS),
                    "--out",
                    str(folder),
                ]
                job = start(number, *run)
                job.communicate(timeout=900)
                times = [json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines()]
                last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
                print(f"{name:>21} {number:>5} {last['bytes'] / 16000:>9.1f}  {spread(times[1:], '.2f')}")
                sys.stdout.flush()


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--ranks", type=int, nargs="+")
    reader.add_argument("--repeats", type=int, default=200)
    reader.add_argument("--rounds", action="store_true")
    reader.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="rows of the rounds")
    reader.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.inside:
        inside(given.repeats)
    elif given.rounds:
        rounds(given.ranks or [2, 16], given.methods)
    else:
        exchange(given.ranks or [2, 4, 16], given.repeats)


if __name__ == "__main__":
    main()
