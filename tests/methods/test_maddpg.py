"""Deterministic policy gradients: losses against slow ones, the pitfalls that wrong implementations have, and what is the base algorithm's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run
from small_runs import close, heard, layers, table, team, trained

from perla_net import load_agent
from perla_net.learning.models import Policy
from perla_net.methods import maddpg
from perla_net.methods.deterministic import of_last_inputs, straight_through
from perla_net.methods.exploration import Noise
from perla_net.methods.joint import JointReplay
from perla_net.methods.protocol import Now, Say

SMALL = {"begin": 20, "updates": 2, "batch": 16}
NETWORKS = {"policy_hidden": [8], "critic_hidden": [8], "policy_gain": 1.0}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Also in jobs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def in_double(method):
    """All in double precision, and no more steps; targets that are not what they follow."""
    for one in method.targets:
        one.network.flat.add_(torch.randn_like(one.network.flat) * 0.3)
        one.follow = lambda: None
    for network in (method.policy, method.critic, *(one.network for one in method.targets)):
        network.to(torch.float64)
    if getattr(method, "rest", None):
        method.rest.network.to(torch.float64)
        method.rest._pass = None
    method._passes, drawn = None, method._drawn
    method._drawn = lambda: {n: row.double() if row.dtype == torch.float32 else row for n, row in drawn().items()}
    method.optimisers[0].step = method._critic_step = lambda rate: torch.zeros(())


def updated(method, said=None):
    """(critic's gradient, policy's, rows, Gumbel noise [M, outputs]) of one update; said: the other's target actions, [M, 1]."""
    states = [rng.bit_generator.state for rng in (method.batch_rng, method.gumbel_rng)]
    steps = method._update(1.0)
    try:
        words = next(steps)
        while True:
            assert isinstance(words, Say) and words.purpose == "actions" and words.to == (0, 1)
            words = steps.send({0: words.numbers, 1: said.ravel()})
    except StopIteration:
        found = method.critic.gradient.clone(), method.policy.gradient.clone()
    method.batch_rng.bit_generator.state, method.gumbel_rng.bit_generator.state = states
    rows = method._drawn()
    noise = None
    if method.counted:
        noise = method.distribution.noise(method.gumbel_rng, 1, len(rows["reward"]))[0].mT.double()
    return *found, rows, noise


def hot(index, size):
    return torch.eye(size, dtype=torch.float64)[int(index)]


def test_the_gradients_are_those_of_slow_losses():
    """Discrete: masks in the own softmax, in targets and in the regularisation; others as they acted in the step, as they say for what follows;
    terminations and the dead."""
    own = {"begin": 10, "updates": 1, "batch": 24, "temperature": 0.7, "regularisation": 0.1}
    simulation = team("pettingzoo:toys:kind=masked", "maddpg", copies=4, own=own, model=NETWORKS)
    for _ in range(2):
        simulation.round()
    method = simulation.methods[0]
    in_double(method)
    said = np.random.default_rng(0).integers(4, size=(24, 1)).astype(np.float32)
    of_critic, of_policy, rows, noise = updated(method, said)
    assert rows["terminated"].any() and not rows["mask"].all() and rows["done"].shape == (24, 2)
    size, target = method.spec.observation_size, method.targets
    losses, gains = [], []
    for k in range(24):
        seen, following = rows["observation"][k], rows["next_observation"][k]
        with torch.no_grad():
            logits = layers(target[0].network, following[:size])
            allowed = torch.nonzero(rows["next_mask"][k])[:, 0].tolist()
            mine = hot(max(allowed, key=lambda b: float(logits[b])), 4)
            theirs = hot(said[k, 0] if rows["next_there"][k, 1] else 4, 5)
            worth = layers(target[1].network, torch.cat([following, theirs, mine]))[0]
            y = rows["reward"][k] + 0.99 * worth * (not rows["terminated"][k])
        theirs = hot(rows["done"][k, 1] if rows["there"][k, 1] else 4, 5)
        value = layers(method.critic, torch.cat([seen, theirs, hot(rows["action"][k, 0], 4)]))[0]
        losses.append(0.5 * (value - y) ** 2)
        logits = layers(method.policy, seen[:size])
        allowed = torch.nonzero(rows["mask"][k])[:, 0]
        soft = torch.zeros(4, dtype=torch.float64).index_put(
            (allowed,), ((logits + noise[k])[allowed] / 0.7).softmax(0)
        )
        sample = hot(allowed[(logits + noise[k])[allowed].argmax()], 4)
        action = sample + soft - soft.detach()
        value = layers(method.critic, torch.cat([seen, theirs, action]))[0]
        gains.append(0.1 * logits[allowed].square().sum() / 4 - value)
    weight = rows["alive"].double() / rows["alive"].sum()
    method.critic.gradient.zero_()
    (weight * torch.stack(losses)).sum().backward()
    assert close(of_critic, method.critic.gradient)
    method.policy.gradient.zero_()
    (weight * torch.stack(gains)).sum().backward()
    assert close(of_policy, method.policy.gradient)


def test_the_gradients_of_continuous_actions():
    """tanh of the network's outputs; the end of an episode that was cut off is followed by what it ended with."""
    own = {"begin": 10, "updates": 1, "batch": 24, "regularisation": 0.1}
    simulation = team("games:targets:horizon=3", "maddpg", copies=4, own=own, model=NETWORKS)
    for _ in range(2):
        simulation.round()
    method = simulation.methods[0]
    in_double(method)
    said = np.random.default_rng(0).uniform(-1, 1, (24, 1)).astype(np.float32)
    of_critic, of_policy, rows, _ = updated(method, said)
    losses, gains = [], []
    for k in range(24):
        seen, following = rows["observation"][k], rows["next_observation"][k]
        here = torch.zeros(1, dtype=torch.float64)
        with torch.no_grad():
            mine = torch.tanh(layers(method.targets[0].network, following[:1]))
            theirs = torch.cat([torch.from_numpy(said[k]).double(), here])
            worth = layers(method.targets[1].network, torch.cat([following, theirs, mine]))[0]
        assert abs(float(rows["action"][k])) <= 1 and not rows["terminated"][k]
        theirs = torch.cat([rows["done"][k, 1:], here])
        value = layers(method.critic, torch.cat([seen, theirs, rows["action"][k]]))[0]
        losses.append(0.5 * (value - rows["reward"][k] - 0.99 * worth) ** 2)
        mean = layers(method.policy, seen[:1])
        gains.append(0.1 * mean.square().mean() - layers(method.critic, torch.cat([seen, theirs, torch.tanh(mean)]))[0])
    method.critic.gradient.zero_()
    torch.stack(losses).mean().backward()
    assert close(of_critic, method.critic.gradient)
    method.policy.gradient.zero_()
    torch.stack(gains).mean().backward()
    assert close(of_policy, method.policy.gradient) and not of_policy[-1]  # no gradient reaches the noise


def test_the_gradients_of_a_critic_that_averages_out():
    """q and R learn from q(o, a) + R(o, a, a_N) − R̂(o, a), R̂ enumerated; the policy climbs q."""
    own = {"begin": 10, "updates": 1, "batch": 24, "regularisation": 0.0}
    links = {"loss": 0.5}
    simulation = team(
        "pettingzoo:toys:kind=masked", "perla_maddpg", copies=4, own=own, model=NETWORKS, links=links, seed=2
    )
    for _ in range(4):
        simulation.round()
    method = simulation.methods[0]
    in_double(method)
    peer = method.hearing.peers[1]
    peer.to(torch.float64)
    of_critic, of_policy, rows, noise = updated(method)
    of_rest = method.rest.network.gradient.clone()
    assert 0 < rows["there_of_1"].sum() < 24 and "done" not in rows
    losses, gains = [], []
    for k in range(24):
        seen, there = rows["observation"][k], bool(rows["there_of_1"][k])
        with torch.no_grad():
            logits = layers(method.targets[0].network, rows["next_observation"][k])
            allowed = torch.nonzero(rows["next_mask"][k])[:, 0].tolist()
            mine = hot(max(allowed, key=lambda b: float(logits[b])), 4)
            worth = layers(method.targets[1].network, torch.cat([rows["next_observation"][k], mine]))[0]
            y = rows["reward"][k] + 0.99 * worth * (not rows["terminated"][k])
        x = torch.cat([seen, hot(rows["action"][k, 0], 4)])
        beyond = torch.zeros((), dtype=torch.float64)
        if there:
            allowed = torch.nonzero(rows["allowed_of_1"][k])[:, 0]
            shares = layers(peer, rows["seen_by_1"][k])[allowed].softmax(0).detach()
            mean = sum(p * layers(method.rest.network, torch.cat([x, hot(b, 5)]))[0] for b, p in zip(allowed, shares))
            beyond = layers(method.rest.network, torch.cat([x, hot(rows["action_of_1"][k, 0], 5)]))[0] - mean.detach()
        losses.append(0.5 * (layers(method.critic, x)[0] + beyond - y) ** 2)
        allowed = torch.nonzero(rows["mask"][k])[:, 0]
        logits = (layers(method.policy, seen) + noise[k])[allowed]
        soft = torch.zeros(4, dtype=torch.float64).index_put((allowed,), logits.softmax(0))
        action = hot(allowed[logits.argmax()], 4) + soft - soft.detach()
        gains.append(-layers(method.critic, torch.cat([seen, action]))[0])
    method.critic.gradient.zero_()
    method.rest.network.gradient.zero_()
    torch.stack(losses).mean().backward()
    assert close(of_critic, method.critic.gradient) and close(of_rest, method.rest.network.gradient)
    method.policy.gradient.zero_()
    torch.stack(gains).mean().backward()
    assert close(of_policy, method.policy.gradient)


def test_the_critic_is_shown_actions_not_probabilities(monkeypatch):
    """One-hot in every component, allowed ones only; each as often as its probability; forbidden logits do not count, however low."""
    seen = []
    monkeypatch.setattr(maddpg, "of_last_inputs", lambda *given: seen.append(given[2]) or of_last_inputs(*given))
    own = SMALL | {"batch": 2000, "updates": 1, "regularisation": 1.0}
    simulation = team("pettingzoo:toys:kind=masked", "maddpg", copies=4, own=own, model=NETWORKS)
    simulation.round()
    method = simulation.methods[0]
    action, _ = seen  # of both agents
    assert torch.allclose(action, action.detach().round(), atol=1e-6) and torch.allclose(
        action.sum(1), torch.ones(2000)
    )
    rows = method._drawn()
    masked = method.distribution.masked(method.policy(method._own(rows["observation"])), rows["mask"], -1)
    drawn = straight_through(method.distribution, masked.detach(), method.options.temperature, method.gumbel_rng)
    assert not drawn[rows["mask"] == 0].any()
    assert torch.allclose(drawn.mean(0), masked.softmax(-1).mean(0), atol=0.05)
    given, outputs = torch.zeros(2000, method.critic.sizes[1]), method.policy(method._own(rows["observation"]))
    assert abs(float(method._policy_loss(rows, torch.full((2000,), 1 / 2000), outputs, given).detach())) < 100


def test_greedy_is_without_noise(tmp_path):
    """In evaluation and alone: the most probable action, or tanh of the network's output, whatever the noise."""
    simulation = team("games:targets", "maddpg", copies=4, own={"noise": {"start": 2.0}}, model={"policy_gain": 5.0})
    method = simulation.methods[0]
    rollouts, _ = heard(simulation)
    assert abs(rollouts[0].action).max() > 1  # as far as its noise goes; the environment clips
    mean, log_deviation = method.outputs.chunk(2, -1)
    assert torch.allclose(mean, torch.tanh(method.policy(method.observation)[:, :1]))
    assert torch.allclose(log_deviation.exp(), torch.tensor(2.0))
    words = np.zeros((4, 1), np.float32)
    method._player.begin()
    method._player.act(0, [np.ones((4, 1), np.float32)], [None], [np.zeros(4, bool)], [words])
    assert np.allclose(words, mean[0].detach())
    run(tmp_path / "run", 0, "--agents", "2", "--env", "games:targets", "--algorithm", "maddpg", "--maddpg.begin", "10")
    agent = load_agent(tmp_path / "run" / "checkpoints" / "3" / "player_0")
    one, two = agent.act(np.ones(1, np.float32)), agent.act(np.ones(1, np.float32))
    assert one == two and abs(one[0]) <= 2
    assert Noise(0.4, 0.1, 0.5).at(0.25) == 0.25 and Noise(0.0, 0.0).at(0.3) == 1e-6


def test_bounds_are_part_of_the_network():
    """A squashed policy is rebuilt from its description, and decides within ±1."""
    policy = Policy(1, (), 2, 2, "tanh", "none", head="squashed")
    policy.frozen["b0"].fill_(3.0)
    again = Policy.from_description(json.loads(json.dumps(policy.description)))
    again.fill(policy.flat)
    outputs = again(torch.ones(1, 1))
    assert torch.allclose(again.decide(outputs, -1)[0], torch.tensor([3.0, 3.0, 0.0, 0.0]).tanh())
    assert torch.equal(again.best(outputs.mT, -2).mT, again.decide(outputs, -1))


def of_rollout(number, steps, copies, finals):
    """(states that say which they are, a rollout's shape)."""
    t, copy = np.array(finals, np.int64).reshape(-1, 2).T
    states = {"state": number + np.arange((steps + 1) * copies + len(t))}
    shape = SimpleNamespace(reward=np.zeros((steps, copies)), final_at=np.stack([t, copy], 1))
    return states, {"step": number + np.arange(steps * copies)}, shape


def test_a_memory_of_states_knows_what_follows():
    """The next row of the same copy; of an episode that ended, its last observation; round a ring; and what is not kept is not drawn."""
    memory, rng, follows, last = JointReplay(30), np.random.default_rng(0), {}, []
    for turn in range(7):
        finals = [(0, 1), (2, 0)] if turn % 2 else []
        states, steps, shape = of_rollout(100 * turn, 3, 2, finals)
        for t in range(3):
            for copy in range(2):
                ended = [8 + k for k, at in enumerate(finals) if at == (t, copy)]
                follows[100 * turn + 2 * t + copy] = 100 * turn + (ended[0] if ended else 2 * t + copy + 2)
        memory.add(states, steps, shape, np.arange(6) != 3)
        drawn = memory.take(memory.choose(rng, 300), ("state",))
        assert all(follows[k] == after for k, after in zip(drawn["state"], drawn["next_state"]))
        assert np.array_equal(drawn["state"], drawn["step"]) and not (drawn["state"] % 100 == 3).any()
        last = sorted(set(drawn["state"]))
    assert len(memory) == len(last) and set(last) >= {600, 601, 602, 604, 605} and min(last) >= 300
    again = JointReplay(30)
    arrays, numbers = memory.state()
    again.restore({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(numbers)))
    for one in (memory, again):
        one.add(*of_rollout(700, 3, 2, []))
    assert all(np.array_equal(memory.rows[name], again.rows[name]) for name in memory.rows)
    assert np.array_equal(memory.following, again.following) and np.array_equal(memory._steps, again._steps)
    small = JointReplay(5)
    small.add(*of_rollout(0, 3, 2, []))
    drawn = small.take(small.choose(rng, 50), ("state",))
    assert set(drawn["state"]) == {3, 4, 5} and np.array_equal(drawn["next_state"], drawn["state"] + 2)


@pytest.mark.parametrize("nobody", [{"topology": "empty"}, {"links": {"loss": 1.0}}, {"samples": 0}])
@pytest.mark.parametrize("env", ["pettingzoo:toys:kind=leaver", "games:targets"])
def test_nobody_heard_is_a_critic_of_ones_own(env, nobody):
    """perla_maddpg without neighbours, or with none heard, is maddpg with --critic.input own, bit for bit; and so is maddpg alone."""
    settings = {"rounds": 2, "copies": 6, "own": SMALL} | nobody
    one = trained(env, "perla_maddpg", **settings)[0]
    other = trained(env, "maddpg", critic={"input": "own"}, **settings)[0]
    assert torch.equal(one.policy.flat, other.policy.flat) and torch.equal(one.critic.flat, other.critic.flat)
    assert one.targets[1].steps == 4


def test_alone_it_reads_itself():
    """One agent is the whole team."""
    settings = {"agents": 1, "topology": "empty", "rounds": 2, "copies": 3, "own": SMALL}
    both = [
        trained("traffic:grid:horizon=15", "maddpg", critic={"input": reads}, **settings)[0]
        for reads in ("own", "global")
    ]
    assert torch.equal(both[0].policy.flat, both[1].policy.flat)


def test_everybody_draws_the_same_and_a_group_has_one_network():
    """What all saw and did is remembered once; a group keeps policy, critic and targets equal, beside one who is in none."""
    agents = {"number": 4, "groups": {"some": "0-2"}}
    methods = trained("traffic:grid:horizon=15", "maddpg", agents=agents, rounds=2, copies=3, own=SMALL)
    for other in methods[1:3]:
        assert torch.equal(other.policy.flat, methods[0].policy.flat)
        assert torch.equal(other.critic.flat, methods[0].critic.flat)
        assert torch.equal(other.targets[1].network.flat, methods[0].targets[1].network.flat)
    assert not torch.equal(methods[3].policy.flat, methods[0].policy.flat)
    assert all(method.joint is methods[0].joint for method in methods) and "observation" not in methods[1].memory.rows
    assert all(np.array_equal(method.memory.following, methods[0].joint.memory.following) for method in methods)
    states = [method.batch_rng.bit_generator.state for method in methods]
    assert all(state == states[0] for state in states)


@pytest.mark.parametrize("algorithm", ["maddpg", "perla_maddpg"])
def test_targets(algorithm):
    """Continuous: everybody finds its own centre, whatever the others do by chance."""
    own = {"begin": 100, "updates": 40, "batch": 64, "target_rate": 0.05}
    optimiser = {"learning_rate": 2e-3, "critic_learning_rate": 1e-2}
    simulation = team("games:targets", algorithm, copies=16, own=own, optimiser=optimiser, samples=16)
    for _ in range(8):
        simulation.round()
    environment = simulation.world.host.environment
    for method, centre in zip(simulation.methods, environment.centre[:, 0]):
        assert abs(environment.scale * np.tanh(table(method, [1])[0]) - centre) < 0.2


def test_everybody_reads_the_others():
    """Whoever is in the middle is left out of everybody's actions, and its policy reads what it saw."""
    method = team("traffic:grid:horizon=15", "maddpg", copies=2, agents={"number": 4}, own=SMALL).methods[2]
    width, size = method.joint.distributions[0].width, method.spec.observation_size
    everybody = torch.arange(4.0).repeat_interleave(width).expand(3, -1)
    assert method._others_of(everybody)[0].unique().tolist() == [0, 1, 3]
    assert torch.equal(method._own(torch.arange(4.0).repeat_interleave(size).expand(3, -1)), torch.full((3, size), 2.0))


def test_what_comes_of_a_letter_that_was_rejected():
    """Nothing was seen, nobody was there."""
    simulation = team("games:climbing", "maddpg", copies=2, own=SMALL)
    rollouts, inboxes = heard(simulation)
    method = simulation.methods[0]
    del inboxes[0][1]
    method._remember(rollouts[0], inboxes[0], Now(1, 2))
    rows = method.joint.memory.rows
    assert not rows["there"][:, 1].any() and not rows["observation"][:, 1:].any() and rows["there"][:, 0].any()
