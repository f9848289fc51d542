"""What a researcher asks of a graph, and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import networkx as nx
import numpy as np

from ..ground.pictures import draw_graph, pyplot_for, save


def metropolis(graph: nx.Graph) -> np.ndarray:
    """Metropolis-Hastings weights: W_ij = 1/(1 + max(d_i, d_j)) on edges, the rest on the diagonal. [n, n]."""
    weights = np.zeros((len(graph), len(graph)))
    for i, j in graph.edges:
        weights[i, j] = weights[j, i] = 1 / (1 + max(graph.degree[i], graph.degree[j]))
    return weights + np.diag(1 - weights.sum(1))


def properties(graph: nx.DiGraph) -> dict[str, Any]:
    """What a researcher asks of a graph. Spectral quantities are those of the undirected graph underneath.

    algebraic_connectivity: λ₂ of L = D − A; spectral_gap: 1 − ‖W − 11ᵀ/n‖₂ of the Metropolis matrix W;
    effective_resistance: n Σ 1/λ_i over the non-zero λ (None when disconnected); distances over directed edges.
    """
    number = len(graph)
    both = nx.Graph(graph.to_undirected())
    degrees = [degree for _, degree in graph.in_degree]
    symmetric = all(graph.has_edge(i, j) for j, i in graph.edges)
    laplacian = np.linalg.eigvalsh(nx.laplacian_matrix(both, range(number)).toarray().astype(float))
    connected = number > 0 and nx.is_strongly_connected(graph)
    gap = 1 - np.linalg.norm(metropolis(both) - 1 / number, 2)
    return {
        "nodes": number,
        "directed edges": graph.number_of_edges(),
        "undirected": symmetric,
        "in-degree (least, mean, most)": (min(degrees), sum(degrees) / number, max(degrees)),
        "strongly connected": connected,
        "diameter": nx.diameter(graph) if connected else None,
        "mean distance": nx.average_shortest_path_length(graph) if connected and number > 1 else None,
        "edge connectivity": nx.edge_connectivity(both) if number > 1 else None,
        "node connectivity": nx.node_connectivity(both) if number > 1 else None,
        "algebraic connectivity": float(laplacian[1]) if number > 1 else None,
        "Metropolis spectral gap": float(gap),
        "effective resistance": float(number * (1 / laplacian[1:]).sum())
        if number > 1 and laplacian[1] > 1e-9
        else None,
    }


def draw(
    graph: nx.DiGraph,
    file: Path,
    places: Sequence[Sequence[float]] | None = None,
    names: Sequence[str] | None = None,
    sizes: Mapping[tuple[int, int], float] | None = None,
) -> None:
    """A picture of the graph (format by the file's ending), see :func:`~..ground.pictures.draw_graph`. Needs matplotlib (extra ``plot``)."""
    pyplot = pyplot_for(file)
    figure, axes = pyplot.subplots(figsize=(7, 6.6), layout="constrained")
    carried = draw_graph(axes, graph, places, names=names, sizes=sizes)
    axes.set_title(
        f"{len(graph)} agents, {graph.number_of_edges()} directed edges" + (f"; {carried}" if sizes else ""),
        fontsize=10,
    )
    save(figure, file, dpi=150)
