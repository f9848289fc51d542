"""A hub that hears everyone, and that everyone hears.

Use it with

    --topology topologies/hub_and_spokes.py

or copy it as a start for a topology of your own: a topology file is a Python
file that defines topology(agents, rng) and returns a networkx graph.
"""

import networkx as nx


def topology(agents, rng):
    """Return a directed graph over the nodes 0..len(agents)-1.

    agents: the agents' names in order; node i is agents[i].
    rng:    a numpy Generator; draw from it, and from nothing else, so that the
            same seed gives the same graph.

    In a directed graph an edge j -> i means that i hears j.
    """
    n = len(agents)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    if n == 0:
        return graph

    hub = int(rng.integers(n))
    for i in range(n):
        if i != hub:  # no self-loops
            graph.add_edge(i, hub)  # the hub hears i
            graph.add_edge(hub, i)  # i hears the hub
    return graph
