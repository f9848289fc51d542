"""Agents that talk while they act: identities, bytes, links, resumed runs, evaluation, one agent alone, refusals."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import ROOT, job, needs_mpirun, rows, run

from perla_net import load_agent
from perla_net.ground.errors import InputError

TALKING = ("commnet", "ic3net", "dial", "neurcomm", "tarmac", "fingerprint")
SPREAD = ("--env", "spread", "--agents", "4")
ZOO = ("--env", "pettingzoo:toys:kind=zoo", "--topology", "complete")
SMALL = ("--horizon", "6", "--rounds", "2", "--ppo.epochs", "2")


def ledger(folder):
    """Rows of a run's ledger."""
    with (folder / "ledger.csv").open() as file:
        return list(csv.DictReader(file))


def total(folder, purpose):
    """Bytes of a purpose."""
    return sum(int(row["bytes"]) for row in ledger(folder) if row["purpose"] == purpose)


@pytest.mark.parametrize("algorithm", TALKING)
def test_with_nobody_to_talk_to_it_is_ippo_with_a_gru(tmp_path, algorithm):
    base = run(
        tmp_path / "base", 0, *SPREAD, *SMALL, "--topology", "empty", "--algorithm", "ippo", "--model.memory", "gru"
    )
    own = [
        json.loads(row)
        for row in run(
            tmp_path / "own", 0, *SPREAD, *SMALL, "--topology", "empty", "--algorithm", algorithm
        ).splitlines()
    ]
    for row in own:
        row.pop("talked", None)
    assert own == [json.loads(row) for row in base.splitlines()]


@pytest.mark.parametrize("algorithm", ["commnet", "neurcomm"])
def test_embedding_beside_it_with_nobody_to_hear_changes_nothing(tmp_path, algorithm):
    """On a graph without edges, and where nothing is averaged out."""
    options = (*SPREAD, *SMALL, "--topology", "ring", "--samples", "0")
    assert run(tmp_path / "a", 0, *options, "--algorithm", algorithm) == run(
        tmp_path / "b", 0, *options, "--algorithm", f"perla_{algorithm}"
    )


BAD = ("--links.loss", "0.3", "--links.delay", "0.7", "--links.delay-model", "geometric", "--links.bit-errors", "1e-5")
NETWORKS = {
    "commnet": ("--topology", "ring", "--commnet.passes", "2", *BAD),
    "ic3net": (
        "--topology",
        "erdos_renyi:p=0.5,every=1",
        "--links.loss",
        "0.2",
        "--links.burst",
        "2",
        "--compression.method",
        "int8",
        "--ppo.chunk",
        "3",
    ),
    "dial": ("--dial.bits", "8", "--topology", "line", "--links.budget", "900"),
    "neurcomm": ("--topology", "star", "--links.every", "2", "--compression.method", "float16"),
    "tarmac": ("--topology", "distance:radius=0.8", *BAD),
    "perla_commnet": ("--topology", "ring", *BAD),
    "fingerprint": ("--topology", "ring", "--links.loss", "0.5"),
}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", NETWORKS)
def test_numbers_do_not_depend_on_ranks_or_on_stops(tmp_path, algorithm):
    """Over bad links, on graphs that change, with budgets and codings."""
    words = (
        *SPREAD,
        *SMALL,
        "--rounds",
        "4",
        "--checkpoint-every",
        "2",
        "--evaluate-episodes",
        "2",
        *NETWORKS[algorithm],
    )
    words = (*words, "--algorithm", algorithm)
    alone = run(tmp_path / "0", 0, *words, "--keep-checkpoints", "2")
    assert run(tmp_path / "3", 3, *words) == alone
    for name in ("ledger.csv", "evaluation.json"):
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "0" / name).read_bytes(), name
    shutil.rmtree(tmp_path / "0" / "checkpoints" / "4")
    job(2, "perla_net.run", "--resume", str(tmp_path / "0"))
    for name in ("metrics.jsonl", "ledger.csv", "evaluation.json"):
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "0" / name).read_bytes(), name


@pytest.mark.parametrize("algorithm", (*TALKING, "perla_neurcomm"))
def test_side_by_side_they_learn_the_same(tmp_path, algorithm):
    """To rounding: on a star the leaves are a chorus and its middle is alone; and a resumed chorus goes on to the byte."""
    words = (*SPREAD, *SMALL, "--rounds", "3", "--topology", "star", *BAD, "--algorithm", algorithm)
    # Where nothing makes much of rounding: Adam divides small gradients by small numbers, a fitted coefficient is such a quotient.
    words = (*words, "--critic.coefficient", "one", "--optimiser.method", "sgd")
    one_by_one = run(tmp_path / "0", 0, *words, "--checkpoint-every", "0")
    beside = tmp_path / "1"
    run(beside, 0, *words, "--batch-agents", "yes", "--checkpoint-every", "2", "--keep-checkpoints", "2")
    for row, other in zip(map(json.loads, one_by_one.splitlines()), rows(beside), strict=True):
        for name, value in row.items():
            if isinstance(value, float) or isinstance(value, list):
                assert np.asarray(other[name], float) == pytest.approx(
                    np.asarray(value, float), rel=2e-3, abs=1e-5, nan_ok=True
                ), (row["round"], name)
            else:
                assert other[name] == value, (row["round"], name)
    shutil.rmtree(beside / "checkpoints" / "3")
    was = (beside / "metrics.jsonl").read_bytes()
    job(0, "perla_net.run", "--resume", str(beside))
    assert (beside / "metrics.jsonl").read_bytes() == was


@pytest.mark.parametrize("algorithm", TALKING)
def test_chunks_of_whole_episodes_are_the_whole_rollout(tmp_path, algorithm):
    """No gradient goes from one episode to the next: whether they are learned from side by side is rounding; and so is it by several agents at once."""
    words = ("--env", "games:relay:horizon=4", "--agents", "4", "--topology", "star", "--algorithm", algorithm, *SMALL)
    words = (*words, "--copies", "1", "--horizon", "12", "--links.loss", "0.3", "--ppo.epochs", "3")
    words = (*words, "--critic.coefficient", "one", "--optimiser.method", "sgd")
    whole = run(tmp_path / "0", 0, *words)
    for number, more in enumerate(((), ("--batch-agents", "yes")), 1):
        run(tmp_path / str(number), 0, *words, "--ppo.chunk", "4", *more)
        for row, other in zip(map(json.loads, whole.splitlines()), rows(tmp_path / str(number)), strict=True):
            assert row["policy_gradient"] > 0 and row["bytes"] == other["bytes"]
            for name in ("policy_loss", "policy_gradient", "entropy", "divergence", "value_loss"):
                assert other[name] == pytest.approx(row[name], rel=2e-6, abs=2e-7), (number, row["round"], name)
    run(tmp_path / "3", 0, *words, "--ppo.chunk", "2")
    through = [[row["policy_gradient"] for row in rows(tmp_path / str(number))] for number in (0, 3)]
    assert through[0] != pytest.approx(through[1], rel=2e-6)


@pytest.mark.parametrize("algorithm", TALKING)
def test_different_spaces_and_agents_that_die(tmp_path, algorithm):
    """Discrete, continuous, masked, different observations; widths of one's own."""
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps({"agents": {"overrides": {"0": {"model": {"policy_hidden": [16, 12]}}}}}))
    found = run(
        tmp_path / "run", 0, *ZOO, *SMALL, "--config", str(file), "--algorithm", algorithm, "--evaluate-episodes", "2"
    )
    assert found.count(b"\n") == 2
    last = rows(tmp_path / "run")[-1]
    assert last["policy_gradient"] > 0 and last["bytes_per_step"] > 0


def test_bytes_by_edge_and_step(tmp_path):
    """A message of 8 numbers and its mark: 34 bytes a step, copy and edge; forward once for each epoch but one, and back once for each."""
    options = (
        "--algorithm",
        "dial",
        "--dial.bits",
        "8",
        "--ppo.epochs",
        "3",
        "--topology",
        "ring",
        "--cost.latency",
        "1",
        "--cost.bandwidth",
        "1e12",
    )
    run(tmp_path / "run", 0, *SPREAD, *SMALL, *options)
    steps = 4 * 6  # copies, steps
    for row in ledger(tmp_path / "run"):
        expected = {"message": 3, "gradient": 3}[row["purpose"]]
        assert int(row["messages"]) == expected * steps and int(row["bytes"]) == expected * steps * 34
    last = rows(tmp_path / "run")[-1]
    assert last["bytes_per_step_and_edge"] == 34 and last["bytes_per_step"] == 8 * 34
    # One exchange a round for what else is sent; six to act; twelve forward and eighteen back to learn.
    assert last["communication_seconds"] == pytest.approx(1 + 6 + 12 + 18, rel=1e-6)


def test_who_is_out_of_its_budget_is_silent(tmp_path):
    """Messages of 66 bytes to two neighbours in four copies: 528 a step; 1200 pay for two steps and one neighbour of the third."""
    run(
        tmp_path / "run",
        0,
        *SPREAD,
        *SMALL,
        "--algorithm",
        "dial",
        "--dial.bits",
        "16",
        "--topology",
        "ring",
        "--links.budget",
        "1200",
    )
    for agent in range(4):
        sent = [row for row in ledger(tmp_path / "run") if row["round"] == "1" and row["source"] == f"agent_{agent}"]
        assert sum(int(row["bytes"]) for row in sent) == 4 * 66 * 4 and {row["purpose"] for row in sent} == {"message"}
    assert rows(tmp_path / "run")[0]["unsent"] > 0


def test_with_all_lost_nothing_is_heard_and_nothing_comes_back(tmp_path):
    run(tmp_path / "run", 0, *SPREAD, *SMALL, "--algorithm", "commnet", "--topology", "ring", "--links.loss", "1")
    assert total(tmp_path / "run", "message") > 0 and total(tmp_path / "run", "gradient") == 0
    assert rows(tmp_path / "run")[-1]["loss"] == 1


def test_a_gate_learns_and_is_told_of(tmp_path):
    run(tmp_path / "run", 0, *SPREAD, *SMALL, "--algorithm", "ic3net", "--topology", "ring")
    last = rows(tmp_path / "run")[-1]
    assert 0 < last["talked"] < 1
    said = sum(
        int(row["messages"]) for row in ledger(tmp_path / "run") if row["round"] == "1" and row["purpose"] == "message"
    )
    # Six steps of four copies to two neighbours each, twice, where the gate was open.
    assert said == round(rows(tmp_path / "run")[0]["talked"] * 24 * 4) * 2 * 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A relay between two that has been learned."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = "--env games:relay --agents 2 --topology line --algorithm commnet --copies 64 --horizon 8 --rounds 12"
    job(0, "perla_net.run", *words.split(), "--ppo.epochs", "12", "--evaluate-episodes", "32", "--out", str(folder))
    return folder


def evaluated(folder, *words):
    """Share of episodes in which the greedy team was right."""
    job(0, "perla_net.evaluate", str(folder), "--episodes", "400", "--out", str(folder / "again.json"), *words)
    return json.loads((folder / "again.json").read_text())["team, greedy"]["right"]["mean"]


def test_the_tables_of_the_study_have_what_evaluations_have(trained, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import talking_tables

    sampled, greedy, rounds, size = talking_tables.figures_of(trained)
    told = json.loads((trained / "evaluation.json").read_text())
    assert (sampled, greedy) == tuple(told[f"team, {mode}"]["right"]["mean"] for mode in ("sampled", "greedy"))
    right = [row["figures"]["right"] for row in rows(trained)]
    assert np.mean(right[rounds - 3 : rounds]) >= 0.95 > np.mean(right[rounds - 4 : rounds - 1])
    assert size == 2 * (64 * 4 + 2)
    monkeypatch.setattr(talking_tables, "EPISODES", 400)
    assert talking_tables.under_loss(trained, 0.6) == evaluated(trained, "--links.loss", "0.6")


def test_a_relay_is_learned_and_not_without_messages(trained, tmp_path):
    """By messages in all episodes; without, in a quarter: over links that lose all it is 1/4, over those that lose L about (1 − L²) + L²/4."""
    assert evaluated(trained) == 1
    assert abs(evaluated(trained, "--links.loss", "1") - 0.25) < 0.1
    assert 0.25 < evaluated(trained, "--links.loss", "0.6") < 0.95
    words = "--env games:relay --agents 2 --topology line --algorithm ippo --copies 64 --horizon 8 --rounds 12"
    job(0, "perla_net.run", *words.split(), "--evaluate-episodes", "400", "--out", str(tmp_path / "ippo"))
    alone = json.loads((tmp_path / "ippo" / "evaluation.json").read_text())["team, greedy"]["right"]["mean"]
    assert abs(alone - 0.25) < 0.1


def test_one_agent_alone(trained):
    """Acts by what it is told, says what it is to say; and refuses what it cannot hear."""
    place = trained / "checkpoints" / "12"
    one, two = (load_agent(place / f"player_{index}") for index in (0, 1))
    assert one.neighbours == ("player_1",) and one.passes == 1
    for goal in range(4):
        seen = np.eye(4)[goal], np.zeros(4)
        one.reset()
        two.reset()
        for _ in range(2):
            said = one.say(seen[0]), two.say(seen[1])
            assert np.array_equal(said[0], one.say(seen[0])), "saying is not remembered"
            one.act(seen[0], {"player_1": said[1]})
            named = two.act(seen[1], {"player_0": said[0]})
        assert named == goal
    two.reset()
    without = [two.act(np.zeros(4)), two.act(np.zeros(4), {"player_0": None})]
    assert all(0 <= action < 4 for action in without)
    for heard, sentence in (
        ({"nobody": said[0]}, "does not hear 'nobody'; it learned to hear player_0"),
        ({"player_0": said[0][:3]}, "the message of player_0 to player_1 should be 64 finite numbers"),
        ({"player_0": np.full(64, np.nan)}, "finite numbers"),
        ([{}, {}], "hears 1 times in a step, not 2"),
        (["x"], "should be a dict"),
    ):
        with pytest.raises(ValueError, match=sentence):
            two.act(np.zeros(4), heard)


def test_a_gate_of_an_agent_alone(tmp_path):
    run(tmp_path / "run", 0, *SPREAD, *SMALL, "--algorithm", "ic3net", "--topology", "ring")
    agent = load_agent(tmp_path / "run" / "checkpoints" / "2" / "agent_0")
    seen = np.zeros(agent.spec.observation_size)
    said = [agent.say(seen, rng=np.random.default_rng(seed)) for seed in range(20)]
    assert any(one is None for one in said) and any(one is not None for one in said)


def test_a_message_of_ones_own(tmp_path, monkeypatch):
    """The example: learned, evaluated, loaded once its module is there."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    words = ("--env", "games:relay", "--agents", "3", "--topology", "line", "--algorithm", "own_message.Loudest")
    run(tmp_path / "run", 0, *words, *SMALL, "--method.size", "4", "--evaluate-episodes", "2")
    assert total(tmp_path / "run", "message") > 0
    agent = load_agent(tmp_path / "run" / "checkpoints" / "2" / "player_1")
    assert agent.say(np.zeros(4)).shape == (4,) and agent.neighbours == ("player_0", "player_2")
    from perla_net.learning.talking import TALKING

    monkeypatch.delitem(TALKING, "loudest")
    with pytest.raises(InputError, match="'loudest', which no module that is loaded defines"):
        load_agent(tmp_path / "run" / "checkpoints" / "2" / "player_1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--links.hops", "2"), "--links.hops 2: messages of a step go along one edge"),
        (("--compression.method", "top_k"), "--compression.method top_k: sends differences"),
        (("--consensus.what", "critics"), "--consensus.what critics: averaging is for teams of actor-critics"),
        (("--share", "own_view"), "--share own_view: what commnet does depends on what agent_0 hears"),
        (("--model.policy-hidden", "none"), "--algorithm commnet: needs a hidden layer"),
        (("--commnet.passes", "0"), "--commnet.passes '0'"),
        (("--ppo.chunk", "4"), "--ppo.chunk 4: chunks are equal parts of the --horizon, 6 steps"),
        (("--ppo.chunk", "3", "--links.delay", "1"), "--ppo.chunk 3: a message that is late would come from another"),
        (
            ("--ppo.chunk", "3", "--topology", "empty"),
            "--ppo.chunk 3: is for agents that talk while they act, and agent_0",
        ),
        (
            ("--ppo.chunk", "3", "--algorithm", "ippo"),
            "--ppo.chunk 3: is for agents that talk while they act, but agent_0",
        ),
    ],
)
def test_refusals(tmp_path, words, sentence):
    done = job(
        0,
        "perla_net.run",
        *SPREAD,
        *SMALL,
        "--topology",
        "ring",
        "--algorithm",
        "commnet",
        "--out",
        str(tmp_path / "run"),
        *words,
        check=False,
    )
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"algorithm": "dial"}, "kinds of messages: --algorithm commnet: agents that learn messages learn in step"),
        ({"ppo": {"epochs": 3}}, "--ppo.epochs 2: agents that learn messages learn in step"),
        ({"ppo": {"chunk": 3}}, "--ppo.chunk 0: agents that learn messages learn in step"),
        ({"commnet": {"passes": 2}}, "passes of a step: 1: agents that learn messages learn in step"),
    ],
)
def test_those_who_talk_to_each_other_are_alike(tmp_path, override, sentence):
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps({"agents": {"number": 4, "overrides": {"1": override}}}))
    done = job(
        0,
        "perla_net.run",
        "--env",
        "spread",
        *SMALL,
        "--topology",
        "ring",
        "--algorithm",
        "commnet",
        "--config",
        str(file),
        "--out",
        str(tmp_path / "run"),
        check=False,
    )
    assert done.returncode == 2 and sentence in done.stderr


def test_a_team_in_which_some_talk(tmp_path):
    """Beside those who do not, and hear nothing of it."""
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps({"agents": {"number": 4, "overrides": {"2-3": {"algorithm": "commnet"}}}}))
    run(
        tmp_path / "run",
        0,
        "--env",
        "spread",
        *SMALL,
        "--topology",
        "complete",
        "--algorithm",
        "perla_ippo",
        "--config",
        str(file),
        "--evaluate-episodes",
        "2",
    )
    talked = {(row["source"], row["target"]) for row in ledger(tmp_path / "run") if row["purpose"] == "message"}
    assert talked == {("agent_2", "agent_3"), ("agent_3", "agent_2")}


def test_a_frozen_talker_is_refused_and_so_are_links_of_who_is_silent(trained, tmp_path):
    words = ("--env", "games:relay", "--agents", "2", "--topology", "line", "--algorithm", f"frozen:{trained}")
    done = job(0, "perla_net.run", *words, *SMALL, "--out", str(tmp_path / "run"), check=False)
    assert done.returncode == 2 and "talks to its neighbours while it acts" in done.stderr
    run(tmp_path / "quiet", 0, *SPREAD, *SMALL, "--topology", "ring", "--algorithm", "ippo")
    done = job(0, "perla_net.evaluate", str(tmp_path / "quiet"), "--links.loss", "0.3", check=False)
    assert done.returncode == 2 and "--links.loss: nobody of this team talks while it acts" in done.stderr
    done = job(0, "perla_net.evaluate", str(trained), "--links.loss", "1.5", check=False)
    assert done.returncode == 2 and "--links.loss" in done.stderr
