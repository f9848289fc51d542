"""Agents that do not learn: frozen policies and reference controllers, alone and beside learners."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import job, needs_mpirun, rows, run

from perla_net import load_agent
from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.learning.distributions import distribution_of
from perla_net.methods.hearing import point
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.spec import ActionSpec

EVALUATED = ("--evaluate-episodes", "3")
KINDS = ("perla_ippo", "iql", "controller:max_pressure", "frozen")
IQL = {"begin": 50, "updates": 4, "batch": 32}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four signals."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, 0, "--agents", "4", *EVALUATED)
    return folder


def evaluation(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_a_frozen_team_is_the_team_that_it_was(trained, tmp_path):
    """Greedy and sampled, to the last digit, and after another round."""
    run(tmp_path / "frozen", 0, "--agents", "4", "--algorithm", f"frozen:{trained}", *EVALUATED)
    assert evaluation(tmp_path / "frozen") == evaluation(trained)
    assert all("policy_loss" not in row for row in rows(tmp_path / "frozen"))


def test_one_frozen_agent_by_its_own_files(trained, tmp_path):
    """Another agent of equal spaces may act by it; it can be loaded, and frozen, again."""
    place = trained / "checkpoints" / "3" / "signal_0_1"
    run(tmp_path / "one", 0, "--agents", "4", "--algorithm", f"frozen:{place}.json")
    observation = np.zeros(33, np.float32)
    again = load_agent(tmp_path / "one" / "checkpoints" / "3" / "signal_1_1")
    assert again.act(observation) == load_agent(place).act(observation)
    run(tmp_path / "two", 0, "--agents", "4", "--algorithm", f"frozen:{tmp_path / 'one'}")
    first, second = (tmp_path / name / "metrics.jsonl" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "env, name, agents",
    [
        ("traffic:grid", "max_pressure", 4),
        ("spread", "assignment", 3),
        ("wireless:grid", "aloha", 9),
        ("voltage:ieee33", "droop", 6),
    ],
)
def test_a_team_of_controllers_earns_what_the_controller_earns(env, name, agents, tmp_path):
    """Also those that decide for all, those that draw, and those whose actions are continuous."""
    words = ("--env", env, "--agents", str(agents), "--algorithm", f"controller:{name}", "--evaluate-steps", "60")
    run(tmp_path / "run", 0, *words, *EVALUATED)
    found = evaluation(tmp_path / "run")
    assert found["team, greedy"] == found["team, sampled"] == found[name]
    with pytest.raises(InputError, match="follows the controller"):
        load_agent(next((tmp_path / "run" / "checkpoints" / "3").glob("*.safetensors")))


def simulation_of(**settings):
    whole = {"copies": 6, "horizon": 12, "evaluate_episodes": 0} | settings
    return Simulation(prepare(validated(whole)), Processes())


@pytest.mark.parametrize("env", ["games:matching_pennies:graph=ring,horizon=10", "wireless:grid:horizon=8"])
def test_what_a_controller_does_is_known_in_every_state(env):
    """At T+1 it is what is done next, at a final observation a double is asked: the draws are those of an evaluation, where nobody asks."""
    name = "uniform" if "pennies" in env else "aloha"
    simulation = simulation_of(env=env, agents=4, algorithm=f"controller:{name}", copies=3)
    simulation.start()
    choices, before = [], None
    for _ in range(3):
        rollout = simulation._collect()[0]
        assert (rollout.choice[:-1].view(np.int32) == rollout.action.view(np.int32)).all()
        if before is not None:
            assert (before == rollout.action[0]).all()
        before = rollout.choice[-1].copy()
        choices.append(rollout.action.copy())
        assert rollout.final_choice.shape[0] == len(rollout.final_at) > 0
    assert len(np.unique(np.concatenate(choices).view(np.int32))) > 1


@pytest.mark.parametrize(
    "action",
    [
        ActionSpec("discrete", (4,)),
        ActionSpec("multi_discrete", (2, 3)),
        ActionSpec("continuous", (), (-1.0, -1.0), (1.0, 1.0)),
    ],
)
def test_a_point_is_certain(action):
    """Sampled from the outputs that neighbours make of an action, that action comes."""
    distribution = distribution_of(action)
    words = (
        torch.tensor([[1.0, 0.5]] * 3)[:, : action.words]
        if action.low
        else torch.tensor([[1, 2]] * 3)[:, : action.words]
    )
    outputs = point(distribution, words)
    noise = distribution.noise(np.random.default_rng(0), 1, 3)[0]
    assert torch.allclose(distribution.sample(outputs.mT, noise).float(), words.float(), atol=1e-6)


def mixed(folder, trained, agents=16):
    """Four kinds of agents in turn, everybody hears everybody."""
    kinds = [f"frozen:{trained}" if kind == "frozen" else kind for kind in KINDS]
    overrides = {str(agent): {"algorithm": kinds[agent % 4], "iql": IQL} for agent in range(agents)}
    file = folder / "mixed.yaml"
    file.write_text(json.dumps({"agents": {"number": agents, "overrides": overrides}}))
    return file


@needs_mpirun
@pytest.mark.mpi
def test_four_kinds_in_one_team(trained, tmp_path):
    """16 signals: runs on 1 and 4 ranks alike, resumes and evaluates without the run that was frozen, and the neighbours' table says who embedded whom."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(trained, elsewhere)
    file = mixed(tmp_path, elsewhere)
    words = ("--config", str(file), "--topology", "complete", "--samples", "10", "--checkpoint-every", "1", *EVALUATED)
    one, four = (run(tmp_path / str(ranks), ranks, *words) for ranks in (0, 4))
    assert one == four and evaluation(tmp_path / "0") == evaluation(tmp_path / "4")
    shutil.copytree(tmp_path / "0", tmp_path / "cut")
    for late in ("3", "2"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / late)
    if not (tmp_path / "cut" / "checkpoints" / "1").exists():
        run(tmp_path / "short", 0, *words, "--keep-checkpoints", "3")
        shutil.rmtree(tmp_path / "cut")
        shutil.copytree(tmp_path / "short", tmp_path / "cut")
        for late in ("3", "2"):
            shutil.rmtree(tmp_path / "cut" / "checkpoints" / late)
    shutil.rmtree(elsewhere)
    job(0, "perla_net.run", "--resume", str(tmp_path / "cut"))
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == one
    job(0, "perla_net.evaluate", str(tmp_path / "cut"), "--episodes", "2")
    with (tmp_path / "0" / "neighbours.csv").open() as table:
        pairs = {(row["agent"], row["neighbour"]) for row in csv.DictReader(table) if row["age"] == "0"}
    names = [f"signal_{row}_{column}" for row in range(4) for column in range(4)]
    learners = names[::4]
    assert pairs == {(one, other) for one in learners for other in names if one != other}


def test_a_part_that_cannot_be_played_alone_is_refused():
    """SUMO's own programmes run all signals: a sentence, not a silence."""
    from perla_net.simulation.fits import check_controllers
    from perla_net.world.suites import sumo

    world = prepare(validated({"agents": 4})).world
    with pytest.raises(InputError, match="cannot act for signal_0_0 alone"):
        check_controllers(world, {0: "fixed_time"}, sumo.CONTROLLERS)


@pytest.mark.parametrize("env, name", [("traffic:grid:horizon=7", "max_pressure"), ("voltage:ieee33", "droop")])
def test_neighbours_embed_a_controller_at_its_action(env, name):
    """The averaged critic is the critic at what the controller does, in every state, those behind the last step and the final ones included."""
    agents = 6 if "voltage" in env else 2
    overrides = {str(agent): {"algorithm": f"controller:{name}"} for agent in range(1, agents)}
    simulation = simulation_of(
        env=env, topology="complete", form="state", samples=4, agents={"number": agents, "overrides": overrides}
    )
    simulation.start()
    rollouts = simulation._collect()
    messages = {m.index: m.tell(r, simulation.wanted[m.index]) for m, r in zip(simulation.methods, rollouts)}
    inboxes = simulation.network.exchange(messages, 1, simulation.plan.schedule.edges(1), rollouts[0].final_at[:, 1])
    method, rollout = simulation.methods[0], rollouts[0]
    experience = method.experience(rollout, inboxes[0], 1)
    learner, x = method.learner, experience.critic_input
    found, _, _ = learner.values(x, experience.outputs, experience.neighbours, method.distribution.read(rollout.action))
    parts = [x]
    for other in method.embedded:
        seen = rollouts[other]
        words = np.concatenate([seen.choice.reshape(-1, seen.choice.shape[-1]), seen.final_choice])
        distribution = distribution_of(method.team.specs[other].action)
        parts.append(distribution.encode(distribution.read(words), torch.ones(len(words), dtype=torch.bool)))
    with torch.no_grad():
        expected = learner.critic(torch.cat(parts, 1))[:, 0]
    assert torch.allclose(found, expected, atol=1e-5) and found.std() > 0


@needs_mpirun
@pytest.mark.mpi
def test_continuous_controllers_beside_learners(tmp_path):
    """Each other inverter droops: the same on 1 and 2 ranks, and resumed."""
    overrides = {str(agent): {"algorithm": "controller:droop"} for agent in (1, 3, 5)}
    file = tmp_path / "team.yaml"
    file.write_text(
        json.dumps(
            {
                "env": "voltage:ieee33",
                "samples": 4,
                "topology": "complete",
                "agents": {"number": 6, "overrides": overrides},
            }
        )
    )
    words = ("--config", str(file), "--checkpoint-every", "1", "--keep-checkpoints", "3")
    whole = run(tmp_path / "0", 0, *words)
    assert run(tmp_path / "2", 2, *words) == whole
    shutil.rmtree(tmp_path / "2" / "checkpoints" / "3")
    job(0, "perla_net.run", "--resume", str(tmp_path / "2"))
    assert (tmp_path / "2" / "metrics.jsonl").read_bytes() == whole


FORGETFUL = '''
import numpy as np
from perla_net.world.networked import spread

class Box:
    asked = 0

class Counter:
    """Walks around: what it does next depends on how often it was asked, and on its own dice."""

    def __init__(self, world):
        self.box, self.rng = Box(), np.random.default_rng(5)

    def act(self, world):
        self.box.asked += 1
        return np.full((world.number, world.copies), (self.box.asked + self.rng.integers(2)) % 5)

class Wild(Counter):
    def act(self, world):
        return super().act(world) + 5

class Few(Counter):
    def act(self, world):
        return super().act(world)[:1]

spread.Spread.controllers = spread.Spread.controllers | {"counter": Counter, "wild": Wild, "few": Few}
'''


def test_a_controller_that_remembers_is_not_said_to_go_on(tmp_path, monkeypatch):
    """Finals are asked of doubles; a resumed run says that its controller begins anew."""
    from perla_net.world.networked import spread

    namespace: dict = {}
    monkeypatch.setattr(spread.Spread, "controllers", dict(spread.Spread.controllers))
    exec(FORGETFUL, namespace)
    words = (
        "--env",
        "spread:horizon=6",
        "--agents",
        "2",
        "--algorithm",
        "controller:counter",
        "--checkpoint-every",
        "1",
    )
    run(tmp_path / "run", 0, *words, "--keep-checkpoints", "3")
    simulation = simulation_of(env="spread:horizon=6", agents=2, algorithm="controller:counter", copies=2)
    simulation.start()
    rollout = simulation._collect()[0]
    assert (
        simulation.world.host.controllers.acting["counter"].box.asked == 13
    )  # at the start and after each of 12 steps; the finals do not count
    assert len(rollout.final_choice) == len(rollout.final_at) > 0
    done = job(0, "perla_net.run", "--resume", str(tmp_path / "run"), "--rounds", "4")
    assert "could not be brought back" in done.stdout
    for name, sentence in (("wild", "does for agent_0 is"), ("few", "acts for 1 agents; there are 2")):
        done = job(
            0,
            "perla_net.run",
            *words[:4],
            "--algorithm",
            f"controller:{name}",
            "--out",
            str(tmp_path / name),
            check=False,
        )
        assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
