"""Graphs that games are played on: families and files, who is next to whom, where agents are drawn."""

from __future__ import annotations

import math
from typing import Any

import networkx
import numpy as np

from ...ground.errors import InputError


def _shape(number: int) -> tuple[int, int]:
    rows = max(divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0)
    return rows, number // rows


def _grid(number: int) -> networkx.Graph:
    rows, columns = _shape(number)
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(rows, columns))
    for agent in graph:
        graph.nodes[agent].update(x=agent % columns, y=-(agent // columns))
    return graph


def _star(number: int) -> networkx.Graph:
    graph = networkx.star_graph(number - 1)
    for agent in graph:
        angle = 2 * math.pi * agent / max(number - 1, 1)
        graph.nodes[agent].update(x=math.cos(angle) if agent else 0.0, y=math.sin(angle) if agent else 0.0)
    return graph


FAMILIES = {
    "ring": lambda number: networkx.cycle_graph(number) if number > 2 else networkx.path_graph(number),
    "line": networkx.path_graph,
    "star": _star,
    "complete": networkx.complete_graph,
    "grid": _grid,
}
"""Number of agents → graph; a grid is as square as the number allows."""


def graph_of(env: str, graph: Any, agents: int | None) -> networkx.Graph:
    """The graph that a game is played on, with nodes 0 to N − 1. Raises InputError."""
    if graph is None:
        if agents not in (None, 2):
            raise InputError(
                f"--agents {agents}: {env} is for 2; for more it needs a graph, as in --env {env}:graph=ring"
            )
        return networkx.path_graph(2)
    if isinstance(graph, str) and graph in FAMILIES:
        if agents is not None and agents < 2:
            raise InputError(f"--agents {agents}: {env} needs at least 2")
        return FAMILIES[graph](agents or 2)
    try:
        found = networkx.Graph(networkx.read_graphml(str(graph), node_type=int))
    except (OSError, ValueError, SyntaxError, networkx.NetworkXException) as error:
        raise InputError(
            f"--env {env}: graph {graph!r} is neither {', '.join(FAMILIES)} nor a GraphML file with nodes 0 to N-1 "
            f"({error})"
        ) from None
    if sorted(found) != list(range(len(found))) or len(found) < 2:
        raise InputError(f"--env {env}: graph {graph} does not have nodes 0 to N-1, two or more")
    if any(one == other for one, other in found.edges) or min(dict(found.degree).values()) == 0:
        raise InputError(
            f"--env {env}: graph {graph} has a loop or a node without an edge; everybody plays with somebody else"
        )
    if agents not in (None, len(found)):
        raise InputError(f"--env {env}: the {len(found)} nodes of graph {graph} do not make --agents {agents}")
    return found


def both_ways(graph: networkx.Graph) -> tuple[tuple[int, int], ...]:
    """Every edge in both directions, in ascending order: who play together influence one another."""
    return tuple(sorted((int(a), int(b)) for edge in graph.edges for a, b in (edge, edge[::-1])))


def neighbours_of(graph: networkx.Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours in ascending order [agents, greatest degree], the agent itself where it has fewer; whether there is one, bool
    likewise; degrees [agents]."""
    those = [sorted(graph[agent]) for agent in range(len(graph))]
    degree = np.array([len(found) for found in those])
    widest = int(degree.max())
    neighbour = np.array([found + [agent] * (widest - len(found)) for agent, found in enumerate(those)])
    return neighbour, np.arange(widest) < degree[:, None], degree


def places_of(graph: networkx.Graph) -> np.ndarray:
    """Where agents are drawn, [agents, 2]: as the graph's ``x`` and ``y`` say, else on a circle."""
    nodes = [graph.nodes[agent] for agent in range(len(graph))]
    if all("x" in node and "y" in node for node in nodes):
        return np.array([(node["x"], node["y"]) for node in nodes], float)
    angle = 2 * np.pi * np.arange(len(graph)) / len(graph)
    return np.stack([-np.cos(angle), np.sin(angle)], 1)
