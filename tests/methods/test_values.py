"""Q-learners: what they must find, that they come back to the byte, and their parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import job, needs_mpirun, rows, run

from perla_net.ground.processes import Processes
from perla_net.learning.distributions import distribution_of
from perla_net.learning.models import BLOCKED, Policy
from perla_net.methods.exploration import Exploration
from perla_net.methods.memory import Replay
from perla_net.methods.protocol import Now
from perla_net.methods.targets import Target
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

UNIFORM = {"start": 1.0, "end": 1.0}
QUICK = {"exploration": UNIFORM, "updates": 60, "batch": 64, "begin": 100, "target_every": 20}


def simulation_of(env, algorithm, seed=0, gamma=0.99, **settings):
    own = {algorithm: QUICK | settings.pop(algorithm, {})}
    whole = {
        "env": env,
        "algorithm": algorithm,
        "topology": "empty",
        "agents": 2,
        "copies": 32,
        "horizon": 8,
        "rounds": 12,
    }
    # Tables, moved by plain gradients: what Q-learning itself finds.
    learning = {
        "returns": {"gamma": gamma},
        "optimiser": {"method": "sgd", "learning_rate": 0.5, "max_gradient_norm": 0.0},
        "model": {"policy_hidden": []},
        "seed": seed,
    }
    return Simulation(prepare(validated(whole | learning | own | settings)), Processes())


def trained(*arguments, **settings):
    simulation = simulation_of(*arguments, **settings)
    simulation.start()
    for _ in range(simulation.config.rounds):
        simulation.round()
    return simulation.methods


@torch.no_grad()
def table(method, observation):
    """Q(o, ·)."""
    return method.policy(torch.from_numpy(np.array([observation], np.float32)))[0].numpy()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("algorithm", ["iql", "vdn"])
def test_two_steps(algorithm, seed):
    """Exploring uniformly, both choose game 2A, which pays 7 (QMIX, Rashid et al. 2018): on average 2B pays less. VDN's best sum for 2B is
    the additive table −1.5, 2.5, 2.5, 6.5."""
    one, other = trained("games:two_step", algorithm, seed)
    assert table(one, [1, 0, 0]).argmax() == 0
    if algorithm == "vdn":
        first, second = table(one, [0, 0, 1]), table(other, [0, 0, 1])
        assert np.allclose(first[:, None] + second[None], [[-1.5, 2.5], [2.5, 6.5]], atol=0.75)
        assert np.allclose(table(one, [0, 1, 0])[:, None] + table(other, [0, 1, 0]), 7, atol=0.5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("algorithm", ["iql", "vdn"])
def test_climbing(algorithm, seed):
    """Against a partner that acts by chance a row is worth its mean, −6.3, −7.7, 3.7 (a column −6.3, −5.7, 1.7): both end at (2, 2), which
    pays 5 a step; the best is 11."""
    one, other = trained("games:climbing", algorithm, seed, gamma=0.0, **{algorithm: {"batch": 512}})
    always = np.ones(1)
    first, second = table(one, always), table(other, always)
    payoff = np.array([[11, -30, 0], [-30, 7, 0], [0, 6, 5]])
    rows_, columns = payoff.mean(1), payoff.mean(0)
    if algorithm == "iql":
        assert np.allclose(first, rows_, atol=2) and np.allclose(second, columns, atol=2)
    else:  # additive: what is nearest to the payoffs on average
        best = rows_[:, None] + columns - payoff.mean()
        assert np.allclose(first[:, None] + second, best, atol=3)
    assert (first.argmax(), second.argmax()) == (2, 2)


def test_vdn_alone_is_iql():
    """One agent's utilities add up to its own, bit for bit."""
    env = "traffic:grid:horizon=12"
    both = [
        trained(env, name, agents=1, rounds=3, copies=4, horizon=10, **{name: {"begin": 10}}) for name in ("iql", "vdn")
    ]
    assert torch.equal(both[0][0].policy.flat, both[1][0].policy.flat)


SMALL_Q = {"begin": 40, "updates": 3, "batch": 16, "episodes": 3, "memory": 400, "target_every": 4}
WORLDS = {
    "steps": ("--env", "traffic:grid:horizon=15"),
    "gru": ("--env", "traffic:grid:horizon=15", "--model.memory", "gru"),
    "masked": ("--env", "pettingzoo:toys:kind=masked"),
    "mortal": ("--env", "pettingzoo:toys:kind=leaver"),
}


def q_options(algorithm, **more):
    return [
        word
        for key, value in (SMALL_Q | more).items()
        for word in (f"--{algorithm}.{key.replace('_', '-')}", str(value))
    ]


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("algorithm", ["iql", "vdn"])
def test_numbers_do_not_depend_on_ranks_or_on_stops(algorithm, world, tmp_path, monkeypatch):
    """1, 2 and 4 ranks; and the run that goes on from the middle, with its memory."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    agents = () if world in ("mortal", "masked") else ("--agents", "4")
    words = (
        *WORLDS[world],
        *agents,
        "--algorithm",
        algorithm,
        *q_options(algorithm),
        "--rounds",
        "4",
        "--checkpoint-every",
        "2",
    )
    whole = run(tmp_path / "0", 0, *words, "--keep-checkpoints", "2", "--evaluate-episodes", "2")
    most = 2 if world in ("mortal", "masked") else 4
    for ranks in {"steps": (2, 4), "gru": (2,), "masked": (most,), "mortal": (2,)}[world]:
        assert run(tmp_path / str(ranks), ranks, *words, "--evaluate-episodes", "2") == whole
        assert (tmp_path / str(ranks) / "evaluation.json").read_bytes() == (
            tmp_path / "0" / "evaluation.json"
        ).read_bytes()
    shutil.copytree(tmp_path / "0", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "4")
    job(0, "perla_net.run", "--resume", str(tmp_path / "cut"))
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == whole
    last = rows(tmp_path / "0")[-1]
    assert last["td_loss"] is not None and last["remembered"] > 40


@needs_mpirun
@pytest.mark.mpi
def test_a_mixed_team_of_learners(tmp_path):
    """PPO beside Q-learners that add up: each reports its own statistics, as a mean over those that have them, and PPO embeds all; alike on
    two ranks, and resumed."""
    agents = {"number": 4, "overrides": {"2-3": {"algorithm": "vdn", "vdn": SMALL_Q}}}
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps({"agents": agents, "topology": "complete"}))
    whole = run(tmp_path / "run", 0, "--config", str(file))
    assert (
        run(tmp_path / "two", 2, "--config", str(file), "--checkpoint-every", "1", "--keep-checkpoints", "3") == whole
    )
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "3")
    job(0, "perla_net.run", "--resume", str(tmp_path / "two"))
    assert (tmp_path / "two" / "metrics.jsonl").read_bytes() == whole
    last = rows(tmp_path / "run")[-1]
    assert {"policy_loss", "td_loss"} <= set(last) and all(
        last[name] is not None for name in ("policy_loss", "td_loss")
    )
    ledger = (tmp_path / "run" / "ledger.csv").read_text()
    assert "signal_1_0,signal_1_1,utilities" in ledger and "signal_0_0,signal_0_1,utilities" not in ledger
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "memory: 400" in written and "sections" not in written


def test_neighbours_know_how_it_explores(monkeypatch):
    """What a neighbour rebuilds from the message is the distribution that acted: ε-greedy or Boltzmann, over allowed actions."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    for kind in ("epsilon", "boltzmann"):
        exploring = {"exploration": {"kind": kind, "start": 0.4, "end": 0.4}}
        simulation = simulation_of("pettingzoo:toys:kind=masked", "iql", iql=exploring)
        simulation.start()
        rollout = simulation._collect()[0]
        method = simulation.methods[0]
        told = method.tell(rollout, ["policy", "observations", "masks"])
        peer = method.team.policy_of(0)
        peer.fill(torch.from_numpy(told["policy"].copy()))
        masked = distribution_of(method.spec.action).masked(
            peer(torch.from_numpy(told["observations"])), torch.from_numpy(told["masks"]), -1
        )
        outputs = peer.decide(masked.detach(), -1)
        assert torch.equal(outputs, method.outputs)
        shares = outputs.softmax(-1)
        assert (shares[torch.from_numpy(told["masks"]) == 0] == 0).all()
        if kind == "epsilon":
            allowed = torch.from_numpy(told["masks"]).sum(-1)
            assert torch.allclose(shares.max(-1).values, 0.6 + 0.4 / allowed, atol=1e-6)
        taken = rollout.action.view(np.int32).reshape(-1)
        assert (told["masks"][: len(taken)][np.arange(len(taken)), taken] == 1).all()


def test_epsilon_is_a_share():
    """ε = 1: every allowed action alike; ε = 0: the best one."""
    policy = Policy(2, (), 3, 0, "tanh", "none", head="epsilon")
    values = torch.tensor([[1.0, 2.0, BLOCKED]])
    policy.frozen["exploration"].fill_(1.0)
    assert torch.allclose(policy.decide(values, -1).softmax(-1), torch.tensor([[0.5, 0.5, 0.0]]))
    policy.frozen["exploration"].fill_(0.0)
    assert torch.equal(policy.decide(values, -1).softmax(-1), torch.tensor([[0.0, 1.0, 0.0]]))


def test_exploration_over_a_run():
    """From start to end over a share of the run."""
    of = Exploration("epsilon", 1.0, 0.1, 0.5)
    assert [round(of.at(done), 12) for done in (0.0, 0.25, 0.5, 1.0)] == [1.0, 0.55, 0.1, 0.1]
    assert Exploration("epsilon", 1.0, 0.2, 0.0).at(0.0) == 0.2 and Exploration("boltzmann", 0.0, 0.0).at(0.3) == 1e-3


def some(start, steps, copies=1):
    """Rows that say which step they are."""
    numbers = np.arange(start, start + steps * copies).reshape(steps, copies)
    return {"alive": np.ones((steps, copies), bool), "number": numbers}


def test_a_memory_of_steps_keeps_the_newest():
    """A ring; steps that are not worth keeping are left out."""
    memory = Replay(5, episodes=False)
    memory.add(some(0, 4), np.zeros((5, 1), bool))
    memory.add(some(4, 4), np.zeros((5, 1), bool), kept=np.array([[True], [False], [True], [True]]))
    assert len(memory) == 5 and sorted(memory.rows["number"]) == [2, 3, 4, 6, 7]
    drawn = memory.take(memory.choose(np.random.default_rng(0), 200))["number"]
    assert set(drawn) == {2, 3, 4, 6, 7}
    memory.add(some(10, 9), np.zeros((10, 1), bool))
    assert sorted(memory.rows["number"]) == [14, 15, 16, 17, 18]


def test_a_memory_of_episodes_keeps_whole_ones():
    """Also those that span rollouts; the oldest go, and one that never ends is cut into pieces."""
    memory = Replay(12, episodes=True, longest=6)
    begins = np.zeros((5, 2), bool)
    begins[3, 0] = True
    memory.add(some(0, 4, 2), begins)  # copy 0: 0 2 4 | 6 …; copy 1: 1 3 5 7 …
    assert len(memory) == 3
    begins = np.zeros((5, 2), bool)
    begins[2, 1] = True
    memory.add(some(8, 4, 2), begins)  # copy 0: 6 8 10 12 14 …; copy 1: … 9 11 | 13 15 …
    kept = [memory.rows["number"][first : first + length].tolist() for first, length in memory.spans]
    assert kept == [[0, 2, 4], [1, 3, 5, 7, 9, 11]]
    memory.add(some(16, 2, 2), np.zeros((3, 2), bool))  # copy 0 has 6 8 10 12 14 16 18: six of them are one
    kept = [memory.rows["number"][first : first + length].tolist() for first, length in memory.spans]
    assert kept[-1] == [6, 8, 10, 12, 14, 16] and [0, 2, 4] not in kept
    drawn = memory.take(memory.choose(np.random.default_rng(1), 20))
    assert drawn["there"].sum() == (drawn["number"] > 0).sum() and drawn["number"].shape == (6, 20)
    again = Replay(12, episodes=True, longest=6)
    arrays, numbers = memory.state()
    again.restore({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(numbers)))
    for one in (memory, again):
        one.add(some(20, 3, 2), np.array([[False, False], *[[True, True]] * 3]))
    assert memory.spans == again.spans
    assert all(np.array_equal(memory.rows[name][:11], again.rows[name][:11]) for name in memory.rows)


def test_an_episode_that_was_given_up_is_not_gone_on_with():
    """After a resumption whose environment could not be brought back, what begins is another episode."""
    memory = Replay(20, episodes=True)
    memory.add(some(0, 3), np.zeros((4, 1), bool))
    memory.add(some(10, 3), np.array([[True], [False], [False], [True]]))
    assert [memory.rows["number"][first : first + length].tolist() for first, length in memory.spans] == [[10, 11, 12]]


def test_a_target_follows():
    """A copy from time to time, or a little each time."""
    network = Policy(1, (), 1, 0, "tanh", "none")
    target, slow = Target(network, 2, 1.0), Target(network, 1, 0.25)
    network.flat.fill_(1.0)
    for one in (target, slow):
        one.follow()
    assert not target.network.flat.any() and torch.allclose(slow.network.flat, torch.tensor(0.25))
    target.follow()
    assert torch.equal(target.network.flat, network.flat)


def test_what_follows_a_cut_is_what_was_seen_there():
    """A truncated step is followed by the observation that the episode ended with, not by the next one's first."""
    simulation = simulation_of("traffic:grid:horizon=5", "iql", agents=1, copies=3, horizon=8)
    simulation.start()
    rollout = simulation._collect()[0]
    method = simulation.methods[0]
    method.tell(rollout, [])
    list(method.learn(rollout, {}, Now(1, 5)))
    rows_ = method.memory.rows
    t, copy = rollout.final_at[0]
    assert np.array_equal(rows_["following"][t * 3 + copy], rollout.final_observation[0])
    assert not rows_["terminated"][: method.memory.filled].any()
