"""Graphs: families, files, figures with known values, and the sentences for what is wrong."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from conftest import ROOT, job

from perla_net.ground.errors import InputError
from perla_net.ground.pictures import draw_graph, short_names
from perla_net.network.families import FAMILIES
from perla_net.network.graphs import build, topologies_folder
from perla_net.network.measures import metropolis, properties

NAMES = [f"agent_{index}" for index in range(16)]


def graph(spec, number=16, interaction=None):
    return build(spec, [f"agent_{index}" for index in range(number)], interaction, seed=0)


@pytest.mark.parametrize(
    ("spec", "edges"),
    [("ring", 32), ("line", 30), ("star", 30), ("grid", 48), ("complete", 240), ("empty", 0), ("tree", 30), ("hypercube", 64),
     ("exponential", 64), ("watts_strogatz", 64), ("barabasi_albert", 56), ("random_regular", 64), ("circular_ladder", None),
     ("cycle", 32), ("path_graph", 30)],
)  # fmt: skip
def test_edges_of_families(spec, edges):
    try:
        found = graph(spec)
    except InputError as error:
        assert spec == "circular_ladder" and "32 nodes, but there are 16 agents" in str(error)
        return
    assert found.number_of_edges() == edges and not any(found.has_edge(node, node) for node in found)


def test_every_family_at_small_sizes():
    for name in FAMILIES:
        for number in (1, 2, 4):
            try:
                assert len(graph(name, number)) == number
            except InputError as error:
                assert "--topology" in str(error), name


def test_direction_of_an_edge():
    """j → i: i hears j. In the exponential graph every agent hears those 1, 2, 4, 8 places before it."""
    assert sorted(graph("exponential").predecessors(0)) == [8, 12, 14, 15]


@pytest.mark.parametrize(("number", "gap"), [(4, 0.6667), (5, 0.4607), (8, 0.1953), (16, 0.0507)])
def test_ring_spectra(number, gap):
    figures = properties(graph("ring", number))
    assert figures["Metropolis spectral gap"] == pytest.approx(gap, abs=1e-4)
    assert figures["algebraic connectivity"] == pytest.approx(2 - 2 * math.cos(2 * math.pi / number))
    assert figures["diameter"] == number // 2


@pytest.mark.parametrize(
    ("spec", "number", "gap", "connectivity"),
    [("star", 9, 1 / 9, 1.0), ("complete", 7, 1.0, 7.0), ("line", 8, 0.0507, 2 - 2 * math.cos(math.pi / 8))],
)
def test_other_spectra(spec, number, gap, connectivity):
    figures = properties(graph(spec, number))
    assert figures["Metropolis spectral gap"] == pytest.approx(gap, abs=1e-4)
    assert figures["algebraic connectivity"] == pytest.approx(connectivity)


def test_metropolis_weights_are_doubly_stochastic():
    weights = metropolis(nx.barabasi_albert_graph(12, 2, seed=1))
    assert np.allclose(weights.sum(0), 1) and np.allclose(weights, weights.T) and weights.min() >= 0


def test_effective_resistance_of_a_path():
    """Of a tree: the sum of all distances between pairs."""
    assert properties(graph("line", 5))["effective resistance"] == pytest.approx(
        sum(abs(i - j) for i in range(5) for j in range(i))
    )


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "directed"),
    [("grid_4x4", 16, 24, False), ("ring_16", 16, 16, False), ("small_world_16", 16, 32, False), ("scale_free_16", 16, 28, False),
     ("sioux_falls", 24, 76, True), ("nsfnet", 14, 21, False), ("ieee14", 14, 20, False), ("ieee33", 33, 32, False),
     ("abilene", 11, 14, False)],
)  # fmt: skip
def test_graph_files(name, nodes, edges, directed):
    found = graph(f"{name}.graphml", nodes)
    assert found.number_of_edges() == edges * (1 if directed else 2)
    assert properties(found)["strongly connected"]
    raw = nx.read_graphml(topologies_folder() / f"{name}.graphml")
    assert raw.graph.get("source"), "every file says where it is from"


def test_python_files_and_agents_names(tmp_path):
    assert graph("two_rings.py").number_of_edges() == 34
    file = tmp_path / "mine.py"
    file.write_text(
        "import networkx as nx\ndef topology(agents, rng):\n    return nx.DiGraph([(agents[2], agents[0]), (agents[1], agents[2])])\n"
    )
    assert sorted(graph(str(file), 3).edges) == [(1, 2), (2, 0)]
    nx.write_edgelist(nx.path_graph(4), tmp_path / "path.edgelist")
    assert graph(str(tmp_path / "path.edgelist"), 4).number_of_edges() == 6


@pytest.mark.parametrize(
    ("spec", "text", "sentence"),
    [
        ("nosuch", None, "no family or networkx generator 'nosuch'"),
        ("nowhere.graphml", None, "no such file"),
        ("x.graphml", "<graph", "cannot be read as graphml"),
        ("x.py", "y = 1", "defines no function topology"),
        ("x.py", "def topology(a, r): return 3", "gave int"),
        ("x.py", "def topology(a, r): 1/0", "ZeroDivisionError"),
        ("x.py", "def topology(a, r): yield 1", "gave int"),
        ("two.g6", ">>graph6<<A_\nA_\n", "several graphs"),
        ("random_regular:d=3,x=1", None, "unexpected keyword"),
        ("nsfnet.graphml", None, "has 14 nodes, but there are 16 agents"),
        ("interaction", None, "does not tell who influences whom"),
        ("random_regular:d=17", None, "--topology random_regular:d=17"),
    ],
)
def test_sentences(tmp_path, spec, text, sentence):
    if text:
        (tmp_path / spec).write_text(text)
        spec = str(tmp_path / spec)
    with pytest.raises(InputError) as caught:
        graph(spec)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_random_generators_of_networkx_take_the_runs_seed():
    one, again, other = (build("gnp_random_graph:p=0.5", NAMES, None, seed) for seed in (3, 3, 4))
    assert set(one.edges) == set(again.edges) != set(other.edges)


def test_report(tmp_path):
    text = job(0, "perla_net.topology", "ring", "--agents", "16", "--draw", str(tmp_path / "ring.png")).stdout
    assert "0.05075" in text and "32" in text and (tmp_path / "ring.png").stat().st_size > 5000
    done = job(0, "perla_net.topology", "rung", "--agents", "16", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_expected_bytes_are_those_of_a_run(tmp_path):
    """The report's bytes per round equal the ledger's of a round without final observations."""
    options = ("--agents", "4", "--copies", "4", "--horizon", "20")
    text = job(0, "perla_net.topology", "ring", *options).stdout
    job(
        0,
        "perla_net.run",
        *options,
        "--topology",
        "ring",
        "--rounds",
        "1",
        "--evaluate-episodes",
        "0",
        "--out",
        str(tmp_path / "run"),
    )
    rows = (tmp_path / "run" / "ledger.csv").read_text().splitlines()[1:]
    total = sum(int(row.split(",")[-1]) for row in rows)
    assert f"{total:,}" in text
    assert ROOT.exists()


@pytest.fixture
def axes():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(4, 4))
    yield axes
    pyplot.close(figure)


def test_a_team_on_its_graph_is_drawn_into_given_axes(axes):
    graph = nx.DiGraph([(0, 1), (1, 0), (1, 2), (2, 1)])
    sizes = {(0, 1): 1000, (1, 0): 2000, (1, 2): 4000, (2, 1): 1000}
    places = [(0, 0), (1, 0), (1, 3)]
    names = ["signal_0_0", "signal_0_1", "signal_1_0"]
    assert draw_graph(axes, graph, places, names=names, sizes=sizes) == "edges carry 1 kB to 4 kB a round"
    arrows = axes.patches
    widths = [arrow.get_linewidth() for arrow in arrows]
    assert len(arrows) == 4 and widths == sorted(widths) and widths[-1] > 2 * widths[0]
    assert axes.collections[0].get_offsets().tolist() == [list(place) for place in places]
    assert [text.get_text() for text in axes.texts] == ["0_0", "0_1", "1_0"]
    assert len(axes.figure.axes) == 2, "one colour bar"


def test_edges_that_carry_alike_need_no_colours(axes):
    graph = nx.DiGraph([(0, 1), (1, 0), (1, 2), (2, 1)])
    told = draw_graph(axes, graph, [(0.0,), (1.0,), (2.0,)], sizes={edge: 1000 + edge[0] for edge in graph.edges})
    assert told == "every edge carries about 1 kB a round" and len(axes.figure.axes) == 1
    assert len(axes.patches) == 2, "both directions are one line"
    bars = draw_graph(axes, graph, sizes={edge: 1000 * (1 + edge[0]) for edge in graph.edges}, bars=False)
    assert bars == "edges carry 1 kB to 3 kB a round" and len(axes.figure.axes) == 1


def test_values_absent_edges_and_an_agent_alone(axes):
    graph = nx.DiGraph([(0, 1)])
    assert draw_graph(axes, graph, values=[1.0, float("nan")], value_label="return", absent=[(0, 1)]) == "1 edges"
    assert axes.patches[0].get_linestyle() == ":" and axes.figure.axes[1].get_ylabel() == "return"
    alone = nx.DiGraph()
    alone.add_node(0)
    assert draw_graph(axes, alone, names=["pv_1"]) == "0 edges"


def test_names_lose_what_they_share():
    assert short_names(["signal_0_0", "signal_0_1", "signal_1_0"]) == ["0_0", "0_1", "1_0"]
    assert short_names(["vehicle_1", "vehicle_10"]) == ["1", "10"]
    assert short_names(["ant", "bee"]) == ["ant", "bee"] and short_names(["pv_1"]) == ["pv_1"]


def test_a_long_edge_goes_around_those_between(axes):
    draw_graph(axes, nx.Graph([(0, 1), (0, 2)]), [(0, 0), (1, 0), (2, 0)])
    bows = [arrow.get_connectionstyle().rad for arrow in axes.patches]
    assert bows == [0.0, 0.13]
