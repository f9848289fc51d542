"""Which rank runs on which host, so that few edges of the communication graph lead from host to host;
``python -m perla_net.placement``.

Only agent traffic follows the graph. World traffic (actions, observations, rewards) goes between every agent and every
rank that steps copies of the environment, wherever they are.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, Sequence

import networkx as nx
from networkx.algorithms.community import kernighan_lin_bisection

from .errors import InputError
from .files import given as path_given
from .topology import graph_of, schedule_of
from .world.world import blocks_of

STARTS = 8
"""Random starts of every bisection, beside the order of nodes and one that follows the graph."""
LEAST = 1e-9
"""Gain below which weights that are not whole numbers have only been summed in another order."""


def contiguous(number: int, slots: Sequence[int]) -> list[int]:
    """The host of every node when hosts are filled one after the other, as mpirun does it. Raises InputError."""
    hosts = [host for host, count in enumerate(slots) for _ in range(count)]
    if len(hosts) < number:
        raise InputError(f"{number} ranks need as many slots, but the hosts have {len(hosts)}")
    return hosts[:number]


def cut(graph: nx.DiGraph | nx.Graph, hosts: Sequence[int]) -> float:
    """The weight of the edges whose ends are on different hosts (attribute ``weight``; without it an edge weighs 1)."""
    return sum(weight for i, j, weight in graph.edges(data="weight", default=1) if hosts[i] != hosts[j])


def partition(graph: nx.DiGraph, slots: Sequence[int], seed: int) -> list[int]:
    """The host of every node 0 … n−1, so that :func:`cut` is small, and never more than that of :func:`contiguous`.

    slots: how many nodes a host takes; where there are more slots than nodes, the last hosts stay empty. Recursive
    bisection by Kernighan and Lin (1970) from several starts, then the same between every two hosts until nothing is
    gained. Equal arguments give equal placements. Raises InputError for too few slots.
    """
    start = contiguous(len(graph), slots)
    both = nx.Graph()
    both.add_nodes_from(range(len(graph)))
    for i, j, weight in graph.edges(data="weight", default=1):
        both.add_edge(i, j, weight=both.get_edge_data(i, j, {"weight": 0})["weight"] + weight)
    sizes = [start.count(host) for host in range(len(slots))]
    found = list(start)
    _divide(both, [host for host, size in enumerate(sizes) if size], sizes, random.Random(seed), found)
    _exchange(both, found)
    return min(found, start, key=lambda hosts: cut(graph, hosts))


def _divide(graph: nx.Graph, hosts: Sequence[int], sizes: Sequence[int], rng: random.Random, found: list[int]) -> None:
    """Place the nodes of a graph on hosts of these sizes, half of the hosts at a time."""
    if len(hosts) == 1:
        for node in graph:
            found[node] = hosts[0]
        return
    half = len(hosts) // 2
    size = sum(sizes[host] for host in hosts[:half])
    nodes = list(graph)
    orders = [nodes, list(nx.utils.cuthill_mckee_ordering(graph))]
    orders += [rng.sample(nodes, len(nodes)) for _ in range(STARTS)]
    first = min(
        (_bisect(graph, set(order[:size])) for order in orders),
        key=lambda part: nx.cut_size(graph, part, weight="weight"),
    )
    _divide(_among(graph, first), hosts[:half], sizes, rng, found)
    _divide(_among(graph, set(nodes) - first), hosts[half:], sizes, rng, found)


def _exchange(graph: nx.Graph, found: list[int]) -> None:
    """Swap nodes between every two hosts for as long as that gains something."""
    gained = True
    while gained:
        gained = False
        for one, other in combinations(sorted(set(found)), 2):
            pair = _among(graph, {node for node in graph if found[node] in (one, other)})
            before = {node for node in pair if found[node] == one}
            after = _bisect(pair, before)
            now, then = (nx.cut_size(pair, part, weight="weight") for part in (before, after))
            if then < now - LEAST:
                gained = True
                for node in pair:
                    found[node] = one if node in after else other


def _bisect(graph: nx.Graph, start: set[int]) -> set[int]:
    """As many nodes as in ``start``, that part after swaps with the rest."""
    # With a seed, since some versions of networkx go through the nodes at random; none says which part is returned first.
    parts = kernighan_lin_bisection(graph, partition=(start, set(graph) - start), seed=0)
    return max(parts, key=lambda part: (len(part) == len(start), len(part & start)))


def _among(graph: nx.Graph, nodes: set[int]) -> nx.Graph:
    """The subgraph of some nodes, in the order of their numbers, which decides between equal swaps."""
    part = nx.Graph()
    part.add_nodes_from(sorted(nodes))
    part.add_edges_from(graph.subgraph(nodes).edges(data=True))
    return part


def over_ranks(graph: nx.DiGraph, ranks: int) -> nx.DiGraph:
    """The graph between ranks that hold equal contiguous blocks of agents; edges weigh what they stand for."""
    holder = [rank for rank, block in enumerate(blocks_of(len(graph), ranks)) for _ in block]
    between = nx.DiGraph()
    between.add_nodes_from(range(ranks))
    for i, j, weight in graph.edges(data="weight", default=1):
        source, target = holder[i], holder[j]
        if source != target:
            known = between.get_edge_data(source, target, {"weight": 0})["weight"]
            between.add_edge(source, target, weight=known + weight)
    return between


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
    from .options import parser
    from .world.environments import make

    reader = parser(
        "perla_net.placement", "Place ranks on hosts so that few edges of the communication graph leave a host."
    )
    reader.add_argument("spec", help="a family[:key=value,…], 'interaction', a graph file or a Python file")
    reader.add_argument("--hosts", metavar="HOST:SLOTS,…", help="hosts, and how many ranks each takes")
    reader.add_argument(
        "--hostfile", metavar="FILE", help="the same from a file: lines `host:8`, `host slots=8` or `host`"
    )
    reader.add_argument("--agents", type=int, help="number of agents (default: the environment's)")
    reader.add_argument("--ranks", type=int, help="number of ranks (default: one per agent)")
    reader.add_argument("--env", default="traffic:grid", help="environment whose agents talk (default traffic:grid)")
    reader.add_argument(
        "--seed", type=int, default=0, help="the run's seed, for graphs that are drawn with it (default 0)"
    )
    reader.add_argument("--rounds", type=int, default=64, help="rounds to look at of a graph that changes (default 64)")
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
    from .run import entry

    sys.exit(entry(main, sys.argv[1:]))
