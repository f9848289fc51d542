"""LIAM: the code against slow recurrences, who trains what, what it tells of neighbours, acting alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import perla_net
from perla_net.ground.processes import Processes
from perla_net.learning.coded import CodedPolicy
from perla_net.learning.distributions import distribution_of
from perla_net.methods.liam import Told
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

TINY = {"code": 6, "hidden": [8], "epochs": 1}


def simulation_of(**settings):
    whole = {"env": "games:ipd:horizon=7", "algorithm": "liam", "agents": 2, "copies": 5, "horizon": 10, "rounds": 40}
    small = {"model": {"policy_hidden": [8], "critic_hidden": [8]}, "ppo": {"minibatch": 25}, "liam": TINY}
    simulation = Simulation(prepare(validated(whole | small | settings)), Processes())
    simulation.start()
    return simulation


def test_alone_it_is_ippo():
    """Who may never hear anybody has no code."""
    flats = []
    for algorithm in ("liam", "ippo"):
        simulation = simulation_of(algorithm=algorithm, topology="empty")
        for _ in range(2):
            row = simulation.round()["metrics"]
        flats.append((simulation.methods[0].policy.flat, row["policy_loss"]))
    assert torch.equal(flats[0][0], flats[1][0]) and flats[0][1] == flats[1][1]


def slow_codes(policy, x, memory, begins, own):
    """z by torch's own GRU cell, step by step and copy by copy."""
    cell = torch.nn.GRUCell(policy.code, policy.code, dtype=x.dtype)
    for name, tensor in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), ("wi", "wh", "bi", "bh")):
        getattr(cell, name).data = policy.frozen[f"gru_{tensor}"].clone()
    found = torch.zeros(*x.shape[:2], policy.code, dtype=x.dtype)
    for b in range(x.shape[1]):
        code, last = memory[b, : policy.code], memory[b, policy.code :]
        for t in range(len(x)):
            if begins[t, b]:
                code, last = torch.zeros_like(code), torch.zeros_like(last)
            read = torch.tanh(policy.frozen["code_w"] @ torch.cat([x[t, b], last]) + policy.frozen["code_b"])
            code = cell(read[None], code[None])[0]
            found[t, b], last = code, own[t, b]
    return found, cell


def coded(dtype=torch.float64):
    policy = CodedPolicy(3, 4, 2, (5,), 2, 0, "tanh")
    policy.start_coder(torch.Generator().manual_seed(0), False)
    policy.to(dtype)
    x, own = torch.randn(6, 3, 3, dtype=dtype), torch.randn(6, 3, 2, dtype=dtype)
    begins = torch.rand(6, 3) < 0.3
    return policy, x, torch.randn(3, 6, dtype=dtype), begins, own


def test_codes_know_what_was_seen_and_done():
    """o_1…o_t and a_1…a_t−1, not a_t; nothing of the episode before."""
    policy, x, memory, begins, own = coded()
    found = policy.codes(x, memory, begins, own)
    assert torch.allclose(found, slow_codes(policy, x, memory, begins, own)[0])
    later = own.clone()
    later[3:] += 1
    again = policy.codes(x, memory, begins, later)
    assert torch.equal(again[:4], found[:4])
    assert all(bool(begins[4, b]) == torch.equal(again[4, b], found[4, b]) for b in range(3))


def test_gradients_of_the_reconstruction():
    """Encoder and decoder in float64 against finite differences of a loss written out here; unknown steps do not count."""
    simulation = simulation_of()
    method = simulation.methods[0]
    simulation.round()
    method.policy.to(torch.float64)
    decoder = method.decoders[1]
    decoder.to(torch.float64)
    method.memory_at_start = method.memory_at_start.double()
    x, own = torch.randn(4, 5, 5).double(), torch.randn(4, 5, 2).double()
    begins, known = torch.rand(4, 5) < 0.3, torch.rand(4, 5) < 0.7
    seen, action = torch.randn(4, 5, 5).double(), torch.randint(2, (20, 1))
    chosen = torch.tensor([3, 0, 4])

    def loss():
        codes = slow_codes(method.policy, x, method.memory_at_start, begins, own)[0].detach()
        total = np.zeros(2)
        for t in range(4):
            for b in chosen.tolist():
                if known[t, b]:
                    hidden = torch.relu(decoder.frozen["w0"] @ codes[t, b] + decoder.frozen["b0"])
                    out = decoder.frozen["w1"] @ hidden + decoder.frozen["b1"]
                    total[0] += float((out[:5] - seen[t, b]).square().mean())
                    total[1] -= float(torch.log_softmax(out[5:], 0)[action.view(4, 5)[t, b]])
        return total / int(known[:, chosen].sum())

    errors, entropies = method.losses(x, own, begins, {1: Told(seen, action, known)}, chosen)
    assert np.allclose([float(errors[0]), float(entropies[0])], loss())
    method.policy.gradient.zero_()
    decoder.gradient.zero_()
    (0.5 * errors.mean() + entropies.mean()).backward()
    for network in (method.policy, decoder):
        for place in range(0, len(network.flat), max(1, len(network.flat) // 23)):
            at = float(network.flat[place])
            sides = []
            for step in (1e-5, -1e-5):
                network.flat[place] = at + step
                sides.append(loss() @ [0.5, 1.0])
            network.flat[place] = at
            assert float(network.gradient[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-7)


def test_what_acted_is_what_is_learned_from():
    """The policy rebuilt from the rollout is the one that acted, with the codes that it had; over several rollouts, episodes ending within."""
    simulation = simulation_of()
    for _ in range(3):
        rollouts = simulation._collect()
        method, rollout = simulation.methods[0], rollouts[0]
        memory = method.memory_at_start.clone()
        method.tell(rollout, [])
        outputs = []
        words = method.distribution.read(rollout.action).view(10, 5, -1)
        for t in range(10):
            seen, begins = torch.from_numpy(rollout.observation[t]), torch.from_numpy(rollout.begins[t])
            with torch.no_grad():
                out, memory = method.policy.step(seen, memory, begins)
            memory = method.policy.recall(memory, method.distribution.own(words[t]))
            outputs.append(out)
        assert torch.allclose(torch.cat(outputs), method.outputs[:50], atol=1e-6)
        assert torch.allclose(memory, method._player.memory, atol=1e-6)
        told = method.tell(rollout, ["policy", "observations", "memory", "actions", "presence"])
        assert len(told["policy"]) == len(method.policy.flat) and told["memory"].shape == (5, 8)


def test_ppo_moves_the_policy_and_reconstruction_the_encoder():
    """No gradient of PPO reaches the encoder, none of the decoders the policy; who hears nothing keeps its encoder."""
    for options, moved in (({"ppo": {"epochs": 1}}, True), ({"links": {"loss": 1.0}}, False)):
        simulation = simulation_of(**options)
        method = simulation.methods[0]
        before, size = method.policy.flat.clone(), len(method.learner.policy.flat)
        row = simulation.round()["metrics"]
        assert torch.equal(method.learner.policy.flat, method.policy.flat[:size])
        assert not torch.equal(before[:size], method.policy.flat[:size])
        assert torch.equal(before[size:], method.policy.flat[size:]) != moved
        assert (row["liam_action_cross_entropy"] is not None) == moved
    heads = []
    for rate in (1e-3, 1e-9):
        simulation = simulation_of(liam=TINY | {"learning_rate": rate})
        simulation.round()
        heads.append(simulation.methods[0].learner.policy.flat)
    assert torch.equal(*heads)


def test_it_tells_what_a_neighbour_will_do():
    """Tit for tat does what the agent did last: the cross-entropy of its actions, log 2 at first, falls to next to nothing, before anything is fitted
    to them; and so does the error of what it sees."""
    agents = {"number": 2, "overrides": {"1": {"algorithm": "controller:tit_for_tat"}}}
    simulation = simulation_of(
        agents=agents, copies=16, horizon=14, liam={"code": 16, "epochs": 6, "learning_rate": 5e-3}
    )
    for number in range(25):
        row = simulation.round()["metrics"]
        if not number:
            assert row["liam_action_cross_entropy"] == pytest.approx(np.log(2), abs=0.1)
    assert row["liam_action_cross_entropy"] < 0.1 and row["liam_observation_error"] < 0.02


def test_it_acts_alone(tmp_path):
    """What is saved acts by its own past, without the neighbours: as in the run."""
    config = perla_net.Config(
        env="games:ipd", agents=perla_net.settings.config.Agents(number=2), algorithm="liam", rounds=2, copies=2, horizon=10,
        evaluate_episodes=1, display="none", out=str(tmp_path / "run"),
    )  # fmt: skip
    perla_net.train(config)
    agent = perla_net.load_agent(tmp_path / "run" / "checkpoints" / "2" / "player_0")
    policy = agent.player.policy
    assert isinstance(policy, CodedPolicy)
    own = distribution_of(agent.spec.action).own
    memory, begins = policy.begin(1), torch.tensor([True])
    for t in range(6):
        seen = np.eye(5, dtype=np.float32)[(2 * t) % 5]
        acted = agent.act(seen)
        with torch.no_grad():
            out, memory = policy.step(torch.from_numpy(seen)[None], memory, begins)
        begins = torch.tensor([False])
        assert acted == int(out.argmax())
        memory = policy.recall(memory, own(torch.tensor([[acted]])))
    frozen = {"number": 2, "overrides": {"0": {"algorithm": f"frozen:{tmp_path / 'run'}"}}}
    simulation = simulation_of(env="games:ipd", agents=frozen)
    simulation.round()
    assert torch.equal(simulation.methods[0].policy.flat, policy.flat)


def test_it_is_embedded_like_any_other():
    """A neighbour that embeds it rebuilds what it decided from what it told."""
    agents = {"number": 2, "overrides": {"1": {"algorithm": "perla_ippo"}}}
    simulation = simulation_of(agents=agents)
    for _ in range(2):
        simulation.round()
    one, other = simulation.methods
    rollouts = simulation._collect()
    messages = {m.index: m.tell(r, simulation.wanted[m.index]) for m, r in zip(simulation.methods, rollouts)}
    inboxes = simulation.network.exchange(messages, 3, simulation.edges, rollouts[0].final_at[:, 1])
    (heard,) = other.hearing.hear(rollouts[1], inboxes[1], 3, other.observation, other.mask)
    assert torch.allclose(heard.outputs, one.outputs, atol=1e-6)
