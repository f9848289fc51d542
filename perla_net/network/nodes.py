"""How a graph's nodes become agents: the one place where that is decided.

Graphs by index (families, generators, ``interaction``, ``distance``, what a Python file makes of numbers) go by place: node k is agent
k. Graphs from files go by what their nodes are called:

1. by name, where the nodes' ids, else their attributes ``agent``, else ``label``, else ``name``, are all agents' names, whether these look like
   numbers or not (``3.0`` is the agent ``3``);
2. else by number, where the ids (else ``agent``, ``label``, ``name``) are all numbers: the least is agent 0, and so on;
3. else, where they have nothing to do with agents, by their order in the file.

What is half one and half the other is refused. A node of a GML file is called by its ``label``, as networkx writes it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from numbers import Integral
from typing import Any, Hashable, Sequence

import networkx as nx

from ..ground.errors import InputError

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def by_place(graph: nx.Graph, names: Sequence[str]) -> nx.DiGraph:
    """A graph by index: numbers in their order, other nodes in the graph's."""
    nodes = list(graph.nodes)
    if all(_is_whole(node) for node in nodes):
        nodes.sort()
    return _placed(graph, {node: place for place, node in enumerate(nodes)}, names)


def of_function(spec: str, graph: nx.Graph, names: Sequence[str]) -> tuple[nx.DiGraph, str]:
    """What a Python file made, and how its nodes became agents: numbers go by place, texts by what they are. Raises InputError."""
    whole = [node for node in graph.nodes if _is_whole(node)]
    if len(whole) == len(graph):
        return by_place(graph, names), ""
    if whole:
        other = next(node for node in graph.nodes if not _is_whole(node))
        raise InputError(
            f"--topology {spec}: has both numbers ({whole[0]}) and others ({other!r}) as nodes; use one or the other"
        )
    return of_file(spec, graph, names)


def of_file(spec: str, graph: nx.Graph, names: Sequence[str], gml: bool = False) -> tuple[nx.DiGraph, str]:
    """What a graph file holds, and how its nodes became agents, in words. As many nodes as agents. Raises InputError."""
    called = _called(graph, gml)
    place, how = _by_name(spec, called, names) or _by_number(spec, called) or (None, "")
    if place is None:
        place, how = range(len(names)), "by their order in the file (neither agents' names nor numbers)"
    return _placed(graph, dict(zip(graph.nodes, place)), names), how


def _called(graph: nx.Graph, gml: bool) -> dict[str, list[str | None]]:
    """What the nodes are called: by kind of name, a text for each node or None."""
    found: dict[str, list[str | None]] = {"id": [str(node) for node in graph.nodes]}
    for kind in ("agent", "label", "name"):
        told = [data.get(kind) for _, data in graph.nodes(data=True)]
        if any(text is not None for text in told):
            found[kind] = [None if text is None else str(text) for text in told]
    labels = found.get("label", [None])
    if gml and None not in labels and len(set(labels)) == len(labels):
        # In GML the id is a mere number; the label is what the node is called.
        others = {kind: texts for kind, texts in found.items() if kind in ("agent", "name")}
        return {"label": labels, **others, "number": found["id"]}
    return found


def _by_name(spec: str, called: dict[str, list[str | None]], names: Sequence[str]) -> tuple[list[int], str] | None:
    """Agents by name; None where no node is called like one."""
    number = {name: index for index, name in enumerate(names)}
    values = {value: index for index, name in enumerate(names) if (value := _value(name)) is not None}
    if len(values) < len(names):
        values = {}
    whole: dict[str, list[int]] = {}
    partly: tuple[str, str | None, str] | None = None
    for kind, texts in called.items():
        if kind == "number":
            continue
        found = [_agent(text, number, values) for text in texts]
        known = [text for text, index in zip(texts, found) if index is not None]
        if len(set(known)) == len(set(index for index in found if index is not None)) == len(names):
            whole[kind] = [index for index in found if index is not None]
        elif known and partly is None:
            if None not in found:
                twice = next(
                    text for text in known if known.count(text) > 1 or found.count(_agent(text, number, values)) > 1
                )
                raise InputError(f"--topology {spec}: two nodes are agent {twice} by their {kind}")
            partly = kind, texts[found.index(None)], str(known[0])
    if not whole:
        if partly:
            kind, stranger, known = partly
            other = "another node has none" if stranger is None else f"'{stranger}' is not"
            raise InputError(
                f"--topology {spec}: the {kind} '{known}' of a node is an agent's name, but {other}; name all agents or none of them"
            )
        return None
    kinds = list(whole)
    if kinds[:2] == ["id", "agent"] and whole[kinds[0]] != whole[kinds[1]]:
        node = next(k for k, pair in enumerate(zip(whole[kinds[0]], whole[kinds[1]])) if pair[0] != pair[1])
        raise InputError(
            f"--topology {spec}: ids and agent attributes are both agents' names and do not agree: node '{called['id'][node]}' has agent "
            f"'{called['agent'][node]}'; leave out one of them"
        )
    return whole[kinds[0]], f"by name (their {kinds[0]})"


def _agent(text: str | None, number: dict[str, int], values: dict[Decimal, int]) -> int | None:
    if text is None:
        return None
    return number[text] if text in number else values.get(_value(text))


def _by_number(spec: str, called: dict[str, list[str | None]]) -> tuple[list[int], str] | None:
    """Agents in the order of the nodes' numbers; None where the nodes have none."""
    for kind, texts in called.items():
        found = [_value(text) for text in texts]
        if None not in found:
            if len(set(found)) < len(found):
                raise InputError(
                    f"--topology {spec}: two nodes have the same number as their {kind}; numbers must differ"
                )
            order = sorted(found)
            if order == [Decimal(k) for k in range(len(order))]:
                return [int(value) for value in found], "by number (node k is agent k)"
            place = {value: index for index, value in enumerate(order)}
            told = f"by number (their {kind}): {texts[found.index(order[0])]} is agent 0, … {texts[found.index(order[-1])]} is agent {len(order) - 1}"
            return [place[value] for value in found], told
        if kind == "id" and any(value is not None for value in found):
            one, other = (next(t for t, v in zip(texts, found) if (v is None) == odd) for odd in (False, True))
            raise InputError(
                f"--topology {spec}: some nodes are numbers ('{one}') and some are not ('{other}'), nor are they all agents' names"
            )
    return None


def _value(text: str | None) -> Decimal | None:
    """A text as a number, if it is one."""
    return Decimal(text) if text is not None and NUMBER.fullmatch(text) else None


def _is_whole(node: Hashable) -> bool:
    return isinstance(node, Integral) and not isinstance(node, bool)


def _placed(graph: nx.Graph, index: dict[Any, int], names: Sequence[str]) -> nx.DiGraph:
    """Nodes 0 … n−1 in the order of agents, edges in both directions where the graph is undirected, without self-loops."""
    whole = nx.DiGraph()
    whole.add_nodes_from((k, {"agent": name}) for k, name in enumerate(names))
    for source, target, data in graph.edges(data=True):
        if source != target:
            whole.add_edge(index[source], index[target], **data)
            if not graph.is_directed():
                whole.add_edge(index[target], index[source], **data)
    return whole
