"""Communication graphs: families, networkx generators, files, Python files; and ``python -m perla_net.topology``.

An edge j → i means that i hears j. Undirected graphs stand for both directions; self-loops are dropped, since an agent
always knows its own policy. Rank 0 turns ``--topology`` into a :class:`~perla_net.network.schedule.Schedule`, from which
every rank knows the graph of each round; the others import this module only where graphs are drawn during the run.
"""

from __future__ import annotations

import inspect
import itertools
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
from .files import given as path_given
from .graph_files import find_file, topologies_folder
from .network.families import generate, generated, is_random
from .network.nodes import by_place, of_file, of_function
from .network.schedule import LINK_ATTRIBUTES, Edges, Schedule, complete_window, parse_away
from .processes import UNIT
from .world import streams


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


def build(spec: str, names: Sequence[str], interaction: Sequence[tuple[int, int]] | None, seed: int) -> nx.DiGraph:
    """The graph of a spec whose graph never changes: nodes 0 … n−1 with attribute ``agent``, an edge j → i where i hears j.

    Arguments and errors as those of :func:`schedule_of`; InputError too where the graph changes.
    """
    schedule = schedule_of(spec, names, interaction, seed)
    if not schedule.fixed:
        raise InputError(f"--topology {spec}: changes during a run, but one graph is needed here")
    return graph_of(schedule.edges(1), names, schedule)


def graph_of(edges: Edges, names: Sequence[str], schedule: Schedule | None = None) -> nx.DiGraph:
    """Edges as a networkx graph, nodes with attribute ``agent``, edges with those of their links."""
    graph = nx.DiGraph()
    graph.add_nodes_from((index, {"agent": name}) for index, name in enumerate(names))
    graph.add_edges_from(edges)
    for source, target, attributes in schedule.links if schedule else ():
        if graph.has_edge(source, target):
            graph.edges[source, target].update(attributes)
    return graph


def schedule_of(
    spec: str,
    names: Sequence[str],
    interaction: Sequence[tuple[int, int]] | None,
    seed: int,
    positions: tuple[tuple[float, ...], ...] | None = None,
    can_move: bool = False,
    rounds: int = 1,
) -> Schedule:
    """The graph of every round, from what ``--topology`` takes.

    spec: ``PART[+PART…]``, parts one after the other, a round each (``every=M``: M rounds each), then again; a part is
    ``interaction``, a file, or a family or networkx generator with ``key=value,…``. A random family with ``every=M`` is
    drawn anew each M rounds; ``matching`` and ``distance:radius=R`` are processes by themselves; ``away=3@10-20/0-1@5``:
    agents that leave the network for some rounds and come back. names: agents in order; interaction: the environment's
    own graph; positions: where agents stand that never move; can_move: the environment tells positions during the run;
    rounds: how many graphs to take of a Python file that yields one per round. Raises InputError for unknown names, wrong
    arguments, unreadable files and graphs of another size.
    """
    number = len(names)
    parts = [spec] if "+" not in spec or find_file(parse_spec(spec, is_graph_file)[0]) else spec.split("+")
    away: tuple[tuple[int, int, int], ...] = ()
    graphs: list[Edges] = []
    links: dict[tuple[int, int], dict[str, float]] = {}
    everies = set()
    hows: list[str] = []
    weighted = False
    for part in parts:
        name, arguments = parse_spec(part, is_graph_file)
        away += parse_away(arguments.pop("away"), names, spec) if "away" in arguments else ()
        every = arguments.pop("every", None)
        if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise InputError(f"--topology {spec}: every={every} is not a positive number of rounds")
        everies.add(every)
        drawn = name in ("matching", "distance") or (every is not None and len(parts) == 1 and is_random(name))
        if not drawn:
            found = _graphs(spec, name, arguments, names, interaction, seed, rounds)
            if every is not None and len(parts) == 1 and len(found) == 1:
                raise InputError(f"--topology {spec}: {name} is the same graph every time; every=M is for what changes")
            for graph in found:
                if graph.number_of_nodes() != number:
                    raise InputError(
                        f"--topology {spec}: has {graph.number_of_nodes()} nodes, but there are {number} agents"
                    )
                _check_parallel(spec, graph)
                whole, how = _placed(spec, name, graph, names)
                hows += [how] * (how != "" and how not in hows)
                graphs.append(tuple(sorted(whole.edges)))
                links |= _link_attributes(spec, whole, names)
                weighted |= any(weight != 1 for _, _, weight in whole.edges(data="weight", default=1))
        elif len(parts) > 1:
            raise InputError(f"--topology {spec}: {name} cannot stand in a list; it changes by itself")
        else:
            return _process(spec, name, arguments, number, seed, every, away, positions, can_move)
    if len(everies) > 1:
        raise InputError(f"--topology {spec}: every part of the list needs the same every=M")
    rows = tuple((j, i, attributes) for (j, i), attributes in sorted(links.items()))
    return Schedule(
        number,
        "list",
        tuple(graphs),
        everies.pop() or 1,
        away=away,
        links=rows,
        nodes="; ".join(hows),
        weighted=weighted,
    )


def is_graph_file(name: str) -> bool:
    """Whether a name is that of a file that there is, with a graph or with Python that makes one."""
    return Path(name).suffix.lower() in (".py", *READERS) and find_file(name) is not None


def _check_parallel(spec: str, graph: nx.Graph) -> None:
    """Refuse several edges from one node to another of which each says something else of the link."""
    seen: dict[tuple[Any, Any], dict[str, Any]] = {}
    for source, target, data in graph.edges(data=True) if graph.is_multigraph() else ():
        own = {name: data[name] for name in LINK_ATTRIBUTES if name in data}
        if seen.setdefault((source, target), own) != own:
            raise InputError(f"--topology {spec}: has several edges from {source} to {target}, and their links differ")


def _placed(spec: str, name: str, graph: nx.Graph, names: Sequence[str]) -> tuple[nx.DiGraph, str]:
    """The graph with agents as its nodes, and in words how they became that, of a file."""
    suffix = Path(name).suffix.lower()
    if suffix == ".py":
        return of_function(spec, graph, names)
    if suffix in READERS and suffix not in BY_INDEX:
        return of_file(spec, graph, names, suffix == ".gml")
    return by_place(graph, names), ""


def _process(
    spec: str,
    name: str,
    arguments: dict[str, Any],
    number: int,
    seed: int,
    every: int | None,
    away: tuple[tuple[int, int, int], ...],
    positions: tuple[tuple[float, ...], ...] | None,
    can_move: bool,
) -> Schedule:
    """A graph that is worked out anew in each round, or each ``every`` rounds."""
    if name == "distance":
        radius = arguments.pop("radius", None)
        if isinstance(radius, bool) or not isinstance(radius, (int, float)) or not 0 < radius < math.inf:
            raise InputError(
                f"--topology {spec}: distance needs radius=R, a positive number in units of the environment"
            )
        if positions is None and not can_move:
            raise InputError(
                f"--topology {spec}: this environment does not tell where its agents are; name another graph"
            )
        if every is not None:
            arguments["every"] = every
    chosen = arguments.pop("seed", seed) if name != "distance" else 0
    if isinstance(chosen, bool) or not isinstance(chosen, int) or chosen < 0:
        raise InputError(f"--topology {spec}: seed={chosen} is not a number from 0")
    every = every or 1
    if name in ("distance", "matching"):
        if arguments:
            raise InputError(f"--topology {spec}: {name} does not take '{next(iter(arguments))}'")
        if name == "distance":
            return Schedule(number, "distance", radius=float(radius), positions=positions, away=away)
        return Schedule(number, "matching", every=every, seed=chosen, away=away)
    text = name + (":" + ",".join(f"{key}={value}" for key, value in arguments.items()) if arguments else "")
    example = generate(spec, name, arguments, number, 0)  # so that arguments that it does not like are refused now
    directed = isinstance(example, nx.Graph) and example.is_directed()
    generated(text, number, 0)
    return Schedule(number, "redrawn", every=every, seed=chosen, spec=text, directed=directed, away=away)


def _graphs(
    spec: str,
    name: str,
    arguments: dict[str, Any],
    names: Sequence[str],
    interaction: Sequence[tuple[int, int]] | None,
    seed: int,
    rounds: int,
) -> list[nx.Graph]:
    """What one part of a spec stands for: usually one graph."""
    suffix = Path(name).suffix.lower()
    if name == "interaction":
        if interaction is None:
            raise InputError(
                f"--topology {spec}: this environment does not tell who influences whom; name a graph, such as ring or complete"
            )
        graph = nx.DiGraph()
        graph.add_nodes_from(range(len(names)))
        graph.add_edges_from(interaction)
        return [graph]
    if suffix == ".py" or suffix in READERS:
        return _from_file(spec, name, names, seed, rounds)
    found = generate(spec, name, arguments, len(names), seed)
    return found if isinstance(found, list) else [found]


def _link_attributes(spec: str, graph: nx.DiGraph, names: Sequence[str]) -> dict[tuple[int, int], dict[str, float]]:
    """What the edges say of their links (:data:`LINK_ATTRIBUTES`)."""
    found: dict[tuple[int, int], dict[str, float]] = {}
    for source, target, data in graph.edges(data=True):
        for name in LINK_ATTRIBUTES:
            if name not in data:
                continue
            try:
                value = math.nan if isinstance(data[name], bool) else float(data[name])
            except (TypeError, ValueError):
                value = math.nan
            if not 0 <= value < math.inf or (name == "loss" and value > 1) or (name == "bandwidth" and value == 0):
                raise InputError(
                    f"--topology {spec}: edge {names[source]} → {names[target]} has {name}={data[name]!r}, which is not possible"
                )
            found.setdefault((source, target), {})[name] = value
    return found


def _from_file(spec: str, name: str, names: Sequence[str], seed: int, rounds: int) -> list[nx.Graph]:
    found = find_file(name)
    if found is None:
        raise InputError(f"--topology {spec}: there is no such file, here or in {topologies_folder()}")
    file = found
    if file.suffix.lower() != ".py":
        try:
            graph = READERS[file.suffix.lower()](file)
            if isinstance(graph, nx.Graph):
                return [graph]
            raise ValueError("it holds several graphs")
        except Exception as error:  # every reader has exceptions of its own
            raise InputError(
                f"--topology {spec}: cannot be read as {file.suffix[1:]} ({' '.join(str(error).split())})"
            ) from None
    try:
        with streams.kept():  # generators of networkx draw from the global streams where they are given no seed
            streams.begin(seed, 0)
            function = runpy.run_path(str(file)).get("topology")
            if function is None:
                raise InputError(f"--topology {spec}: defines no function topology(agents, rng)")
            made = function(list(names), np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,))))
            graphs = list(itertools.islice(made, rounds)) if inspect.isgenerator(made) else [made]
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code
        raise InputError(f"--topology {spec}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    for graph in graphs:
        if not isinstance(graph, nx.Graph):
            raise InputError(f"--topology {spec}: topology() gave {type(graph).__name__}, not a networkx graph")
    if not graphs:
        raise InputError(f"--topology {spec}: topology() yields no graph")
    return graphs


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


def bytes_per_round(schedule: Schedule, arguments: Sequence[str], edges: Edges) -> tuple[int, int]:
    """(bytes of all agents, bytes that the busiest agent sends) in a round of a run with these options on these edges, by the
    formats that the run itself uses; without averaging, forwarding and the few final observations."""
    from .network.exchange import raw
    from .options import command_line
    from .plan import prepare
    from .team import Team

    plan = prepare(command_line(arguments), schedule)
    team: Team = plan.team()
    present, copies, horizon = set(edges), plan.config.copies, plan.config.horizon
    sent = [0] * len(team.specs)
    for edge, sections in team.wants().items():
        if edge in present:
            forms = [team.form(edge[0], name, 0, copies, horizon) for name in sections]
            packets = len({name == "policy" for name in sections})
            sent[edge[0]] += UNIT * packets + sum(form.size for form in forms)
    for (source, _), sections in team.team_wants().items():
        sent[source] += UNIT + sum(raw(team.form(source, name, 0, copies, horizon)).size for name in sections)
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
    reader.add_argument("--rounds", type=int, default=64, help="rounds to look at of a graph that changes (default 64)")
    reader.add_argument("--draw", metavar="FILE", help="write a picture (png, svg, pdf)")
    given, rest = reader.parse_known_args(list(arguments))
    if given.agents is not None and given.agents < 1:
        raise InputError(f"--agents {given.agents}: there must be at least one")
    world = make(given.env, 1, given.agents).spec
    names = [agent.name for agent in world.agents]
    if given.rounds < 1:
        raise InputError(f"--rounds {given.rounds}: there must be at least one")
    schedule = schedule_of(given.spec, names, world.interaction, given.seed, world.positions, world.moves, given.rounds)
    if schedule.moves:
        raise InputError(
            f"--topology {given.spec}: depends on where the agents of {given.env} go; run it, and look into graphs.jsonl"
        )
    every = [schedule.edges(number + 1) for number in range(1 if schedule.fixed else given.rounds)]
    graph = graph_of(every[0], names, schedule)
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
    total, most = bytes_per_round(schedule, options, every[0])
    figures["bytes per round (all, busiest agent)"] = (total, most)
    if not schedule.fixed:
        numbers = [len(edges) for edges in every]
        figures["rounds looked at"] = len(every)
        figures["different graphs"] = len(set(every))
        figures["directed edges (least, mean, most)"] = (min(numbers), sum(numbers) / len(numbers), max(numbers))
        figures["rounds whose union connects all"] = complete_window(every, len(names))
    print(
        f"{given.spec} for {len(names)} agents of {given.env}"
        + ("" if schedule.fixed else "; first its graph of round 1")
    )
    if schedule.nodes:
        print(f"  {'nodes became agents':<38}{schedule.nodes}")
    for name, value in figures.items():
        print(f"  {name:<38}{_shown(value)}")
    if len(graph) <= 64:
        print("  who hears whom (each line: an agent, then those that it hears)")
        for node in graph:
            print(f"    {node:>3} {names[node]:<16}{' '.join(map(str, sorted(graph.predecessors(node)))) or '-'}")
    if given.draw:
        draw(graph, path_given(given.draw, "--draw"))
        print(f"  drawn in {given.draw}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " · ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    from .run import entry

    sys.exit(entry(main, sys.argv[1:]))
