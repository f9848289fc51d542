"""Value factorisation in a run: what is told, what goes back, ranks, stops, replicas, refusals, and what small games must show."""

from __future__ import annotations

import copy
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, job, rows, run

import perla_net
from perla_net.ground.errors import Diverged, InputError, Stopped
from perla_net.ground.processes import Processes
from perla_net.methods.replica import strangers
from perla_net.methods.team_value import Batch
from perla_net.settings.options import validated
from perla_net.simulation.plan import Plan
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.simulation.words import who_learns

ALGORITHMS = ("qmix", "qplex", "qtran_base", "qtran_alt", "cw_qmix", "ow_qmix")
SMALL = {"begin": 40, "updates": 2, "batch": 24, "episodes": 4, "memory": 400, "target_every": 3}
ZOO = "pettingzoo:toys:kind=zoo"


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Jobs and this process find ``toys``; this process what reads learned tables."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


TOLD = "pettingzoo:toys:kind=told"


def zoo(algorithm, **more):
    """Box (3 actions) and masked (4, of which one is forbidden at times; it dies at step 3) learn together beside two that learn by PPO."""
    own = {"algorithm": algorithm, algorithm: SMALL | more}
    return {"number": 4, "overrides": {"box": own, "masked": own}}


def simulation_of(algorithm, env=ZOO, **settings):
    whole = {"env": env, "topology": "empty", "copies": 4, "horizon": 20, "rounds": 4}
    mixed = env.startswith((ZOO, TOLD))
    team = {"algorithm": "ippo", "agents": zoo(algorithm)} if mixed else {"algorithm": algorithm, algorithm: SMALL}
    simulation = Simulation(prepare(validated(whole | team | settings)), Processes())
    simulation.start()
    return simulation


def learners(simulation):
    return [method for method in simulation.methods if hasattr(method, "replica")]


# The state


def test_the_environment_s_own_state():
    """Steps, and what followed them, with the state that the environment told then: digit and time, which box sees too."""
    simulation = simulation_of("qmix", TOLD)
    for _ in range(3):
        simulation.round()
    box = learners(simulation)[0]
    whole, own = box.replica.memory, box.memory
    assert len(whole) == len(own) == 240 and whole.rows["state"].shape[1] == 2
    there = own.rows["alive"][:240]
    for mine, name in (("observation", "state"), ("following", "following")):
        assert np.array_equal(own.rows[mine][:240, 1:][there], whole.rows[name][:240][there])
    assert (whole.rows["following"][:240, 1] == 7).any()  # what an episode was cut off at
    assert not any("observations" in wanted for wanted in simulation.wanted.values())


def test_which_state_is_read_is_said():
    """In the run's first lines; --qmix.state observations leaves the environment's own out."""
    said = []
    for choice in ({}, {"state": "observations"}):
        plan = prepare(validated({"env": TOLD, "agents": zoo("qmix", **choice), "topology": "empty"}))
        said.append(words_of(plan))
    assert "the state is the environment's own, 2 numbers" in said[0]
    assert "the state is all observations in the order of agents, 12 numbers" in said[1]


def test_a_state_that_is_none():
    """Of another size than the environment says."""
    with pytest.raises(Stopped, match=r"state\(\) "):
        simulation_of("qmix", TOLD + ",wrong=true")


# What is told, and what comes back


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_told(algorithm):
    """Of every drawn step the right utilities: greedy among what is allowed now, best among what is allowed then; targets value it."""
    simulation = simulation_of(algorithm)
    simulation.round()
    simulation.round()
    for method in learners(simulation):
        drawn = method._drawn(np.random.default_rng(1).integers(len(method.memory), size=24))
        sights = [utility.look(drawn) for utility in method.utilities]
        picks, known = method._tells(drawn, sights)
        networks = [(u.network, u.target.network) for u in method.utilities]
        now = [one(drawn["observation"]).detach().numpy() for one, _ in networks]
        then = networks[0][0](drawn["following"]).detach().numpy()
        then_target = [target(drawn["following"]).detach().numpy() for _, target in networks]
        now_target = networks[-1][1](drawn["observation"]).detach().numpy()
        size = now[0].shape[1]
        for m in np.flatnonzero(drawn["alive"] & ~drawn["terminated"]):
            masks = [drawn[name][m].numpy() > 0 if name in drawn else np.ones(size, bool) for name in MASKS]
            may, may_then = (np.flatnonzero(mask) for mask in masks)
            action = int(drawn["action"][m])
            greedy = int(max(may, key=lambda b: now[0][m, b]))
            best = int(max(may_then, key=lambda b: then[m, b]))
            assert action in may
            expected = {
                "qmix": ([[action]], [then_target[0][m, best]]),
                "qplex": (
                    [[action]],
                    [now[0][m, greedy], then_target[0][m, best], then_target[0][m, may_then].max(), best],
                ),
                "qtran_base": ([[action, greedy]], [greedy, best]),
                "qtran_alt": (
                    [[action, greedy, *(min(b, size - 1) for b in range(4))]],
                    [greedy, best, *(b in may for b in range(4))],
                ),
                "ow_qmix": ([[action], [action]], [then_target[-1][m, best]]),
                "cw_qmix": (
                    [[action], [action]],
                    [then_target[-1][m, best], now_target[m, greedy], action == greedy],
                ),
            }[algorithm]
            assert [pick[m].tolist() for pick in picks] == expected[0]
            np.testing.assert_allclose([float(one[m]) for one in known], np.array(expected[1], float), rtol=1e-5)


MASKS = ("mask", "following_mask")


@pytest.mark.parametrize(
    "algorithm, memory",
    [("qmix", "none"), ("qmix", "gru"), ("qplex", "none"), ("qtran_alt", "gru"), ("cw_qmix", "none")],
)
def test_each_gets_the_gradient_of_the_whole(algorithm, memory):
    """One gradient step of two agents, of which one dies: their gradients are those of the loss of all their utilities in one graph, made of
    the agents' own memories."""
    own = {algorithm: SMALL | {"updates": 1}}
    simulation = simulation_of(algorithm, "pettingzoo:toys:kind=leaver", model={"memory": memory}, **own)
    drawn, found = {}, {}
    for method in simulation.methods:
        chooses = method.memory.choose

        def noting(rng, number, method=method, chooses=chooses):
            drawn[method.index] = chooses(rng, number)
            return drawn[method.index]

        method.memory.choose = noting
        for k, utility in enumerate(method.utilities):

            def still(rate, key=(method.index, k), utility=utility):
                found[key] = utility.network.gradient.clone()
                utility.optimiser.steps += 1
                return torch.zeros(())

            utility.step = still
    replica = simulation.methods[0].replica
    assert replica is simulation.methods[1].replica
    for optimiser in replica.optimisers.values():
        optimiser.step = lambda rate: torch.zeros(())
    simulation.round()
    while not found:
        simulation.round()
    assert np.array_equal(drawn[0], drawn[1])
    told, lived, parts = [], [], []
    for method in simulation.methods:
        part = method._drawn(drawn[0])
        sights = [utility.look(part) for utility in method.utilities]
        picks, known = method._tells(part, sights)
        if memory == "none":
            values = [utility.network(part["observation"]) for utility in method.utilities]
        else:
            values = [seen.values for seen in sights]
        mine = [one.gather(-1, pick).flatten(0, -2).mT for one, pick in zip(values, picks)]
        told.append((torch.cat(mine), torch.stack([one.to(torch.float32).flatten() for one in known])))
        lived.append((part["alive"].flatten().float(), (part["alive"] & ~part["terminated"]).flatten().float()))
        parts.append({name: one.flatten(0, part["action"].dim() - 1) for name, one in part.items()})
        for utility in method.utilities:
            utility.network.gradient.zero_()
    counted = torch.stack([alive for alive, _ in lived]).amax(0)
    batch = Batch(
        torch.cat([part["observation"] for part in parts], -1),
        torch.cat([part["following"] for part in parts], -1),
        torch.stack([part["action"] for part in parts], -1),
        torch.stack([alive for alive, _ in lived], -1),
        torch.stack([goes_on for _, goes_on in lived], -1),
        parts[0]["reward"],
        counted / counted.sum(),
        torch.stack([one for one, _ in told], 1),
        torch.stack([one for _, one in told], 1),
    )
    assert (batch.alive == 0).any() and (batch.goes_on < batch.alive).any()
    replica.value.loss(batch)[0].backward()
    for method in simulation.methods:
        for k, utility in enumerate(method.utilities):
            expected = utility.network.gradient
            assert expected.any()
            torch.testing.assert_close(found[method.index, k], expected, rtol=1e-4, atol=1e-6)


def test_a_group_keeps_one_network():
    """Under parameter sharing the gradients of the group are averaged, of both networks of each; who is in no group goes its own way."""
    simulation = simulation_of(
        "ow_qmix", "traffic:grid:horizon=15", agents={"number": 4, "groups": {"three": "0-2"}}, horizon=10
    )
    for _ in range(3):
        simulation.round()
    first, *others, alone = simulation.methods
    for method in others:
        for mine, theirs in zip(method.utilities, first.utilities):
            assert torch.equal(mine.network.flat, theirs.network.flat)
    assert first.utility.optimiser.steps > 0 and len(alone.policy.flat) != len(first.policy.flat)


# Ranks and stops


@pytest.mark.parametrize("algorithm, memory", [("qplex", "gru"), ("qtran_alt", "none"), ("cw_qmix", "gru")])
def test_goes_on_from_the_middle(algorithm, memory, tmp_path):
    """To the byte, with its memories and networks; and an agent acts by what is its own."""
    words = ["--env", "pettingzoo:toys:kind=masked", "--algorithm", algorithm, "--model.memory", memory]
    for key, value in SMALL.items():
        words += [f"--{algorithm.replace('_', '-')}.{key.replace('_', '-')}", str(value)]
    more = ("--rounds", "4", "--checkpoint-every", "2", "--keep-checkpoints", "2")
    whole = run(tmp_path / "run", 0, *words, *more)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    job(0, "perla_net.run", "--resume", str(tmp_path / "run"))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == whole
    assert rows(tmp_path / "run")[-1]["mixer_gradient"] > 0
    if memory == "none":
        agent = perla_net.load_agent(tmp_path / "run" / "checkpoints" / "4" / "agent_1")
        flags = np.array([0, 1, 1, 1], np.int8)
        assert agent.act({"observation": np.zeros(5, np.float32), "action_mask": flags}) in (1, 2, 3)


def test_a_replica_that_strays_ends_the_run():
    """Every agent tells a checksum once a round; the run says whose differs."""
    simulation = simulation_of("qmix", "pettingzoo:toys:kind=masked")
    simulation.round()
    one, other = simulation.methods
    other.replica = copy.copy(other.replica)
    other.replica.value = copy.copy(one.replica.value)
    networks = {"mixer": copy.copy(one.replica.value.networks["mixer"])}
    flat = one.replica.value.networks["mixer"].flat.clone()
    networks["mixer"]._view(flat, torch.zeros_like(flat))
    networks["mixer"].flat[3] += 1e-6
    other.replica.value.networks = networks
    other.replica.learn = one.replica.learn
    with pytest.raises(
        Diverged, match="not the same everywhere: those that agent_1 computed with are not those of agent_0"
    ):
        simulation.round()
    assert strangers({2: 5.0, 4: 6.0, 7: 6.0}) == [2] and strangers({0: 1.0, 1: 2.0}) == [1]
    assert strangers({0: 1.0, 1: 1.0}) == []


def test_first_words():
    """The first lines say what the state is; a weight is a share."""
    simulation = simulation_of("qmix")
    assert "the state is all observations in the order of agents, 12 numbers" in words_of(simulation.plan)
    with pytest.raises(InputError, match="alpha"):
        validated({"algorithm": "cw_qmix", "cw_qmix": {"alpha": 1.5}})


def words_of(plan: Plan) -> str:
    return str(who_learns(plan, plan.team()))


# Small games, exploring uniformly (FACTS: with ε that falls they tell nothing)


def solved(env, algorithm, seed, updates=50, **settings):
    """A run on a game for two; tables, moved by Adam."""
    quick = {"exploration": {"start": 1.0, "end": 1.0}, "batch": 32, "begin": 100, "target_every": 20}
    whole = {
        "env": env,
        "algorithm": algorithm,
        "topology": "empty",
        "agents": 2,
        "copies": 32,
        "horizon": 8,
        "rounds": 12,
        "returns": {"gamma": 0.99},
        "optimiser": {"learning_rate": 0.01, "critic_learning_rate": 0.01, "max_gradient_norm": 0.0},
        "model": {"policy_hidden": []},
        "seed": seed,
        algorithm: quick | {"updates": updates} | ({"central": 64} if algorithm[1:] == "w_qmix" else {}),
    }
    simulation = Simulation(prepare(validated(whole | settings)), Processes())
    simulation.start()
    for _ in range(whole["rounds"]):
        simulation.round()
    return simulation.methods


@torch.no_grad()
def joint_table(methods, observation):
    """(everybody's greedy action, Q_tot of all joint actions) where both see the same."""
    tables = importlib.import_module("game_tables")
    seen = torch.tensor([observation], dtype=torch.float32)
    each = [tables.outputs(method, seen) for method in methods]
    return tuple(int(one.argmax()) for one in each), tables.team_value(methods, seen, each).numpy()


@pytest.mark.parametrize("algorithm, seed", [("qmix", 0), ("qmix", 1), ("qplex", 0), ("ow_qmix", 0)])
def test_two_steps(algorithm, seed):
    """What the sum of utilities cannot say (vdn finds 7 there): game 2B is worth 8, and that is chosen."""
    methods = solved("games:two_step", algorithm, seed)
    assert joint_table(methods, [1, 0, 0])[0][0] == 1
    greedy, table = joint_table(methods, [0, 0, 1])
    assert greedy == (1, 1)
    np.testing.assert_allclose(table, [[0, 1], [1, 8]], atol=0.5)
    np.testing.assert_allclose(joint_table(methods, [0, 1, 0])[1], 7, atol=0.3)


PAYOFF = np.array([[8, -12, -12], [-12, 0, 0], [-12, 0, 0]])
CORNER = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]])
FITS = {
    # monotonic, greedy at 0: what fits best is 0, and the mean of the five others; a better fit, 8 at (0, 0), lies behind a worse one
    "qmix": np.where(PAYOFF == 0, 0, -8),
    "qtran_base": PAYOFF,
    "qtran_alt": PAYOFF,
    # monotonic, greedy at (0, 0): the mean of all others, alike in CW; in OW those that are too great count a tenth
    "cw_qmix": np.where(CORNER, 8, -6),
    "ow_qmix": np.where(CORNER, 8, -4.8 / 4.4),
}


@pytest.mark.parametrize("algorithm", FITS)
def test_a_game_that_is_not_monotonic(algorithm):
    """QTRAN's game: the best joint action pays 8 and the others in its row and column −12. Tables are what each can represent."""
    greedy, table = joint_table(solved("games:qtran", algorithm, 0), [1])
    assert PAYOFF[greedy] == (0 if algorithm == "qmix" else 8)
    np.testing.assert_allclose(table, FITS[algorithm], atol=0.9)


def test_a_dueling_mixer_represents_it():
    """QPLEX, too, but its weights λ take longer: utilities that come close to one another need great ones."""
    rates = {"learning_rate": 0.002, "critic_learning_rate": 0.003, "schedule": "constant", "max_gradient_norm": 0.0}
    methods = solved(
        "games:qtran", "qplex", 2, updates=150, optimiser=rates, model={"policy_hidden": [], "policy_gain": 1.0}
    )
    greedy, table = joint_table(methods, [1])
    assert greedy == (0, 0)
    np.testing.assert_allclose(table, PAYOFF, atol=0.5)
