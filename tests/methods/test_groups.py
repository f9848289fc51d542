"""Parameter sharing by groups, and beginning with what another run learned."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, job, needs_mpirun, rows, run

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.learning.models import Network
from perla_net.methods.registry import METHODS, WITH_ARGUMENT, class_of
from perla_net.records.checkpoint import read_agent
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

SHARED = ("ps_ippo", "ps_mappo")
EVALUATED = ("--evaluate-episodes", "2")


def grouped(folder, groups, **settings):
    file = folder / "groups.yaml"
    file.write_text(json.dumps(settings | {"agents": {"number": 6, "groups": groups}}))
    return "--config", str(file)


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_a_group_of_all_is_parameter_sharing(algorithm, tmp_path):
    """To the byte, metrics, evaluation and ledger."""
    run(tmp_path / "shared", 0, "--agents", "6", "--algorithm", f"ps_{algorithm}", *EVALUATED)
    run(tmp_path / "group", 0, *grouped(tmp_path, {"all": "0-5"}, algorithm=algorithm), *EVALUATED)
    for name in ("metrics.jsonl", "evaluation.json", "ledger.csv"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "group" / name).read_bytes()


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", ["ippo", "iql", "vdn"])
def test_two_groups_and_private_agents(algorithm, tmp_path):
    """The same on 1, 2 and 4 ranks; traffic inside the groups only; a group has one network, the others their own."""
    groups = {"north": [0, "signal_0_1"], "south": ["4-5"]}
    quick = {"begin": 50, "updates": 3, "batch": 32}
    words = grouped(tmp_path, groups, algorithm=algorithm, iql=quick, vdn=quick)
    found = {run(tmp_path / str(ranks), ranks, *words) for ranks in (0, 2, 4)}
    assert len(found) == 1
    with (tmp_path / "0" / "ledger.csv").open() as file:
        shared = [
            row for row in csv.DictReader(file) if row["purpose"] in ("gradients", "moments") or algorithm != "vdn"
        ]
    pairs = {frozenset((row["source"], row["target"])) for row in shared}
    names = [f"signal_{row}_{column}" for row in range(2) for column in range(3)]
    assert pairs == {frozenset((names[0], names[1])), frozenset((names[4], names[5]))}
    policies = [
        read_agent(tmp_path / "0" / "checkpoints" / "3" / name, "test")[1]["policy"].tobytes() for name in names
    ]
    alike = [policies.index(policy) for policy in policies]
    assert alike == [0, 0, 2, 3, 4, 4]
    identity = read_agent(tmp_path / "0" / "checkpoints" / "3" / names[5], "test")[1]["identity"]
    assert identity.tolist() == [0.0, 1.0]  # its place within its group


def test_groups_that_embed(tmp_path):
    """On a ring everybody has two neighbours of equal actions, so that perla_ippo can share too; on a line the ends cannot."""
    words = grouped(tmp_path, {"all": "0-5"}, algorithm="perla_ippo")
    run(tmp_path / "ring", 0, *words, "--topology", "ring", "--rounds", "2")
    done = job(
        0, "perla_net.run", *words, "--topology", "line", "--rounds", "1", "--out", str(tmp_path / "line"), check=False
    )
    assert done.returncode == 2 and "signal_0_1 and signal_0_0 hear others" in done.stderr


ALONE = ("adopt", "consensus", "consensus_reward")
"""Whose agents have networks of their own, as those who talk while they act have: that these refuse groups is in benchmarks/refusals.py."""


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS
        if name not in (*SHARED, *WITH_ARGUMENT, *ALONE) and not class_of(name).talks_while_acting
    ],
)
def test_every_method_that_learns_shares(name, monkeypatch):
    """Two who are no neighbours, over links that lose: all that the two learn is the same, and not what the others learn. (COLA's networks are
    those of an edge; what is learned is the step.)"""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from matrix import OWN_TASK, TRAFFIC, own

    whole = own(name) | OWN_TASK.get(name, TRAFFIC) | {"agents": {"number": 4, "groups": {"pair": [0, 2]}}}
    more = {"copies": 4, "horizon": 12, "rounds": 2, "links": {"loss": 0.4}, "ppo": {"minibatch": 24}}
    simulation = Simulation(prepare(validated(whole | more)), Processes())
    simulation.start()
    for _ in range(2):
        simulation.round()
    one, other, two, _ = (
        {
            f"{key}.{part}": tensor
            for key, network in {**method.parts(), "policy": method.policy}.items()
            if isinstance(network, Network) and (name != "cola" or key == "policy")
            for part, tensor in network.frozen.items()
            if part != "context"  # what a mean field's policy last heard
        }
        for method in simulation.methods
    )
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in one.items() if key.startswith("policy"))


@pytest.mark.parametrize("name", ["lola", "hola", "cola"])
def test_player_and_opponent_are_two(name):
    """Who looks ahead of another's steps cannot be the same network."""
    whole = {"env": "games:tandem:graph=ring", "algorithm": name, "agents": {"number": 4, "groups": {"a": "0-1"}}}
    with pytest.raises(InputError, match=f"agents.groups: {name} looks ahead of how the parameters of others move"):
        prepare(validated(whole))


@pytest.mark.parametrize(
    "groups, algorithm, sentence",
    [
        ({"a": [0, 1], "b": "1-2"}, "ippo", "signal_0_1 is in agents.groups.a, too"),
        ({"a": 9}, "ippo", "'9' is outside 0-5"),
        ({"a": []}, "ippo", "has no agents"),
        ({"a": {"x": 1}}, "ippo", "is not an agent's name"),
        ({"a": "0-1"}, "ps_ippo", "one group of the whole team already"),
        ({"a": "0-1"}, "controller:max_pressure", "learns nothing that could be shared"),
    ],
)
def test_groups_that_cannot_be(groups, algorithm, sentence):
    """One sentence each."""
    with pytest.raises(InputError, match=sentence):
        prepare(validated({"algorithm": algorithm, "agents": {"number": 6, "groups": groups}}))


def test_groups_need_equal_settings():
    """An override within a group."""
    agents = {"number": 6, "groups": {"a": "0-1"}, "overrides": {"1": {"samples": 3}}}
    with pytest.raises(InputError, match="agents.groups.a: parameter sharing needs equal settings"):
        prepare(validated({"algorithm": "ippo", "agents": agents}))


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Runs of four and of two signals."""
    folder = tmp_path_factory.mktemp("before")
    run(folder / "four", 0, "--agents", "4", "--topology", "ring")
    run(folder / "two", 0, "--agents", "2", "--topology", "complete", "--algorithm", "ippo")
    return folder


def start_of(before, *words, tmp_path):
    """Arrays of every agent of a run that began with another and did not move."""
    still = ("--optimiser.learning-rate", "1e-30", "--optimiser.critic-learning-rate", "1e-30", "--rounds", "1")
    folder = tmp_path / "still"
    shutil.rmtree(folder, ignore_errors=True)
    done = job(
        0,
        "perla_net.run",
        "--copies",
        "4",
        "--horizon",
        "20",
        "--evaluate-episodes",
        "0",
        "--out",
        str(folder),
        "--start-from",
        str(before),
        *words,
        *still,
    )
    names = json.loads((folder / "checkpoints" / "1" / "manifest.json").read_text())["agents"]
    return [read_agent(folder / "checkpoints" / "1" / stem, "test")[1] for stem in names.values()], done.stdout


def test_a_run_begins_with_another(before, tmp_path):
    """Policies by name, critics with their moments where they fit, and optimisers anew."""
    arrays, said = start_of(before / "four", "--agents", "4", "--topology", "ring", tmp_path=tmp_path)
    for name, mine in zip(("signal_0_0", "signal_0_1", "signal_1_0", "signal_1_1"), arrays):
        theirs = read_agent(before / "four" / "checkpoints" / "3" / name, "test")[1]
        assert np.array_equal(mine["policy"], theirs["policy"])
        assert np.allclose(mine["moments"][2], 0.9 * theirs["moments"][2] + 0.1)  # one round later
        layers = len(mine["critic"]) - 8 * 65  # the last layer moves with the moments
        assert np.array_equal(mine["critic"][:layers], theirs["critic"][:layers])
    assert "note: --start-from" not in said


def test_another_team_size_and_another_critic(before, tmp_path):
    """Agents by name, then by place, then in turn, and it says so; a critic of another shape starts anew."""
    arrays, said = start_of(before / "two", "--agents", "6", "--algorithm", "mappo", tmp_path=tmp_path)
    two = [read_agent(before / "two" / "checkpoints" / "3" / f"signal_0_{k}", "test")[1]["policy"] for k in range(2)]
    assert [next(k for k in range(2) if np.array_equal(mine["policy"], two[k])) for mine in arrays] == [
        0,
        1,
        0,
        1,
        0,
        1,
    ]
    assert "agent k begins as agent k mod 2" in said


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--model.policy-hidden", "32"), "its policy has hidden [64, 64]"),
        (("--algorithm", "iql"), "its policy was trained by"),
        (("--env", "spread"), "was trained for"),
        (("--resume", "runs/x"), "with --resume"),
    ],
)
def test_beginnings_that_do_not_fit(before, words, sentence, tmp_path):
    """One sentence, status 2, and no folder."""
    words = ("--agents", "4", *words) if "--resume" not in words else words
    out = () if "--resume" in words else ("--out", str(tmp_path / "out"))
    if "--resume" in words:
        words = ("--resume", str(before / "four"))
    done = job(0, "perla_net.run", "--start-from", str(before / "four"), *words, *out, check=False)
    assert done.returncode == 2 and sentence in done.stderr and not (tmp_path / "out").exists()


def test_a_group_begins_as_one(before, tmp_path):
    """Its first agent's beginning is everybody's."""
    file = tmp_path / "g.yaml"
    file.write_text(
        json.dumps({"algorithm": "ippo", "identity": "no", "agents": {"number": 4, "groups": {"a": "0-1"}}})
    )
    arrays, _ = start_of(before / "four", "--config", str(file), tmp_path=tmp_path)
    assert np.array_equal(arrays[0]["policy"], arrays[1]["policy"])
    assert not np.array_equal(arrays[0]["policy"], arrays[2]["policy"])
    assert rows(tmp_path / "still")
