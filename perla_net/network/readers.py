"""Graph files, in the formats that networkx reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import networkx as nx

from ..ground.graph_files import find_file


def _edge_list(file: Path) -> nx.Graph:
    """Edges with data as a dict, or with a weight."""
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) == 1:
            hint = ", with blanks between, not commas" if "," in words[0] else ""
            raise ValueError(f"line {number}: '{words[0]}' is one node; an edge is two nodes{hint}")
    try:
        return nx.read_edgelist(file, encoding="utf-8-sig")
    except (TypeError, ValueError, SyntaxError):
        return nx.read_weighted_edgelist(file, encoding="utf-8-sig")


def _json(file: Path) -> nx.Graph:
    """Node-link data; older versions of networkx call the edges ``links``."""
    data = json.loads(file.read_text(encoding="utf-8-sig"))
    if not isinstance(data, dict) or "nodes" not in data:
        raise ValueError("it is not node-link data: nodes and edges")
    if data.get("links") and data.get("edges"):
        raise ValueError("it has both links and edges")
    return nx.node_link_graph(data, edges="links" if data.get("links") else "edges" if "edges" in data else "links")


def _pajek(file: Path) -> nx.Graph:
    """Vertices, and either edges or arcs: networkx takes both for what comes first, and lists for something else."""
    heads = [
        line.split()[0].lower() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.startswith("*")
    ]
    if {"*edges", "*arcs"} <= set(heads) or {"*edgeslist", "*arcslist"} & set(heads):
        raise ValueError("only one of *Edges and *Arcs is read, and no lists")
    return nx.read_pajek(file)


READERS: dict[str, Callable[[Path], nx.Graph]] = {
    ".graphml": nx.read_graphml,
    ".gml": lambda file: nx.read_gml(file, label="id"),
    ".gexf": nx.read_gexf,
    ".net": _pajek,
    ".edgelist": _edge_list,
    ".adjlist": lambda file: nx.read_adjlist(file, encoding="utf-8-sig"),
    ".g6": nx.read_graph6,
    ".s6": nx.read_sparse6,
    ".json": _json,
}


BY_INDEX = (".g6", ".s6")
"""Files whose nodes are called nothing."""


def is_graph_file(name: str) -> bool:
    """Whether a name is that of a file that there is, with a graph or with Python that makes one."""
    return Path(name).suffix.lower() in (".py", *READERS) and find_file(name) is not None
