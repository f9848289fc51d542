"""Communication graphs: families, networkx generators, files, Python files; and ``python -m perla_net.topology``.

An edge j → i means that i hears j. Undirected graphs stand for both directions; self-loops are dropped, since an agent
always knows its own policy. Rank 0 turns ``--topology`` into a :class:`~perla_net.network.schedule.Schedule`, from which
every rank knows the graph of each round; the others import this module only where graphs are drawn during the run.
"""

from __future__ import annotations

import inspect
import itertools
import math
import runpy
from pathlib import Path
from typing import Any, Sequence

import networkx as nx
import numpy as np

from ..ground.errors import InputError
from ..ground.graph_files import find_file, topologies_folder
from ..settings.specs import parse_spec
from ..world import streams
from .families import generate, generated, is_random
from .influence import of_influence
from .nodes import by_place, of_file, of_function
from .readers import BY_INDEX, READERS, is_graph_file
from .schedule import LINK_ATTRIBUTES, Edges, Schedule, parse_away


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
    ``interaction``, ``influence:file=…`` (see ``influence.py``), a file, or a family or networkx generator with ``key=value,…``. A random family with ``every=M`` is
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
    if name == "influence":
        return [of_influence(spec, arguments, names)]
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
