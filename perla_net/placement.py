"""``python -m perla_net.placement SPEC --hosts …``: which rank runs on which host, so that few edges lead from host to host."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Sequence

import networkx as nx

from .ground.errors import InputError
from .ground.files import given as path_given
from .network.graphs import graph_of, schedule_of
from .network.partition import contiguous, cut, over_ranks, partition
from .world.world import blocks_of


def read_hosts(words: Sequence[str], option: str) -> dict[str, int]:
    """Slots by host from ``host:8``, ``host slots=8`` or ``host`` (one slot); a host that comes again gets more of them.

    Raises InputError naming ``option``.
    """
    hosts: dict[str, int] = {}
    for word in words:
        match = re.fullmatch(
            r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::([1-9]\d{0,5})|\s+slots=([1-9]\d{0,5}))?", word
        )
        if not match:
            raise InputError(f"{option}: '{word}' is not a host with its slots, such as node1:8")
        name, *counts = match.groups()
        hosts[name] = hosts.get(name, 0) + int(counts[0] or counts[1] or 1)
    if not hosts:
        raise InputError(f"{option}: names no host; write some as node1:8")
    return hosts


def _hosts(text: str | None, file: str | None) -> dict[str, int]:
    if (text is None) == (file is None):
        raise InputError("give the hosts either by --hosts, as in --hosts node1:8,node2:8, or by --hostfile FILE")
    if text is not None:
        return read_hosts(text.split(","), f"--hosts {text}")
    try:
        lines = [
            line.partition("#")[0].strip()
            for line in path_given(file, "--hostfile").read_text(encoding="utf-8").splitlines()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--hostfile {file}: cannot be read ({getattr(error, 'strerror', 'it is not text')})"
        ) from None
    return read_hosts([line for line in lines if line], f"--hostfile {file}")


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.placement SPEC --hosts a:8,b:8``: what a placement saves, and a file that mpirun follows."""
    from .settings.command_line import parser
    from .world.environments import make

    reader = parser(
        "perla_net.placement", "Place ranks on hosts so that few edges of the communication graph leave a host."
    )
    reader.add_argument(
        "spec", metavar="SPEC", help="a family[:key=value,…], 'interaction', a graph file or a Python file"
    )
    reader.add_argument("--hosts", metavar="HOST:SLOTS,…", help="hosts, and how many ranks each takes")
    reader.add_argument(
        "--hostfile", metavar="FILE", help="the same from a file: lines `host:8`, `host slots=8` or `host`"
    )
    reader.add_argument("--agents", type=int, metavar="N", help="number of agents (default: the environment's)")
    reader.add_argument("--ranks", type=int, metavar="N", help="number of ranks (default: one per agent)")
    reader.add_argument("--env", default="traffic:grid", help="environment whose agents talk (default traffic:grid)")
    reader.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the run's seed, for graphs that are drawn with it (default 0)"
    )
    reader.add_argument(
        "--rounds", type=int, default=64, metavar="N", help="rounds to look at of a graph that changes (default 64)"
    )
    reader.add_argument("--out", metavar="FILE", help="write a host a line, in the order of ranks")
    given = reader.parse_args(list(arguments))
    if given.agents is not None and given.agents < 1:
        raise InputError(f"--agents {given.agents}: there must be at least one")
    if given.rounds < 1:
        raise InputError(f"--rounds {given.rounds}: there must be at least one")
    hosts = _hosts(given.hosts, given.hostfile)
    world = make(given.env, 1, given.agents).spec
    names = [agent.name for agent in world.agents]
    ranks = len(names) if given.ranks is None else given.ranks
    if not 1 <= ranks <= len(names):
        raise InputError(
            f"--ranks {ranks}: each rank needs an agent, so with {len(names)} agents write 1 to {len(names)}"
        )
    graph = _edges_over_time(given, world)
    between = over_ranks(graph, ranks)
    slots = list(hosts.values())
    try:
        placed = partition(between, slots, given.seed)
    except InputError as error:
        option = f"--hosts {given.hosts}" if given.hosts is not None else f"--hostfile {given.hostfile}"
        raise InputError(f"{option}: {error}; name more, or take fewer with --ranks") from None
    if given.out:
        _write(path_given(given.out, "--out"), [list(hosts)[host] for host in placed])
    print(f"{given.spec} for {len(names)} agents of {given.env} on {ranks} rank{'s' * (ranks > 1)}")
    usual, total = cut(between, contiguous(ranks, slots)), graph.size(weight="weight")
    print(
        f"  directed edges between hosts: {cut(between, placed):.10g} of {total:.10g}; {usual:.10g} if ranks fill the hosts in order"
    )
    blocks = blocks_of(len(names), ranks)
    for host, (name, count) in enumerate(hosts.items()):
        own = [rank for rank in range(ranks) if placed[rank] == host]
        agents = [agent for rank in own for agent in blocks[rank]]
        where = f"rank{'s' * (len(own) != 1)} {_ranges(own)}, " if ranks < len(names) else ""
        print(f"  {name}, {len(own)} of {count} slots: {where}agent{'s' * (len(agents) != 1)} {_ranges(agents)}")
    if given.out:
        print(f"  written to {given.out}; launch/hosts.sh -r {given.out} runs it, and so does mpirun -n {ranks} with")
        order = list(dict.fromkeys(placed))
        used = ",".join(f"{list(hosts)[host]}:{placed.count(host)}" for host in order)
        print(f"    MPICH 5    -hosts {used} -rankmap {','.join(str(order.index(host)) for host in placed)}")
        print(f"    Open MPI   --hostfile {given.out} --map-by seq:OVERSUBSCRIBE")
    return 0


def _edges_over_time(given: Any, world: Any) -> nx.DiGraph:
    """The communication graph; of one that changes, its edges over the rounds, each weighing the share of them that has it."""
    names = [agent.name for agent in world.agents]
    schedule = schedule_of(given.spec, names, world.interaction, given.seed, world.positions, world.moves, given.rounds)
    if schedule.moves:
        raise InputError(f"{given.spec}: depends on where the agents go, so there is nothing to place by")
    if schedule.fixed:
        return graph_of(schedule.edges(1), names)
    counts = Counter(edge for number in range(given.rounds) for edge in schedule.edges(number + 1))
    graph = graph_of(tuple(sorted(counts)), names)
    nx.set_edge_attributes(graph, {edge: count / given.rounds for edge, count in counts.items()}, "weight")
    return graph


def _ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 7]`` → ``0-2 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or "-"


def _write(file: Path, hosts: Sequence[str]) -> None:
    """A host a line: what MPICH (``-f``), Open MPI (``--map-by seq``) and Slurm (``SLURM_HOSTFILE``) all read."""
    try:
        file.write_text("".join(f"{host}\n" for host in hosts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
