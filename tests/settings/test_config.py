"""Options: where they come from, what they may be, and the one sentence for what they may not."""

from __future__ import annotations

import pytest
import yaml

from perla_net.ground.errors import InputError
from perla_net.ground.selection import selected
from perla_net.settings.command_line import command_line, resumed
from perla_net.settings.config import Config
from perla_net.settings.data import from_data, to_data
from perla_net.settings.options import agent_overrides, settings_with, to_yaml, validated
from perla_net.settings.specs import parse_spec
from perla_net.settings.yaml_files import read_yaml
from perla_net.simulation.prepare import prepare


def test_command_line_wins_over_yaml_wins_over_defaults(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("rounds: 7\nseed: 3\nppo: {epochs: 2}\nagents: 9\n")
    config = command_line(["--config", str(file), "--seed", "5", "--ppo.minibatch", "64"])
    assert (config.rounds, config.seed, config.ppo.epochs, config.ppo.minibatch) == (7, 5, 2, 64)
    assert config.agents.number == 9 and config.copies == Config().copies


def test_python_configuration_is_checked_like_the_others():
    assert validated(Config(agents=4, rounds=2)).agents.number == 4
    with pytest.raises(InputError, match="rounds 0"):
        validated(Config(rounds=0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--round", "5"], "unknown option --round; did you mean --rounds"),
        (["--samples", "-1"], "--samples '-1': it should be greater than or equal to 0"),
        (["--share", "all"], "--share 'all': it should be 'weights', 'outputs', 'own_view' or 'modelled'"),
        (["--rounds", "many"], "--rounds 'many'"),
        (["--model.policy-hidden", "64,x"], "x"),
        (["--returns.gamma", "1.5"], "--returns.gamma '1.5': it should be less than 1"),
        (["--config", "/nowhere.yaml"], "cannot be read"),
    ],
)
def test_bad_options_are_one_sentence(arguments, sentence):
    with pytest.raises(InputError) as caught:
        command_line(arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("roundz: 3", "unknown key 'roundz'; did you mean 'rounds'"),
        ("ppo: {epoch: 3}", "unknown key 'ppo.epoch'"),
        ("rounds: [1]", "rounds [1]"),
        ("- a list", "not a mapping"),
        ("a: [", "is not YAML"),
        ("topology: ring\nseed: 1\ntopology: star", "the key 'topology' is there twice"),
        ("ppo: {epochs: 3, epochs: 4}", "the key 'epochs' is there twice"),
        ("ppo.epochs: 3\nppo: {epochs: 4}", "ppo.epochs is given twice"),
        ("ppo.epochs: 3\nppo: 4", "'ppo' is given as 4, too"),
        ("links: {symmetric: 3}", "links.symmetric 3"),
        ("agents: {default: {rounds: 3}}", "unknown key 'rounds': it is the whole run's"),
        ("agents: {overrides: {0: {ppo: {epochs: 0}}}}", "ppo.epochs 0"),
        ("agents: {overrides: {0: {ppo: {epoch: 3}}}}", "unknown key 'ppo.epoch'; did you mean 'ppo.epochs'?"),
    ],
)
def test_bad_yaml_is_one_sentence(tmp_path, text, sentence):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        command_line(["--config", str(file)])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("links: {symmetric: no}", "links.symmetric", "no"),
        ("links: {symmetric: true}", "links.symmetric", "yes"),
        ("batch_agents: yes", "batch_agents", "yes"),
        ("batch_agents: off", "batch_agents", "no"),
        ("wandb: true", "wandb", "true"),
        ("wandb: false", "wandb", None),
        ("ppo.minibatch: 8", "ppo.minibatch", 8),
        ("ppo.minibatch: 8\nppo: {epochs: 3}", "ppo.minibatch", 8),
        ("agents: {default: {ppo.minibatch: 8}}", "agents.default", {"ppo": {"minibatch": 8}}),
        ("agents: {overrides: {0: {ppo.minibatch: 8}}}", "agents.overrides", {"0": {"ppo": {"minibatch": 8}}}),
        ("agents.number: 3", "agents.number", 3),
    ],
)
def test_yaml_as_one_writes_it(tmp_path, text, name, value):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    config = to_data(command_line(["--config", str(file)]))
    for part in name.split("."):
        config = config[part]
    assert config == value


@pytest.mark.parametrize(
    "name", ["links.delay", "cost.latency", "stall_timeout", "optimiser.learning_rate", "ppo.clip"]
)
def test_numbers_are_finite(name):
    for value in ("inf", "nan"):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} '{value}'"):
            command_line([f"--{name.replace('_', '-')}", value])


def test_specs_with_paths_quotes_and_nothing(tmp_path):
    """A colon or an equals sign may be part of a file's name, and of a value."""
    assert parse_spec("kwargs:size=none,rate=1e-3,flag=True") == ("kwargs", {"size": None, "rate": 0.001, "flag": True})
    assert parse_spec("kwargs:name='none',b='a,c=1',c=\"x\"") == ("kwargs", {"name": "none", "b": "a,c=1", "c": "x"})
    assert parse_spec("kwargs:name=O'Hara,b=it's") == ("kwargs", {"name": "O'Hara", "b": "it's"})
    assert parse_spec("m:v=1_000,w=nan_ny,x=-2,y=.5") == ("m", {"v": "1_000", "w": "nan_ny", "x": -2, "y": 0.5})
    assert parse_spec("sumo:net.net.xml:routes=/a:b/c=d.xml,step=5")[1] == {"routes": "/a:b/c=d.xml", "step": 5}
    assert parse_spec("pettingzoo:perla_net.world.parallel:env=traffic:grid,agents=4")[1] == {
        "env": "traffic:grid",
        "agents": 4,
    }
    place = tmp_path / "x=1:y=2"
    place.mkdir()
    (place / "k=v,w.edgelist").write_text("0 1\n")
    spec = str(place / "k=v,w.edgelist")
    assert parse_spec(spec + ":away=1@2", lambda name: name == spec) == (spec, {"away": "1@2"})
    assert prepare(validated({"env": "spread", "agents": 2, "topology": spec})).schedule.edges(1) == ((0, 1), (1, 0))
    later = prepare(validated({"env": "spread", "agents": 2, "topology": spec + ":away=1@2"})).schedule
    assert later.edges(1) and not later.edges(2)


def test_paths_may_be_paths(tmp_path):
    assert validated(Config(out=tmp_path / "x", topology=tmp_path / "y")).out == str(tmp_path / "x")


def test_agents_are_meant_by_name_first():
    assert selected("a", ["a", "b"], "x") == [0] and selected("1", ["a", "b"], "x") == [1]
    assert selected("3", ["3", "1", "0", "2"], "x") == [0] and selected("0-3", ["0", "1", "2", "3"], "x") == [
        0,
        1,
        2,
        3,
    ]
    for selector, sentence in (("0-2", "may mean agents by their place or by their names"), ("7", "is outside 0-3")):
        with pytest.raises(InputError, match=sentence):
            selected(selector, ["3", "1", "0", "2"], "x")
    with pytest.raises(InputError, match="no agent is called '²'"):
        selected("²", ["a"], "x")


def test_yaml_repeats_a_configuration_and_data_repeat_it_too(tmp_path):
    config = validated(Config(agents=4, seed=9, topology="ring", out="somewhere"))
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    again = command_line(["--config", str(file)])
    assert again.out is None and (again.seed, again.agents.number, again.topology) == (9, 4, "ring")
    assert from_data(Config, to_data(config)) == config


def test_overrides_by_name_index_and_range():
    config = validated(
        {
            "agents": {
                "number": 4,
                "default": {"optimiser": {"learning_rate": 0.01}},
                "overrides": {
                    "1-2": {"samples": 7},
                    "2": {"model": {"policy_hidden": [8]}},
                    "d": {"algorithm": "ia2c"},
                },
            }
        }
    )
    settings = [settings_with(config, layers) for layers in agent_overrides(config, ["a", "b", "c", "d"])]
    assert [entry.samples for entry in settings] == [100, 7, 7, 100]
    assert [entry.model.policy_hidden for entry in settings] == [(64, 64), (64, 64), (8,), (64, 64)]
    assert [entry.algorithm for entry in settings] == ["perla_ippo"] * 3 + ["ia2c"]
    assert all(entry.optimiser.learning_rate == 0.01 for entry in settings)
    with pytest.raises(InputError, match="outside 0-3"):
        agent_overrides(validated({"agents": {"overrides": {"2-9": {}}}}), ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="'3-1' ends before it begins"):
        agent_overrides(validated({"agents": {"overrides": {"3-1": {}}}}), ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="no agent is called 'e'"):
        agent_overrides(validated({"agents": {"overrides": {"e": {}}}}), ["a", "b", "c", "d"])


def test_specifications_with_arguments():
    assert parse_spec("watts_strogatz:k=4,p=0.1") == ("watts_strogatz", {"k": 4, "p": 0.1})
    assert parse_spec("pettingzoo:mpe2.x:N=5,flag=true") == ("pettingzoo:mpe2.x", {"N": 5, "flag": True})
    assert parse_spec("traffic:grid") == ("traffic:grid", {})
    with pytest.raises(InputError):
        parse_spec("ring:k=1,p")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"estimator": "exact", "topology": "complete"}, "can be enumerated"),
        ({"algorithm": "ps_ippo", "agents": {"overrides": {"0": {"samples": 3}}}}, "equal settings"),
        ({"agents": {"overrides": {"0": {"algorithm": "ps_ippo"}}}}, "whole team"),
        ({"model": {"memory": "gru", "policy_hidden": []}}, "hidden layer"),
        ({"critic": {"fit": "ridge"}}, "without hidden layers"),
        ({"env": "pettingzoo:mpe2.simple_tag_v3", "topology": "complete", "share": "own_view"}, "own_view"),
        ({"env": "pettingzoo:mpe2.simple_tag_v3", "topology": "interaction"}, "does not tell who influences whom"),
        ({"env": "pettingzoo:mpe2.simple_tag_v3", "agents": 9}, "has 4 agents"),
        ({"env": "pettingzoo:json"}, "is not parallel"),
        ({"env": "weather:ring"}, "no such environment"),
        ({"env": "traffic:ring"}, "traffic:grid"),
        ({"env": "traffic:grid:rows=3,columns=5", "agents": 16}, "do not make"),
    ],
)
def test_impossible_combinations_are_one_sentence(changes, sentence):
    with pytest.raises(InputError) as caught:
        prepare(validated(changes))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_more_ranks_than_agents():
    with pytest.raises(InputError, match="5 ranks for 4 agents.*mpirun -n 4"):
        prepare(validated(Config(agents=4)), ranks=5)


def test_resume_refuses_what_would_change_the_run(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(validated(Config(seed=4))))
    assert resumed(validated(Config(resume=str(tmp_path), rounds=200))).rounds == 200
    assert resumed(validated(Config(resume=str(tmp_path)))).seed == 4
    with pytest.raises(InputError, match="--seed cannot be changed"):
        resumed(validated(Config(resume=str(tmp_path), seed=5)))
    assert command_line(["--resume", str(tmp_path), "--seed", "4", "--rounds", "60"]).rounds == 60, (
        "what the run has is no change"
    )
    with pytest.raises(InputError, match="--seed cannot be changed"):
        command_line(["--resume", str(tmp_path), "--seed", "0"])
    with pytest.raises(InputError, match="not the folder of a run"):
        resumed(validated(Config(resume=str(tmp_path / "other"))))


def test_read_yaml_of_an_empty_file(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_a_run_from_before_critics_had_a_fit_of_their_own_goes_on_as_it_began(tmp_path):
    text = to_yaml(validated({"critic": {"order": "together"}, "form": "control", "topology": "ring"}))
    whole = yaml.safe_load(text)
    whole["critic"] = {"input": whole["critic"]["input"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    config = resumed(validated({"resume": str(tmp_path)}), set())
    assert (config.critic.order, config.critic.coefficient, config.form) == ("together", "one", "control")
    whole["critic"]["order"] = "folds"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    assert resumed(validated({"resume": str(tmp_path)}), set()).critic.coefficient == "auto"
