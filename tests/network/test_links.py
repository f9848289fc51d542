"""Links: their statistics against their models, damage that is never accepted, budgets, delays, relays, compression."""

from __future__ import annotations

import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from test_network import exchanged, small_team

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.network import compression
from perla_net.network.cost import Medium, medium_of, seconds
from perla_net.network.exchange import Network, Wishes
from perla_net.network.links import LinkModel, damaged
from perla_net.network.messages import EXPERIENCE, MODELS, Form, Packet, Rejected, pack, unpack
from perla_net.settings.config import Cost, Links
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.wishes import Traffic

ROUNDS = 2000


def model(symmetric=False, overrides=None, seed=0, **options) -> LinkModel:
    return LinkModel(Links(**options), seed, symmetric, overrides or {})


def packet(sender=0, target=1, kind=MODELS, size=1000) -> Packet:
    return Packet(kind, sender, sender, target, 1, 1, 1, 1, [np.zeros(size, np.uint8)])


def fates(links: LinkModel, sender=0, target=1, kind=MODELS, number=ROUNDS) -> list:
    return [links.fate(packet(sender, target, kind), t, 0, True) for t in range(1, number + 1)]


def within_99(count: int, number: int, share: float) -> bool:
    return abs(count - number * share) < 2.576 * math.sqrt(number * share * (1 - share)) + 0.5


# Statistics over 2000 rounds


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.9])
def test_bernoulli_loss_is_the_rate_that_was_asked_for(loss):
    lost = [[fate.lost for fate in fates(model(loss=loss), sender, 9)] for sender in range(4)]
    assert within_99(sum(map(sum, lost)), 4 * ROUNDS, loss)
    after_loss = [later for gone in lost for now, later in zip(gone, gone[1:]) if now]
    assert within_99(sum(after_loss), len(after_loss), loss), "rounds are independent"


@pytest.mark.parametrize(("loss", "burst"), [(0.3, 5.0), (0.1, 3.0), (0.5, 8.0)])
def test_bursts_have_the_length_and_the_rate_that_were_asked_for(loss, burst):
    links = model(loss=loss, burst=burst)
    lengths, lost = [], 0
    for sender in range(8):
        run = 0
        for fate in fates(links, sender, 9):
            if fate.lost:
                run += 1
            elif run:
                lengths.append(run)
                run = 0
            lost += fate.lost
    # Bursts are geometric with mean b: variance b (b − 1). The rate's variance is that of a two-state chain.
    deviation = math.sqrt(burst * (burst - 1) / len(lengths))
    assert abs(np.mean(lengths) - burst) < 2.576 * deviation
    correlation = 1 - 1 / burst - loss / (burst * (1 - loss))
    variance = loss * (1 - loss) * (1 + correlation) / (1 - correlation) / (8 * ROUNDS)
    assert abs(lost / (8 * ROUNDS) - loss) < 2.576 * math.sqrt(variance)


def test_of_two_directions_that_fail_together_the_worse_counts():
    for edge in ((0, 1), (1, 0)):
        links = model(symmetric=True, overrides={edge: {"loss": 1.0}})
        assert all(fate.lost for fate in fates(links, number=20) + fates(links, 1, 0, number=20))


def test_both_states_of_a_link_may_lose():
    links = model(loss=0.2, burst=10.0, loss_good=0.1, loss_bad=0.6)
    states = [links.bad(0, 1, t) for t in range(1, 20_001)]
    lost = [fate.lost for fate in fates(links, number=20_000)]
    assert abs(np.mean(states) - 0.2) < 0.03
    for state, share in ((False, 0.1), (True, 0.6)):
        chosen = [gone for gone, here in zip(lost, states) if here is state]
        assert within_99(sum(chosen), len(chosen), share)
    assert [links.bad(0, 1, t) for t in (77, 5, 1999)] == [states[76], states[4], states[1998]], (
        "any order, same states"
    )


def test_delays_follow_their_distribution():
    assert {fate.delay for fate in fates(model(delay=3))} == {3}
    drawn = np.array(
        [fate.delay for sender in range(5) for fate in fates(model(delay=2.0, delay_model="geometric"), sender, 9)]
    )
    stays = 2 / 3  # q with mean q / (1 − q) = 2
    expected = np.array([(1 - stays) * stays**d for d in range(12)] + [stays**12]) * len(drawn)
    seen = np.array([np.sum(drawn == d) for d in range(12)] + [np.sum(drawn >= 12)])
    assert ((seen - expected) ** 2 / expected).sum() < 26.2, "χ² of 12 degrees of freedom, 99 %"
    assert abs(drawn.mean() - 2) < 2.576 * math.sqrt(stays / (1 - stays) ** 2 / len(drawn))


def test_flips_follow_the_bit_error_rate():
    counts = [len(fate.flips) for fate in fates(model(bit_errors=1e-4), number=1000)]
    mean = 8 * 1000 * 1e-4
    assert abs(np.mean(counts) - mean) < 2.576 * math.sqrt(mean / 1000)


def test_fates_depend_on_seed_link_round_and_kind_and_on_nothing_else():
    links = model(loss=0.5, burst=2.0)
    forward = fates(links, number=200)
    fresh = model(loss=0.5, burst=2.0)
    assert [fresh.fate(packet(), t, 0, True) for t in range(200, 0, -1)] == forward[::-1]
    assert [fate.lost for fate in fates(model(loss=0.5, seed=1))] != [fate.lost for fate in fates(model(loss=0.5))]
    one, other, kind = fates(model(loss=0.5)), fates(model(loss=0.5), 1, 0), fates(model(loss=0.5), kind=EXPERIENCE)
    for different in (other, kind):
        agree = sum(a.lost == b.lost for a, b in zip(one, different))
        assert within_99(agree, ROUNDS, 0.5), "links, directions and kinds of packets are independent"
    together = model(symmetric=True, loss=0.5, bit_errors=1e-4, delay=1.0, delay_model="geometric")
    assert fates(together) == fates(together, 1, 0), "both ends fail together"


def test_a_link_may_have_its_own_loss_and_delay():
    links = model(overrides={(0, 1): {"loss": 1.0}, (1, 0): {"delay": 4.0}}, loss=0.0)
    assert all(fate.lost for fate in fates(links, number=50))
    assert {(fate.lost, fate.delay) for fate in fates(links, 1, 0, number=50)} == {(False, 4)}
    assert not links.clean and model().clean


# Damage


def test_a_corrupted_message_is_never_accepted():
    """100 000 damaged sections, of one to eight flipped bits anywhere, header and padding included."""
    rng = np.random.default_rng(0)
    form = Form("float32", (3, 5), b"12345678")
    whole = pack("policy", np.arange(15, dtype=np.float32).reshape(3, 5), form, 4, 9)
    accepted = 0
    for _ in range(100_000):
        flips = rng.choice(8 * whole.size, size=rng.integers(1, 9), replace=False)
        try:
            unpack(damaged([whole], tuple(flips.tolist()))[0], "policy", form, 4, 9)
            accepted += 1
        except Rejected:
            pass
    assert accepted == 0 and unpack(whole, "policy", form, 4, 9)[2, 4] == 14


def test_damage_hits_the_bits_that_it_names_and_nothing_else():
    sections = [np.zeros(4, np.uint8), np.zeros(4, np.uint8)]
    first, second = damaged(sections, (0, 39))
    assert first.tolist() == [1, 0, 0, 0] and second.tolist() == [128, 0, 0, 0]
    assert not sections[0].any(), "the sender's own copy stays as it was"


def test_bit_errors_in_a_run_are_rejected_and_counted():
    simulation = small_team(links={"bit_errors": 2e-5}, rounds=4)
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(4)]
    assert sum(row["rejected"] for row in rows) > 0 and all(np.isfinite(row["value_loss"]) for row in rows)
    assert any(row["absent"] for row in rows)


# Loss and delay in a run


def test_lost_packets_leave_neighbours_absent_or_policies_old():
    simulation = small_team(links={"loss": 0.4}, rounds=30, topology="complete")
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(30)]
    packets = sum(row["packets"] for row in rows)
    assert packets == 30 * 24 and within_99(sum(row["loss"] * row["packets"] for row in rows), packets, 0.4)
    later = rows[10:]
    assert within_99(sum(12 * row["absent"] for row in later), 20 * 12, 0.4), "experience lost: absent"
    # P(age = a | heard) = 0.6 · 0.4^a: the mean is 2/3
    assert abs(np.mean([row["policy_age"] for row in later]) - 2 / 3) < 0.25


def test_a_constant_delay_is_the_age_of_every_policy():
    simulation = small_team(links={"delay": 2})
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(4)]
    assert [row["absent"] for row in rows] == [1, 1, 0, 0]
    assert [row["policy_age"] for row in rows] == [None, None, 2, 2]
    everything = small_team(links={"delay": 2, "delays": "everything"})
    everything.start()
    rows = [everything.round()["metrics"] for _ in range(4)]
    assert all(row["absent"] == 1 and row["late"] == 8 for row in rows), "experience is of use only in its round"
    outputs = small_team(links={"delay": 1}, share="outputs")
    outputs.start()
    assert outputs.round()["metrics"]["late"] == 8, "distributions of one round's states come too late as well"


def arrivals(overtake: bool, delays: dict[int, int]) -> list[list[int]]:
    """In which rounds were the packets made that arrive in each round, when that of round t takes delays[t]."""
    form = Form("float32", (4,))
    links = model(delay=1, overtake=overtake)
    network = Network(
        Processes(), [range(2)], Wishes({(0, 1): ["policy"]}, {}, lambda *_: form, lambda *_: None), 1, links
    )
    seen = []
    for t in range(1, 9):
        network.begin(t)
        sent = replace(packet(), made=t, due=t + delays.get(t, 0))
        seen.append([arrived.made for arrived in network.due([sent], (MODELS,))])
    return seen


def test_packets_overtake_or_not():
    delays = {1: 3, 2: 0, 3: 1}
    assert arrivals(True, delays) == [[], [2], [], [1, 3, 4], [5], [6], [7], [8]]
    assert arrivals(False, delays) == [[], [], [], [1, 2, 3, 4], [5], [6], [7], [8]]


def test_an_overtaken_policy_does_not_replace_a_newer_one():
    simulation = small_team(links={"delay": 1.5, "delay_model": "geometric"}, rounds=40)
    simulation.start()
    held = []
    for _ in range(40):
        simulation.round()
        held.append(simulation.methods[0].hearing.held_since[1])
    assert held == sorted(held) and len(set(held)) > 5


def test_communication_every_few_rounds():
    simulation = small_team(links={"every": 3})
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(5)]
    assert [row["bytes"] > 0 for row in rows] == [True, False, False, True, False]
    assert [row["absent"] for row in rows] == [0, None, None, 0, None]


# Budget


def whole_message(simulation) -> tuple[int, int]:
    """Bytes of the policy packet and of the experience packet to one neighbour."""
    config = simulation.config
    traffic = Traffic(simulation.team, config.compression)
    sizes = {n: traffic.form(0, n, 0, config.copies, config.horizon).size for n in traffic.wants()[0, 1]}
    return 64 + sizes["policy"], 64 + sum(size for name, size in sizes.items() if name != "policy")


def test_a_budget_sends_policies_first_and_as_many_copies_as_fit():
    policy, experience = whole_message(small_team(copies=8))
    budget = 2 * policy + experience // 2
    simulation = small_team(copies=8, links={"budget": budget})
    simulation.start()
    first = simulation.round()
    sent = {}
    for source, _, _, _, size in first["ledger"]:
        sent[int(source)] = sent.get(int(source), 0) + int(size)
    assert all(0.8 * budget < size <= budget for size in sent.values())
    assert first["metrics"]["unsent"] == 4, "each agent has told one of its two neighbours nothing of its experience"
    assert first["metrics"]["absent"] == 0.5

    def hearers() -> list[int]:
        return [agent.index for agent in simulation.methods if 1 in agent.ages]

    before = hearers()
    simulation.round()
    assert before == [0] and hearers() == [2], "neighbours take turns"


def heard(agent, rollout, inbox):
    """What an agent makes of what arrived in round 1."""
    return agent.hearing.hear(rollout, inbox, 1, agent.observation, agent.mask)


def test_what_a_budget_leaves_out_is_absent_in_the_critic():
    policy, experience = whole_message(small_team(copies=8))
    simulation = small_team(copies=8, links={"budget": 2 * policy + experience // 2})
    rollouts, inboxes = exchanged(simulation)
    agent, inbox = simulation.methods[0], inboxes[0]
    full = small_team(copies=8)
    whole, complete = exchanged(full)
    for other, part, everything in zip(
        agent.embedded, heard(agent, rollouts[0], inbox), heard(full.methods[0], whole[0], complete[0])
    ):
        copies = inbox[other].copies
        assert 0 < copies < 8, "in round 1 both neighbours begin with agent 0"
        running = np.zeros((7, 8), bool)
        running[:, :copies] = True
        there = np.concatenate([running.ravel(), rollouts[0].final_at[:, 1] < copies])
        assert part.present.numpy().tolist() == there.tolist()
        assert np.allclose(part.outputs[there], everything.outputs[there])
        taken = there[: 6 * 8]
        assert (part.action[taken] == everything.action[taken]).all()


# Relays


def test_messages_are_forwarded_once_within_the_hops():
    for hops in (1, 2, 3):
        simulation = small_team(agents=8, topology="line", links={"hops": hops})
        simulation.start()
        row = simulation.round()["metrics"]
        assert row["absent"] == 0 and row["policy_age"] == 0
        middle = simulation.methods[3]
        assert sorted(middle.ages) == [j for j in range(8) if 0 < abs(j - 3) <= hops]
        assert all(middle.hops[j] == abs(j - 3) for j in middle.ages)
        pairs = sum(1 for j in range(8) for i in range(8) if 0 < abs(j - i) <= hops)
        assert row["packets"] == 2 * pairs, "a policy and an experience packet for each pair, and no more"


def test_with_delays_age_grows_by_the_hop():
    simulation = small_team(agents=5, topology="line", links={"hops": 2, "delay": 1}, rounds=6)
    simulation.start()
    for _ in range(6):
        simulation.round()
    assert simulation.methods[0].ages == {1: 1, 2: 2}


@pytest.mark.parametrize(
    ("topology", "links"),
    [
        ("erdos_renyi:p=0.3,every=1", {"hops": 3, "delay": 1.0, "delay_model": "geometric", "loss": 0.2}),
        ("ring+star+grid", {"hops": 2, "delay": 1}),
        ("grid", {"hops": 3}),
    ],
)
def test_nobody_takes_the_same_message_twice(topology, links):
    """What comes again, by another way or overtaken, is dropped and goes no further; on a fixed graph nothing is even sent
    twice."""
    simulation = small_team(agents=8, topology=topology, links=links, rounds=12)
    simulation.start()
    sent: dict = {}
    taken: dict = {}
    network = simulation.network
    dispatch, accept = network.dispatch, network._accept

    def count(table, packet) -> None:
        key = packet.origin, packet.made, packet.kind, packet.target
        table[key] = table.get(key, 0) + 1
        assert packet.target != packet.origin

    def watched(packet, turn=0):
        count(sent, packet)
        return dispatch(packet, turn)

    def watched_accept(packet, inboxes):
        found = accept(packet, inboxes)
        if found:
            count(taken, packet)
        return found

    network.dispatch, network._accept = watched, watched_accept
    for _ in range(12):
        simulation.round()
    assert max(taken.values()) == 1 and any(key[0] != key[3] for key in taken)
    assert max(sent.values()) == 1 or topology != "grid"


def test_rewards_are_discounted_by_the_hop():
    changes = {"links": {"hops": 2}, "reward": {"mixing": "neighbourhood", "spatial_discount": 0.5}}
    simulation = small_team(agents=5, topology="line", **changes)
    rollouts, inboxes = exchanged(simulation)
    rewards = [rollout.reward.copy() for rollout in rollouts]
    mixed = simulation.methods[0].reward(rollouts[0], inboxes[0]).numpy()
    assert np.allclose(mixed, rewards[0] + 0.5 * rewards[1] + 0.25 * rewards[2])


# Compression


@pytest.mark.parametrize(("coding", "error"), [("float16", 2**-11), ("bfloat16", 2**-8), ("int8", 1 / 127)])
def test_codings_keep_numbers_to_their_precision(coding, error):
    rng = np.random.default_rng(1)
    for shape, groups in (((300,), (100, 150, 50)), ((40, 6), ())):
        values = rng.standard_normal(shape).astype(np.float32)
        if groups:
            values[100:250] *= 1000  # a tensor of another size must not spoil the others
        else:
            values[:, 2] *= 1000
        form = Form("float32", shape, coding=coding, groups=groups)
        section = pack("policy", values, form, 0, 1)
        back = unpack(section, "policy", form, 0, 1)
        if coding == "int8":
            scale = (
                np.repeat([np.abs(part).max() for part in np.split(values, [100, 250])], groups)
                if groups
                else np.abs(values).max(0)
            )
            assert (np.abs(back - values) <= 0.5001 * scale * error).all()
            assert section.size < 0.6 * Form("float32", shape).size
        else:
            assert (np.abs(back - values) <= error * np.abs(values) + 1e-7).all()
    zeros = np.zeros((5, 2), np.float32)
    form = Form("float32", (5, 2), coding=coding)
    assert (unpack(pack("x", zeros, form, 0, 1), "x", form, 0, 1) == 0).all()


def test_half_precision_of_large_numbers_stays_finite():
    form = Form("float32", (3,), coding="float16")
    assert unpack(pack("x", np.array([1e6, -1e6, 1], np.float32), form, 0, 1), "x", form, 0, 1).tolist() == [
        65504,
        -65504,
        1,
    ]


def test_bfloat16_rounds_as_torch_does():
    import torch

    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    ours = compression.decode("bfloat16", compression.encode("bfloat16", values, (), 0), values.shape, (), 0)
    assert np.array_equal(ours, torch.from_numpy(values).bfloat16().float().numpy())


def test_forbidden_actions_stay_forbidden_and_do_not_blur_the_others():
    logits = np.array([[2, 0, -1e9], [3, -1, 0.5], [-1e9, 1, 1.5]], np.float32)
    form = Form("float32", logits.shape, coding="int8")
    back = unpack(pack("outputs", logits, form, 0, 1), "outputs", form, 0, 1)
    assert (back[logits <= -1e9] <= -1e9).all()
    assert np.abs(back - logits)[logits > -1e9].max() < 3 / 254


def test_top_k_feeds_errors_back():
    """Repeated differences to what the receiver holds arrive at the vector itself; of one message, k entries."""
    rng = np.random.default_rng(0)
    goal, held = rng.standard_normal(100).astype(np.float32), np.zeros(100, np.float32)
    form = Form("float32", (100,), coding="top_k", kept=7)
    distances = []
    for _ in range(15):
        sent = unpack(pack("policy", goal - held, form, 0, 1), "policy", form, 0, 1)
        assert np.count_nonzero(sent) <= 7
        held = held + sent
        distances.append(float(np.linalg.norm(goal - held)))
    assert distances == sorted(distances, reverse=True) and distances[-1] == 0
    bad = pack("policy", goal, replace(form, kept=7), 0, 1)
    with pytest.raises(ValueError, match="index"):
        compression.decode("top_k", np.full(56, 255, np.uint8), (100,), (), 7)
    assert bad.size == form.size


@pytest.mark.parametrize("method", ["float16", "bfloat16", "int8", "top_k"])
@pytest.mark.parametrize("share", ["weights", "outputs", "own_view"])
def test_compressed_runs_send_less_and_say_how_much_they_distort(method, share):
    raw = small_team(share=share)
    raw.start()
    simulation = small_team(share=share, compression={"method": method, "keep": 0.2})
    simulation.start()
    for _ in range(3):
        plain, row = raw.round()["metrics"], simulation.round()["metrics"]
    if method == "top_k" and share == "outputs":
        assert row["bytes"] == plain["bytes"] and row["distortion"] is None, (
            "nothing lasts, so nothing has a difference"
        )
        return
    assert row["bytes"] < (0.75 if share != "outputs" else 0.9) * plain["bytes"]
    assert 0 < row["distortion"] < 0.5 and 0 <= row["policy_divergence"] < 0.05 and row["rejected"] == 0


def test_both_ends_of_a_lossy_link_agree_on_what_differences_refer_to():
    simulation = small_team(compression={"method": "top_k", "keep": 0.1}, links={"loss": 0.5, "delay": 1}, rounds=12)
    simulation.start()
    for _ in range(12):
        assert simulation.round()["metrics"]["rejected"] == 0
    network = simulation.network
    in_flight = {(p.sender, p.target) for p in network.mailbox}
    compared = [edge for edge in network.held if edge not in in_flight]
    assert compared and all(np.array_equal(network.held[edge], network.known[edge]) for edge in compared)


def test_everything_at_once_runs():
    """Truncated, coded, damaged, late, forwarded distributions of heterogeneous agents."""
    overrides = {
        "0": {"share": "weights", "model": {"memory": "gru"}},
        "1": {"share": "outputs"},
        "2": {"share": "modelled"},
    }
    simulation = small_team(
        agents={"number": 6, "overrides": overrides | {"3": {"share": "own_view"}, "4": {"algorithm": "perla_mappo"}}},
        topology="watts_strogatz:k=2,p=0.5,every=1",
        links={"budget": 15_000, "loss": 0.2, "hops": 2, "bit_errors": 1e-6, "delay": 0.5, "delay_model": "geometric"},
        compression={"method": "int8"},
        reward={"mixing": "neighbourhood"},
        rounds=8,
        copies=8,
    )
    simulation.start()
    covered = set()
    exchange = simulation.network.exchange

    def watched(*arguments):
        inboxes = exchange(*arguments)
        covered.update(letter.copies for inbox in inboxes.values() for letter in inbox.values())
        return inboxes

    simulation.network.exchange = watched
    for _ in range(8):
        row = simulation.round()["metrics"]
        assert np.isfinite(row["value_loss"]) and row["packets"] > 0
    assert covered & set(range(1, 8)), "some experience was truncated"


# Cost


def test_cost_model_by_hand():
    rows = [(0, 1, 1000), (0, 1, 500), (0, 2, 500), (1, 0, 3000)]
    links = {(0, 2): {"latency": 0.5, "bandwidth": 100.0}}
    wired, radio = Medium(0.1, 1000.0, False), Medium(0.1, 1000.0, True)
    assert seconds(rows, wired, {}) == pytest.approx(3.0 + 0.1), "agent 1 takes longest"
    assert seconds(rows, wired, links) == pytest.approx(max(1.5 + 5.0 + 0.5, 3.1))
    assert seconds(rows, wired, {}, phases=3) == pytest.approx(3.0 + 0.3)
    assert seconds(rows, radio, {}) == pytest.approx(5.0 + 0.1), "one speaks at a time"
    assert seconds([], wired, {}) == 0
    assert medium_of(Cost()) is None and medium_of(Cost(latency=1.0)) == Medium(1.0, 125e6, False)
    assert medium_of(Cost("lora", bandwidth=10.0)) == Medium(0.5, 10.0, True)


def test_a_run_tells_what_its_communication_would_take_and_bring():
    simulation = small_team(cost={"preset": "wan"}, env="spread", horizon=25)
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(3)]
    for row in rows:
        busiest = row["bytes"] / 4  # all send the same
        assert row["communication_seconds"] == pytest.approx(busiest / 2.5e6 + 0.04)
    sent = sum(row["bytes"] for row in rows) / 1e6
    gained = rows[-1]["team_return"] - rows[0]["team_return"]
    assert rows[0]["return_per_megabyte"] == 0 and rows[-1]["return_per_megabyte"] == pytest.approx(gained / sent)


def test_the_window_of_a_changing_graph_is_a_metric():
    simulation = small_team(agents=8, topology="one_peer_exponential")
    simulation.start()
    assert [simulation.round()["metrics"]["window"] for _ in range(5)] == [1, 2, 3, 1, 2]
    fixed = small_team()
    fixed.start()
    assert "window" not in fixed.round()["metrics"]


# Modelled neighbours


def test_a_modelled_neighbour_is_learned_from_its_actions_alone():
    simulation = small_team(
        agents=2, copies=16, horizon=32, share="modelled", rounds=60, modelling={"learning_rate": 0.01}
    )
    simulation.start()
    first = simulation.round()
    purposes = {int(row[2]) for row in first["ledger"]}
    from perla_net.network.ledger import PURPOSES

    assert {PURPOSES[purpose] for purpose in purposes} == {"envelope", "actions", "presence"}
    teacher = simulation.methods[1]
    last = teacher.policy.frozen[f"b{teacher.policy.layers - 1}"]
    last[:] = 0
    last[3] = 4.0  # prefers action 3 wherever it is
    teacher.policy.frozen[f"w{teacher.policy.layers - 1}"][:] = 0
    frozen = teacher.policy.flat.clone()
    entropies = []
    for _ in range(12):
        teacher.policy.fill(frozen)
        simulation.round()
        entropies.append(simulation.methods[0].hearing.models[1].cross_entropy)
    logits = np.array([0, 0, 0, 4.0, 0, 0, 0, 0])
    share = np.exp(logits) / np.exp(logits).sum()
    entropy = -(share * np.log(share)).sum()
    assert entropies[0] > 1.9, "before it has seen anything of this policy: uniform"
    assert abs(np.mean(entropies[-4:]) - entropy) < 0.1, "held-out cross-entropy arrives at the policy's entropy"


def test_only_actions_are_wanted_of_a_modelled_neighbour():
    simulation = small_team(share="modelled")
    assert Traffic(simulation.team, simulation.config.compression).wants()[0, 1] == ["actions", "presence"]


def test_differences_are_not_forwarded():
    with pytest.raises(InputError, match="differences cannot be forwarded"):
        prepare(validated({"agents": 4, "links": {"hops": 2}, "compression": {"method": "top_k"}}))


def test_an_edges_own_delay_is_held_to_what_the_options_are(tmp_path):
    """A constant delay is a whole number of rounds; a geometric one may be any mean."""
    graph = nx.path_graph(4)
    nx.set_edge_attributes(graph, {(0, 1): 2.0, (1, 2): 3.2}, "delay")
    nx.write_graphml(graph, tmp_path / "delay.graphml")
    options = {"env": "spread", "agents": 4, "topology": str(tmp_path / "delay.graphml")}
    with pytest.raises(
        InputError, match="edge agent_1 → agent_2 has delay 3.2: a constant delay is a whole number of rounds"
    ):
        prepare(validated(options))
    assert prepare(validated(options | {"links": {"delay_model": "geometric"}})).schedule.links
