"""Graphs that change: what each process promises, windows, relays, and what is refused."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest

from perla_net.ground.errors import InputError
from perla_net.network.graphs import graph_of, schedule_of
from perla_net.network.measures import metropolis
from perla_net.network.schedule import Schedule, complete_window, reach, relays, window_of

NAMES = [f"agent_{index}" for index in range(16)]


def schedule(spec: str, number: int = 16, **more) -> Schedule:
    return schedule_of(spec, NAMES[:number], None, more.pop("seed", 0), **more)


def rounds(made: Schedule, number: int) -> list:
    return [made.edges(t) for t in range(1, number + 1)]


SPECS = (
    "ring",
    "ring+star+grid",
    "matching",
    "one_peer_exponential",
    "erdos_renyi:p=0.2,every=1",
    "random_regular:d=3,every=3",
    "watts_strogatz:k=4,p=0.3,every=2",
    "ring:away=3@10-20/0-1@5",
)


@pytest.mark.parametrize("spec", SPECS)
def test_every_rank_finds_the_same_graphs_in_any_order(spec):
    made = schedule(spec)
    told = Schedule.from_data(json.loads(json.dumps(made.to_data())))
    assert [told.edges(t) for t in (7, 3, 12, 1)] == [made.edges(t) for t in (7, 3, 12, 1)]
    possible = set(made.potential())
    for edges in rounds(made, 25):
        assert set(edges) <= possible and list(edges) == sorted(edges)
        assert all(j != i and 0 <= j < 16 and 0 <= i < 16 for j, i in edges)


def test_matching_gives_everybody_at_most_one_partner():
    for number, alone in ((16, 0), (7, 1), (2, 0), (1, 1)):
        seen = rounds(schedule("matching", number), 40)
        for edges in seen:
            partners = dict(edges)
            assert len(partners) == len(edges) == number - alone
            assert all(partners[partners[agent]] == agent for agent in partners)
        assert number < 3 or len(set(seen)) > 3
    pairs = {edge for edges in rounds(schedule("matching", 4), 60) for edge in edges}
    assert len(pairs) == 12, "over time everybody meets everybody"


@pytest.mark.parametrize(("number", "error"), [(4, 0), (16, 0), (6, 0.083)])
def test_one_peer_exponential_averages_exactly_for_powers_of_two(number, error):
    made = schedule("one_peer_exponential", number)
    product = np.eye(number)
    for edges in rounds(made, int(np.ceil(np.log2(number)))):
        mixing = np.eye(number) / 2
        for j, i in edges:
            mixing[i, j] += 1 / 2
        product = mixing @ product
    assert np.abs(product - 1 / number).max() == pytest.approx(error, abs=1e-3 if error else 1e-12)


def test_a_list_takes_turns():
    made = schedule("ring+star+line")
    ring, star, line = (schedule(name).edges(1) for name in ("ring", "star", "line"))
    assert rounds(made, 6) == [ring, star, line] * 2
    slow = schedule("ring:every=2+star:every=2")
    assert rounds(slow, 6) == [ring, ring, star, star, ring, ring]


def test_a_drawn_graph_is_drawn_anew_and_no_oftener():
    made = schedule("erdos_renyi:p=0.2,every=3")
    seen = rounds(made, 12)
    assert all(seen[3 * k] == seen[3 * k + 1] == seen[3 * k + 2] for k in range(4)) and len(set(seen)) == 4
    assert rounds(schedule("erdos_renyi:p=0.2,every=3", seed=1), 12) != seen
    assert rounds(schedule("erdos_renyi:p=0.2,every=3,seed=0", seed=1), 12) == seen
    number = sum(len(edges) for edges in rounds(schedule("erdos_renyi:p=0.2,every=1"), 400))
    expected, deviation = 400 * 240 * 0.2, (400 * 480 * 0.2 * 0.8) ** 0.5
    assert abs(number - expected) < 2.58 * deviation
    assert all(len(edges) == 48 for edges in rounds(schedule("random_regular:d=3,every=1"), 20))
    one_way = schedule("erdos_renyi:p=0.3,directed=true,every=1").edges(1)
    assert any((i, j) not in one_way for j, i in one_way)


def test_who_is_away_neither_speaks_nor_hears():
    made, full = schedule("complete:away=3@10-12/0-1@5/7@20-"), schedule("complete").edges(1)
    for t in range(1, 25):
        gone = ({3} if 10 <= t <= 12 else set()) | ({0, 1} if t == 5 else set()) | ({7} if t >= 20 else set())
        assert made.edges(t) == tuple(edge for edge in full if not gone & set(edge))


def test_distance_hears_those_within_the_radius():
    places = tuple((float(k % 4), float(k // 4)) for k in range(16))
    grid = schedule("grid").edges(1)
    assert schedule("distance:radius=1", positions=places).edges(5) == grid
    assert schedule("distance:radius=1", positions=places).fixed
    moving = schedule("distance:radius=0.5", 3, can_move=True)
    assert moving.moves
    near = np.array([[0, 0], [0.3, 0.4], [0.31, 0.4]])
    assert moving.edges(1, near) == ((0, 1), (1, 0), (1, 2), (2, 1))
    assert moving.edges(1, near * 100) == ()


def test_distance_takes_nothing_that_would_mean_nothing():
    for spec, sentence in (("distance:radius=1,every=5", "'every'"), ("distance:radius=nan", "needs radius=R")):
        with pytest.raises(InputError, match=sentence):
            schedule(spec, can_move=True)


def test_a_python_file_may_yield_a_graph_per_round(tmp_path):
    file = tmp_path / "walk.py"
    file.write_text(
        "import networkx as nx\n"
        "def topology(agents, rng):\n"
        "    while True:\n"
        "        yield nx.gnp_random_graph(len(agents), 0.3, seed=int(rng.integers(99)))\n"
    )
    made = schedule(str(file), rounds=6)
    assert len(made.graphs) == 6 and len(set(made.graphs)) == 6 and not made.fixed
    assert schedule(str(file), rounds=6).graphs == made.graphs
    assert schedule(str(file), rounds=6, seed=1).graphs != made.graphs


def test_links_of_a_file_have_their_own_properties(tmp_path):
    graph = nx.path_graph(3)
    graph.edges[0, 1].update(loss=0.5, bandwidth=1000)
    nx.write_graphml(graph, tmp_path / "slow.graphml")
    made = schedule(str(tmp_path / "slow.graphml"), 3)
    assert made.links == ((0, 1, {"loss": 0.5, "bandwidth": 1000.0}), (1, 0, {"loss": 0.5, "bandwidth": 1000.0}))
    assert graph_of(made.edges(1), NAMES[:3], made).edges[0, 1]["loss"] == 0.5
    graph.edges[0, 1]["loss"] = 1.5
    nx.write_graphml(graph, tmp_path / "bad.graphml")
    with pytest.raises(InputError, match="loss=1.5"):
        schedule(str(tmp_path / "bad.graphml"), 3)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("ring:every=2", "is the same graph every time"),
        ("erdos_renyi:p=0.2,every=0", "every=0 is not a positive number"),
        ("ring+matching", "cannot stand in a list"),
        ("ring:every=2+star", "needs the same every=M"),
        ("ring+nosuch", "no family or networkx generator"),
        ("distance", "needs radius=R"),
        ("distance:radius=1", "does not tell where its agents are"),
        ("distance:radius=0", "needs radius=R"),
        ("matching:p=3", "does not take 'p'"),
        ("ring:away=16@3", "away '16@3' is not AGENTS@ROUNDS"),
        ("ring:away=3@0-4", "away '3@0-4'"),
        ("ring:away=3@5-4", "away '3@5-4'"),
        ("ring:away=all@5", "away 'all@5'"),
        ("random_regular:d=17,every=1", "random_regular"),
        ("matching:seed=-1", "seed=-1 is not a number from 0"),
        ("erdos_renyi:every=1,seed=1.5", "seed=1.5"),
        ("ring:away=1@3,away=2@4", "'away' is given twice"),
    ],
)
def test_sentences(spec, sentence):
    with pytest.raises(InputError) as caught:
        schedule(spec)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_windows():
    even = schedule("one_peer_exponential")
    assert complete_window(rounds(even, 16), 16) == 4, "without the hop of one, even and odd never meet"
    assert complete_window(rounds(schedule("ring"), 3), 16) == 1
    assert complete_window(rounds(schedule("empty"), 3), 16) is None
    split = [((0, 1), (1, 0)), ((2, 3), (3, 2)), ((1, 2), (2, 1))]
    assert complete_window(split * 3, 4) == 3 and complete_window(split, 4) == 3
    assert window_of(split, 4) == 3 and window_of(split[:2], 4) is None and window_of(split * 2, 4) == 3
    assert window_of([()], 1) == 1
    directed = [((0, 1), (1, 2)), ((2, 0),)]
    assert window_of(directed, 3) == 2 and window_of(directed[:1], 3) is None


@pytest.mark.parametrize(
    "spec", ["ring", "grid", "star", "tree", "erdos_renyi", "directed_ring", "exponential", "empty"]
)
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_relays_serve_everybody_within_reach_once_and_nobody_else(spec, hops):
    edges = schedule(spec).edges(1)
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(range(16))
    served = {agent: set() for agent in range(16)}
    for j, i in edges:
        served[j].add(i)
    for (origin, relay), targets in relays(16, edges, hops).items():
        for target in targets:
            assert graph.has_edge(relay, target) and target != origin
            assert target not in served[origin], "nobody gets a message twice"
            served[origin].add(target)
    for origin, reached in enumerate(reach(16, edges, hops)):
        lengths = nx.single_source_shortest_path_length(graph, origin, cutoff=hops)
        assert reached == {node: length for node, length in lengths.items() if node != origin}
        assert served[origin] == set(reached)


def test_metropolis_of_a_drawn_graph_is_doubly_stochastic():
    weights = metropolis(nx.Graph(graph_of(schedule("erdos_renyi:every=1").edges(3), NAMES).to_undirected()))
    assert np.allclose(weights.sum(0), 1) and np.allclose(weights.sum(1), 1) and (weights >= 0).all()
