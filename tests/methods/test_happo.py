"""HAPPO: in turn, in a fresh order, each from one advantage times what those before it have changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from perla_net.ground.processes import Processes
from perla_net.methods import happo
from perla_net.methods.coalition import play_together
from perla_net.methods.trainer import gradient_steps
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

SMALL = {
    "env": "traffic:grid:horizon=12",
    "copies": 4,
    "horizon": 10,
    "rounds": 4,
    "ppo": {"minibatch": 16, "epochs": 2},
}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """The tests' own environments can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def simulation_of(**settings):
    simulation = Simulation(prepare(validated({"algorithm": "happo", "agents": 3} | SMALL | settings)), Processes())
    simulation.start()
    return simulation


def after(done, **settings):
    simulation = simulation_of(**settings)
    for _ in range(done):
        simulation.round()
    return simulation.methods


def weights(method):
    return torch.cat([method.policy.flat, method.learner.critic.flat])


# What it is alone


@pytest.mark.parametrize(
    "settings",
    [
        {"agents": 1},
        {"agents": 1, "model": {"memory": "gru"}},
        {"agents": 1, "critic": {"order": "first"}},
        {"env": "pettingzoo:toys:kind=match,continuous=true", "agents": 1},
        {"agents": {"number": 3, "overrides": {"1-2": {"algorithm": "ia2c"}}}},
    ],
    ids=["discrete", "gru", "critic first", "continuous, terminated", "among others"],
)
def test_alone_it_is_mappo(settings):
    """Bit for bit, critic and policy: one agent's advantage is the team's, and nobody learned before it."""
    one, other = (after(2, **settings | {"algorithm": name})[0] for name in ("happo", "mappo"))
    assert torch.equal(weights(one), weights(other))


# One after the other


def log_probabilities(policy, observation, action):
    """log π(a|o) of a policy without memory [rows], in double precision, written out."""
    x = observation
    for layer in range(policy.layers):
        x = x @ policy.tensors[f"w{layer}"].double().T + policy.tensors[f"b{layer}"].double()
        x = torch.tanh(x) if layer < policy.layers - 1 else x
    return torch.log_softmax(x, -1).gather(1, action)[:, 0]


@pytest.fixture
def watched(monkeypatch):
    """What every agent learned from in the last round, and its policy before and after: agent → dict."""
    seen = {}

    def improve(lessons, batches, trainer, progress, fitted):
        learner = lessons[0].learner
        agent = next(k for k, m in enumerate(seen["methods"]) if m.learner is learner)
        before = learner.policy.flat.clone()
        found = yield from own(lessons, batches, trainer, progress, fitted)
        seen[agent] = {
            "batch": batches[0],
            "lesson": lessons[0],
            "before": before,
            "after": learner.policy.flat.clone(),
            "place": len(seen) - 1,
        }
        return found

    own = happo.improve
    monkeypatch.setattr(happo, "improve", improve)
    return seen


def test_who_comes_later_learns_from_what_those_before_have_changed(watched):
    """M = A · Π π_new/π_old of those before, after their last epoch, with one A, normalised once, the mean of everybody's estimates; against
    sums written out in double precision."""
    simulation = simulation_of(agents=4, optimiser={"learning_rate": 0.02})
    watched["methods"] = simulation.methods
    for number in (1, 2):
        for agent in [key for key in watched if key != "methods"]:
            del watched[agent]
        simulation.round()
        order = [block[0] for block in simulation.methods[0].order_of(number)]
        assert all(method.order_of(number) == simulation.methods[0].order_of(number) for method in simulation.methods)
        assert sorted(order, key=lambda agent: watched[agent]["place"]) == order
    lessons = [watched[agent]["lesson"] for agent in range(4)]
    estimates = [lesson.returns() - lesson.values.value[: lesson.taken] for lesson in lessons]
    advantage = torch.stack(estimates).double().mean(0)
    advantage = (advantage - advantage.mean()) / advantage.std(correction=0)
    factor = torch.ones_like(advantage)
    for agent in order:
        lesson, policy = lessons[agent], simulation.methods[agent].policy
        assert torch.allclose(watched[agent]["batch"].advantage.double(), advantage * factor, atol=1e-4)
        x = simulation.methods[agent].observation[: lesson.taken].double()
        logs = []
        for flat in (watched[agent]["after"], watched[agent]["before"]):
            policy.fill(flat)
            logs.append(log_probabilities(policy, x, lesson.action))
        factor = factor * torch.exp(logs[0] - logs[1]).detach()
    assert (factor - 1).abs().max() > 0.05
    # Not normalised anew: a later agent's numbers have neither mean 0 nor deviation 1.
    assert abs(float(watched[order[-1]]["batch"].advantage.std(correction=0)) - 1) > 1e-3


def test_the_gradient_of_its_loss(watched):
    """−min(ρ M, clip(ρ) M) − c H of a later agent's minibatch, in double precision, by autograd over sums written out."""
    simulation = simulation_of(agents=2, returns={"entropy": 0.05}, optimiser={"learning_rate": 0.05})
    watched["methods"] = simulation.methods
    simulation.round()
    agent = simulation.methods[0].order_of(1)[1][0]
    method, batch = simulation.methods[agent], watched[agent]["batch"]
    trainer, policy = method.learner.trainer, method.policy
    for network in (policy, method.learner.critic):
        network.to(torch.float64)
    trainer._passes.clear()
    part = {name: column.double() if column.is_floating_point() else column for name, column in batch.rows().items()}
    part["observation"] = part["observation"] if "observation" in part else part["x"][:, : policy.observation]
    trainer._gradients(part, with_critic=False)
    x = part["observation"]
    for layer in range(policy.layers):
        x = x @ policy.tensors[f"w{layer}"].T + policy.tensors[f"b{layer}"]
        x = torch.tanh(x) if layer < policy.layers - 1 else x
    logs = torch.log_softmax(x, -1)
    ratio = torch.exp(logs.gather(1, part["action"])[:, 0] - part["old"])
    gain = torch.minimum(ratio * part["advantage"], ratio.clamp(0.8, 1.2) * part["advantage"])
    assert ((ratio - 1).abs() > 0.2).any()
    entropy = -(logs.exp() * logs).sum(1)
    slopes = torch.autograd.grad(-(gain + 0.05 * entropy).mean(), list(policy.tensors.values()))
    expected = torch.cat([slope.flatten() for slope in slopes])
    assert torch.allclose(policy.gradient, expected, atol=1e-12)


def test_the_order_is_fresh_in_every_round():
    """All orders of three come about, alike often, and another seed has others."""
    one, other = (simulation_of(seed=seed).methods[0] for seed in (0, 1))
    orders = [tuple(block[0] for block in one.order_of(number)) for number in range(1, 301)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6 and min(counts) > 30
    assert orders[:20] != [tuple(block[0] for block in other.order_of(number)) for number in range(1, 21)]


# Deaths, and what the team goes on to earn


def drive(generators):
    """Let generators that say things to all of each other talk; what they return."""
    found, answers = {}, dict.fromkeys(generators)
    while len(found) < len(generators):
        said = {}
        for name, steps in generators.items():
            try:
                said[name] = steps.send(answers[name])
            except StopIteration as stop:
                found[name] = stop.value
        if said:
            table = np.stack([said[name].numbers for name in sorted(said)])
            answers = {name: table.mean(0) for name in said}
    return found


def test_the_team_plays_on_when_one_is_gone():
    """zoo: one dies at step 3, one is cut off at step 5, two at step 7: only that is the end, and it is a cut; leaver ends by termination."""
    simulation = simulation_of(env="pettingzoo:toys:kind=zoo", agents=4, horizon=9, copies=2)
    rollouts = simulation._collect()
    found = drive({k: play_together(rollout, (0, 1, 2, 3)) for k, rollout in enumerate(rollouts)})
    reward = np.mean([rollout.reward for rollout in rollouts], 0)
    over = rollouts[0].begins[1:]
    assert over.any() and rollouts[3].terminated.any() and rollouts[1].truncated.sum() > over.sum() / 2
    for played in found.values():
        assert np.allclose(played.reward.numpy(), reward, atol=1e-6) and played.there.all()
        assert not played.rollout.terminated.any() and np.array_equal(played.rollout.truncated, over)
        t, copy = played.rollout.final_at.T
        assert np.array_equal(played.rollout.final_cut, over[t, copy])
    simulation = simulation_of(env="pettingzoo:toys:kind=leaver", agents=2, horizon=61, copies=2)
    rollouts = simulation._collect()
    found = drive({k: play_together(rollout, (0, 1)) for k, rollout in enumerate(rollouts)})
    for played in found.values():
        assert played.rollout.terminated.any() and not played.rollout.truncated.any()
        assert np.array_equal(played.rollout.terminated, rollouts[0].terminated)


def test_critics_learn_where_their_agent_is_gone_and_policies_do_not(watched):
    """Weights of the dead agent's steps: 0 for its policy, 1 for its critic; its ratio is 1 there."""
    simulation = simulation_of(env="pettingzoo:toys:kind=leaver", agents=2)
    watched["methods"] = simulation.methods
    simulation.round()
    batch, lesson = watched[1]["batch"], watched[1]["lesson"]
    assert 0 < lesson.alive.sum() < len(lesson.alive)
    assert torch.equal(batch.weight, lesson.alive.float()) and batch.value_weight.all()
    assert watched[0]["batch"].weight is None and watched[0]["batch"].value_weight is None
    first = simulation.methods[0].order_of(1)[0][0]
    if first == 1:  # then the other learned from what the dead one changed, where it was
        assert (watched[0]["batch"].advantage[~lesson.alive] != 0).all()
    # Agent 0 is paid alone after that, and agent 1's return is still half of it.
    later = torch.zeros(lesson.steps, lesson.copies)
    for t in range(lesson.steps - 2, -1, -1):
        later[t] = lesson.experience.reward[t + 1] + later[t + 1] * ~torch.from_numpy(
            lesson.experience.rollout.terminated[t]
        )
    gone = ~lesson.alive.view(lesson.steps, lesson.copies)
    assert (later[gone] > 0).any()


# Sharing


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_group_learns_as_one(watched, memory):
    """Its networks stay equal, it has one place in the order, and what it hands on is the product of its members' ratios; agents that wait
    for it know how long."""
    groups = {"number": 5, "groups": {"pair": [1, 3]}}
    simulation = simulation_of(agents=groups, model={"memory": memory}, horizon=12, copies=3)
    watched["methods"] = simulation.methods
    for _ in range(3):
        for agent in [key for key in watched if key != "methods"]:
            del watched[agent]
        simulation.round()
    one, other = simulation.methods[1], simulation.methods[3]
    assert torch.equal(weights(one), weights(other)) and not torch.equal(weights(one), weights(simulation.methods[0]))
    order = simulation.methods[0].order_of(3)
    assert (1, 3) in order and len(order) == 4
    advantage, factor = watched[order[0][0]]["batch"].advantage, 1.0
    for block in order:
        for agent in block:
            assert torch.allclose(watched[agent]["batch"].advantage, advantage * factor, atol=1e-5)
        for agent in block:
            factor = factor * ratio_by_hand(watched[agent])


def ratio_by_hand(seen):
    """π_new / π_old at the actions taken, of an agent of the last round."""
    lesson, batch, policy = seen["lesson"], seen["batch"], seen["lesson"].learner.policy
    policy.fill(seen["after"])
    x = lesson.experience.observation[: lesson.taken]
    with torch.no_grad():
        if policy.width:
            x = x.view(lesson.steps, lesson.copies, -1)
            outputs = policy.sequence(x, batch.memory, batch.begins)[0].flatten(0, 1)
        else:
            outputs = policy(x)
    return torch.exp(torch.log_softmax(outputs, -1).gather(1, lesson.action)[:, 0] - batch.old)


@pytest.mark.parametrize("minibatch", [7, 16, 4000])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_steps_of_a_group_can_be_counted(minibatch, memory):
    """As many as it takes."""
    ppo = {"minibatch": minibatch, "epochs": 3}
    (method,) = after(1, agents=1, ppo=ppo, model={"memory": memory})
    assert method.learner.optimisers[0].steps == gradient_steps(method.settings, 10, 4)


# Ranks, stops, games, refusals


@pytest.mark.parametrize("seed", range(3))
def test_two_steps(seed):
    """Learning on-policy, it finds the 8 behind 2B."""
    one, other = games_after(12, "games:two_step", seed, gamma=0.99)
    first, second = (m.policy(torch.eye(3)).argmax(1).tolist() for m in (one, other))
    assert (first[0], first[2], second[2]) == (1, 1, 1)


def games_after(rounds, env, seed, gamma):
    return after(
        rounds,
        env=env,
        agents=2,
        seed=seed,
        copies=64,
        horizon=4,
        rounds=rounds,
        model={"policy_hidden": [8], "critic_hidden": [16]},
        ppo={"minibatch": 256, "epochs": 6},
        optimiser={"learning_rate": 0.05, "critic_learning_rate": 0.02},
        returns={"gamma": gamma, "entropy": 0.01},
    )


def test_rounds_with_and_without_deaths_go_together():
    """Rows of earlier rounds that a critic is fitted on, whether somebody was gone in them or not."""
    settings = {
        "env": "pettingzoo:toys:kind=leaver",
        "agents": 2,
        "critic": {"order": "first", "passes": 1},
        "horizon": 30,
    }
    methods = after(4, **settings)
    assert all(bool(weights(method).isfinite().all()) for method in methods)
