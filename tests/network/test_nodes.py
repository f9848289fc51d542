"""How a graph's nodes become agents: names are names in every format, numbers are in order, and nothing is both."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from perla_net.ground.errors import InputError
from perla_net.network.graphs import schedule_of
from perla_net.network.nodes import by_place, of_file, of_function

FOUR = ["agent_0", "agent_1", "agent_2", "agent_3"]
NUMERIC = ["3", "1", "0", "2"]


def edges(spec, names, interaction=None, seed=0):
    return schedule_of(str(spec), names, interaction, seed).edges(1)


WRITERS = {
    "graphml": nx.write_graphml,
    "gml": nx.write_gml,
    "gexf": nx.write_gexf,
    "json": lambda graph, file: Path(file).write_text(json.dumps(nx.node_link_data(graph, edges="edges"))),
    "links": lambda graph, file: Path(file).write_text(json.dumps(nx.node_link_data(graph, edges="links"))),
    "net": nx.write_pajek,
    "edgelist": lambda graph, file: nx.write_edgelist(graph, file),
    "weighted": lambda graph, file: nx.write_weighted_edgelist(graph, file),
    "adjlist": nx.write_adjlist,
}
DIRECTED = ("graphml", "gml", "gexf", "json", "links", "net")
ATTRIBUTES = ("graphml", "gexf", "json", "links")
"""Formats in which a node can have other attributes beside what it is called."""


def team_of(rng: np.random.Generator, number: int) -> list[str]:
    """Names: words, numbers in any order, from one on, words with odd letters."""
    order = rng.permutation(number)
    kinds = (
        [f"agent_{k}" for k in order],
        [str(k) for k in order],
        [str(k + 1) for k in range(number)],
        [f"Signal/{k}.b" for k in order],
        [f"ä{k}" for k in order],
        [f"{k}" if k else "x" for k in order],
    )
    return kinds[rng.integers(len(kinds))]


def graph_of(rng: np.random.Generator, number: int, directed: bool) -> set[tuple[int, int]]:
    """Random edges by place, at least one at every node, so that a list of edges has all of them."""
    found = {(node, (node + 1) % number) for node in range(number)}
    found |= {(int(a), int(b)) for a, b in rng.integers(0, number, (number, 2)) if a != b}
    return found if directed else found | {(b, a) for a, b in found}


def test_names_and_numbers_in_every_format(tmp_path, many):
    """Written by networkx under names or numbers in any order, a graph comes back as it was."""
    for case in range(many(200)):
        rng = np.random.default_rng([3, case])
        number, kind = int(rng.integers(2, 8)), str(rng.choice(list(WRITERS)))
        names = team_of(rng, number)
        directed = kind in DIRECTED and bool(rng.random() < 0.7)
        truth = graph_of(rng, number, directed)
        how = str(rng.choice(["names", "numbers", "agent", "label"] if kind in ATTRIBUTES else ["names", "numbers"]))
        clash = any(name.isdigit() for name in names)
        if how == "numbers" and clash:
            how = "names"  # a number would be a name then
        called = {
            "names": names,
            "numbers": [str(k) for k in sorted(rng.choice(50, number, replace=False) * 3 + rng.integers(2))],
            "agent": [f"n{k}" for k in rng.permutation(number)],
            "label": [f"n{k}" for k in rng.permutation(number)],
        }[how]
        graph = nx.DiGraph() if directed else nx.Graph()
        for place in rng.permutation(number):
            graph.add_node(called[place], **({how: names[place]} if how in ("agent", "label") else {}))
        graph.add_edges_from(((called[a], called[b]) for a, b in sorted(truth)), weight=1)
        ending = {"links": "json", "weighted": "edgelist"}.get(kind, kind)
        file = tmp_path / f"case.{ending}"
        WRITERS[kind](graph, file)
        found = edges(file, names)
        assert set(found) == truth, f"case {case}: {kind} by {how}, agents {names}, nodes {list(graph)}"


def test_graphs_by_index_go_by_place_whatever_agents_are_called(tmp_path):
    assert edges("interaction", NUMERIC, [(0, 1), (1, 2)]) == ((0, 1), (1, 2))
    assert edges("line", NUMERIC) == edges("line", FOUR)
    assert edges("erdos_renyi:p=0.5,every=2", NUMERIC) == edges("erdos_renyi:p=0.5,every=2", FOUR)
    assert edges("random_regular:d=2", NUMERIC, seed=3) == edges("random_regular:d=2", FOUR, seed=3)
    nx.write_graph6(nx.path_graph(4), tmp_path / "path.g6")
    assert edges(tmp_path / "path.g6", NUMERIC) == edges("line", FOUR)
    (tmp_path / "index.py").write_text(
        "import networkx as nx\ndef topology(agents, rng): return nx.path_graph(len(agents))\n"
    )
    assert edges(tmp_path / "index.py", NUMERIC) == edges("line", FOUR)
    (tmp_path / "name.py").write_text(
        "import networkx as nx\ndef topology(agents, rng): return nx.path_graph(sorted(agents))\n"
    )  # 0 – 1 – 2 – 3 by name: places 2, 1, 3, 0
    assert edges(tmp_path / "name.py", NUMERIC) == tuple(sorted([(2, 1), (1, 2), (1, 3), (3, 1), (3, 0), (0, 3)]))


def test_what_networkx_generates_with_numbers_goes_in_their_order():
    graph = nx.DiGraph([(2, 0), (1, 2)])
    assert list(graph) == [2, 0, 1] and set(by_place(graph, FOUR[:3]).edges) == {(2, 0), (1, 2)}


GML = """graph [ directed 1
  node [ id 0 label "agent_3" ] node [ id 1 label "agent_1" ] node [ id 2 label "agent_0" ] node [ id 3 label "agent_2" ]
  edge [ source 0 target 1 ] ]"""
NODES = '<node id="n0"><data key="d">{}</data></node><node id="n1"><data key="d">{}</data></node>'
GRAPHML = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d" for="node" attr.name="{}" attr.type="string"/>'
)
GEXF = """<gexf xmlns="http://www.gexf.net/1.2draft" version="1.2"><graph defaultedgetype="directed"><nodes>
<node id="3.0" label="3"/><node id="2.0" label="2"/><node id="1.0" label="1"/><node id="0.0" label="0"/>
</nodes><edges><edge id="0" source="3.0" target="2.0"/></edges></graph></gexf>"""


@pytest.mark.parametrize(
    ("name", "text", "names", "expected", "how"),
    [
        ("a.gml", GML, FOUR, {(3, 1)}, "by name (their label)"),
        ("a.gml", 'graph [ node [ id 1 label "3" ] node [ id 0 label "1" ] edge [ source 0 target 1 ] ]', ["1", "3"], {(0, 1), (1, 0)}, "by name"),
        ("a.gml", "graph [ directed 1 node [ id 7 ] node [ id 5 ] edge [ source 7 target 5 ] ]", FOUR[:2], {(1, 0)}, "by number"),
        ("a.gml", 'graph [ directed 1 node [ id 7 label "Rome" ] node [ id 5 label "Oslo" ] edge [ source 7 target 5 ] ]', FOUR[:2], {(1, 0)}, "by number"),
        ("a.gexf", GEXF, FOUR, {(3, 2)}, "by number (node k is agent k)"),
        ("a.gexf", GEXF, NUMERIC, {(0, 3)}, "by name"),
        ("a.edgelist", "1 3\n3 2\n4 1\n", FOUR, {(0, 2), (2, 0), (2, 1), (1, 2), (3, 0), (0, 3)}, "by number (their id): 1 is agent 0, … 4 is agent 3"),
        ("a.edgelist", "# weights\n0 1 0.5\n1 2 0.25\n2 3 1.0\n", FOUR, {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)}, "by number"),
        ("a.edgelist", "10 9\n9 8\n", FOUR[:3], {(2, 1), (1, 2), (1, 0), (0, 1)}, "10 is agent 2"),
        ("a.edgelist", "Rome Oslo\n", FOUR[:2], {(0, 1), (1, 0)}, "by their order in the file"),
        ("a.json", '{"directed": true, "nodes": [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}], "links": [{"source": 0, "target": 1}]}', FOUR, {(0, 1)}, "by number"),
        ("a.json", '{"directed": true, "nodes": [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}], "edges": [{"source": 3, "target": 1}]}', NUMERIC, {(0, 1)}, "by name"),
    ],
)  # fmt: skip
def test_files_as_users_have_them(tmp_path, name, text, names, expected, how):
    (tmp_path / name).write_text(text)
    schedule = schedule_of(str(tmp_path / name), names, None, 0)
    assert set(schedule.edges(1)) == expected and how in schedule.nodes


@pytest.mark.parametrize("attribute", ["agent", "label"])
def test_names_in_an_attribute(tmp_path, attribute):
    text = (
        GRAPHML.format(attribute)
        + f'<graph edgedefault="directed">{NODES}<edge source="n0" target="n1"/></graph></graphml>'
    )
    (tmp_path / "a.graphml").write_text(text.format("agent_1", "agent_0"))
    assert edges(tmp_path / "a.graphml", FOUR[:2]) == ((1, 0),)
    (tmp_path / "a.graphml").write_text(text.format("agent_1", "agent_9"))
    with pytest.raises(
        InputError, match=f"the {attribute} 'agent_1' of a node is an agent's name, but 'agent_9' is not"
    ):
        edges(tmp_path / "a.graphml", FOUR[:2])


@pytest.mark.parametrize(
    ("nodes", "names", "sentence"),
    [
        (["agent_0", "x"], FOUR[:2], "the id 'agent_0' of a node is an agent's name, but 'x' is not"),
        (["0", "1"], ["1", "2"], "the id '1' of a node is an agent's name, but '0' is not"),
        (["0", "x"], FOUR[:2], r"some nodes are numbers \('0'\) and some are not \('x'\)"),
        (["3", "3.0"], FOUR[:2], "two nodes have the same number"),
    ],
)
def test_mixtures_are_refused(nodes, names, sentence):
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    with pytest.raises(InputError, match=sentence):
        of_file("a.graphml", graph, names)


def test_several_links_between_two_nodes_must_agree(tmp_path):
    for other, right in ((0.1, True), (0.2, False)):
        graph = nx.MultiDiGraph()
        graph.add_edges_from([(0, 1, {"loss": 0.1}), (0, 1, {"loss": other})])
        nx.write_graphml(graph, tmp_path / "many.graphml")
        if right:
            assert edges(tmp_path / "many.graphml", FOUR[:2]) == ((0, 1),)
        else:
            with pytest.raises(InputError, match="has several edges from 0 to 1, and their links differ"):
                edges(tmp_path / "many.graphml", FOUR[:2])


def test_ids_come_before_labels():
    graph = nx.DiGraph()
    graph.add_nodes_from([("1", {"label": "0"}), ("0", {"label": "1"})])
    graph.add_edge("1", "0")
    assert set(of_file("a.graphml", graph, ["0", "1"])[0].edges) == {(1, 0)}


def test_what_says_two_things_is_refused():
    graph = nx.Graph()
    graph.add_nodes_from([("0", {"agent": "1"}), ("1", {"agent": "0"})])
    with pytest.raises(InputError, match="ids and agent attributes are both agents' names and do not agree"):
        of_file("a.graphml", graph, ["0", "1"])
    with pytest.raises(InputError, match="has both numbers"):
        of_function("a.py", nx.Graph([(0, "a")]), ["0", "a"])
