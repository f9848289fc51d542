"""Two rings joined by one bridge.

Use it with

    --topology topologies/two_rings.py

or copy it as a start for a topology of your own: a topology file is a Python
file that defines topology(agents, rng) and returns a networkx graph.
"""

import networkx as nx


def topology(agents, rng):
    """Return a graph over the nodes 0..len(agents)-1.

    agents: the agents' names in order; node i is agents[i].
    rng:    a numpy Generator, for topologies with randomness (unused here).

    The graph is undirected: the two ends of an edge hear each other.
    """
    n = len(agents)
    half = n // 2  # with an odd n the second ring has one more

    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    for ring in (list(range(half)), list(range(half, n))):
        # Pair every node with the next one, and the last with the first.
        for a, b in zip(ring, ring[1:] + ring[:1]):
            if a != b:  # a "ring" of one node would be a self-loop
                graph.add_edge(a, b)

    if half > 0:  # fewer than two agents: nothing to bridge
        graph.add_edge(0, half)  # the bridge: first node of each ring
    return graph
