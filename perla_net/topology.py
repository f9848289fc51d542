"""Communication graphs: families, networkx generators, files, Python files; and ``python -m perla_net.topology``.

An edge j → i means that i hears j. Undirected graphs stand for both directions; self-loops are dropped, since an agent
always knows its own policy. Only rank 0 builds the graph; the others receive its edges.
"""

from __future__ import annotations

import inspect
import json
import math
import runpy
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

import networkx as nx
import numpy as np

from .config import parse_spec
from .errors import InputError


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


FAMILIES: dict[str, Callable[..., nx.Graph]] = {
    "ring": _ring,
    "line": nx.path_graph,
    "star": lambda n: nx.star_graph(n - 1),
    "grid": _grid,
    "complete": nx.complete_graph,
    "empty": nx.empty_graph,
    "tree": _tree,
    "hypercube": _hypercube,
    "exponential": _exponential,
    "watts_strogatz": lambda n, k=4, p=0.1, seed=0: nx.watts_strogatz_graph(n, k, p, seed),
    "barabasi_albert": lambda n, m=2, seed=0: nx.barabasi_albert_graph(n, m, seed),
    "erdos_renyi": lambda n, p=0.3, seed=0: nx.gnp_random_graph(n, p, seed),
    "random_regular": lambda n, d=4, seed=0: nx.random_regular_graph(d, n, seed),
}

READERS: dict[str, Callable[[Path], nx.Graph]] = {
    ".graphml": nx.read_graphml,
    ".gml": lambda file: nx.read_gml(file, label="id"),
    ".gexf": nx.read_gexf,
    ".net": nx.read_pajek,
    ".edgelist": nx.read_edgelist,
    ".adjlist": nx.read_adjlist,
    ".g6": nx.read_graph6,
    ".s6": nx.read_sparse6,
    ".json": lambda file: nx.node_link_graph(json.loads(file.read_text()), edges="edges"),
}


def topologies_folder() -> Path:
    """Where the graph files that come with the program are: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "topologies"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "topologies"


def build(spec: str, names: Sequence[str], interaction: Sequence[tuple[int, int]] | None, seed: int) -> nx.DiGraph:
    """The communication graph: nodes 0 … n−1 with attribute ``agent``, an edge j → i where i hears j.

    spec: what ``--topology`` takes; names: agents in order; interaction: the environment's own graph. Raises InputError
    for unknown names, wrong arguments, unreadable files and graphs of another size.
    """
    number = len(names)
    name, arguments = parse_spec(spec)
    suffix = Path(name).suffix.lower()
    if name == "interaction":
        if interaction is None:
            raise InputError(
                f"--topology {spec}: this environment does not tell who influences whom; name a graph, such as ring or complete"
            )
        graph = nx.DiGraph()
        graph.add_nodes_from(range(number))
        graph.add_edges_from(interaction)
    elif suffix == ".py" or suffix in READERS:
        graph = _from_file(spec, Path(name), names, seed)
    else:
        graph = _generated(spec, name, arguments, number, seed)
    if graph.number_of_nodes() != number:
        raise InputError(f"--topology {spec}: has {graph.number_of_nodes()} nodes, but there are {number} agents")
    return _tidy(graph, names)


def _generated(spec: str, name: str, arguments: dict[str, Any], number: int, seed: int) -> nx.Graph:
    family = FAMILIES.get(name)
    if family is None:
        for candidate in (f"{name}_graph", name, f"{name}_generator"):
            family = getattr(nx, candidate, None) if candidate.isidentifier() else None
            if callable(family) and not inspect.isclass(family):
                break
        else:
            raise InputError(
                f"--topology {spec}: there is no family or networkx generator '{name}', nor is it a graph file; "
                f"families are {', '.join(FAMILIES)}, interaction"
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
    if not isinstance(graph, nx.Graph):
        raise InputError(f"--topology {spec}: networkx's {name} does not make a graph")
    return graph


def _from_file(spec: str, file: Path, names: Sequence[str], seed: int) -> nx.Graph:
    if not file.exists() and (topologies_folder() / file.name).exists():
        file = topologies_folder() / file.name
    if not file.exists():
        raise InputError(f"--topology {spec}: there is no such file, here or in {topologies_folder()}")
    if file.suffix.lower() != ".py":
        try:
            graph = READERS[file.suffix.lower()](file)
            if isinstance(graph, nx.Graph):
                return graph
            raise ValueError("it holds several graphs")
        except Exception as error:  # every reader has exceptions of its own
            raise InputError(
                f"--topology {spec}: cannot be read as {file.suffix[1:]} ({' '.join(str(error).split())})"
            ) from None
    try:
        function = runpy.run_path(str(file)).get("topology")
        if function is None:
            raise InputError(f"--topology {spec}: defines no function topology(agents, rng)")
        graph = function(list(names), np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,))))
    except InputError:
        raise
    except Exception as error:  # the user's own code
        raise InputError(f"--topology {spec}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if inspect.isgenerator(graph):
        raise InputError(f"--topology {spec}: yields a graph per round; only graphs that stay the same are supported")
    if not isinstance(graph, nx.Graph):
        raise InputError(f"--topology {spec}: topology() returned {type(graph).__name__}, not a networkx graph")
    return graph


def _tidy(graph: nx.Graph, names: Sequence[str]) -> nx.DiGraph:
    """Nodes 0 … n−1 in the order of agents: matched by agents' names, else by number, else in the graph's order."""
    labels = [str(node) for node in graph.nodes]
    if set(labels) == set(names):
        index = {node: names.index(str(node)) for node in graph.nodes}
    elif set(labels) == {str(k) for k in range(len(names))}:
        index = {node: int(str(node)) for node in graph.nodes}
    else:
        index = {node: k for k, node in enumerate(graph.nodes)}
    tidy = nx.DiGraph()
    tidy.add_nodes_from((k, {"agent": name}) for k, name in enumerate(names))
    for source, target in graph.edges():
        if source != target:
            tidy.add_edge(index[source], index[target])
            if not graph.is_directed():
                tidy.add_edge(index[target], index[source])
    return tidy


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


def bytes_per_round(graph: nx.DiGraph, arguments: Sequence[str]) -> tuple[int, int]:
    """(bytes of all agents, bytes that the busiest agent sends) in a round of a run with these options, by the formats
    that the run itself uses; without the few final observations."""
    from .agent import Team
    from .options import command_line
    from .simulation import prepare

    plan = prepare(command_line(arguments), graph)
    team: Team = plan.team()
    sent = [0] * len(team.specs)
    for (source, _), sections in team.wants().items():
        sent[source] += sum(
            team.form(source, name, 0, plan.config.copies, plan.config.horizon).size for name in sections
        )
    return sum(sent), max(sent)


def draw(graph: nx.DiGraph, file: Path) -> None:
    """A picture of the graph (format by the file's ending). Needs matplotlib (extra ``plot``)."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise InputError('--draw needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"') from None
    both = all(graph.has_edge(i, j) for j, i in graph.edges)
    shown = graph.to_undirected() if both else graph
    position = (
        nx.kamada_kawai_layout(shown) if nx.is_connected(nx.Graph(shown.to_undirected())) else nx.circular_layout(shown)
    )
    figure, axes = pyplot.subplots(figsize=(7, 7), layout="constrained")
    nx.draw_networkx(
        shown, position, ax=axes, node_color="#4c78a8", edge_color="#888888", font_color="white", node_size=420
    )
    axes.set_title(f"{len(graph)} agents, {graph.number_of_edges()} directed edges")
    axes.axis("off")
    try:
        figure.savefig(file, dpi=150)
    except (ValueError, OSError) as error:
        raise InputError(f"--draw {file}: cannot be written ({error})") from None


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.topology SPEC --agents N``: the figures of a graph, its edges, and a picture."""
    from .options import parser
    from .world.environments import make

    reader = parser(
        "perla_net.topology", "What a communication graph is like; further options are those of perla_net.run."
    )
    reader.add_argument("spec", help="a family[:key=value,…], 'interaction', a graph file or a Python file")
    reader.add_argument("--agents", type=int, help="number of agents (default: the environment's)")
    reader.add_argument("--env", default="traffic:grid", help="environment whose agents talk (default traffic:grid)")
    reader.add_argument("--seed", type=int, default=0, help="seed of a Python file's random numbers (default 0)")
    reader.add_argument("--draw", metavar="FILE", help="write a picture (png, svg, pdf)")
    given, rest = reader.parse_known_args(list(arguments))
    if given.agents is not None and given.agents < 1:
        raise InputError(f"--agents {given.agents}: there must be at least one")
    world = make(given.env, 1, given.agents).spec
    names = [agent.name for agent in world.agents]
    graph = build(given.spec, names, world.interaction, given.seed)
    figures = properties(graph)
    options = [
        "--env",
        given.env,
        "--agents",
        str(len(names)),
        "--topology",
        given.spec,
        "--seed",
        str(given.seed),
        *rest,
    ]
    total, most = bytes_per_round(graph, options)
    figures["bytes per round (all, busiest agent)"] = (total, most)
    print(f"{given.spec} for {len(names)} agents of {given.env}")
    for name, value in figures.items():
        print(f"  {name:<38}{_shown(value)}")
    if len(graph) <= 64:
        print("  who hears whom (each line: an agent, then those that it hears)")
        for node in graph:
            print(f"    {node:>3} {names[node]:<16}{' '.join(map(str, sorted(graph.predecessors(node)))) or '-'}")
    if given.draw:
        draw(graph, Path(given.draw))
        print(f"  drawn in {given.draw}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as problem:
        print(f"perla_net: {problem}", file=sys.stderr)
        sys.exit(2)
