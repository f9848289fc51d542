"""Which rank runs on which host, so that few edges of the communication graph lead from host to host;
``python -m perla_net.placement``.

Only agent traffic follows the graph. World traffic (actions, observations, rewards) goes between every agent and every
rank that steps copies of the environment, wherever they are.
"""

from __future__ import annotations

import random
from itertools import combinations
from typing import Sequence

import networkx as nx
from networkx.algorithms.community import kernighan_lin_bisection

from ..ground.errors import InputError
from ..world.world import blocks_of

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
