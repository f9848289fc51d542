"""Q-learners that average out their neighbours: the loss against a slow one, what is the base algorithm's, and what they must find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import QUICK, TABLES, close, heard, in_double, layers, table, team, trained

from perla_net.methods.protocol import Now, Say, run_alone

PAYOFF = np.array([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], float)
SMALL = {"begin": 20, "updates": 2, "batch": 16, "episodes": 3}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Also in jobs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def shares_of(policy, outputs, allowed):
    """ε-greedy at 0.4, over the allowed actions: {action: probability}."""
    best = max(allowed, key=lambda b: float(outputs[b].detach()))
    return {b: 0.4 / len(allowed) + 0.6 * (b == best) for b in allowed}


def one_hot(action, size, there):
    found = torch.zeros(size + 1, dtype=torch.float64)
    found[action if there else size] = 1
    return found


@pytest.mark.parametrize("policies", ["newest", "told"])
@pytest.mark.parametrize("algorithm", ["perla_iql", "perla_vdn"])
def test_the_gradients_are_those_of_a_slow_loss(algorithm, policies):
    """Row by row, with the neighbour's policy written out and its actions enumerated; masks, terminations, and steps in which it was not heard.
    Of VDN the other's utilities are said by hand."""
    exploring = {"kind": "epsilon", "start": 0.4, "end": 0.4}
    own = {"begin": 10, "updates": 1, "batch": 40, "policies": policies, "exploration": exploring}
    model = {"policy_hidden": [8], "critic_hidden": [8], "policy_gain": 1.0}
    simulation = team(
        "pettingzoo:toys:kind=masked", algorithm, copies=4, own=own, model=model, links={"loss": 0.5}, seed=2, rounds=50
    )
    for _ in range(4):
        simulation.round()
    method = simulation.methods[0]
    method.utility.target.network.flat[:-1] += torch.randn_like(method.policy.flat)[:-1] * 0.3  # the last number is ε
    in_double(method)
    method.rest.network.to(torch.float64)
    method.rest._pass = None
    peer = method.hearing.peers[1]
    if policies == "newest":
        peer.to(torch.float64)
    state = method.batch_rng.bit_generator.state
    said = torch.linspace(-1, 1, 80, dtype=torch.float64).view(2, 40)
    steps = method._update(0.0)
    try:
        words = next(steps)
        while True:
            assert isinstance(words, Say)
            words = steps.send({0: words.numbers, 1: said.numpy().ravel()} if not words.mean else words.numbers)
    except StopIteration:
        found = method.policy.gradient.clone(), method.rest.network.gradient.clone()
    method.batch_rng.bit_generator.state = state
    rows = method._drawn(method.memory.choose(method.batch_rng, 40))
    assert 0 < rows["there_of_1"].sum() < 40 and rows["terminated"].any() and not rows["mask"].all()
    losses = []
    for k in range(40):
        action, seen = int(rows["action"][k]), rows["observation"][k]
        value = layers(method.policy, seen)[action]
        there = bool(rows["there_of_1"][k])
        done = int(rows["action_of_1"][k, 0])
        executed = layers(method.rest.network, torch.cat([seen, one_hot(done, 4, there)]))
        if policies == "newest":
            allowed = torch.nonzero(rows["allowed_of_1"][k])[:, 0].tolist()
            theirs = shares_of(peer, layers(peer, rows["seen_by_1"][k]), allowed) if there else {}
        else:
            theirs = dict(enumerate(rows["outputs_of_1"][k].softmax(0))) if there else {}
        with torch.no_grad():
            mean = sum(
                p * layers(method.rest.network, torch.cat([seen, one_hot(b, 4, True)])) for b, p in theirs.items()
            )
            difference = (executed - mean) * there
            beyond = difference[action]
            if algorithm == "perla_vdn":
                mine = shares_of(
                    method.policy, layers(method.policy, seen), torch.nonzero(rows["mask"][k])[:, 0].tolist()
                )
                beyond = beyond - sum(p * difference[b] for b, p in mine.items())
            allowed = torch.nonzero(rows["following_mask"][k])[:, 0].tolist()
            best = max(allowed, key=lambda b: float(layers(method.policy, rows["following"][k])[b]))
            after = layers(method.utility.target.network, rows["following"][k])[best] * (not rows["terminated"][k])
            rest = beyond
            if algorithm == "perla_vdn":
                rest, after = rest + said[0, k], after + said[1, k]
        # The value of R − R̂, and R's own gradient.
        total = value + rest + there * (executed[action] - executed[action].detach())
        losses.append(0.5 * (total - rows["reward"][k] - 0.99 * after) ** 2)
    method.policy.gradient.zero_()
    method.rest.network.gradient.zero_()
    torch.stack(losses).mean().backward()
    assert close(found[0], method.policy.gradient) and close(found[1], method.rest.network.gradient)


@pytest.mark.parametrize("algorithm", ["perla_iql", "perla_vdn"])
@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize(
    "nobody", [{"topology": "empty"}, {"links": {"loss": 1.0}}, {"samples": 0}], ids=["empty", "lost", "none asked"]
)
def test_nobody_heard_is_the_base(algorithm, memory, nobody):
    """Bit for bit: no neighbours; neighbours of whom nothing comes; no embedding."""
    settings = {"rounds": 2, "copies": 3, "own": SMALL, "model": {"memory": memory}} | nobody
    base = algorithm.removeprefix("perla_")
    both = [trained("pettingzoo:toys:kind=masked", name, **settings)[1].policy.flat for name in (algorithm, base)]
    assert torch.equal(*both)


def test_what_was_told_is_the_newest_in_the_round_it_was_made():
    """On the last round's steps both say the same; and what R takes away has mean zero under the policies that acted."""
    found = []
    for policies in ("newest", "told"):
        exploring = {"kind": "boltzmann", "start": 0.5, "end": 0.5}
        own = SMALL | {"begin": 30_000, "policies": policies, "exploration": exploring}
        model = {"policy_gain": 1.0}
        simulation = team("games:climbing", "perla_iql", own=own, model=model, copies=400, horizon=8)
        method = simulation.methods[0]
        rollouts, inboxes = heard(simulation)
        run_alone(method.learn(rollouts[0], inboxes[0], Now(1, 2)))
        rows = method._drawn(np.arange(len(method.memory)))
        heads = rows["action"].long()
        found.append(method.rest.beyond(method.with_identity(rows["observation"]), rows, heads))
    assert torch.allclose(*found, atol=1e-5) and found[0].std() > 0.05
    assert abs(found[0].mean()) < 4 * found[0].std() / len(heads) ** 0.5


def test_what_the_other_does_by_chance_is_taken_away():
    """Exploring uniformly, q is its rows' means to two digits, where iql's estimates jump about them; sums that add up to the team's
    value are the best additive fit. Both end at (2, 2), 5 a step."""
    settings = {"returns": {"gamma": 0.0}, "rounds": 9, "own": QUICK | {"batch": 256}, **TABLES}
    rows, columns = PAYOFF.mean(1), PAYOFF.mean(0)
    one, other = trained("games:climbing", "perla_iql", **settings)
    assert np.allclose(table(one, [1]), rows, atol=0.1) and np.allclose(table(other, [1]), columns, atol=0.1)
    one, other = trained("games:climbing", "perla_vdn", **settings)
    sums = table(one, [1])[:, None] + table(other, [1])
    assert np.allclose(sums, rows[:, None] + columns - PAYOFF.mean(), atol=0.3)
    assert (table(one, [1]).argmax(), table(other, [1]).argmax()) == (2, 2)


@pytest.mark.parametrize("algorithm, greedy", [("perla_iql", (2, 1)), ("iql", (2, 2))])
def test_what_is_remembered_counts_as_others_act_now(algorithm, greedy):
    """Exploring less and less, iql remembers a partner that acted by chance, and stays at (2, 2), 5 a step; against the partner of now action 1
    is the answer to 2, which pays 6."""
    own = QUICK | {"batch": 256, "exploration": {"kind": "epsilon", "start": 1.0, "end": 0.05, "share": 0.7}}
    rates = TABLES | {"optimiser": TABLES["optimiser"] | {"learning_rate": 0.1, "critic_learning_rate": 0.1}}
    one, other = trained("games:climbing", algorithm, returns={"gamma": 0.0}, seed=1, own=own, **rates)
    assert (table(one, [1]).argmax(), table(other, [1]).argmax()) == greedy


@pytest.mark.parametrize("algorithm, greedy", [("perla_iql", 1), ("perla_vdn", 1), ("mean_field_q", 1), ("vdn", 2)])
def test_the_best_beside_the_partner_of_now(algorithm, greedy):
    """The run of docs/methods.md: with the defaults' exploration both find (1, 1), 7 a step, where vdn has 5."""
    own = {"begin": 100, "target_every": 20, "updates": 40}
    methods = trained("games:climbing", algorithm, returns={"gamma": 0.0}, rounds=20, own=own, **TABLES)
    assert [int(method.policy(torch.ones(1, 1))[0].argmax()) for method in methods] == [greedy] * 2


@pytest.mark.parametrize("algorithm", ["perla_iql", "perla_vdn"])
@pytest.mark.parametrize("share", ["outputs", "own_view", "modelled"])
def test_however_policies_are_told(algorithm, share):
    """Each way leads to numbers; a controller is certain, and PPO agents are heard, too."""
    overrides = {"2": {"algorithm": "controller:max_pressure"}, "3": {"algorithm": "ippo"}}
    settings = {"agents": {"number": 4, "overrides": overrides}, "share": share, "rounds": 2, "copies": 3, "own": SMALL}
    simulation = team("traffic:grid:horizon=15", algorithm, **settings)
    simulation.round()
    assert simulation.round()["metrics"]["peers_value"] > 0
    assert sorted(simulation.methods[0].ages) == [1, 2, 3]


def test_a_group_has_one_of_each():
    """q and R stay equal where gradients are averaged, alone or with a sum over the team."""
    for algorithm in ("perla_iql", "perla_vdn"):
        agents = {"number": 4, "groups": {"all": "0-3"}}
        methods = trained("traffic:grid:horizon=15", algorithm, agents=agents, rounds=2, copies=3, own=SMALL)
        for other in methods[1:]:
            assert torch.equal(other.policy.flat, methods[0].policy.flat)
            assert torch.equal(other.rest.network.flat, methods[0].rest.network.flat)
        assert methods[0].rest.optimiser.steps == 4
