"""Observations of several parts, rewards of several objectives, and arguments that are no numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import quirks
from conftest import ROOT, job, rows, run
from gymnasium import spaces
from test_spaces import NOTHING, discrete, observation_space

import perla_net
from perla_net.ground.errors import InputError
from perla_net.settings.data import to_data
from perla_net.settings.specs import parse_spec, written
from perla_net.world.environments import make
from perla_net.world.spaces import agent_spec
from perla_net.world.spec import agent_from_data


def env(kind: str, arguments: str = "") -> str:
    return f"pettingzoo:quirks:kind={kind}" + (f",{arguments}" if arguments else "")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.setenv("PYTHONHASHSEED", "0")


# Spaces


def leaf(rng: np.random.Generator) -> spaces.Space:
    choice = rng.integers(6)
    if choice == 0:
        size = tuple(int(side) for side in rng.integers(1, 4, rng.integers(1, 3)))
        return spaces.MultiDiscrete(rng.integers(1, 5, size), start=rng.integers(-3, 9, size))
    if choice == 1:
        return discrete(rng)
    while True:
        space = observation_space(rng)
        if space.dtype != np.uint8:  # gymnasium leaves the bytes of images as they are
            return space


def nested(rng: np.random.Generator, depth: int) -> spaces.Space:
    if depth == 0 or rng.random() < 0.3:
        return leaf(rng)
    parts = [nested(rng, depth - 1) for _ in range(rng.integers(1, 4))]
    if rng.random() < 0.5:
        return spaces.Tuple(parts)
    keys = rng.permutation(["z", "a", "action_mask", "observation", "B"])[: len(parts)]
    if depth == DEPTH:
        keys = [key for key in ("observation", "z", "a")[: len(parts)]]  # a mask on top is none of the observation
    return spaces.Dict({str(key): part for key, part in zip(keys, parts)})


DEPTH = 3


def test_every_nested_observation_is_read_in_gymnasiums_order(many):
    for case in range(many(300)):
        rng = np.random.default_rng([3, case])
        space = nested(rng, DEPTH)
        space.seed(case)
        spec = agent_spec("toy", "a", space, NOTHING)
        again = agent_from_data(json.loads(json.dumps(to_data(spec))))
        assert again == spec and again.reads_like(spec)
        other = nested(rng, DEPTH)
        with np.errstate(over="ignore"):
            for seen in [space.sample() for _ in range(3)]:
                row = again.flatten(seen)
                expected = np.asarray(spaces.flatten(space, seen), np.float32)
                assert row.dtype == np.float32 and np.array_equal(row, expected), f"case {case}: {space!r}"
            try:
                again.flatten(other.sample())
            except ValueError as error:
                assert "\n" not in str(error) and re.match(r"(at \[.*\] )?(is|has|holds) ", str(error)), str(error)


def test_what_is_of_another_structure_is_said():
    space = spaces.Dict(map=spaces.Box(-1, 1, (2, 2)), more=spaces.Tuple([NOTHING, spaces.MultiDiscrete([2, 3])]))
    spec = agent_spec("toy", "a", space, NOTHING)
    grid = np.zeros((2, 2), np.float32)
    assert spec.flatten({"more": [1, (0, 2)], "map": grid}).tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    for seen, sentence in (
        (grid, "is an array of shape (2, 2), but its space is a Dict of map, more"),
        (None, "is None, but its space is a Dict of map, more"),
        ({"map": grid}, "is a dict of map, but its space is a Dict of map, more"),
        ({"map": grid, "more": (1, (0, 0)), "x": 1}, "is a dict of map, more, x, but its space is a Dict of map, more"),
        ({"map": grid[:1], "more": (1, (0, 0))}, "at ['map'] has shape (1, 2), but its space says (2, 2)"),
        ({"map": grid, "more": (1,)}, "at ['more'] is a tuple of 1, but its space is a Tuple of 2"),
        ({"map": grid, "more": {"a": 1}}, "at ['more'] is a dict of a, but its space is a Tuple of 2"),
        ({"map": grid, "more": (2, (0, 0))}, "at ['more'][0] is 2, but its space has 0 to 1"),
        ({"map": grid, "more": (1, (0, 3))}, "at ['more'][1] holds 3 as component 1, but its space has 0 to 2 there"),
        ({"map": grid, "more": (1, (0, 0.5))}, "at ['more'][1] holds 0.5 as component 1"),
        ({"map": grid, "more": (1, (0, float("nan")))}, "at ['more'][1] holds nan as component 1"),
        ({"map": grid, "more": (None, (0, 0))}, "at ['more'][0] is None"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(sentence)):
            spec.flatten(seen)


def test_structures_of_one_size_are_not_taken_for_one_another():
    def spec(space):
        return agent_spec("toy", "a", space, NOTHING)

    four = spec(spaces.Box(-1, 1, (4,)))
    pair = spec(spaces.Tuple([NOTHING, NOTHING]))
    named = spec(spaces.Dict(a=NOTHING, b=NOTHING))
    other = spec(spaces.Dict(a=NOTHING, c=NOTHING))
    later = spec(spaces.Dict(a=spaces.Discrete(2, start=7), b=NOTHING))
    assert {one.observation_size for one in (four, pair, named, other, later)} == {4}
    assert not any(one.reads_like(two) for one, two in [(four, pair), (pair, named), (named, other)])
    assert named.reads_like(later), "where values begin to count changes nothing"
    grid = spec(spaces.MultiDiscrete([2, 2]))
    assert not grid.reads_like(spec(spaces.MultiDiscrete([1, 3]))) and not grid.reads_like(pair)


def test_masks_beside_other_parts():
    flags = spaces.MultiBinary(2)
    alone = agent_spec("toy", "a", spaces.Dict(observation=spaces.Dict(x=NOTHING), action_mask=flags), NOTHING)
    beside = agent_spec("toy", "a", spaces.Dict(x=NOTHING, observation=NOTHING, action_mask=flags), NOTHING)
    assert alone.masked and alone.apart({"observation": {"x": 1}, "action_mask": 5}) == ({"x": 1}, 5)
    assert beside.masked and beside.observation_size == 4
    assert beside.apart({"observation": 0, "action_mask": 5, "x": 1}) == ({"observation": 0, "x": 1}, 5)
    with pytest.raises(InputError, match="action_mask of 3 flags does not fit"):
        agent_spec("toy", "a", spaces.Dict(x=NOTHING, action_mask=spaces.MultiBinary(3)), NOTHING)


# Runs


def test_a_team_that_sees_several_parts(tmp_path):
    """Trained, resumed to the byte, evaluated, and loaded alone; checkpoints of before know no parts."""
    folder, name = tmp_path / "run", env("nested", "vector=true,reward_weights=[1,0.5]")
    whole = run(folder, 0, "--env", name, "--horizon", "18", "--checkpoint-every", "1")  # rounds end within episodes
    (folder / "checkpoints" / "3" / "manifest.json").unlink()  # as if the job had been killed
    assert "continuing after round 2" in job(0, "perla_net.run", "--resume", str(folder)).stdout
    assert (folder / "metrics.jsonl").read_bytes() == whole and b'"objective_1"' in whole
    toy = quirks.Nested()
    seen = toy.reset()[0]
    agent = perla_net.load_agent(folder / "checkpoints" / "3" / "a0")
    assert agent.act(seen["a0"]) in range(3)
    masked = perla_net.load_agent(folder / "checkpoints" / "3" / "a1")
    assert {masked.act(seen["a1"], rng=np.random.default_rng(k)) for k in range(9)} == {1}, "its mask is in the Dict"
    with pytest.raises(
        ValueError, match="the observation of a0 is a dict of grid, but its space is a Dict of grid, more, who"
    ):
        agent.act({"grid": seen["a0"]["grid"]})
    job(0, "perla_net.evaluate", str(folder), "--episodes", "2", "--replace", f"2={folder}/checkpoints/3/a0")
    plain = tmp_path / "plain"
    run(plain, 0, "--env", env("plain"))
    swapped = ("--episodes", "1", "--replace", f"2={plain}/checkpoints/3/a0")
    done = job(0, "perla_net.evaluate", str(folder), *swapped, check=False)
    assert done.returncode == 2 and "was trained for observations box(2,)" in done.stderr
    assert (
        "but a2 has observations Dict(grid: 2×2, more: Tuple(one of each of 2×3, image 4×2×3), who: one of 3)"
        in done.stderr
    )
    data = json.loads((plain / "checkpoints" / "3" / "a0.json").read_text())
    assert data["spec"].pop("observation") is None
    assert agent_from_data(data["spec"]) == perla_net.load_agent(plain / "checkpoints" / "3" / "a0").spec


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("wrong=key", "the observation of a0 is a dict of more, grid, but its space is a Dict of grid, more, who"),
        ("wrong=shape", "the observation of a0 at ['grid'] has shape (1, 2), but its space says (2, 2)"),
        ("wrong=value", "the observation of a0 at ['who'] is 0, but its space has -3 to -1"),
        ("image=2000", "a0's observation['more'][1] is an image of 2000×2×3 bytes inside a Dict or Tuple"),
    ],
)
def test_parts_that_are_not_of_their_space_are_refused_before_training(tmp_path, arguments, sentence):
    done = job(0, "perla_net.run", "--env", env("nested", arguments), "--out", str(tmp_path / "run"), check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "run").exists()


def test_objectives_become_one_reward(tmp_path):
    run(tmp_path / "run", 0, "--env", env("objectives", "reward_weights=[1,0.5,-2]"))
    last = rows(tmp_path / "run")[-1]
    told = last["figures"]
    assert (told["objective_0"], told["objective_1"]) == (5, 5), "sums over five steps, means over three agents"
    assert last["team_return"] == pytest.approx(3 * (5 + 0.5 * 5 - 2 * told["objective_2"]), rel=1e-6)
    untold = run(tmp_path / "untold", 0, "--env", env("objectives", "told=false,reward_weights=[1,0.5,-2]"))
    assert untold == (tmp_path / "run" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("objectives", "", "not a number; its 3 objectives become one by an argument of --env: reward_weights=[1,1,1]"),
        ("objectives", "reward_weights=[1,1]", "reward_weights has 2 numbers, but the reward of a0 has 3"),
        ("objectives", "told=false,reward_weights=[1]", "reward_weights has 1 numbers, but the reward of a0 has 3"),
        ("objectives", "odd=true,reward_weights=[1,2,3]", "reward_weights has 3 numbers, but the reward of a0 has 2"),
        ("plain", "reward_weights=[1,2]", "reward_weights has 2 numbers, but the reward of a0 has 1"),
        ("plain", "reward_weights=1", "reward_weights 1 is not a list of numbers such as [1,0.5]"),
        ("plain", "reward_weights=[1,inf]", "is not a list of numbers"),
        ("plain", "reward_weights=[1,true]", "is not a list of numbers"),
        ("plain", "reward_weights=[1", "a value that begins with [ is not closed"),
    ],
)
def test_wrong_weights_are_refused_before_training(tmp_path, kind, arguments, sentence):
    done = job(0, "perla_net.run", "--env", env(kind, arguments), "--out", str(tmp_path / "run"), check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "run").exists()


# Arguments


def value(rng: np.random.Generator, depth: int):
    """A random value that can be said in words."""
    letters = list("ab ,:=[]{}'\"1.e-/")
    plain = [
        lambda: int(rng.integers(-9, 9**9)),
        lambda: float(rng.normal() * 10.0 ** rng.integers(-300, 300)),
        lambda: [True, False, None, float("inf"), "none", "1", "", " x", "a\nb", "ä"][rng.integers(10)],
        lambda: "".join(rng.choice(letters, rng.integers(0, 6))),
    ]
    choice = rng.integers(6 if depth else 4)
    if choice < 4:
        return plain[choice]()
    inside = [value(rng, depth - 1) for _ in range(rng.integers(0, 4))]
    return inside if choice == 4 else {str(value(rng, 0)): part for part in inside}


def test_what_is_written_is_read(many):
    refused = 0
    for case in range(many(2000)):
        rng = np.random.default_rng([4, case])
        given = {key: value(rng, 2) for key in ("one", "two")}
        try:
            text = "m:" + ",".join(f"{key}={written(one)}" for key, one in given.items())
        except InputError:
            refused += 1  # text with both quotes before a comma or a bracket
            continue
        assert parse_spec(text) == ("m", given), text
    assert refused < case / 20


def test_arguments_that_are_no_numbers():
    assert parse_spec("m:a=[1, x y,[],[[0,1.5],none]],b={k: [a:b, 'c,d'], \"p q\":{}},c=/a/b.xml") == (
        "m",
        {"a": [1, "x y", [], [[0, 1.5], None]], "b": {"k": ["a:b", "c,d"], "p q": {}}, "c": "/a/b.xml"},
    )
    assert parse_spec("m:a='x]',b=\"it's, so\",c=f[0]")[1] == {"a": "x]", "b": "it's, so", "c": "f[0]"}
    for text, sentence in (
        ("m:a=[1,2", "a value that begins with [ is not closed"),
        ("m:a={k:1", "a value that begins with { is not closed"),
        ("m:a=[1,]", "there is no value before ]"),
        ("m:a=[", "there is no value before the end"),
        ("m:a=[1]x,b=2", "'x,b=2' stands behind a closing ]"),
        ("m:a={k}", "{…} holds 'k}', not key: value"),
        ("m:a={k:1,k:2}", "'k' is given twice"),
        ("m:a={[1]:2}", "{…} holds [1], not key: value"),
        ("m:a='x,b=2", "a value that begins with ' is not closed"),
        ("m:a=1,b", "'b' is not key=value"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            parse_spec(text)


def test_lists_reach_an_environment(tmp_path):
    """From the command line, and again from the run's own config.yaml."""
    name = env("objectives", "files=['a,b.xml',{k: [1,none,true]}],reward_weights=[1,0,0]")
    first = run(tmp_path / "one", 0, "--env", name)
    job(0, "perla_net.run", "--config", str(tmp_path / "one" / "config.yaml"), "--out", str(tmp_path / "two"))
    assert (tmp_path / "two" / "metrics.jsonl").read_bytes() == first
    with pytest.raises(InputError, match="cannot be made with .'kind': 'objectives', 'files': .'a'."):
        make(env("objectives", "files=[a]"), 1, None)


# momaland


def test_flags_that_come_in_each_others_place():
    pytest.importorskip("momaland", reason="the extra momaland is not installed")
    from perla_net.world.suites import momaland

    copies = make("momaland:item_gathering:num_timesteps=3,reward_weights=[1,1,1]", 1, None)
    copies.reset(np.arange(1), [np.random.SeedSequence(0)])
    for _ in range(3):
        copies.step([np.zeros((1, 1), np.int32)] * 2)
    assert copies.truncated.all() and not copies.terminated.any(), "its time is up"
    one = make("momaland:item_gathering:initial_map=[[1,2],[0,1]],reward_weights=[3]", 1, None)
    one.reset(np.arange(1), [np.random.SeedSequence(0)])
    one.step([np.full((1, 1), 4, np.int32), np.zeros((1, 1), np.int32)])
    assert one.reward.tolist() == [[3, 0]] and one.terminated.all() and not one.truncated.any(), "all is gathered"
    beach = make("momaland:beach:reward_weights=[1,0]", 1, None)
    beach.reset(np.arange(1), [np.random.SeedSequence(0)])
    beach.step([np.ones((1, 1), np.int32)] * 100)
    assert beach.terminated.all() and beach.reward.min() > 0 and beach.spec.horizon == 1
    with pytest.raises(InputError, match="initial_map 3 is not an array of numbers"):
        make("momaland:item_gathering:initial_map=3", 1, None)
    for name in momaland.ENVIRONMENTS:
        assert make(f"momaland:{name}", 1, None).objectives > 1


def test_momaland_by_import_path_is_refused():
    with pytest.raises(InputError, match="say momaland:beach"):
        make("pettingzoo:momaland.envs.beach.mobeach_v0", 1, None)
