"""Families of graphs: the program's own and every generator of networkx, by name. Needed below ``graphs.py`` too,
where graphs are drawn anew during a run."""

from __future__ import annotations

import inspect
import math
from typing import Any, Callable

import networkx as nx

from ..ground.errors import InputError
from ..settings.specs import parse_spec
from .nodes import by_place


def _ring(n: int) -> nx.Graph:
    return nx.cycle_graph(n) if n > 2 else nx.path_graph(n)


def _grid(n: int, rows: int | None = None, columns: int | None = None) -> nx.Graph:
    if rows is None:
        rows = n // columns if columns else max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
    columns = columns or n // rows
    if rows * columns != n:
        raise InputError(f"a grid of {rows}×{columns} does not have {n} nodes")
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns), ordering="sorted")


def _tree(n: int, branching: int = 2) -> nx.Graph:
    return nx.full_rary_tree(branching, n)


def _hypercube(n: int) -> nx.Graph:
    if n < 1 or n & (n - 1):
        raise InputError(f"a hypercube has a power of two nodes, not {n}")
    return (
        nx.convert_node_labels_to_integers(nx.hypercube_graph(n.bit_length() - 1), ordering="sorted")
        if n > 1
        else nx.empty_graph(1)
    )


def _exponential(n: int) -> nx.DiGraph:
    """Every agent hears those 1, 2, 4, … places before it (Ying et al. 2021). One direction only, unlike
    networkx's circulant_graph, which adds both even to a DiGraph."""
    graph = nx.empty_graph(n, create_using=nx.DiGraph)
    hops = [2**k for k in range(math.ceil(math.log2(n)))]
    graph.add_edges_from((node, (node + hop) % n) for node in range(n) for hop in hops)
    return graph


def _directed_ring(n: int) -> nx.DiGraph:
    graph = nx.empty_graph(n, create_using=nx.DiGraph)
    graph.add_edges_from((node, (node + 1) % n) for node in range(n) if n > 1)
    return graph


def _one_peer_exponential(n: int) -> list[nx.DiGraph]:
    """In round t everybody hears the one 2^(t mod ⌈log₂ n⌉) places before it (Ying et al. 2021)."""
    graphs = []
    for k in range(max(1, math.ceil(math.log2(n)))):
        graph = nx.empty_graph(n, create_using=nx.DiGraph)
        graph.add_edges_from((node, (node + 2**k) % n) for node in range(n))
        graphs.append(graph)
    return graphs


FAMILIES: dict[str, Callable[..., nx.Graph | list[nx.DiGraph]]] = {
    "ring": _ring,
    "directed_ring": _directed_ring,
    "line": nx.path_graph,
    "star": lambda n: nx.star_graph(n - 1),
    "grid": _grid,
    "complete": nx.complete_graph,
    "empty": nx.empty_graph,
    "tree": _tree,
    "hypercube": _hypercube,
    "exponential": _exponential,
    "one_peer_exponential": _one_peer_exponential,
    "watts_strogatz": lambda n, k=4, p=0.1, seed=0: nx.watts_strogatz_graph(n, k, p, seed),
    "barabasi_albert": lambda n, m=2, seed=0: nx.barabasi_albert_graph(n, m, seed),
    "erdos_renyi": lambda n, p=0.3, directed=False, seed=0: nx.gnp_random_graph(n, p, seed, directed),
    "random_regular": lambda n, d=4, seed=0: nx.random_regular_graph(d, n, seed),
}


def _family(name: str) -> Callable[..., nx.Graph | list[nx.DiGraph]] | None:
    """A family of ours, else a generator of networkx."""
    for candidate in (f"{name}_graph", name, f"{name}_generator"):
        family = getattr(nx, candidate, None) if candidate.isidentifier() else None
        if name not in FAMILIES and callable(family) and not inspect.isclass(family):
            return family
    return FAMILIES.get(name)


def generate(spec: str, name: str, arguments: dict[str, Any], number: int, seed: int) -> nx.Graph | list[nx.DiGraph]:
    family = _family(name)
    if family is None:
        raise InputError(
            f"--topology {spec}: there is no family or networkx generator '{name}', nor is it a graph file; "
            f"families are {', '.join(FAMILIES)}, interaction, influence, matching, distance"
        )
    try:
        parameters = set(inspect.signature(family).parameters)
    except (TypeError, ValueError):
        parameters = {"n"}
    # Random generators of networkx draw from the system's entropy unless they are given a seed.
    given = {name: value for name, value in {"n": number, "seed": seed}.items() if name in parameters}
    try:
        graph = family(**given | arguments)
    except InputError as error:
        raise InputError(f"--topology {spec}: {error}") from None
    except Exception as error:  # a generator of networkx may raise anything for arguments that it does not like
        raise InputError(f"--topology {spec}: {' '.join(str(error).split()) or type(error).__name__}") from None
    if not isinstance(graph, (nx.Graph, list)):
        raise InputError(f"--topology {spec}: networkx's {name} does not make a graph")
    return graph


def generated(spec: str, number: int, seed: int) -> tuple[tuple[int, int], ...]:
    """The directed edges of a family or networkx generator, drawn with a seed; sorted."""
    name, arguments = parse_spec(spec)
    graph = generate(spec, name, arguments, number, seed)
    if isinstance(graph, list) or graph.number_of_nodes() != number:
        raise InputError(f"--topology {spec}: does not make one graph of {number} nodes")
    return tuple(sorted(by_place(graph, [str(node) for node in range(number)]).edges))


def is_random(name: str) -> bool:
    """Whether a family or networkx generator takes a seed."""
    family = _family(name)
    try:
        return family is not None and "seed" in inspect.signature(family).parameters
    except (TypeError, ValueError):
        return False
