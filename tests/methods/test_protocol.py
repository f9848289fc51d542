"""What a method is: listings, options of their own, classes from outside, talking in step, what a critic reads."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, job, needs_mpirun, rows, run

from perla_net import load_agent
from perla_net.ground.errors import Diverged, InputError
from perla_net.ground.processes import Processes
from perla_net.methods.listing import markdown
from perla_net.methods.presets import PRESETS
from perla_net.methods.protocol import FIELDS
from perla_net.methods.registry import METHODS, class_of
from perla_net.network.exchange import Network, Wishes
from perla_net.network.links import LinkModel
from perla_net.network.messages import Form
from perla_net.network.talk import Say, Talk
from perla_net.settings.command_line import command_line
from perla_net.settings.config import Links
from perla_net.settings.options import to_yaml, validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

OWN = ROOT / "docs" / "examples" / "own_method.py"


@pytest.fixture
def own(monkeypatch):
    """The example of the documentation can be imported, also by jobs."""
    monkeypatch.setenv("PYTHONPATH", str(OWN.parent))
    monkeypatch.syspath_prepend(str(OWN.parent))
    return "own_method.Gossip"


def test_listing_and_documentation_are_the_same():
    """The table in the docs is what the command prints."""
    page = (ROOT / "docs" / "methods.md").read_text()
    assert markdown() in page, "python -m perla_net.methods --markdown"
    done = job(0, "perla_net.methods")
    for name in METHODS:
        assert re.search(rf"^{name}\b", done.stdout, re.M)
        assert class_of(name).facts.status.startswith(("verified", "tested", "known problems"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_described(name):
    """With its options, and nothing but sentences."""
    said = job(0, "perla_net.methods", name).stdout
    assert "options:" in said and "source:" in said and "status:" in said
    assert ("--iql.exploration.start" in said) == (name == "iql")
    assert ("--coma.baseline" in said) == (name == "coma") and ("--perla-coma.trace" in said) == (name == "perla_coma")
    assert ("--critic.order" in said) == (name in PRESETS and "coma" not in name)
    assert ("--ppo.clip" in said) == (name == "liam" or (name in PRESETS and PRESETS[name].base == "ppo"))


def test_a_method_of_ones_own_is_described(own):
    """By its import path; and names that do not exist are said."""
    said = job(0, "perla_net.methods", own).stdout
    assert "--method.trust (number; default 0.3)" in said
    done = job(0, "perla_net.methods", "ipo", check=False)
    assert done.returncode == 2 and "'ipo'" in done.stderr


@needs_mpirun
@pytest.mark.mpi
def test_a_method_of_ones_own(own, tmp_path):
    """On 1 and 4 ranks the same bytes; its own purpose in the ledger, along the edges; resumed to the byte; acts alone; frozen and heard."""
    words = (
        "--agents",
        "4",
        "--topology",
        "line",
        "--algorithm",
        own,
        "--method.trust",
        "0.25",
        "--checkpoint-every",
        "1",
    )
    whole = run(tmp_path / "0", 0, *words, "--evaluate-episodes", "2")
    assert run(tmp_path / "4", 4, *words, "--evaluate-episodes", "2") == whole
    for name in ("evaluation.json", "ledger.csv"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()
    with (tmp_path / "0" / "ledger.csv").open() as file:
        gossip = [row for row in csv.DictReader(file) if row["purpose"] == "gossip"]
    assert len(gossip) == 3 * 6 and all(row["messages"] == "1" for row in gossip)
    assert {(row["source"], row["target"]) for row in gossip if row["source"] == "signal_0_0"} == {
        ("signal_0_0", "signal_0_1")
    }
    job(0, "perla_net.run", "--resume", str(tmp_path / "0"), "--rounds", "5")
    job(
        0,
        "perla_net.run",
        "--config",
        str(tmp_path / "4" / "config.yaml"),
        "--rounds",
        "5",
        "--out",
        str(tmp_path / "five"),
    )
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == (tmp_path / "five" / "metrics.jsonl").read_bytes()
    assert "method: {learning_rate: 0.01, trust: 0.25}" in (tmp_path / "0" / "config.yaml").read_text()
    agent = load_agent(tmp_path / "0" / "checkpoints" / "5" / "signal_0_1")
    assert 0 <= agent.act(np.zeros(33, np.float32)) < 8
    run(tmp_path / "frozen", 0, "--agents", "4", "--algorithm", f"frozen:{tmp_path / '0'}", "--rounds", "1")


def test_talk_goes_over_links_as_they_are(own, tmp_path):
    """What is lost is not heard, and is counted; who hears nobody goes on alone."""
    run(
        tmp_path / "lossy", 0, "--agents", "4", "--algorithm", own, "--links.loss", "0.5", "--links.bit-errors", "0.001"
    )
    found = rows(tmp_path / "lossy")
    assert sum(row["rejected"] for row in found) > 0 and 0 < np.mean([row["loss"] for row in found]) < 1
    run(tmp_path / "late", 0, "--agents", "4", "--algorithm", own, "--links.delay", "1", "--links.delays", "everything")
    run(tmp_path / "alone", 0, "--agents", "4", "--algorithm", own, "--topology", "empty")
    late, alone = (rows(tmp_path / name) for name in ("late", "alone"))
    assert [row["policy_loss"] for row in late] == [row["policy_loss"] for row in alone]
    assert all(row["late"] == 8 for row in late)


def alone_network(agents):
    nothing = Wishes({}, {}, lambda *_: Form("float32", (0,)), lambda *_: np.zeros(0))
    links = LinkModel(Links(), 0, False, {})
    network = Network(Processes(), [range(agents)], nothing, 1, links, (), ("hint",))
    network.begin(1)
    return network, Talk(network, [f"agent_{k}" for k in range(agents)])


def test_a_group_is_sent_its_mean_or_everything():
    """Two groups at once, one of them in double precision, and somebody who has finished; sums in the order of agents."""
    network, talk = alone_network(5)
    said = {k: Say("hint", np.full(3, k, np.float32), (0, 2), mean=True) for k in (0, 2)}
    said |= {k: Say("hint", np.array([k], np.float64), (1, 3)) for k in (1, 3)} | {4: None}
    heard = talk.turn(said, 1, ())
    assert heard[0].tolist() == heard[2].tolist() == [1, 1, 1] and heard[0].dtype == np.float32
    heard[0] += 1  # nobody else sees it
    assert heard[2].tolist() == [1, 1, 1]
    assert {agent: numbers.tolist() for agent, numbers in heard[1].items()} == {1: [1.0], 3: [3.0]}
    rows_ = network.ledger.take().tolist()
    assert [row[:2] + row[4:] for row in rows_] == [[0, 2, 12], [1, 3, 8], [2, 0, 12], [3, 1, 8]]
    assert talk.turn(dict.fromkeys(range(5)), 1, ()) is None


@pytest.mark.parametrize(
    "other, sentence",
    [
        (None, "agent_1 has finished"),
        (Say("hint", np.zeros(2, np.float32), (0, 1)), "agent_1 says something else"),
        (Say("gradients", np.zeros(3, np.float32), (0, 1)), "agent_1 says something else"),
        (Say("hint", np.zeros(3, np.float32), (1,)), "agent_1 says something else"),
        (Say("hint", np.zeros(3, np.float32)), "agent_1 says something else"),
    ],
)
def test_a_group_that_is_not_in_step_ends_and_says_who(other, sentence):
    """One finishes early, says more or less, something else, or to others."""
    _, talk = alone_network(2)
    with pytest.raises(Diverged, match=sentence):
        talk.turn({0: Say("hint", np.zeros(3, np.float32), (0, 1)), 1: other}, 1, ())


OUT_OF_STEP = '''
from perla_net.methods.protocol import Say
from own_method import Gossip, np

class Uneven(Gossip):
    """The last agent says one thing less."""

    def learn(self, rollout, inbox, now):
        for turn in range(2 if self.index < 3 else 1):
            yield Say("gossip", np.zeros(1, np.float32), (0, 1, 2, 3), mean=True)
        return {}

class Silent(Gossip):
    purposes = ()
'''


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 4])
def test_methods_out_of_step_end_the_run(own, ranks, tmp_path, monkeypatch):
    """On every rank at once, within seconds, with status 1 and a sentence that is said once."""
    (tmp_path / "uneven.py").write_text(OUT_OF_STEP)
    monkeypatch.setenv("PYTHONPATH", f"{OWN.parent}:{tmp_path}")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = (
        "--agents",
        "4",
        "--algorithm",
        "uneven.Uneven",
        "--copies",
        "2",
        "--horizon",
        "5",
        "--out",
        str(tmp_path / "run"),
    )
    done = job(ranks, "perla_net.run", *words, check=False, timeout=90)
    assert done.returncode == 1
    assert done.stderr.count("signal_1_1 has finished") == 1 and "round 1" in done.stderr


def test_who_says_nothing_by_its_facts_must_not(own, tmp_path, monkeypatch):
    """A method that talks without purposes would leave others waiting on another rank."""
    (tmp_path / "silent.py").write_text(OUT_OF_STEP)
    monkeypatch.syspath_prepend(str(tmp_path))
    simulation = Simulation(
        prepare(validated({"agents": 2, "algorithm": "silent.Silent", "copies": 2, "horizon": 5})), Processes()
    )
    simulation.start()
    with pytest.raises(RuntimeError, match="its class has no purposes"):
        simulation.round()


BAD = """
from dataclasses import dataclass, replace
from perla_net.methods.acting import Acting
from own_method import Gossip

class Plain: pass
class Factless(Acting):
    def learn(self, rollout, inbox, now): yield
class Lazy(Acting):
    facts = Gossip.facts
class Wordy(Gossip):
    purposes = ("a_purpose_of_many_words",)
class Counting(Gossip):
    statistics = ("round",)
class Unlisted(Gossip):
    class Options: pass
class Misspelt(Gossip):
    facts = replace(Gossip.facts, actions=("dicrete",))
raised = 1
"""


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("bad.Plain", "is no method"),
        ("bad.Factless", "its facts"),
        ("bad.Lazy", "has no learn"),
        ("bad.Wordy", "should have 1 to 12 bytes"),
        ("bad.Counting", "the statistic 'round' is a field"),
        ("bad.Unlisted", "its Options should be a dataclass"),
        ("bad.Misspelt", "its facts say actions 'dicrete'"),
        ("bad.Missing", "bad has no Missing"),
        ("nowhere.Method", "cannot be imported"),
        ("ipo", "did you mean 'ippo'"),
        (".x", "MODULE.CLASS"),
        ("frozen", "write frozen:RUN_OR_AGENT_PATH"),
        ("controller:", "write controller:NAME"),
        ("controller:driver", "it has fixed_time, longest_queue, max_pressure"),
        ("frozen:nowhere", "cannot be read"),
        ("frozen:docs", "is neither the folder of a run"),
    ],
)
def test_what_is_no_method(own, name, sentence, tmp_path, monkeypatch):
    """One sentence each, that names the option."""
    (tmp_path / "bad.py").write_text(BAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = job(0, "perla_net.run", "--agents", "4", "--algorithm", name, "--out", str(tmp_path / "out"), check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.startswith("perla_net: --algorithm")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--algorithm", "iql", "--iql.bach", "3"), "--iql.bach: iql has no such option; did you mean 'batch'?"),
        (("--algorithm", "iql", "--iql.batch", "no"), "--iql.batch 'no': it should be a valid integer"),
        (("--algorithm", "iql", "--iql.batch"), "--iql.batch: expected one argument"),
        (
            ("--algorithm", "own_method.Gossip", "--method.nix", "1"),
            "--method.nix: own_method.Gossip has no such option",
        ),
        (("--algorithm", "own_method.Gossip", "--method.trust", "2"), "--method.trust '2'"),
        (("--method.trust", "1"), "--method.trust: is for a method of your own"),
        (("--vdn.exploration.start", "-1"), "vdn"),
    ],
)
def test_options_of_methods_are_checked(own, words, sentence):
    """Also those of methods that nobody has."""
    with pytest.raises(InputError) as found:
        command_line(words)
    assert sentence in str(found.value)


def test_options_of_methods_are_settings_like_others(own):
    """Per agent, from YAML in groups or with dots, written whole, and read back."""
    tree = {
        "iql": {"batch": 8},
        "iql.updates": 3,
        "agents": {
            "number": 4,
            "overrides": {"1": {"algorithm": "iql", "iql.batch": 9}, "2": {"algorithm": own, "method": {"trust": 1}}},
        },
    }
    config = validated(tree)
    plan = prepare(config)
    assert [sorted(entry.sections) for entry in plan.settings] == [[], ["iql"], ["method"], []]
    assert (plan.settings[1].sections["iql"]["batch"], plan.settings[1].sections["iql"]["updates"]) == (9, 3)
    assert plan.settings[2].sections["method"] == {"learning_rate": 0.01, "trust": 1.0}
    text = to_yaml(config)
    assert "sections" not in text and "target_every: 200" in text
    import yaml

    again = validated(yaml.safe_load(text))
    assert to_yaml(again) == text and prepare(again).settings == plan.settings
    assert type(plan).from_bytes(plan.to_bytes()) == plan


# What a critic reads


def small(**settings):
    whole = {"agents": 4, "copies": 4, "horizon": 10, "rounds": 2, "evaluate_episodes": 0, "topology": "ring"}
    simulation = Simulation(prepare(validated(whole | settings)), Processes())
    simulation.start()
    return simulation


def test_critics_of_a_neighbourhood_cost_nothing_where_observations_travel():
    """Under share weights perla's messages hold them; ippo has to ask, and outputs too."""
    sent = {}
    for algorithm in ("perla_ippo", "ippo"):
        for share in ("weights", "outputs"):
            for reads in ("own", "neighbourhood"):
                simulation = small(algorithm=algorithm, share=share, critic={"input": reads})
                sent[algorithm, share, reads] = simulation.round()["metrics"]["bytes"]
    assert sent["perla_ippo", "weights", "own"] == sent["perla_ippo", "weights", "neighbourhood"]
    assert sent["perla_ippo", "outputs", "own"] < sent["perla_ippo", "outputs", "neighbourhood"]
    assert sent["ippo", "weights", "own"] == 0 < sent["ippo", "weights", "neighbourhood"]


@pytest.mark.parametrize("algorithm", ["ippo", "perla_ippo", "ia2c"])
def test_a_neighbourhood_of_nobody_is_its_base(algorithm):
    """Bit for bit, and so is the global input that is asked for to mappo."""
    flats = []
    for reads in ("own", "neighbourhood"):
        simulation = small(algorithm=algorithm, topology="empty", critic={"input": reads})
        simulation.round()
        flats.append(torch.cat([simulation.methods[0].policy.flat, simulation.methods[0].learner.critic.flat]))
    assert torch.equal(*flats)
    both = []
    for settings in ({"algorithm": "mappo"}, {"algorithm": "ippo", "critic": {"input": "global"}}):
        simulation = small(**settings)
        simulation.round()
        both.append(simulation.methods[1].learner.critic.flat)
    assert torch.equal(*both)


def test_what_a_critic_of_a_neighbourhood_sees():
    """The own observation, those of whom it hears in order, and who is not there; the lost as zeros."""
    simulation = small(algorithm="ippo", critic={"input": "neighbourhood"})
    rollouts = simulation._collect()
    copies = [rollout.observation.copy() for rollout in rollouts]
    messages = {m.index: m.tell(r, simulation.wanted[m.index]) for m, r in zip(simulation.methods, rollouts)}
    inboxes = simulation.network.exchange(messages, 1, simulation.plan.schedule.edges(1), rollouts[0].final_at[:, 1])
    method = simulation.methods[0]
    x = method.experience(rollouts[0], inboxes[0], 1).critic_input
    size = copies[0].shape[-1]
    others = simulation.team.heard_by(0)
    for place, agent in enumerate([0, *others]):
        seen = x[: copies[0].shape[0] * 4, place * size : (place + 1) * size].numpy()
        assert np.array_equal(seen, copies[agent].reshape(-1, size))
    assert not x[:, -2:].any()
    del inboxes[0][others[0]]
    x = method.experience(rollouts[0], inboxes[0], 1).critic_input
    assert x[:, -2].all() and not x[:, -1].any() and not x[:, size : 2 * size].any()


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    "words",
    [
        ("--algorithm", "perla_ippo", "--model.memory", "gru"),
        ("--algorithm", "ippo", "--links.loss", "0.3", "--links.budget", "40000"),
        ("--algorithm", "ippo", "--env", "pettingzoo:toys:kind=leaver"),
    ],
)
def test_critics_of_a_neighbourhood_do_not_depend_on_ranks(words, tmp_path, monkeypatch):
    """With memory, losses, budgets, deaths."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    agents = () if "--env" in words else ("--agents", "4")
    words = (*words, *agents, "--critic.input", "neighbourhood", "--topology", "complete")
    assert run(tmp_path / "0", 0, *words) == run(tmp_path / "2", 2, *words)


HARD = {
    "links": {"loss": 0.3, "delay": 1, "hops": 2},
    "compression": {"method": "int8"},
    "batch_agents": "yes",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run whose agents can be frozen."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    run(folder, 0, "--agents", "4", "--algorithm", "ippo", "--rounds", "1")
    return folder


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize(
    "name", ["ippo", "perla_mappo", "iql", "vdn", "own_method.Gossip", "frozen", "controller:fixed_time"]
)
def test_every_method_in_a_hard_team(own, teacher, name, memory, tmp_path):
    """Beside agents that embed it, over links that lose, delay, forward and compress, side by side where it can be, with or without memory;
    then evaluated in another agent's place, and alone."""
    algorithm = f"frozen:{teacher}" if name == "frozen" else name
    quick = {"begin": 20, "updates": 2, "batch": 16, "episodes": 2}
    if name.startswith("own_method") and memory == "gru":
        pytest.skip("it says that it does not learn with a memory")
    two = {"algorithm": algorithm, "model": {"memory": memory}}
    tree = HARD | {
        "iql": quick,
        "vdn": quick,
        "topology": "complete",
        "agents": {"number": 4, "overrides": {"2-3": two}},
    }
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps(tree))
    run(tmp_path / "run", 0, "--config", str(file), "--evaluate-episodes", "1", "--env", "traffic:grid:horizon=15")
    last = rows(tmp_path / "run")[-1]
    assert last["oldest_policy"] >= 1 and last["policy_loss"] is not None and last["rejected"] == 0
    place = tmp_path / "run" / "checkpoints" / "3" / "signal_1_1"
    job(0, "perla_net.evaluate", str(tmp_path / "run"), "--replace", f"0={place}", "--episodes", "1")
    if name.startswith("controller"):
        return
    agent, observation = load_agent(place), np.zeros(33, np.float32)
    assert agent.act(observation) in range(8) and agent.act(observation, rng=np.random.default_rng(0)) in range(8)


SLIPS = '''
from own_method import Acting, Gossip, Say, np, torch

class Plain(Gossip):
    """Says nothing, and is no generator: that is all right."""
    purposes, statistics = (), ("one",)
    def learn(self, rollout, inbox, now):
        rollout.reward[:] = 0  # what it does to its copy is nobody's business
        return {"one": np.float32(1)}

class Torch(Gossip):
    """A network and an optimiser of torch's own, kept and restored."""
    def __init__(self, seat):
        super().__init__(seat)
        torch.manual_seed(self.index)
        self.net = torch.nn.Linear(33, 1)
        self.adam = torch.optim.Adam(self.net.parameters(), 0.1)
    def learn(self, rollout, inbox, now):
        found = yield from super().learn(rollout, inbox, now)
        loss = (self.net(self.observation) - 1).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return found | {"baseline": float(loss)}
    def parts(self):
        return {**super().parts(), "net": self.net, "adam": self.adam, "level": np.array(0.5)}

class Number(Gossip):
    def parts(self):
        return {"level": 0.5}

class Named(Gossip):
    def parts(self):
        return {"policy": self.value}

class Returns(Gossip):
    def learn(self, rollout, inbox, now):
        yield Say("gossip", np.zeros(1, np.float32))

class More(Gossip):
    def learn(self, rollout, inbox, now):
        yield Say("gossip", np.zeros(1, np.float32))
        return {"novel": 1.0}

class Tensor(Gossip):
    def learn(self, rollout, inbox, now):
        yield Say("gossip", torch.zeros(1))

class Whole(Gossip):
    def learn(self, rollout, inbox, now):
        yield Say("gossip", np.zeros(3, int))

class Other(Gossip):
    def learn(self, rollout, inbox, now):
        yield Say("rumour", np.zeros(3, np.float32))

class Broken(Gossip):
    def learn(self, rollout, inbox, now):
        found = yield from super().learn(rollout, inbox, now)
        self.value.flat[0] = float("nan")
        return found
'''


@pytest.fixture
def slips(own, tmp_path, monkeypatch):
    """A module of methods with mistakes in them."""
    (tmp_path / "slips.py").write_text(SLIPS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "name, status, sentence",
    [
        ("Number", 2, "parts() has 'level', a float; it may be"),
        ("Named", 2, "parts() has 'policy', a name that"),
        ("Broken", 1, "the value of signal_0_0 is no longer finite after round 1"),
    ],
)
def test_parts_are_looked_at_before_and_while_it_learns(slips, name, status, sentence):
    """What no checkpoint could keep is said at the start, and NaN in a network of one's own at once."""
    words = (
        "--agents",
        "2",
        "--copies",
        "2",
        "--horizon",
        "5",
        "--algorithm",
        f"slips.{name}",
        "--out",
        str(slips / "run"),
    )
    done = job(0, "perla_net.run", *words, check=False)
    assert done.returncode == status and sentence in done.stderr and done.stderr.count("perla_net:") == 1
    assert (slips / "run").exists() == (status == 1)


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("Returns", "learn() returned NoneType, not its statistics"),
        ("More", "learn() returned 'novel', which is not among its statistics"),
        ("Tensor", "says 'gossip' as Tensor: it should be a numpy array"),
        ("Whole", "says 'gossip' as int64[3]: it should be"),
        ("Other", "says 'rumour', which is not among its class's purposes"),
    ],
)
def test_slips_in_learning_are_named(slips, name, sentence):
    """The likeliest ones."""
    simulation = small(algorithm=f"slips.{name}")
    with pytest.raises(TypeError, match=re.escape(sentence)):
        simulation.round()


def test_torch_s_own_networks_and_optimisers_are_parts(slips, tmp_path):
    """Resumed to the byte; a 0-d array too. And a method that is no generator, and writes where it should not."""
    words = ("--agents", "2", "--algorithm", "slips.Torch", "--rounds", "4", "--checkpoint-every", "2")
    whole = run(tmp_path / "whole", 0, *words)
    shutil.rmtree(tmp_path / "whole" / "checkpoints" / "4")
    job(0, "perla_net.run", "--resume", str(tmp_path / "whole"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == whole
    run(tmp_path / "plain", 0, "--agents", "2", "--algorithm", "slips.Plain", "--rounds", "1")
    assert rows(tmp_path / "plain")[0]["one"] == 1 and rows(tmp_path / "plain")[0]["team_reward"] != 0


def test_groups_and_memory_only_where_a_class_says_so(own):
    """A method that averages nothing would not keep one network, and one that forgets its memory would train another function."""
    with pytest.raises(InputError, match="agents.groups.a: own_method.Gossip does not keep one network"):
        prepare(validated({"algorithm": own, "agents": {"number": 4, "groups": {"a": "0-1"}}}))
    with pytest.raises(InputError, match="--model.memory gru: own_method.Gossip does not learn with a memory"):
        prepare(validated({"algorithm": own, "agents": 4, "model": {"memory": "gru"}}))


def test_fields_of_metrics_are_not_taken_by_statistics(tmp_path):
    """What a row may have beside them is known."""
    words = (
        "--consensus.what",
        "policies",
        "--compression.method",
        "int8",
        "--cost.preset",
        "wifi",
        "--topology",
        "matching",
    )
    run(tmp_path / "run", 0, "--agents", "4", "--algorithm", "ippo", *words, "--measure-variance", "true")
    run(tmp_path / "two", 0, "--agents", "4", "--share", "modelled", "--topology", "ring+star")
    for name in ("run", "two"):
        fields = set(rows(tmp_path / name)[-1]) - set(class_of("ippo").statistics)
        assert fields <= FIELDS


@pytest.mark.parametrize("what", ["critics", "parameters"])
def test_critics_that_read_others_are_not_averaged(what):
    """Their inputs mean different agents; policies can be."""
    settings = {"agents": 4, "algorithm": "ippo", "critic": {"input": "neighbourhood"}}
    with pytest.raises(InputError, match="or read what these see"):
        prepare(validated(settings | {"consensus": {"what": what}}))
    prepare(validated(settings | {"consensus": {"what": "policies"}}))


def test_neighbours_take_turns_where_a_budget_is_small(own):
    """One edge of two a round: each neighbour is told every other round."""
    simulation = small(algorithm=own, links={"budget": 200}, rounds=4)
    told = [{(int(row[0]), int(row[1])) for row in simulation.round()["ledger"]} for _ in range(4)]
    assert told[0] != told[1] and told[0] == told[2] and told[1] == told[3]
    assert all(len(edges) == 4 for edges in told) and len(told[0] | told[1]) == 8


def test_who_remembers_hears_that_episodes_begin_anew():
    """Where an environment could not be brought back, a policy's memory begins empty."""
    simulation = small(algorithm="ippo", model={"memory": "gru"})
    simulation.round()
    assert simulation.methods[0]._player.memory.abs().max() > 0
    simulation.world.host.anew()
    simulation.world.show()
    rollout = simulation._collect()[0]
    assert rollout.begins[0].all() and not rollout.begins[1:4].any()
