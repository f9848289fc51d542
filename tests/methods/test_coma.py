"""COMA and its PERLA form: targets, advantages, baselines and gradients by hand, what the critic never reads, and what it is alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from perla_net.ground.processes import Processes
from perla_net.learning.distributions import distribution_of
from perla_net.methods import coma
from perla_net.methods.coma import baseline_weights
from perla_net.methods.order import STATISTICS
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.spec import ActionSpec

SMALL = {
    "env": "traffic:grid:horizon=12",
    "copies": 4,
    "horizon": 10,
    "rounds": 4,
    "topology": "complete",
    "critic": {"passes": 4},
}
WORLDS = {
    "cut off": {"agents": 3},
    "terminated": {"env": "games:two_step", "horizon": 5, "agents": 2},
    "masked": {"env": "pettingzoo:toys:kind=masked", "agents": 2},
    "mortal": {"env": "pettingzoo:toys:kind=leaver", "agents": 2},
}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """The tests' own environments can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def simulation_of(algorithm, own=None, **settings):
    whole = {"algorithm": algorithm} | SMALL | settings | ({algorithm: own} if own else {})
    simulation = Simulation(prepare(validated(whole)), Processes())
    simulation.start()
    return simulation


def after(number, *arguments, **settings):
    simulation = simulation_of(*arguments, **settings)
    for _ in range(number):
        simulation.round()
    return simulation.methods


def weights(method):
    learner = method.learner
    return torch.cat([method.policy.flat, learner.critic.flat, learner.target.network.flat])


# By hand, in double precision


@pytest.fixture
def watched(monkeypatch):
    """A round up to where the critic would be fitted: a list of (lesson, own actions in all states), in the order of agents."""
    found = {}
    acted = coma.COMA._acted

    def noted(self, rollout):
        actions = acted(self, rollout)
        found[self.learner] = [None, actions]
        return actions

    def kept(lessons, trainer, progress):
        found[lessons[0].learner][0] = lessons[0]
        return np.zeros((1, len(STATISTICS)))
        yield

    monkeypatch.setattr(coma.COMA, "_acted", noted)
    monkeypatch.setattr(coma, "learn", kept)
    monkeypatch.setattr(coma.CounterfactualLearner, "follow", lambda self: None)
    return found


def mlp(network, x):
    """The critic's (relu) or the policy's (tanh) outputs in double precision, written out."""
    for layer in range(network.layers):
        x = x @ network.tensors[f"w{layer}"].T + network.tensors[f"b{layer}"]
        if layer < network.layers - 1:
            x = torch.relu(x) if network.activation == "relu" else torch.tanh(x)
    return x


def all_states(running, final):
    return torch.from_numpy(np.concatenate([running.reshape(-1, *running.shape[2:]), final]))


def joint(spec, index):
    """The actions that a joint index stands for, written out."""
    return list(itertools.product(*(range(size) for size in spec.action.sizes)))[index]


def read_by_hand(simulation, rollouts, acted, agent):
    """Everybody's observations, then of each other agent a place for every action and one for its absence, [R, size]."""
    parts = [all_states(r.observation, r.final_observation).double() for r in rollouts]
    for other, rollout in enumerate(rollouts):
        if other == agent:
            continue
        spec = simulation.team.specs[other]
        alive = all_states(rollout.alive, rollout.final_alive).numpy()
        rows = np.zeros((len(alive), sum(spec.action.sizes) + len(spec.action.sizes)))
        for row, (there, index) in enumerate(zip(alive, acted[other].tolist())):
            start = 0
            for size, chosen in zip(spec.action.sizes, joint(spec, index)):
                rows[row, start + (chosen if there else size)] = 1
                start += size + 1
        parts.append(torch.from_numpy(rows))
    return torch.cat(parts, 1)


@pytest.mark.parametrize("world", WORLDS)
def test_targets_advantages_and_gradients_by_hand(world, watched):
    """TD(λ) from the target critic at the joint actions taken, cut where the team's episode ends, going on where one only died; A = Q(s, u) −
    Σ_b π(b|o) Q(s, (a_-i, b)); slopes of −log π · A − c H and of ½ (Q − y)²."""
    options = {"returns": {"entropy": 0.05, "normalise_advantages": False, "gamma": 0.9}}
    simulation = simulation_of("coma", {"trace": 0.7}, **WORLDS[world] | options)
    for method in simulation.methods:  # what was never fitted is small
        generator = torch.Generator().manual_seed(method.index)
        for network in (method.learner.critic, method.learner.target.network, method.policy):
            network.flat.normal_(0, 0.3, generator=generator)
        method.learner.target_units[:] = 1.5, -2.0
    collected = []
    own = simulation._collect
    simulation._collect = lambda: collected.extend(own()) or collected
    simulation.round()
    rollouts, acted = collected, [watched[m.learner][1] for m in simulation.methods]
    steps, copies = rollouts[0].reward.shape
    reward = np.mean([rollout.reward for rollout in rollouts], 0, dtype=np.float64)
    for agent, method in enumerate(simulation.methods):
        learner, lesson, rollout = method.learner, watched[method.learner][0], rollouts[agent]
        taken = steps * copies
        for network in (learner.critic, learner.target.network, method.policy):
            network.to(torch.float64)
        x = read_by_hand(simulation, rollouts, acted, agent)
        # y_t
        following = mlp(learner.target.network, x).gather(1, acted[agent][:, None])[:, 0].detach().numpy() * 1.5 - 2.0
        value = following[: taken + copies].reshape(steps + 1, copies)
        target = np.zeros((steps, copies))
        for copy in range(copies):
            for t in reversed(range(steps)):
                target[t, copy] = reward[t, copy]
                if rollout.begins[t + 1, copy]:
                    if any(other.truncated[t, copy] for other in rollouts):
                        place = rollout.final_at.tolist().index([t, copy])
                        target[t, copy] += 0.9 * following[taken + copies + place]
                else:
                    later = target[t + 1, copy] if t + 1 < steps else value[t + 1, copy]
                    target[t, copy] += 0.9 * (0.3 * value[t + 1, copy] + 0.7 * later)
        heard = lesson.experience
        heard.critic_input, heard.reward = heard.critic_input.double(), torch.from_numpy(reward)
        for neighbour in heard.neighbours:
            neighbour.encoded, neighbour.expected = neighbour.encoded.double(), neighbour.expected.double()
        lesson.at = learner.targets_at(heard.critic_input, heard.neighbours, acted[agent])
        assert np.allclose(lesson.fitted_to().numpy(), target.ravel(), atol=1e-10)
        # A
        q = mlp(learner.critic, x)[:taken].detach()
        logits = mlp(method.policy, all_states(rollout.observation, rollout.final_observation).double()).detach()
        if rollout.mask is not None:
            allowed = all_states(rollout.mask, rollout.final_mask) > 0
            logits = torch.where(allowed, logits, -torch.inf)
        shares = torch.softmax(logits, 1)[:taken]
        heard.outputs = torch.where(logits.isinf(), -1e9, logits)
        advantage = q.gather(1, acted[agent][:taken, None])[:, 0] - (shares * q).sum(1)
        lesson.look()
        found = lesson.advantage(lesson.returns())
        assert torch.allclose(found, advantage, atol=1e-10)
        # slopes
        lesson._inputs.clear()
        batch = lesson.batch(found, lesson.returns(), False)
        learner.trainer._passes.clear()
        part = {k: column.double() if column.is_floating_point() else column for k, column in batch.rows().items()}
        learner.trainer._gradients(part, with_critic=False)
        alive = lesson.alive
        seen = torch.from_numpy(rollout.observation[:-1].reshape(taken, -1)).double()
        outputs = mlp(method.policy, seen)
        if rollout.mask is not None:
            outputs = torch.where(allowed[:taken], outputs, -1e9)
        logs = torch.log_softmax(outputs, 1)
        entropy = -(logs.exp() * logs).sum(1)
        loss = -logs.gather(1, acted[agent][:taken, None])[:, 0] * advantage - 0.05 * entropy
        assert torch.allclose(method.policy.gradient, slopes(loss[alive].mean(), method.policy), atol=1e-10)
        rows = lesson.rows(torch.from_numpy(target).ravel())
        count = len(rows["target"])
        assert count == taken, "the team is there at every step"
        even = torch.full((count,), 1 / count, dtype=torch.float64)
        loss = learner.trainer._critic_gradients(learner.trainer.passes(count)[1], rows, even)
        own_heads = mlp(learner.critic, x[:taken]).gather(1, acted[agent][:taken, None])[:, 0]
        expected = 0.5 * (own_heads - torch.from_numpy(target).ravel()).square().mean()
        assert torch.allclose(loss, expected) and torch.allclose(
            learner.critic.gradient, slopes(expected, learner.critic), atol=1e-10
        )
    if world == "mortal":
        assert not lesson.alive.all() and target.ravel()[~lesson.alive.numpy()].any()


def slopes(loss, network):
    found = torch.autograd.grad(loss, list(network.tensors.values()))
    return torch.cat([slope.flatten() for slope in found])


def test_perla_averages_by_enumeration(watched):
    """Q̂(o, a) of all own actions, the sum over two neighbours' joint actions of π π Q, in double precision; the target critic alike; the critic
    itself is fitted to what they did."""
    simulation = simulation_of("perla_coma", estimator="exact", env="games:climbing:graph=complete", agents=3)
    for method in simulation.methods:
        method.learner.critic.flat.normal_(0, 0.4, generator=torch.Generator().manual_seed(method.index))
        method.learner.target.begin()
        method.policy.flat.normal_(0, 0.4, generator=torch.Generator().manual_seed(10 + method.index))
    simulation.round()
    learner = simulation.methods[1].learner
    lesson, own = watched[learner]
    for network in (learner.critic, learner.target.network):
        network.to(torch.float64)
    heard, states = lesson.experience, len(own)
    heard.critic_input = heard.critic_input.double()
    for neighbour in heard.neighbours:
        neighbour.outputs = neighbour.outputs.double()
    shares = [torch.softmax(neighbour.outputs, 1) for neighbour in heard.neighbours]
    expected = torch.zeros(states, 3, dtype=torch.float64)
    for first, second in itertools.product(range(3), repeat=2):
        rows = torch.zeros(states, 8, dtype=torch.float64)
        rows[:, first] = rows[:, 4 + second] = 1
        joint_share = (shares[0][:, first] * shares[1][:, second])[:, None]
        expected += joint_share * mlp(learner.critic, torch.cat([heard.critic_input, rows], 1)).detach()
    assert torch.allclose(learner.every_action(learner.critic, heard.critic_input, heard.neighbours), expected)
    at = learner.targets_at(heard.critic_input, heard.neighbours, own)
    assert torch.allclose(at, expected.gather(1, own[:, None])[:, 0])
    values = learner.values(heard.critic_input, heard.outputs.double(), heard.neighbours, lesson.action)
    assert torch.allclose(values.at_action, expected[: lesson.taken].gather(1, lesson.action)[:, 0])
    assert torch.allclose(values.value, (torch.softmax(heard.outputs.double(), 1) * expected).sum(1))
    x = learner.step_inputs(heard.critic_input, lesson.action, heard.neighbours)
    for place, neighbour in enumerate(heard.neighbours):
        assert torch.equal(x[:, 1 + 4 * place : 4 + 4 * place].argmax(1), neighbour.action[:, 0])


# Baselines


@pytest.mark.parametrize("sizes", [(4,), (2, 3)])
def test_the_optimal_baseline_has_the_least_variance(sizes):
    """Of the gradient with respect to the logits, over all own actions: E[ψ² Q] / E[ψ²], and no other does better; both baselines leave its mean."""
    kind = "discrete" if len(sizes) == 1 else "multi_discrete"
    distribution = distribution_of(ActionSpec(kind, sizes))
    outputs = torch.randn(3, sum(sizes), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs[0, 0] = -1e9  # forbidden
    q = torch.randn(3, distribution.joint, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 5
    shares = distribution.joint_probabilities(outputs)
    every = distribution.every_action()
    for state in range(3):
        scores = []
        for action in every:
            logits = outputs[state].clone().requires_grad_()
            parts = zip(logits.split(sizes), action)
            log = sum(torch.log_softmax(part, 0)[chosen] for part, chosen in parts)
            scores.append(torch.autograd.grad(log, logits)[0])
        score = torch.stack(scores)

        def variance(baseline, score=score, share=shares[state], q=q[state]):
            steps = score * (q - baseline)[:, None]
            mean = (share[:, None] * steps).sum(0)
            return float((share * (steps - mean).square().sum(1)).sum()), mean

        found = {
            k: (baseline_weights(distribution, outputs, k)[state] * q[state]).sum()
            for k in ("optimal", "counterfactual")
        }
        squares = shares[state] * score.square().sum(1)
        assert torch.allclose(found["optimal"], (squares * q[state]).sum() / squares.sum())
        assert torch.allclose(found["counterfactual"], (shares[state] * q[state]).sum())
        least, mean = variance(found["optimal"])
        for other in (found["counterfactual"], found["optimal"] + 0.1, found["optimal"] - 0.1):
            assert variance(other)[0] >= least and torch.allclose(variance(other)[1], mean)


def test_who_is_certain_has_the_baseline_of_its_action():
    """Where no gradient varies, no weight is divided by nothing; what is forbidden weighs nothing."""
    distribution = distribution_of(ActionSpec("discrete", (3,)))
    certain = torch.tensor([[0.0, -1e9, -1e9], [0.0, 0.0, -1e9]])
    for kind in ("optimal", "counterfactual"):
        assert torch.equal(baseline_weights(distribution, certain, kind), torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0]]))


def test_the_optimal_baseline_reaches_the_advantage(watched):
    """It changes it, and nothing else of the round."""
    found = {}
    for kind in ("counterfactual", "optimal"):
        watched.clear()
        simulation = simulation_of("coma", {"baseline": kind}, agents=2)
        simulation.methods[0].policy.flat.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
        simulation.round()
        learner = simulation.methods[0].learner
        lesson = watched[learner][0]
        lesson.look()
        found[kind] = lesson.advantage(lesson.returns()), lesson.fitted_to()
    assert not torch.allclose(found["optimal"][0], found["counterfactual"][0])
    assert torch.equal(found["optimal"][1], found["counterfactual"][1])


# Pitfalls


@pytest.mark.parametrize("algorithm", ["coma", "perla_coma"])
def test_the_critic_never_reads_the_own_action(algorithm, watched):
    """With others' alone it tells all its heads apart; where all others' actions are the same, so are its inputs."""
    simulation = simulation_of(algorithm, agents=3)
    simulation.round()
    learner = simulation.methods[0].learner
    lesson = watched[learner][0]
    others = sum(distribution.width for distribution in learner.neighbours)
    assert len(learner.neighbours) == 2 and learner.critic.sizes[0] == lesson.experience.critic_input.shape[1] + others
    before = learner.step_inputs(lesson.experience.critic_input, lesson.action, lesson.experience.neighbours)
    other = (lesson.action + 1) % 8
    assert torch.equal(before, learner.step_inputs(lesson.experience.critic_input, other, lesson.experience.neighbours))


def test_what_is_forbidden_counts_nowhere(watched):
    """Heads of forbidden actions may say anything."""
    simulation = simulation_of("coma", **WORLDS["masked"])
    simulation.round()
    learner = simulation.methods[0].learner
    lesson = watched[learner][0]
    lesson.look()
    before = lesson.advantage(lesson.returns())
    mask = torch.from_numpy(lesson.experience.rollout.mask[:-1]).reshape(lesson.taken, -1)
    assert (mask == 0).any()
    own = learner.every_action
    forbidden = torch.cat([mask, torch.ones(len(lesson.experience.outputs) - len(mask), 4)]) == 0
    learner.every_action = lambda *arguments: own(*arguments) + 1e6 * forbidden
    lesson.look()
    assert torch.equal(lesson.advantage(lesson.returns()), before)


def test_the_target_critic_follows_in_its_own_units():
    """A copy every second round, else it says what it said, whatever units the critic has come to speak in."""
    simulation = simulation_of("coma", {"target_every": 2}, agents=2)
    learner = simulation.methods[0].learner
    x = torch.randn(5, learner.critic.sizes[0], generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def said(network, units):
        return network(x) * units[0] + units[1]

    before = said(learner.target.network, learner.target_units)
    simulation.round()
    assert learner.scale != 1 and np.array_equal(learner.target_units, learner.units)
    assert torch.allclose(said(learner.target.network, learner.target_units), before, atol=1e-4)
    assert not torch.allclose(said(learner.critic, learner.units), before, atol=1e-2)
    simulation.round()
    assert torch.equal(learner.target.network.flat, learner.critic.flat)
    half = simulation_of("coma", {"target_rate": 0.5}, agents=2)
    learner = half.methods[0].learner
    before = said(learner.target.network, learner.target_units)
    half.round()
    now, goal = said(learner.target.network, learner.target_units), said(learner.critic, learner.units)
    assert not torch.allclose(now, goal, atol=1e-3) and not torch.allclose(now, before, atol=1e-3)


# What it is alone


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_alone_both_are_one(memory):
    """Bit for bit: nobody's actions to read or to average out."""
    one, other = (after(2, name, agents=1, model={"memory": memory})[0] for name in ("coma", "perla_coma"))
    assert torch.equal(weights(one), weights(other))


def test_without_neighbours_perla_is_coma_alone():
    """Bit for bit, on the empty graph: a critic Q_i(o, ·) with nobody's actions; so it is where it is told to hear nobody."""
    found = []
    for topology, own in (
        ("empty", {"algorithm": "perla_coma"}),
        ("complete", {"algorithm": "coma", "critic": {"input": "own"}}),
        ("complete", {"algorithm": "perla_coma", "critic": {"alone": "yes"}}),
        ("complete", {"algorithm": "perla_coma", "samples": 0}),
    ):
        # The others have another method, so that the agent is a team of its own.
        agents = {"number": 3, "overrides": {"0": own}}
        found.append(weights(after(2, "ippo", agents=agents, topology=topology)[0]))
    assert all(torch.equal(found[0], other) for other in found[1:])
    both = (
        after(2, "perla_coma", agents=3, topology=topology, samples=samples)
        for topology, samples in (("empty", 9), ("complete", 0))
    )
    assert all(torch.equal(weights(one), weights(other)) for one, other in zip(*both))


# Known values


@pytest.mark.parametrize("algorithm", ["coma", "perla_coma"])
def test_what_the_critic_learns_of_two_steps(algorithm):
    """Under (nearly) uniform play, γ = 0.9: in the second step the table, from coma by the other's action, from PERLA's form averaged over it;
    in the first 0.9 · 7 for 2A, and 0.9 · 2.5 for 2B."""
    methods = after(
        14,
        algorithm,
        critic={"passes": 8},
        env="games:two_step",
        agents=2,
        copies=64,
        horizon=4,
        rounds=14,
        returns={"gamma": 0.9},
        model={"critic_hidden": [32]},
        optimiser={"learning_rate": 1e-6, "critic_learning_rate": 0.02},
        a2c={"minibatch": 64},
    )
    learner = methods[0].learner
    for state, table in ((0, [[6.3, 6.3], [2.25, 2.25]]), (1, [[7, 7], [7, 7]]), (2, [[0, 1], [1, 8]])):
        for other in range(2):
            seen = torch.zeros(6 if algorithm == "coma" else 3)
            seen[state] = 1
            if algorithm == "coma":
                seen[3 + state] = 1
            x = torch.cat([seen, torch.eye(3)[other]])[None]
            with torch.no_grad():
                said = (learner.critic(x) * learner.scale + learner.shift)[0].numpy()
            # Of the first step fewer are seen, and what follows is as it happened to be.
            assert np.allclose(said, np.array(table)[:, other], atol=0.6 if state else 1.2)


@pytest.mark.parametrize("algorithm", ["coma", "perla_coma"])
def test_penalty(algorithm):
    """It learns: the safe joint action, which pays 2 a step."""
    one, other = after(
        25,
        algorithm,
        env="games:penalty",
        agents=2,
        copies=32,
        horizon=4,
        rounds=25,
        returns={"gamma": 0.0, "entropy": 0.01},
        model={"policy_hidden": [8], "critic_hidden": [16]},
        optimiser={"learning_rate": 0.05, "critic_learning_rate": 0.02},
        a2c={"minibatch": 64},
    )
    assert [int(m.policy(torch.ones(1, 1)).argmax()) for m in (one, other)] == [1, 1]


# Groups, ranks, stops, refusals


@pytest.mark.parametrize("algorithm", ["coma", "perla_coma"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_group_stays_equal(algorithm, memory):
    """One network for two of four, beside two with their own; with members that die, too."""
    groups = {"number": 4, "groups": {"some": "0-1"}}
    small = {"copies": 2, "horizon": 6, "critic": {"passes": 2}, "model": {"memory": memory}}
    methods = after(2, algorithm, agents=groups, **small)
    assert torch.equal(weights(methods[0]), weights(methods[1]))
    assert not torch.equal(weights(methods[0]), weights(methods[3]))
    methods = after(2, algorithm, env="pettingzoo:toys:kind=leaver", agents={"groups": {"both": "0-1"}}, **small)
    assert torch.equal(weights(methods[0]), weights(methods[1]))
