"""Messages, validation, ledger, and what an agent does with what it hears or does not hear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from perla_net.ground.processes import UNIT, Neighbourhood, Processes
from perla_net.methods.actor_critic import ActorCritic
from perla_net.methods.team import Team
from perla_net.network.exchange import Network
from perla_net.network.ledger import PURPOSES, Ledger
from perla_net.network.messages import MODELS, Form, Packet, Rejected, pack, unpack
from perla_net.settings.config import Config
from perla_net.settings.options import settings_with, validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.simulation.wishes import Traffic

FORM = Form("float32", (3, 5), b"12345678")


def section(values=None):
    values = np.arange(15, dtype=np.float32).reshape(3, 5) if values is None else values
    return pack("policy", values, FORM, sender=4, round_number=9)


def test_a_section_comes_back_as_it_was_sent():
    sent = section()
    assert sent.size == FORM.size and sent.size % UNIT == 0
    assert np.array_equal(unpack(sent, "policy", FORM, 4, 9), np.arange(15).reshape(3, 5))
    with pytest.raises(ValueError, match="read-only"):
        unpack(sent, "policy", FORM, 4, 9)[0, 0] = 1


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (("actions", FORM, 4, 9), "section"),
        (("policy", FORM, 5, 9), "sender"),
        (("policy", FORM, 4, 8), "round"),
        (("policy", Form("float32", (5, 3), b"12345678"), 4, 9), "shape"),
        (("policy", Form("int32", (3, 5), b"12345678"), 4, 9), "type"),
        (("policy", Form("float32", (3, 5), b"x2345678"), 4, 9), "architecture"),
    ],
)
def test_what_was_not_expected_is_rejected(expected, reason):
    with pytest.raises(Rejected, match=reason):
        unpack(section(), *expected)


def test_every_flipped_bit_is_noticed():
    for byte in range(FORM.size):
        damaged = section()
        damaged[byte] ^= 1 << (byte % 8)
        with pytest.raises(Rejected):
            unpack(damaged, "policy", FORM, 4, 9)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_non_finite_numbers_are_rejected(number):
    values = np.zeros((3, 5), np.float32)
    values[1, 2] = number
    with pytest.raises(Rejected, match="non-finite"):
        unpack(section(values), "policy", FORM, 4, 9)


def test_wrong_values_are_not_sent():
    with pytest.raises(ValueError, match="is not float32"):
        pack("policy", np.zeros((3, 4), np.float32), FORM, 0, 0)


def test_ledger_counts_by_edge_and_purpose():
    ledger = Ledger()
    ledger.note(0, 1, "policy", 100)
    ledger.note(0, 1, "policy", 28)
    ledger.note(2, 1, "actions", 7, messages=3)
    rows = ledger.take().astype(int).tolist()
    assert rows == [[0, 1, PURPOSES.index("policy"), 2, 128], [2, 1, PURPOSES.index("actions"), 3, 7]]
    assert len(ledger.take()) == 0


def small_team(topology="ring", **changes) -> Simulation:
    options = {"agents": 4, "topology": topology, "copies": 2, "horizon": 6, "rounds": 5, "ppo": {"minibatch": 8}}
    return Simulation(prepare(validated(options | changes)), Processes())


def exchanged(simulation: Simulation):
    """The first rollouts, and what everybody heard of them, without learning."""
    simulation.start()
    rollouts = simulation.world.collect([agent.player() for agent in simulation.methods])
    messages = {a.index: a.tell(r, simulation.wanted[a.index]) for a, r in zip(simulation.methods, rollouts)}
    edges = simulation.plan.schedule.edges(1)
    return rollouts, simulation.network.exchange(messages, 1, edges, rollouts[0].final_at[:, 1])


class Lossy(Network):
    """Damages the sections that ``damage`` names, on their way."""

    damage: set = set()

    def exchange(self, messages, round_number, edges, final_copies):
        inboxes = super().exchange(messages, round_number, edges, final_copies)
        for target, inbox in inboxes.items():
            for source, letter in inbox.items():
                for name in list(letter.sections):
                    if (source, target, name) in self.damage:
                        del letter.sections[name]
                        self.counts[target]["rejected"] += 1
        return inboxes


def lossy(simulation: Simulation, *damage) -> Simulation:
    simulation.network.__class__ = Lossy
    simulation.network.damage = set(damage)
    return simulation


def test_a_lost_policy_is_replaced_by_the_newest_held_and_ages():
    simulation = small_team()
    simulation.start()
    assert simulation.round()["metrics"]["policy_age"] == 0.0
    lossy(simulation, (1, 0, "policy"))
    ages = []
    for _ in range(3):
        row = simulation.round()["metrics"]
        ages.append(simulation.methods[0].ages[1])
        assert row["absent"] == 0.0 and row["rejected"] == 1
    assert ages == [1, 2, 3]
    lossy(simulation)
    simulation.round()
    assert simulation.methods[0].ages[1] == 0


def test_without_any_policy_or_without_experience_a_neighbour_is_absent():
    for name in ("policy", "actions", "presence", "observations"):
        simulation = lossy(small_team(), (1, 0, name))
        simulation.start()
        row = simulation.round()["metrics"]
        assert 1 not in simulation.methods[0].ages, name
        assert row["absent"] == 1 / 8, name
        assert all(torch.isfinite(agent.policy.flat).all() for agent in simulation.methods)


class Wire(Processes):
    """Two ranks in one process: what rank 0 hears from rank 1 is what ``told`` makes of what it sends."""

    size = 2

    def __init__(self, told):
        super().__init__()
        self.told = told

    def neighbourhood(self, sources, destinations):
        wire = self

        class Ends(Neighbourhood):
            def exchange(self, pieces, name):
                return [wire.told(np.concatenate([*those, np.zeros(0, np.uint8)])) for those in pieces]

        return Ends()


def test_a_message_damaged_on_the_wire_counts_as_lost():
    simulation = small_team()
    simulation.start()
    rollouts = simulation.world.collect([agent.player() for agent in simulation.methods])
    messages = {i: simulation.methods[i].tell(rollouts[i], ["policy"]) for i in range(4)}
    edges = ((0, 1), (1, 2), (2, 1))

    def network(told):
        wishes = replace(simulation.network.wishes, graph={edge: ["policy"] for edge in edges}, team={})
        return Network(Wire(told), [range(0, 2), range(2, 4)], wishes, 2, simulation.network.links)

    def from_agent_two(damage):
        form = simulation.network.wishes.expected(2, "policy", 2, 0)
        section = pack("policy", messages[2]["policy"], form, 2, 1)
        section[damage] ^= 1
        packet = Packet(MODELS, 2, 2, 1, 1, 1, 1, 2, [section])
        return lambda sent: np.concatenate(packet.pieces())

    for damage in (0, 70, 5000):
        torn = network(from_agent_two(damage))
        inboxes = torn.exchange({i: messages[i] for i in range(2)}, 1, edges, np.zeros(0, int))
        assert inboxes[1][2].sections == {} and torn.counts[1]["rejected"] == 1
        assert "policy" in inboxes[1][0].sections, "a neighbour on the same rank is heard"
    with pytest.raises(ValueError, match="not a packet"):
        network(lambda sent: np.full(128, 255, np.uint8)).exchange(
            {i: messages[i] for i in range(2)}, 1, edges, np.zeros(0, int)
        )


@pytest.mark.parametrize("share", ["weights", "outputs", "own_view"])
@pytest.mark.parametrize("form", ["state", "action", "control"])
def test_shares_and_forms_run_and_tell_the_same_policy(share, form):
    simulation = small_team(share=share, form=form)
    simulation.start()
    for _ in range(2):
        row = simulation.round()["metrics"]
        assert row["rejected"] == 0 and row["absent"] == 0 and np.isfinite(row["value_loss"])
    sent = {names for names in simulation.wanted.values().__iter__().__next__()}
    assert ("observations" in sent) == (share == "weights")
    assert ("policy" in sent) == (share != "outputs")


def test_weights_and_outputs_say_the_same():
    """π_j from its parameters and observations equals π_j as sent, so both shares give the same run."""
    curves = []
    for share in ("weights", "outputs"):
        simulation = small_team(share=share)
        simulation.start()
        curves.append([simulation.round()["metrics"]["value_loss"] for _ in range(3)])
    assert curves[0] == curves[1]


def test_who_wants_what():
    config = validated(Config(agents=4))
    spec = prepare(config).world.agents
    settings = [
        settings_with(config, [("x", change)])
        for change in ({}, {"algorithm": "mappo"}, {"samples": 0}, {"reward": {"mixing": "team"}, "share": "outputs"})
    ]
    edges = ((0, 1), (1, 0), (3, 0), (0, 2), (2, 3))
    traffic = Traffic(Team(spec, tuple(settings), edges, (ActorCritic,) * 4), config.compression)
    wants = traffic.wants()
    of_team = traffic.team_wants()
    assert wants[1, 0] == ["policy", "observations", "actions", "presence"]
    assert wants[3, 0] == ["outputs", "actions", "presence"]
    assert (2, 0) not in wants and (2, 0) not in of_team
    assert (0, 1) not in wants, "what a central critic wants it wants of all"
    assert of_team[0, 1] == of_team[2, 1] == of_team[3, 1] == ["observations"]
    assert (0, 2) not in wants and (0, 2) not in of_team, "K = 0 turns embedding off: nothing needs to travel"
    assert wants[2, 3] == ["policy", "observations", "actions", "presence"]
    assert of_team[2, 3] == of_team[0, 3] == ["rewards"]


def test_mixed_rewards():
    changes = {
        "agents": {
            "number": 4,
            "overrides": {
                "0": {"reward": {"mixing": "team"}},
                "1": {"reward": {"mixing": "neighbourhood", "spatial_discount": 0.5}},
            },
        }
    }
    simulation = small_team(**changes)
    rollouts, inboxes = exchanged(simulation)
    rewards = [rollout.reward.copy() for rollout in rollouts]

    def mixed(index: int) -> np.ndarray:
        agent: ActorCritic = simulation.methods[index]
        return agent.reward(rollouts[index], inboxes[index]).numpy()

    assert np.allclose(mixed(0), sum(rewards) / 4)
    assert np.allclose(mixed(1), rewards[1] + 0.5 * (rewards[0] + rewards[2]))
    assert np.allclose(mixed(2), rewards[2])


@pytest.mark.parametrize("share", ["weights", "outputs"])
@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize(
    "env", ["pettingzoo:toys", "pettingzoo:toys:kind=aim,agents=3", "pettingzoo:toys:kind=picture,agents=3"]
)
def test_a_receiver_knows_the_policy_as_its_owner_does(env, memory, share):
    """Every space, masks, deaths, images, and memories that are not zero when the rollout begins: the distribution that
    a receiver works out from the message is the sender's own at every state, and forbidden actions have probability zero."""
    simulation = small_team("complete", env=env, agents={}, model={"memory": memory}, share=share, horizon=9)
    simulation.start()
    simulation.round()
    rollouts = simulation._collect()
    messages = {a.index: a.tell(r, simulation.wanted[a.index]) for a, r in zip(simulation.methods, rollouts)}
    edges = simulation.plan.schedule.edges(2)
    inboxes = simulation.network.exchange(messages, 2, edges, rollouts[0].final_at[:, 1])
    for agent, rollout in zip(simulation.methods, rollouts):
        for other, heard in zip(
            agent.embedded, agent.hearing.hear(rollout, inboxes[agent.index], 2, agent.observation, agent.mask)
        ):
            sender = simulation.methods[other]
            assert memory == "none" or sender.memory_at_start.abs().max() > 0
            assert torch.equal(heard.outputs, sender.outputs)
            if sender.mask is not None:
                share_of = sender.distribution.probabilities(heard.outputs)[0]
                assert (sender.mask == 0).any() and (share_of[sender.mask == 0] == 0).all()
