"""What users' environments are like (``quirks.py``): right, or refused in one sentence before anything is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
import quirks
import torch
from conftest import ROOT, SMALL, command, environment, job, needs_mpirun, rows, run

import perla_net
from perla_net.ground.errors import ContractError, InputError
from perla_net.ground.processes import Processes
from perla_net.methods.returns import generalised_advantages
from perla_net.records import checkpoint
from perla_net.records.run_folder import agents_of
from perla_net.settings.options import validated
from perla_net.simulation.plan import Plan
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.environments import make


def env(kind: str, **arguments) -> str:
    return f"pettingzoo:quirks:kind={kind}" + "".join(f",{key}={value}" for key, value in arguments.items())


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Jobs of their own find the environments, too."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # what python -m perla_net.run would have set


def refused(*arguments: str, status: int = 2, ranks: int = 0, **settings) -> str:
    """What a job says on its way out: one sentence, once."""
    done = job(ranks, *arguments, check=False, **settings)
    said = [line for line in done.stderr.splitlines() if line.startswith("perla_net: ")]
    assert done.returncode == status and len(said) == 1, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    if not ranks:
        assert done.stderr.count("\n") == 1, done.stderr
    return said[0].removeprefix("perla_net: ")


# Before training

WRONG = [
    ("flags", "step returned False as terminations; the parallel API asks for a dict"),
    ("flag", "the termination of a0 is array([False, False]); it must be True or False"),
    ("no_flag", "step returned no termination for a0, who was there"),
    ("rewards", "step returned 1.0 as rewards; the parallel API asks for a dict"),
    ("reward", "the reward of a0 is '1', not a number"),
    ("infos", "step returned None as infos; the parallel API asks for a dict"),
    ("reset_infos", "reset returned None as infos; the parallel API asks for a dict"),
    ("below", "the observation of a0 is -1, but its space has 0 to 2"),
    ("above", "the observation of a0 is 3, but its space has 0 to 2"),
    ("masks", "the action mask of a0 has 2 flags, but there are 3 actions, one flag each"),
    ("shape", "the observation of a0 has shape (2, 2), but its space says (2,)"),
    ("stranger", "new_7 is in agents after step, but not in possible_agents"),
    ("late_mask", "infos of step hold an action_mask of a0, but those of the first reset did not"),
    ("mask_of_values", "infos hold an action_mask of a0, but its actions Box(-1.0, 1.0, (1,), float32) are continuous"),
]


@pytest.mark.parametrize(("what", "sentence"), WRONG)
def test_who_breaks_the_contract_is_told_before_training(tmp_path, what, sentence):
    said = refused("perla_net.run", *SMALL, "--env", env("wrong", what=what), "--out", str(tmp_path / "run"))
    assert sentence in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (env("names", names="newline"), "an agent is called 'new\\nline'; names must be one line of text"),
        (env("names", names="twice"), "possible_agents has two agents called '1'"),
        (env("names", names="nobody"), "possible_agents is empty"),
        (
            env("signature", what="more"),
            "reset(seed, level) asks for more than the seed and options of the parallel API",
        ),
        (env("acts", box="whole"), "(a Box of int32 means whole numbers: say MultiDiscrete, or a Box of floats)"),
    ],
)
def test_what_is_no_environment_is_refused(what, sentence):
    with pytest.raises(InputError) as caught:
        make(what, 1, None)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


# Names


@pytest.mark.parametrize("names", ["slash", "case", "int", "tuple", "files", "letters", "numbers"])
def test_every_agent_has_files_of_its_own(tmp_path, names):
    """Also where upper and lower case are one; a run goes on with everybody's own networks."""
    whole = run(tmp_path / "whole", 0, "--env", env("names", names=names), "--rounds", "4")
    run(
        tmp_path / "run",
        0,
        "--env",
        env("names", names=names),
        "--rounds",
        "4",
        "--checkpoint-every",
        "2",
        "--keep-checkpoints",
        "3",
    )
    last = tmp_path / "run" / "checkpoints" / "4"
    team = [str(name) for name in quirks.NAMES[names]]
    manifest = json.loads((last / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["agents"]) == team and agents_of(tmp_path / "run", 0) == tuple(team)
    stems = list(manifest["agents"].values())
    assert len({stem.lower() for stem in stems}) == len(team) and stems == checkpoint.stems(team)
    for name, stem in manifest["agents"].items():
        assert json.loads((last / f"{stem}.json").read_text())["agent"] == name
        agent = perla_net.load_agent(last / stem)
        assert agent.spec.name == name and agent.act(np.zeros(2, np.float32)) in range(3)
    assert len(list(last.iterdir())) == 2 * len(team) + 2
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    job(0, "perla_net.run", "--resume", str(tmp_path / "run"))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == whole
    job(0, "perla_net.evaluate", str(tmp_path / "run"), "--episodes", "1", "--replace", f"0={last / stems[0]}")


def test_names_of_files():
    assert checkpoint.stems(["signal_0_0", "a.b-c", "x"]) == ["signal_0_0", "a.b-c", "x"]
    assert checkpoint.stems(["A", "a", "b"]) == ["A+0", "a+1", "b"]
    assert checkpoint.stems(["team/0", "team_0"]) == ["team_0+0", "team_0+1"]
    assert checkpoint.stems(["manifest", "World-3", "NUL", ".x", "-x", "x.", "x.json", ""]) == [
        *("agent+0", "agent+1", "agent+2", ".x+3", "-x+4", "x.+5", "x.json+6", "+7"),
    ]


def test_files_that_are_not_where_they_say_are_refused(tmp_path):
    run(tmp_path / "run", 0, "--env", env("plain"), "--checkpoint-every", "1", "--keep-checkpoints", "3")
    place = tmp_path / "run" / "checkpoints"
    one, two = ((place / "3" / f"a0{ending}").read_bytes() for ending in (".json", ".safetensors"))
    for name, content in (("copy.json", one), ("copy.safetensors", two)):
        (place / "3" / name).write_bytes(content)
    with pytest.raises(InputError, match="holds agent 'a0', whose files are called 'a0'; it was renamed"):
        perla_net.load_agent(place / "3" / "copy")
    (place / "3" / "a1.safetensors").write_bytes(two)
    with pytest.raises(InputError, match=r"a1.safetensors: holds agent 'a0', whose files are called 'a0'"):
        perla_net.load_agent(place / "3" / "a1.json")
    assert "a1.safetensors is damaged" in refused("perla_net.run", "--resume", str(tmp_path / "run"), "--rounds", "4")
    (place / "3").rename(place / "9")
    said = refused("perla_net.evaluate", str(tmp_path / "run"), "--episodes", "1")
    assert "holds the checkpoint of round 3; a checkpoint's folder must keep its name" in said


def test_influences_go_by_place(tmp_path):
    """The team is called 3, 1, 0, 2; each of them influences the next."""
    plan = prepare(validated({"env": env("names", names="numbers"), "topology": "interaction"}))
    assert plan.schedule.edges(1) == ((0, 1), (1, 2), (2, 3))
    run(tmp_path / "run", 0, "--env", env("names", names="numbers"), "--topology", "interaction")
    written = nx.read_graphml(tmp_path / "run" / "topology.graphml")
    assert set(written.edges) == {("3", "1"), ("1", "0"), ("0", "2")}
    again = validated({"env": env("names", names="numbers"), "topology": str(tmp_path / "run" / "topology.graphml")})
    assert prepare(again).schedule.edges(1) == plan.schedule.edges(1)


# The order of agents


def two_processes_of_unlike_hashes(folder, what: str) -> str:
    """What is said where two ranks run with different PYTHONHASHSEEDs; nothing is left of the run."""
    mpirun, *options = command(1, "perla_net.run", *SMALL, "--env", what, "--out", str(folder))
    start = options.index(sys.executable)
    one, two = ([*options[:start], "env", f"PYTHONHASHSEED={seed}", *options[start:]] for seed in ("1", "2"))
    done = subprocess.run(
        [mpirun, *one, ":", *two], capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment()
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("perla_net: ")]
    assert done.returncode and len(said) == 1 and not folder.exists(), done.stderr
    return said[0]


@needs_mpirun
@pytest.mark.mpi
def test_ranks_that_disagree_are_told(tmp_path):
    """About the order of agents; about the figures that rank 0 names for all; about the order of sets alone."""
    said = two_processes_of_unlike_hashes(tmp_path / "order", env("unordered"))
    assert "possible_agents" in said and "PYTHONHASHSEED" in said
    said = two_processes_of_unlike_hashes(tmp_path / "figures", env("figures"))
    assert "names of figures" in said or "PYTHONHASHSEED" in said
    assert "PYTHONHASHSEED of one process" in two_processes_of_unlike_hashes(tmp_path / "sets", env("plain"))


def test_an_order_that_is_chance_is_refused_on_one_rank_too(tmp_path):
    """Either the agents came in their natural order, and then agent_k is paid k, or their order is compared with another process's."""
    refusals = 0
    for seed in ("1", "2", "3"):
        folder = tmp_path / seed
        arguments = ("perla_net.run", *SMALL, "--env", env("unordered"), "--out", str(folder))
        done = subprocess.run(
            command(0, *arguments),
            capture_output=True,
            text=True,
            timeout=100,
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
        )
        if done.returncode == 0:
            assert all(row["agent_rewards"] == [0, 1, 2, 3] for row in rows(folder))
        else:
            assert done.returncode == 2 and "possible_agents has another order" in done.stderr and not folder.exists()
            refusals += 1
    assert refusals >= 2


@needs_mpirun
@pytest.mark.mpi
def test_sets_are_in_the_same_order_in_every_process(tmp_path):
    """An environment that draws numbers while it goes through a set of names comes out the same on any number of ranks."""
    arguments = ("--env", env("unordered", inside="true"))
    one = run(tmp_path / "one", 0, *arguments, process=True)
    assert run(tmp_path / "two", 2, *arguments, process=True) == one
    assert run(tmp_path / "again", 0, *arguments, process=True) == one


# Lives


def returns_of(kind: str, agent: int = 0) -> tuple[list[float], list[float], list[bool]]:
    """(rewards, G with γ = λ = 1 and V = 0, whether it acts) of twelve steps."""
    options = {"env": env(kind), "topology": "empty", "copies": 1, "horizon": 12, "ppo": {"minibatch": 12}}
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    rollout = simulation._collect()[agent]
    value = torch.zeros(13 + len(rollout.final_at))
    targets = generalised_advantages(rollout, torch.from_numpy(rollout.reward.copy()), value, 1.0, 1.0)
    return rollout.reward[:, 0].tolist(), targets.target[:, 0].tolist(), rollout.alive[:-1, 0].tolist()


def test_an_episode_with_nobody_left_is_over():
    assert returns_of("nocut") == ([1.0] * 12, [5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 2, 1], [True] * 12)


def test_who_has_died_is_gone_until_the_reset():
    rewards, returns, alive = returns_of("zombie")
    assert alive == [True, True, False, False] * 3 and rewards == [1, 1, 0, 0] * 3
    assert [value for value, here in zip(returns, alive) if here] == [2, 1] * 3
    assert returns_of("zombie", 2)[1] == [4, 3, 2, 1] * 3


# Masks, observations, actions


@pytest.mark.parametrize("only", [1, 2, -1])
def test_masks_in_infos_are_obeyed(tmp_path, only):
    """By who learns, by the greedy team, at random, and by an agent alone; where nothing is allowed, by the first action."""
    run(tmp_path / "run", 0, "--env", env("infomask", only=only), "--evaluate-episodes", "2")
    ledger = (tmp_path / "run" / "ledger.csv").read_text()
    assert ",masks," in ledger, "neighbours are told masks"
    agent = perla_net.load_agent(tmp_path / "run" / "checkpoints" / "3" / "a0")
    mask = (np.arange(3) == only).astype(np.int8)
    drawn = {agent.act(np.zeros(2), mask=mask, rng=np.random.default_rng(k)) for k in range(9)}
    assert drawn == {max(only, 0)} and all(type(action) is int for action in drawn)
    with pytest.raises(ValueError, match="the action mask of a0 has 2 flags"):
        agent.act(np.zeros(2), mask=[1, 0])


def test_bytes_are_scaled_by_their_own_bounds(tmp_path):
    copies = make(env("bytes"), 1, None)
    copies.reset(np.arange(1), [np.random.SeedSequence(0)])
    seen = []
    for _ in range(3):
        seen.append(copies.seen[0][0])
        copies.step([np.zeros((1, 1), np.int32)] * 3)
    assert [set(row.tolist()) for row in seen] == [{0.0}, {0.5}, {1.0}]
    run(tmp_path / "run", 0, "--env", env("bytes"))
    agent = perla_net.load_agent(tmp_path / "run" / "checkpoints" / "3" / "a0")
    assert agent.spec.flatten(np.full((5, 5), 2, np.uint8)).max() == 1.0 and agent.act(
        np.zeros((5, 5), np.uint8)
    ) in range(3)


@pytest.mark.parametrize("box", ["tight", "below_zero", "scalar", "half"])
def test_actions_lie_in_their_box(tmp_path, box):
    """The environment itself refuses any other."""
    run(tmp_path / "run", 0, "--env", env("acts", box=box), "--evaluate-episodes", "2")
    agent = perla_net.load_agent(tmp_path / "run" / "checkpoints" / "3" / "a0")
    for k in range(9):
        action = agent.act(np.zeros(2, np.float32), rng=np.random.default_rng(k))
        assert quirks.BOXES[box].contains(action) and action.dtype == quirks.BOXES[box].dtype


# Chance


@needs_mpirun
@pytest.mark.mpi
def test_global_streams_follow_from_the_seed(tmp_path):
    one = run(tmp_path / "one", 0, "--env", env("draws"))
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert run(tmp_path / "again", 0, "--env", env("draws")) == one
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert run(tmp_path / "four", 3, "--env", env("draws")) == one
    assert run(tmp_path / "other", 0, "--env", env("draws"), "--seed", "1") != one
    rewards = np.array([row["agent_rewards"] for row in rows(tmp_path / "one")])
    assert len(np.unique(rewards)) == rewards.size, "no two draws are the same"


def test_what_no_seed_determines_is_said(tmp_path):
    done = job(0, "perla_net.run", *SMALL, "--env", env("draws", of="entropy"), "--out", str(tmp_path / "run"))
    assert "is not determined by its seed" in done.stdout and "differed at step 1" in done.stdout
    done = job(0, "perla_net.run", *SMALL, "--env", env("draws"), "--out", str(tmp_path / "other"))
    assert "note:" not in done.stdout


@pytest.mark.parametrize("what", ["nothing", "seed", "old"])
def test_reset_is_called_with_what_it_takes(tmp_path, what):
    run(tmp_path / "run", 0, "--env", env("signature", what=what))
    copies = make(env("signature", what=what), 1, None)

    def paid(seed):
        copies.reset(np.arange(1), [np.random.SeedSequence(seed)])
        copies.step([np.zeros((1, 1), np.int32)] * 3)
        return copies.reward[0].tolist()

    first = paid(1)
    assert (paid(2) != first) and (paid(1) == first) == (what != "nothing")


@needs_mpirun
@pytest.mark.mpi
def test_an_episode_that_does_not_end_is_said_and_cut_off(tmp_path):
    options = ("--env", env("endless"), "--evaluate-episodes", "3", "--evaluate-steps", "70", "--evaluate-points", "1")
    done = job(0, "perla_net.run", *SMALL, *options, "--out", str(tmp_path / "one"))
    assert "note: no episode of pettingzoo:quirks:kind=endless ended within 1,000 steps" in done.stdout
    for who in ("team, greedy", "team, sampled", "random"):
        assert f"3 of 3 episodes of {who} did not end within 70 steps (--evaluate-steps): cut off there" in done.stdout
    found = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert found["random"]["return"]["mean"] == 3 * 70 == found["team, greedy"]["return"]["mean"]
    job(2, "perla_net.run", *SMALL, *options, "--out", str(tmp_path / "two"))
    for name in ("evaluation.json", "evaluations.jsonl", "absolute.json", "metrics.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# Between a run and its resumption


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("wider", "was trained for observations box(2,) and actions discrete(3,), but a0 has observations box(3,)"),
        ("actions", "but a0 has observations box(2,) and actions discrete(4,)"),
        ("swapped", "saved by the agents a0, a1, a2; those of the environment are now in another order: a1, a0, a2"),
        ("renamed", "those of the environment are now others: b0, b1, b2"),
        ("fewer", "has 1 agents"),
    ],
)
def test_an_environment_that_has_changed_is_not_resumed(tmp_path, monkeypatch, how, sentence):
    before = run(tmp_path / "run", 0, "--env", env("changed"))
    monkeypatch.setenv("CHANGED", how)
    for arguments in (("perla_net.run", "--resume"), ("perla_net.evaluate", "--episodes", "1")):
        module, *rest = arguments
        said = refused(module, *rest, str(tmp_path / "run"), *(["--rounds", "5"] if module == "perla_net.run" else []))
        assert sentence in said and str(tmp_path / "run") in said
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


# While running


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("what", "ranks"), [("reward", 0), ("reward", 3), ("infinite", 0), ("infinite", 3), ("exit", 0), ("exit", 3)]
)
def test_what_was_learned_stays_where_the_contract_is_broken_later(tmp_path, what, ranks):
    """A host is told in its tenth episode; everybody saves what it has, one says why, and a mended environment goes on."""
    options = (*SMALL, "--horizon", "5", "--rounds", "30", "--checkpoint-every", "0")
    broken = env("wrong", what=what, late="true")
    said = refused(
        "perla_net.run", *options, "--env", broken, "--out", str(tmp_path / "run"), status=1, ranks=ranks, timeout=90
    )
    kept = [folder.name for folder in checkpoint.sealed(tmp_path / "run")]
    sentences = {
        "reward": "the reward of a0 is '1', not a number (in round",
        "infinite": "the reward of a0 is not finite at step",
        "exit": "sys.exit(0) was called in round",
    }
    assert sentences[what] in said and len(kept) == 1
    assert said.endswith(f"what was learned is in {tmp_path / 'run' / 'checkpoints' / kept[0]}")
    assert len(rows(tmp_path / "run")) == int(kept[0]) >= 5
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace(f"what={what}", "what=nothing"))
    done = job(0, "perla_net.run", "--resume", str(tmp_path / "run"), "--rounds", str(int(kept[0]) + 2))
    assert f"continuing after round {kept[0]}" in done.stdout and "its episodes start anew" in done.stdout
    assert len(rows(tmp_path / "run")) == int(kept[0]) + 2


@needs_mpirun
@pytest.mark.mpi
def test_a_bug_of_an_environment_is_shown_once_and_what_was_learned_stays(tmp_path):
    arguments = (*SMALL, "--horizon", "5", "--rounds", "30", "--env", env("wrong", what="raises", late="true"))
    done = job(3, "perla_net.run", *arguments, "--out", str(tmp_path / "run"), check=False, timeout=90)
    assert (
        done.returncode
        and done.stderr.count("Traceback") == 1
        and "KeyError: 'a bug of one's own'" in done.stderr.replace('"', "'")
    )
    assert "failed in round" in done.stderr and checkpoint.sealed(tmp_path / "run")


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("what", ["below", "flags", "stranger"])
def test_under_mpirun_it_is_said_once(tmp_path, what):
    sentence = dict(WRONG)[what]
    arguments = ("perla_net.run", *SMALL, "--env", env("wrong", what=what), "--out", str(tmp_path / "run"))
    assert sentence in refused(*arguments, ranks=3, timeout=90)


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    "what",
    [
        env("names", names="slash"),
        env("zombie"),
        env("infomask"),
        env("acts", box="tight"),
        "pettingzoo:scripted:agents=3",
    ],
)
def test_numbers_do_not_depend_on_ranks(tmp_path, what):
    one = run(tmp_path / "one", 0, "--env", what, "--evaluate-episodes", "2")
    assert run(tmp_path / "ranks", 3, "--env", what, "--evaluate-episodes", "2") == one
    assert (tmp_path / "one" / "evaluation.json").read_bytes() == (tmp_path / "ranks" / "evaluation.json").read_bytes()


def test_from_python_it_is_an_exception(tmp_path):
    options = {
        "env": env("wrong", what="reward", late="true"),
        "copies": 2,
        "horizon": 5,
        "rounds": 30,
        "display": "none",
    }
    with pytest.raises(perla_net.Stopped, match="the reward of a0 is '1', not a number"):
        perla_net.train(validated(options | {"out": str(tmp_path / "run"), "ppo": {"minibatch": 10}}))
    assert checkpoint.sealed(tmp_path / "run")


def test_notes_travel_with_the_plan():
    """A plan with notes travels to the other ranks as it is."""
    plan = prepare(validated({"env": env("endless")}), rehearsed=True)
    assert len(plan.notes) == 1 and Plan.from_bytes(plan.to_bytes()) == plan
    assert issubclass(ContractError, InputError)


# Batch environments of others


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of somebody's, which can be imported like the examples of the documentation."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda text: (tmp_path / "somebodys.py").write_text(text)
    for name in ("somebodys", "walkers_batch"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "self.reward = self.reward[:, 0]",
            r"after step .reward is float32 \(2,\); it must be an array of numbers, \(2, 3\)",
        ),
        ("self.terminated = self.terminated.astype(int)", "after step .terminated is int64"),
        ("np.random.rand()", "step draws from numpy.random's global stream"),
    ],
)
def test_batches_are_held_to_the_protocol(module, body, sentence):
    module(
        "import sys\nimport numpy as np\nfrom walkers_batch import Walkers\n"
        "class Odd(Walkers):\n    def step(self, actions):\n        super().step(actions)\n"
        f"        {body}\n"
    )
    batch = make("batch:somebodys.Odd", 2, 3)
    batch.reset(np.arange(2), np.random.SeedSequence(0).spawn(2))
    with pytest.raises(ContractError, match=sentence):
        batch.step([np.zeros((2, 1), np.int32)] * 3)


@pytest.mark.parametrize(
    ("agents", "sentence"),
    [
        ('[AgentSpec("x", 2, "box", (2,), A)] * 2', "possible_agents has two agents called 'x'"),
        ('[AgentSpec("a\\nb", 2, "box", (2,), A)]', "names must be one line of text"),
        ('[AgentSpec(3, 2, "box", (2,), A)]', "an agent is called 3, not by a text"),
        ('[AgentSpec("x", np.int64(2), "box", (2,), A)]', "its spec must be plain numbers and texts"),
    ],
)
def test_specs_of_batches_are_plain(module, agents, sentence):
    module(
        "import numpy as np\nfrom perla_net.world.networked.base import Batch\n"
        "from perla_net.world.spec import ActionSpec, AgentSpec, WorldSpec\nA = ActionSpec('discrete', (2,))\n"
        "class Odd(Batch):\n    def __init__(self, copies, agents=None):\n        super().__init__(copies, 1, 5)\n"
        f"    spec = WorldSpec('odd', tuple({agents}), None, 5)\n"
    )
    with pytest.raises(InputError, match=sentence):
        make("batch:somebodys.Odd", 1, None)


def test_the_dead_are_not_paid_and_see_nothing(module):
    module(
        "import numpy as np\nfrom walkers_batch import Walkers\n"
        "class Careless(Walkers):\n"
        "    def step(self, actions):\n        super().step(actions)\n        self.reward[:] = 1\n"
        "        self.terminated[:, 0] = self.time >= 2\n"
    )  # the first dies after two steps, and is paid and shown things from then on
    options = {"env": "batch:somebodys.Careless:horizon=5", "agents": 2, "copies": 1, "horizon": 5, "topology": "empty"}
    simulation = Simulation(prepare(validated(options), rehearsed=True), Processes())
    simulation.start()
    first, second = simulation._collect()
    assert first.reward[:, 0].tolist() == [1, 1, 0, 0, 0] and second.reward[:, 0].tolist() == [1] * 5
    assert not first.observation[3:5].any() and first.alive[:, 0].tolist() == [True, True, False, False, False, True]


# Figures, influences, objects that inherit nothing


def test_figures_are_numbers_that_are_always_there(tmp_path):
    with pytest.raises(InputError, match=r"metrics\(\) returned \[1.0\]; it must be a dict of figures"):
        make(env("figures", what="list"), 1, None)
    said = refused("perla_net.run", *SMALL, "--env", env("figures", what="vary"), "--out", str(tmp_path / "run"))
    assert "metrics() must tell the same figures at any time" in said


def test_an_environment_need_not_inherit_anything(tmp_path):
    run(tmp_path / "run", 0, "--env", env("duck"), "--topology", "interaction")
    assert make(env("duck"), 1, None).spec.interaction == ((0, 1),)
