"""Mean field Q-learning: the mean of what is heard, the loss against a slow one, what it must find, and what it is not for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run
from small_runs import QUICK, TABLES, close, heard, in_double, layers, table, team, trained

from perla_net import load_agent
from perla_net.methods.lesson import Lesson
from perla_net.methods.protocol import Now, run_alone

PAYOFF = np.array([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], float)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Also in jobs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def test_the_mean_is_over_those_who_are_heard_and_there():
    """Who is lost, or not there in a copy or a step, is left out; nobody: zeros and a mark; states in which nobody acts any more have the
    step's before."""
    simulation = team("games:convention", "mean_field_q", agents=4, copies=3, horizon=5)
    rollouts, inboxes = heard(simulation)
    actions = [rollout.action.copy().view(np.int32)[..., 0] for rollout in rollouts]
    method, inbox = simulation.methods[0], inboxes[0]
    assert sorted(inbox) == [1, 2, 3]
    assert set(inbox[1].sections) == {"actions", "presence"}
    inbox[1].sections["presence"] = inbox[1].sections["presence"].copy()
    inbox[1].sections["presence"][4] = 0  # step 1 of copy 1
    del inbox[2]
    # Of the last one the first copy only arrived.
    inbox[3].copies = 1
    whole, running = inbox[3].sections["presence"], 6 * 3
    inbox[3].sections["actions"] = inbox[3].sections["actions"].reshape(5, 3, 1)[:, :1].reshape(5, 1).copy()
    finals = whole[running:][rollouts[0].final_at[:, 1] == 0]
    inbox[3].sections["presence"] = np.concatenate([whole[:running].reshape(6, 3)[:, 0], finals])
    mean = method.field.hear(rollouts[0], inbox)
    for t in range(5):
        for copy in range(3):
            those = [actions[1][t, copy]] if (t, copy) != (1, 1) else []
            those += [actions[3][t, copy]] if copy == 0 else []
            expected = np.append(np.mean(np.eye(3)[those], 0), 0.0) if those else np.array([0, 0, 0, 1.0])
            assert np.allclose(mean.taken[t * 3 + copy], expected) and mean.heard[t * 3 + copy] == len(those)
    assert torch.equal(mean.states[:15], mean.taken) and torch.equal(mean.states[15:18], mean.taken[12:])
    for row, (t, copy) in zip(mean.states[18:], rollouts[0].final_at):
        assert torch.equal(row, mean.taken[t * 3 + copy])


def test_the_dead_are_left_out():
    """The second agent dies after two steps: from then on nobody is heard."""
    simulation = team("pettingzoo:toys:kind=leaver", "mean_field_q", copies=2, horizon=4)
    rollouts, inboxes = heard(simulation)
    mean = simulation.methods[0].field.hear(rollouts[0], inboxes[0])
    there = rollouts[1].alive[:-1].reshape(-1)
    assert 0 < there.sum() < len(there)
    assert (mean.heard.numpy() == there).all() and (mean.taken[:, -1].numpy() == ~there).all()


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("kind", ["epsilon", "boltzmann"])
def test_the_gradient_is_that_of_a_slow_loss(kind, double):
    """½ (Q(o, a, ā) − r − γ (1 − terminated) Σ_b π(b|o', ā) Q⁻(o', b, ā))², row by row; masks, and an ā that differs from row to row."""
    own = {"begin": 10, "updates": 1, "batch": 40, "double": double}
    own["exploration"] = {"kind": kind, "start": 0.3, "end": 0.3}
    simulation = team("pettingzoo:toys:kind=masked", "mean_field_q", copies=4, own=own)
    for _ in range(2):
        simulation.round()
    method = simulation.methods[0]
    method.utility.target.network.flat.add_(torch.randn_like(method.policy.flat) * 0.3)
    method.policy.flat.add_(torch.randn_like(method.policy.flat) * 0.3)
    method.policy.frozen["exploration"].fill_(0.3)
    in_double(method)
    state = method.batch_rng.bit_generator.state
    run_alone(method._update(0.0))
    found = method.policy.gradient.clone()
    method.batch_rng.bit_generator.state = state
    rows = method._drawn(method.memory.choose(method.batch_rng, 40))
    assert len(rows["field"].unique(dim=0)) > 3 and rows["terminated"].any() and not rows["mask"].all()
    losses = []
    for k in range(40):
        field = rows["field"][k]
        value = layers(method.policy, torch.cat([rows["observation"][k], field]))[rows["action"][k].long()]
        with torch.no_grad():
            following = torch.cat([rows["following"][k], field])
            present, old = layers(method.policy, following), layers(method.utility.target.network, following)
            weighed = present if double else old
            allowed = torch.nonzero(rows["following_mask"][k])[:, 0].tolist()
            best = max(allowed, key=lambda b: weighed[b])
            total = sum(torch.exp(weighed[b] / 0.3) for b in allowed)
            worth = 0.0
            for b in allowed:
                chance = (
                    torch.exp(weighed[b] / 0.3) / total
                    if kind == "boltzmann"
                    else 0.3 / len(allowed) + 0.7 * (b == best)
                )
                worth = worth + chance * old[b]
            target = rows["reward"][k] + 0.99 * worth * (not rows["terminated"][k])
        losses.append(0.5 * (value - target) ** 2)
    method.policy.gradient.zero_()
    torch.stack(losses).mean().backward()
    slow = method.policy.gradient
    assert close(found, slow) and not slow[-method.policy.context :].any()


def test_with_a_memory_what_follows_is_read_with_the_step_s_mean():
    """Values of whole episodes, and of what follows each step, as a GRU that is led through them by hand."""
    own = {"begin": 10, "updates": 1, "episodes": 3}
    simulation = team("pettingzoo:toys:kind=masked", "mean_field_q", copies=4, own=own, model={"memory": "gru"})
    for _ in range(2):
        simulation.round()
    method = simulation.methods[0]
    rows = method._drawn(method.memory.choose(method.batch_rng, 3))
    with torch.no_grad():
        values, present, _ = method.utility.look(rows)
        for column in range(3):
            memory, never = method.policy.begin(1), torch.zeros(1, dtype=torch.bool)
            for t in range(int(rows["there"][:, column].sum())):
                field = rows["field"][t, column]
                seen = torch.cat([rows["observation"][t, column], field])[None]
                said, memory = method.policy.step(seen, memory, never)
                assert torch.allclose(values[t, column], said[0], atol=1e-6)
                after, _ = method.policy.step(torch.cat([rows["following"][t, column], field])[None], memory, never)
                allowed = rows["following_mask"][t, column] > 0
                assert torch.allclose(present[t, column][allowed], after[0][allowed], atol=1e-6)


def test_without_neighbours_it_is_q_learning_with_the_mean_in_place_of_the_maximum():
    """Greedy, that is the maximum: iql, bit for bit."""
    greedy = {"exploration": {"kind": "epsilon", "start": 0.0, "end": 0.0}, "begin": 10, "double": False}
    both = [
        trained("traffic:grid:horizon=12", name, topology="empty", rounds=3, copies=4, own=greedy)[0]
        for name in ("iql", "mean_field_q")
    ]
    assert both[1].policy.context == 0 and torch.equal(both[0].policy.flat, both[1].policy.flat)


def test_nobody_heard_is_marked():
    """Where all is lost the network reads the mark, in acting and in learning."""
    method = trained("games:climbing", "mean_field_q", rounds=2, links={"loss": 1.0}, own={"begin": 10})[0]
    assert method.policy.frozen["context"].tolist() == [0, 0, 0, 1]
    assert (method.memory.rows["field"][: len(method.memory)] == [0, 0, 0, 1]).all()


def test_it_acts_by_what_was_heard_last(tmp_path):
    """On average over the rollout; alone too, and as neighbours rebuild it."""
    simulation = team("games:climbing", "mean_field_q", copies=4, rounds=2, own={"begin": 10})
    rollouts, inboxes = heard(simulation)
    actions = rollouts[1].action.copy().view(np.int32).ravel()
    method = simulation.methods[0]
    run_alone(method.learn(rollouts[0], inboxes[0], Now(1, 2)))
    shares = np.append(np.bincount(actions, minlength=3) / len(actions), 0.0)
    assert np.allclose(method.policy.frozen["context"], shares)
    rebuilt = method.team.policy_of(0)
    rebuilt.fill(method.policy.flat)
    one = torch.ones(1, 1)
    with torch.no_grad():
        given = torch.cat([one, torch.from_numpy(shares.astype(np.float32))[None]], 1)
        assert torch.equal(rebuilt(one), method.policy(given)) and torch.equal(rebuilt(one), method.policy(one))
    words = ("--agents", "2", "--env", "games:climbing", "--topology", "complete", "--algorithm", "mean_field_q")
    run(tmp_path / "run", 0, *words, "--mean_field_q.begin", "20", "--mean_field_q.updates", "2")
    agent = load_agent(tmp_path / "run" / "checkpoints" / "3" / "player_1")
    assert agent.player.policy.frozen["context"].sum() == pytest.approx(1) and agent.act(
        np.ones(1, np.float32)
    ) in range(3)


def test_climbing(seed=0):
    """Q(a, e_b) is the payoff table: linear in ā, the networks hold all of it. Exploring uniformly both act by their rows' means, and end at
    (2, 2), 5 a step; exploring less and less each answers what the other does, best: nobody gains by changing alone, at (1, 1), 7 a step."""
    own = QUICK | {"batch": 256}
    rates = TABLES | {"optimiser": TABLES["optimiser"] | {"learning_rate": 0.2}}
    one, other = trained("games:climbing", "mean_field_q", seed=seed, returns={"gamma": 0.0}, own=own, **rates)
    for method, payoff in ((one, PAYOFF), (other, PAYOFF.T)):
        for b in range(3):
            assert np.allclose(table(method, [1, *np.eye(4)[b]]), payoff[:, b], atol=1.5)
        assert np.allclose(table(method, [1]), payoff.mean(1), atol=2.5)
    assert (table(one, [1]).argmax(), table(other, [1]).argmax()) == (2, 2)
    own["exploration"] = {"kind": "epsilon", "start": 1.0, "end": 0.05, "share": 0.7}
    settings = {"returns": {"gamma": 0.0}, "rounds": 25, "seed": seed, "own": own}
    one, other = trained("games:climbing", "mean_field_q", **settings, **rates)
    assert (table(one, [1]).argmax(), table(other, [1]).argmax()) == (1, 1)


def test_two_steps():
    """Exploring uniformly game 2A is worth 7, 2B its mean 2.5."""
    one, _ = trained("games:two_step", "mean_field_q", own=QUICK, **TABLES)
    first = table(one, [1, 0, 0])
    assert first.argmax() == 0 and np.allclose(first, [0.99 * 7, 0.99 * 2.5], atol=0.7)


# MF-AC


def test_values_of_the_critic_are_at_the_mean_action_that_was_taken():
    """V(o) = Σ_b π(b|o) Q(o, b, ā), advantage Q(o, a, ā) − V(o), state by state; nothing is drawn."""
    simulation = team("games:convention", "mean_field_ac", agents=4, copies=3, horizon=5, model={"policy_gain": 1.0})
    simulation.round()
    rollouts, inboxes = heard(simulation)
    method = simulation.methods[0]
    learner, mean = method.learner, method.field.hear(rollouts[0], inboxes[0])
    lesson = Lesson(learner, method.experience(rollouts[0], inboxes[0], 2), False)
    before = learner.embed_rng.bit_generator.state
    value, at_action, executed = lesson.look()
    assert learner.embed_rng.bit_generator.state == before
    for k in range(len(value)):
        q = layers(learner.critic, torch.cat([method.observation[k], mean.states[k]])) * learner.scale + learner.shift
        expected = sum(p * q[b] for b, p in enumerate(method.outputs[k].softmax(0)))
        assert torch.allclose(value[k], expected.detach(), atol=1e-5)
        if k < len(lesson.action):
            assert torch.allclose(executed[k], q[lesson.action[k, 0]].detach(), atol=1e-5)
    assert torch.equal(at_action, executed)
    learner.settings.returns.normalise_advantages = False
    returns = lesson.returns()
    assert torch.allclose(lesson.advantage(returns), executed - value[: len(executed)], atol=1e-5)
    x, action = lesson.rows(returns)["x"], lesson.rows(returns)["action"]
    assert torch.equal(x[:, 1:], mean.taken) and torch.equal(action, lesson.action)


@pytest.mark.parametrize("batch_agents", ["no", "yes"])
def test_alone_it_is_the_base(batch_agents):
    """Without neighbours ia2c, bit for bit; with them, only their actions travel."""
    both = []
    for name in ("ia2c", "mean_field_ac"):
        settings = {"topology": "empty", "rounds": 2, "copies": 3, "batch_agents": batch_agents}
        both.append(trained("traffic:grid:horizon=15", name, **settings)[0])
    assert torch.equal(both[0].policy.flat, both[1].policy.flat)
    simulation = team("traffic:grid:horizon=15", "mean_field_ac", copies=3, batch_agents=batch_agents)
    simulation.round()
    assert simulation.wanted[0] == ["actions", "presence"]
