"""Placement of ranks on hosts: known smallest cuts, what is refused, and the file that mpirun reads."""

from __future__ import annotations

import random
from itertools import combinations

import networkx as nx
import pytest
from conftest import job

from perla_net.ground.errors import InputError
from perla_net.network.graphs import build
from perla_net.network.partition import contiguous, cut, over_ranks, partition
from perla_net.placement import main, read_hosts


def shuffled(graph: nx.Graph, seed: int) -> nx.DiGraph:
    """Both directions of a graph's edges, between nodes whose numbers say nothing about where they are."""
    numbers = list(range(len(graph)))
    random.Random(seed).shuffle(numbers)
    found = nx.DiGraph()
    found.add_nodes_from(range(len(graph)))
    found.add_edges_from(nx.relabel_nodes(graph, dict(zip(graph, numbers))).to_directed().edges)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("graph", "slots", "least"),
    [
        (nx.cycle_graph(16), (8, 8), 4),
        (nx.cycle_graph(16), (4, 12), 4),
        (nx.cycle_graph(64), (16, 16, 16, 16), 8),
        (nx.path_graph(12), (3, 9), 2),
        (nx.path_graph(12), (5, 1, 6), 4),
        (nx.grid_2d_graph(4, 4), (4, 4, 4, 4), 16),
        (nx.complete_graph(16), (8, 8), 128),
        (nx.complete_graph(6), (1, 5), 10),
        (nx.empty_graph(5), (2, 3), 0),
        (nx.barbell_graph(5, 0), (5, 5), 2),
    ],
)
def test_smallest_cuts(graph, slots, least, seed):
    graph = shuffled(graph, seed)
    placed = partition(graph, slots, seed=0)
    assert cut(graph, placed) == least
    assert [placed.count(host) for host in range(len(slots))] == list(slots)


@pytest.mark.parametrize("seed", range(6))
def test_no_bisection_of_a_small_graph_is_better(seed):
    graph = nx.gnp_random_graph(10, 0.4, seed=seed, directed=True)
    for _, _, data in graph.edges(data=True):
        data["weight"] = random.Random(seed).randint(1, 5)
    least = min(cut(graph, [int(node in part) for node in range(10)]) for part in combinations(range(10), 4))
    assert cut(graph, partition(graph, (6, 4), seed=0)) == least


def test_never_more_than_in_order_and_as_many_as_there_are_slots():
    for seed in range(20):
        rng = random.Random(seed)
        graph = nx.gnp_random_graph(rng.randint(1, 20), rng.random(), seed=seed, directed=True)
        slots = [rng.randint(1, 8) for _ in range(rng.randint(3, 6))]
        if sum(slots) < len(graph):
            continue
        placed, usual = partition(graph, slots, seed), contiguous(len(graph), slots)
        assert cut(graph, placed) <= cut(graph, usual) and sorted(placed) == usual


def test_weights_decide():
    """The edge 0 → 2 weighs more than all others together."""
    graph = nx.DiGraph([(0, 1, {"weight": 1}), (1, 0, {"weight": 1}), (2, 3, {"weight": 1.5}), (0, 2, {"weight": 5})])
    placed = partition(graph, (2, 2), seed=0)
    assert placed[0] == placed[2] != placed[1] == placed[3] and cut(graph, placed) == 3.5


def test_equal_arguments_give_equal_placements():
    graph = shuffled(nx.watts_strogatz_graph(40, 4, 0.3, seed=1), 2)
    assert partition(graph, (10, 13, 17), 5) == partition(graph.copy(), (10, 13, 17), 5)


def test_more_slots_than_nodes_leave_the_last_hosts_empty():
    assert contiguous(5, (4, 4, 4)) == [0, 0, 0, 0, 1]
    assert sorted(partition(nx.path_graph(5, create_using=nx.DiGraph), (4, 4, 4), 0)) == [0, 0, 0, 0, 1]


def test_ranks_that_hold_several_agents():
    """Ten agents on four ranks: blocks of 3, 3, 2, 2; edges within a rank never leave a host."""
    graph = build("ring", [f"agent_{index}" for index in range(10)], None, seed=0)
    between = over_ranks(graph, 4)
    assert dict(between.edges) == {(i, j): {"weight": 1} for i in range(4) for j in ((i + 1) % 4, (i - 1) % 4)}
    complete = over_ranks(nx.complete_graph(10, create_using=nx.DiGraph), 4)
    assert complete.edges[0, 1]["weight"] == 9 and complete.edges[2, 3]["weight"] == 4
    assert cut(complete, [0, 0, 1, 1]) == 2 * 6 * 4


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        (["a:8", "b:4"], {"a": 8, "b": 4}),
        (["node-1.x slots=3", "10.0.0.2"], {"node-1.x": 3, "10.0.0.2": 1}),
        (["b", "a", "b"], {"b": 2, "a": 1}),
    ],
)
def test_hosts(words, hosts):
    assert read_hosts(words, "--hosts") == hosts and list(read_hosts(words, "--hosts")) == list(hosts)


@pytest.mark.parametrize(
    "word", ["", "a:", "a:0", "a:x", "a:-3", ":3", "a b", "a slots=", "a slots=0", "-a:1", "a:1:2"]
)
def test_hosts_that_are_none(word):
    with pytest.raises(InputError, match="--hosts: .* is not a host with its slots"):
        read_hosts(["b:2", word], "--hosts")


def test_a_ring_whose_numbers_are_permuted(tmp_path):
    """A ring in a file, its numbers shuffled: 4 directed edges lead from host to host, and the file says who is where."""
    numbers = [0, 9, 4, 13, 2, 7, 11, 1, 15, 6, 12, 3, 10, 5, 14, 8]
    ring = tmp_path / "ring.edgelist"
    ring.write_text("".join(f"{numbers[k]} {numbers[k - 1]}\n" for k in range(16)))
    out, hostfile = tmp_path / "order", tmp_path / "hosts"
    hostfile.write_text("# two machines\nnode1:8\n\nnode2 slots=8 # the new one\n")
    arguments = (str(ring), "--hostfile", str(hostfile), "--out", str(out))
    text = job(0, "perla_net.placement", *arguments).stdout
    assert "between hosts: 4 of 32; 28 if" in text
    order = out.read_text().splitlines()
    assert len(order) == 16 and order.count("node1") == order.count("node2") == 8
    changes = sum(order[numbers[k]] != order[numbers[k - 1]] for k in range(16))
    assert changes == 2, "each host has an arc of the ring"
    assert f"-rankmap {','.join(str(int(host != order[0])) for host in order)}" in text
    job(0, "perla_net.placement", *arguments)
    assert out.read_text().splitlines() == order


def test_report_with_fewer_ranks_than_agents(tmp_path):
    arguments = (
        "complete",
        "--agents",
        "10",
        "--ranks",
        "4",
        "--hosts",
        "a:1,b:3,c:9",
        "--out",
        str(tmp_path / "order"),
    )
    text = job(0, "perla_net.placement", *arguments).stdout
    assert "10 agents of traffic:grid on 4 ranks" in text and "c, 0 of 9 slots: ranks -, agents -" in text
    order = (tmp_path / "order").read_text().split()
    assert sorted(order) == ["a", "b", "b", "b"]
    assert order.index("a") in (2, 3) and "between hosts: 32 of 90; 42 if" in text, "alone goes a rank with two agents"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ring", "--hosts", "a:8,b:4"), "--hosts a:8,b:4: 16 ranks need as many slots, but the hosts have 12"),
        (("ring", "--hosts", "a:8,b:0"), "'b:0' is not a host"),
        (("ring",), "either by --hosts"),
        (("ring", "--hosts", "a:16", "--hostfile", "x"), "either by --hosts"),
        (("ring", "--hostfile", "{nowhere}"), "cannot be read"),
        (("ring", "--hostfile", "{empty}"), "names no host"),
        (("ring", "--hosts", "a:16", "--ranks", "17"), "--ranks 17: each rank needs an agent"),
        (("ring", "--hosts", "a:16", "--agents", "0"), "--agents 0"),
        (("ring", "--hosts", "a:16", "--out", "{nowhere}/order"), "cannot be written"),
        (("rnig", "--hosts", "a:16"), "no family or networkx generator 'rnig'"),
        (("ring", "--hosts", "a:16", "--rank", "3"), "--rank"),
    ],
)
def test_what_is_refused(tmp_path, capsys, arguments, sentence):
    (tmp_path / "empty").write_text("# nobody\n")
    places = {"nowhere": tmp_path / "nowhere", "empty": tmp_path / "empty"}
    with pytest.raises(InputError) as caught:
        main([word.format(**places) for word in arguments])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_bad_input_is_one_sentence_and_status_2():
    done = job(0, "perla_net.placement", "ring", "--hosts", "a:8", check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("perla_net: --hosts a:8: ")


def test_a_graph_that_changes_is_placed_by_how_often_it_has_each_edge(capsys):
    """Without the hop of one, which a quarter of the rounds has, even and odd agents never talk."""
    assert main(["one_peer_exponential", "--agents", "16", "--hosts", "a:8,b:8"]) == 0
    told = capsys.readouterr().out
    assert "directed edges between hosts: 4 of 16; 7.5 if" in told
    assert "agents 0 2 4 6 8 10 12 14" in told
    with pytest.raises(InputError, match="depends on where the agents go"):
        main(["distance:radius=1", "--env", "spread", "--agents", "4", "--hosts", "a:2,b:2"])
