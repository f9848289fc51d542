"""Averaging over the graph: rates that the spectral gap predicts, means that stay, and parameter sharing as the limit."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from test_network import small_team

from perla_net.ground.errors import InputError
from perla_net.network.consensus import ConsensusAlone
from perla_net.network.graphs import graph_of, schedule_of
from perla_net.network.measures import metropolis
from perla_net.settings.config import Compression, Consensus, Links
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

SIZE = 40


def alone_on(topology: str, number: int = 16, links=None, compression=None, seed: int = 0, **options) -> ConsensusAlone:
    schedule = schedule_of(topology, [str(index) for index in range(number)], None, seed)
    settings = Consensus(what="policies", **options)
    return ConsensusAlone(schedule, settings, Links(**(links or {})), Compression(**(compression or {})), SIZE, seed)


def mixing(topology: str, number: int = 16) -> np.ndarray:
    """The matrix with which one round averages."""
    schedule = schedule_of(topology, [str(index) for index in range(number)], None, 0)
    if schedule.undirected():
        return metropolis(nx.Graph(graph_of(schedule.edges(1), [""] * number).to_undirected()))
    weights = np.eye(number)
    for source, target in schedule.edges(1):
        weights[target, source] = 1
    return weights / weights.sum(0)


@pytest.mark.parametrize("topology", ["ring", "grid", "star", "erdos_renyi:p=0.3", "exponential", "hypercube"])
def test_disagreement_falls_at_the_rate_of_the_second_eigenvalue(topology):
    weights = mixing(topology)
    predicted = sorted(np.abs(np.linalg.eigvals(weights)))[-2]
    rounds = int(np.log(1e-4) / np.log(predicted))
    alone = alone_on(topology, weights="push_sum" if topology == "exponential" else "metropolis")
    before = np.linalg.norm(alone.vectors - alone.vectors.mean(0))
    found = alone.run(rounds)
    half = rounds // 2
    measured = (found[-1] / found[half]) ** (1 / (rounds - 1 - half))
    assert measured == pytest.approx(predicted, abs=0.01)
    exact = np.linalg.matrix_power(weights, rounds) @ alone_on(topology).vectors
    assert np.abs(alone.vectors - exact).max() < 1e-5 and found[-1] < 1e-3 * before


@pytest.mark.parametrize("topology", ["ring", "star", "matching", "erdos_renyi:p=0.2,every=1"])
def test_the_mean_stays_when_both_ends_of_a_link_fail_together(topology):
    alone = alone_on(topology, links={"loss": 0.3, "burst": 3.0, "bit_errors": 1e-5})
    found = alone.run(200)
    assert np.abs(alone.vectors.mean(0) - alone.mean).max() < 1e-6
    assert found[-1] < 1e-2 * found[0]


def test_loss_slows_averaging_down_as_predicted():
    """E‖x‖² falls by the spectral radius of E[W ⊗ W] off the mean, W over which links are up (ring of 8, each lost with 0.3)."""
    number, loss, keep = 8, 0.3, np.eye(8) - 1 / 8
    expected = np.zeros((64, 64))
    for up in itertools.product((0, 1), repeat=number):
        weights = np.eye(number)
        for i, there in enumerate(up):
            j = (i + 1) % number
            weights[[i, j], [j, i]] += there / 3
            weights[[i, j], [i, j]] -= there / 3
        chance = np.prod([1 - loss if there else loss for there in up])
        expected += chance * np.kron(keep @ weights, keep @ weights)
    predicted = np.abs(np.linalg.eigvals(expected)).max()
    assert predicted < 0.879**2, "λ₂ of E[WᵀW] bounds what one round leaves"
    squares = np.mean(
        [np.square(alone_on("ring", number, links={"loss": loss}, seed=seed).run(16)) for seed in range(80)], 0
    )
    assert (squares[15] / squares[7]) ** (1 / 8) == pytest.approx(predicted, abs=0.02)


@pytest.mark.parametrize(
    "topology", ["directed_ring", "star", "erdos_renyi:p=0.3,directed=true,every=1", "one_peer_exponential"]
)
def test_push_sum_arrives_at_the_mean_under_directed_loss(topology):
    alone = alone_on(topology, links={"loss": 0.3, "delay": 1.0, "delay_model": "geometric"}, weights="push_sum")
    alone.run(1500 if topology == "directed_ring" else 300)
    assert np.abs(alone.vectors - alone.mean).max() < 1e-4


def test_metropolis_would_not_under_directed_loss():
    alone = alone_on("ring", links={"loss": 0.3})
    alone.network.links.symmetric = False
    alone.run(300)
    assert np.abs(alone.vectors.mean(0) - alone.mean).max() > 1e-3


@pytest.mark.parametrize(
    ("method", "step", "error"), [("float16", 1.0, 1e-3), ("int8", 1.0, 1e-3), ("top_k", 0.25, 1e-2)]
)
def test_coded_averaging_arrives_at_the_mean(method, step, error):
    alone = alone_on("ring", compression={"method": method, "keep": 0.2}, links={"loss": 0.1}, step=step)
    alone.run(500)
    assert np.abs(alone.vectors.mean(0) - alone.mean).max() < 1e-5, "what one end gains the other loses"
    assert np.abs(alone.vectors - alone.mean).max() < error


def test_one_averaging_on_the_complete_graph_is_the_mean():
    alone = alone_on("complete")
    assert alone.run(1)[0] < 1e-5 and np.abs(alone.vectors - alone.mean).max() < 1e-6
    apart = alone_on("empty")
    before = apart.vectors.copy()
    apart.run(3)
    assert np.array_equal(apart.vectors, before)


PLAIN = {
    "ppo": {"epochs": 1, "minibatch": 10_000},
    "optimiser": {"method": "sgd", "max_gradient_norm": 0.0, "learning_rate": 0.05, "critic_learning_rate": 0.05},
    "returns": {"normalise_values": False},
    "identity": "yes",
}
"""Learning whose step is linear in the gradient, so that averaging steps is averaging gradients."""


def test_on_the_complete_graph_from_equal_starts_it_is_parameter_sharing():
    shared = small_team(algorithm="ps_ippo", topology="complete", **PLAIN)
    options = {"what": "parameters", "equal_start": True}
    averaged = small_team(algorithm="ippo", topology="complete", consensus=options, **PLAIN)
    apart = small_team(algorithm="ippo", topology="complete", **PLAIN)
    for simulation in (shared, averaged, apart):
        simulation.start()
        for _ in range(4):
            simulation.round()
    expected = shared.methods[0].learner
    for agent in averaged.methods:
        for what in ("policies", "critics"):
            ours, theirs = agent.learner.shared_vector(what), expected.shared_vector(what)
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=2e-6), what
    distance = (apart.methods[0].policy.flat - expected.policy.flat).abs().max()
    assert distance > 1e-3, "alone, agents learn something else"


@pytest.mark.parametrize("when", ["before", "after"])
def test_averaging_comes_before_or_after_learning(when):
    simulation = small_team(algorithm="ippo", topology="complete", consensus={"what": "policies", "when": when})
    simulation.start()
    learn, seen = simulation._learn, []

    def equal() -> bool:
        return all(torch.allclose(agent.policy.flat, simulation.methods[0].policy.flat) for agent in simulation.methods)

    def watched(rollouts, inboxes):
        seen.append(equal())
        found = learn(rollouts, inboxes)
        seen.append(equal())
        return found

    simulation._learn = watched
    simulation.round()
    seen.append(equal())
    assert seen == [when == "before", False, when == "after"]


def test_averaging_leaves_what_a_critic_means_as_it_was():
    simulation = small_team(algorithm="ippo", consensus={"what": "critics"})
    simulation.start()
    for _ in range(3):
        simulation.round()
    learner = simulation.methods[0].learner
    assert learner.scale != 1.0
    x = torch.randn(50, learner.critic.sizes[0])
    before = learner._in_units(learner.critic(x)).detach()
    learner.take_shared("critics", learner.shared_vector("critics"))
    assert torch.allclose(learner._in_units(learner.critic(x)).detach(), before, rtol=1e-4, atol=1e-4)


def test_who_hears_nobody_keeps_every_bit():
    alone, averaging = small_team(topology="empty"), small_team(topology="empty", consensus={"what": "parameters"})
    for simulation in (alone, averaging):
        simulation.start()
        for _ in range(3):
            simulation.round()
    for one, other in zip(alone.methods, averaging.methods):
        assert torch.equal(one.policy.flat, other.policy.flat)
        assert torch.equal(one.learner.critic.flat, other.learner.critic.flat)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"topology": "directed_ring"}, "needs graphs whose edges go both ways"),
        ({"topology": "one_peer_exponential"}, "use push_sum"),
        ({"links": {"budget": 10**6}}, "--links.budget 1000000"),
        ({"links": {"symmetric": "no", "loss": 0.1}}, "--links.symmetric no"),
        ({"algorithm": "ps_ippo"}, "are equal already"),
        ({"topology": "star", "consensus": {"what": "critics"}}, "average policies"),
        ({"agents": {"number": 4, "overrides": {"1": {"model": {"policy_hidden": [8]}}}}}, "needs equal networks"),
        ({"compression": {"method": "top_k"}, "consensus": {"what": "policies", "weights": "push_sum"}}, "use int8"),
        ({"links": {"delay": 1}}, "--links.delay: Metropolis weights would lose the mean"),
        ({"links": {"symmetric": "no", "bit_errors": 1e-6}}, "--links.symmetric no"),
        ({"consensus": {"what": "critics"}}, "the inputs of critics that embed neighbours, or read"),
        ({"consensus": {"what": "policies", "weights": "push_sum", "step": 0.5}}, "--consensus.step 0.5"),
        (
            {"topology": "one_way.py", "consensus": {"what": "policies", "weights": "push_sum"}},
            "its weight would vanish",
        ),
        ({"topology": "erdos_renyi:p=0.05,directed=true,every=1"}, "needs graphs whose edges go both ways"),
        ({"consensus": {"what": "none"}, "links": {"delay": 0.4}}, "a constant delay is a whole number"),
        ({"consensus": {"what": "none"}, "links": {"burst": 2, "loss": 0.9}}, "make --links.burst longer"),
        ({"consensus": {"what": "none"}, "links": {"hops": 2, "every": 2, "delay": 1}}, "cannot be forwarded"),
        (
            {"consensus": {"what": "none"}, "links": {"budget": 20000}, "compression": {"method": "top_k"}},
            "the first policy is sent whole",
        ),
        ({"consensus": {"what": "none"}, "links": {"burst": 0.5}}, "--links.burst 0.5"),
        ({"consensus": {"what": "none"}, "links": {"burst": 2, "loss": 0.3, "loss_bad": 0.2}}, "--links.loss 0.3"),
        (
            {
                "consensus": {"what": "none"},
                "compression": {"method": "top_k"},
                "links": {"delay": 1, "delay_model": "geometric"},
            },
            "--links.overtake false",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, changes, sentence):
    if changes.get("topology") == "one_way.py":
        file = tmp_path / "one_way.py"
        file.write_text(
            "import networkx as nx\ndef topology(a, r): return nx.DiGraph([(0, 1), (1, 2), (2, 1), (2, 3)])"
        )
        changes = changes | {"topology": str(file)}
    with pytest.raises(InputError) as caught:
        prepare(validated({"agents": 4, "consensus": {"what": "policies"}} | changes))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["none", "float16", "int8"])
@pytest.mark.parametrize("weights", ["metropolis", "push_sum"])
def test_coding_does_not_touch_the_units_of_critics(method, weights):
    """Returns of mean −50 000 and deviation 50: their square does not fit into half a float."""
    simulation = small_team(
        algorithm="ippo", consensus={"what": "critics", "weights": weights}, compression={"method": method}
    )
    for agent in simulation.methods:
        learner, mean = agent.learner, -50_000.0 - agent.index
        learner.moments[:] = 0.5 * mean, 0.5 * (mean * mean + 2500), 0.5
        learner._rescale(*learner._units())
        assert learner.scale == pytest.approx(50, rel=1e-6)
    for simulation.done in range(1, 13):
        simulation.network.begin(simulation.done)
        simulation.edges = simulation.plan.schedule.edges(simulation.done)
        simulation._average("after")
    for agent in simulation.methods:
        assert agent.learner.scale == pytest.approx(50, rel=1e-3)
        assert agent.learner.shift == pytest.approx(-50_001.5, abs=0.1)


def test_simulation_reports_disagreement():
    simulation = small_team(consensus={"what": "policies", "when": "before"})
    assert isinstance(simulation, Simulation)
    simulation.start()
    rows = [simulation.round()["metrics"]["disagreement"] for _ in range(4)]
    assert rows[0] > rows[-1] > 0


def test_weights_of_a_files_edges_are_said_not_to_be_used(tmp_path):
    (tmp_path / "weighted.edgelist").write_text("0 1 0.5\n1 2 0.25\n2 3 1.0\n")
    options = {"env": "spread", "agents": 4, "topology": str(tmp_path / "weighted.edgelist"), "algorithm": "ippo"}
    averaging = options | {"consensus": {"what": "policies"}}
    (note,) = prepare(validated(averaging)).notes
    assert "have weights of their own, which averaging does not use" in note
    assert prepare(validated(options)).notes == ()
