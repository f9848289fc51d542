"""A hub that moves on to the next agent in every round: a graph per round from a Python file.

Use it with

    --topology topologies/wandering_hub.py

A function topology(agents, rng) that yields instead of returning gives the graph of one round after the other. As many are
taken as the run has rounds; one that ends sooner starts over.
"""

import networkx as nx


def topology(agents, rng):
    """Yield a star for each round; its centre is drawn first, then takes turns."""
    hub = int(rng.integers(len(agents)))
    while True:
        graph = nx.empty_graph(len(agents))
        graph.add_edges_from((hub, other) for other in range(len(agents)) if other != hub)
        yield graph
        hub = (hub + 1) % len(agents)
