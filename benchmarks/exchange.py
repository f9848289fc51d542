"""Time of ``Network.exchange`` against the same bytes in a bare ``Neighbor_alltoallv`` loop, alternating in one run.

    python benchmarks/exchange.py [--ranks 2 4 16] [--kib 64 256 1024] [--repeats 20]

One agent a rank, one section of so many KiB to each neighbour, on a ring and on the complete graph. The bare loop uses the same
distributed-graph communicator and buffers that are there already; it checks nothing. Target: at most 1.5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

import numpy as np
from measure import head, in_turn, spread, start

SHAPES = ("ring", "complete")


def inside(kib: list[int], repeats: int) -> None:
    """Within mpirun: rank 0 prints a JSON line for each graph and size."""
    from perla_net.ground.processes import UNIT, connect, cores_by_host
    from perla_net.network.exchange import Network, Wishes
    from perla_net.network.families import generated
    from perla_net.network.links import LinkModel
    from perla_net.network.messages import Form
    from perla_net.settings.config import Links

    processes = connect()
    cores_by_host(processes)
    blocks = [range(place, place + 1) for place in range(processes.size)]
    for shape in SHAPES:
        edges = generated(shape, processes.size, 0)
        for amount in kib:
            form = Form("float32", (amount * 256,))
            wishes = Wishes({edge: ["policy"] for edge in edges}, {}, lambda *_, form=form: form, lambda *_: None)
            network = Network(processes, blocks, wishes, 1, LinkModel(Links(), 0, False, {}))
            seconds = alternating(processes, network, edges, form.size + UNIT, form.shape, repeats)
            if processes.rank == 0:
                print(json.dumps({"graph": shape, "kib": amount, **seconds}), flush=True)


def alternating(
    processes: Any, network: Any, edges: Any, size: int, shape: tuple[int, ...], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each exchange of ours and of the bare collective, in turn; ``size``: bytes to each neighbour."""
    rank, comm, graph = processes.rank, processes.comm, network.graph.graph
    messages = {rank: {"policy": np.random.default_rng(rank).standard_normal(shape, np.float32)}}
    nowhere = np.zeros(0, np.int64)
    send, receive = (
        [
            np.zeros(size * number, np.uint8),
            [size // 64] * number,
            [size // 64 * k for k in range(number)],
            processes._word,
        ]
        for number in (len(network.destinations), len(network.sources))
    )
    once = {
        "ours": lambda turn: network.exchange(messages, turn, edges, nowhere),
        "bare": lambda turn: graph.Neighbor_alltoallv(send, receive),
    }
    return in_turn(comm, once, range(1, repeats + 3), 2)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 16])
    reader.add_argument("--kib", type=int, nargs="+", default=[64, 256, 1024])
    reader.add_argument("--repeats", type=int, default=20)
    reader.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.inside:
        inside(given.kib, given.repeats)
        return
    options = ["--inside", "--kib", *map(str, given.kib), "--repeats", str(given.repeats)]
    print(head("exchange against a bare Neighbor_alltoallv of the same bytes"))
    print(f"{'ranks':>5} {'graph':>9} {'KiB':>5} {'bare ms':>9} {'ours ms':>9}  ratio")
    for ranks in given.ranks:
        job = start(ranks, __file__, *options)
        output, _ = job.communicate(timeout=600)
        for line in output.splitlines():
            row = json.loads(line)
            ratios = [ours / bare for ours, bare in zip(row["ours"], row["bare"])]
            bare, ours = (1e3 * statistics.median(row[name]) for name in ("bare", "ours"))
            print(f"{ranks:>5} {row['graph']:>9} {row['kib']:>5} {bare:>9.2f} {ours:>9.2f}  {spread(ratios)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
