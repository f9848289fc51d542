"""``--topology influence:file=FILE,…``: whom ``perla_net.gain`` found to matter."""

from __future__ import annotations

import json

import pytest
from conftest import job

from perla_net.ground.errors import InputError
from perla_net.network.graphs import build

NAMES = ["a", "b", "c", "d"]
SHARES = [[0, 0.4, 0.4, 0.2], [0, 0, 0, 0], [0.9, 0.05, 0, 0.05], [0.1, 0.3, 0.6, 0]]
RELIABLE = [[False, True, True, True], [False] * 4, [True, False, False, True], [True, True, True, False]]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gain.json"
    data = {"format": "perla_net.gain 1", "names": NAMES, "over_horizon": {"shares": SHARES, "reliable": RELIABLE}}
    path.write_text(json.dumps(data))
    return path


def heard(spec, names=NAMES):
    graph = build(spec, names, None, 0)
    return {node: sorted(graph.predecessors(node)) for node in graph}


def test_the_most_influential(file):
    """Ties by index; nobody hears those whose share is not above chance."""
    assert heard(f"influence:file={file},top=1") == {0: [1], 1: [], 2: [0], 3: [2]}
    assert heard(f"influence:file={file},top=9") == {0: [1, 2, 3], 1: [], 2: [0, 3], 3: [0, 1, 2]}


def test_the_fewest_that_reach_a_share(file):
    """Of what is reliably somebody's."""
    assert heard(f"influence:file={file},share=0.8") == {0: [1, 2], 1: [], 2: [0], 3: [1, 2]}
    assert heard(f"influence:file={file},share=0.95") == {0: [1, 2, 3], 1: [], 2: [0, 3], 3: [0, 1, 2]}
    assert heard(f"influence:file={file},share=1") == heard(f"influence:file={file},top=9")


def test_agents_are_found_by_name(file):
    """In whatever order they are; ties by their index in the team at hand."""
    assert heard(f"influence:file={file},top=1", ["d", "c", "b", "a"]) == {3: [1], 2: [], 1: [3], 0: [1]}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("influence", "needs file="),
        ("influence:top=2", "needs file="),
        ("influence:file=nowhere.json,top=2", "there is no file nowhere.json"),
        ("influence:file={file}", "either top=K or share=S"),
        ("influence:file={file},top=2,share=0.5", "either top=K or share=S"),
        ("influence:file={file},top=0", "top=0"),
        ("influence:file={file},top=1.5", "top=1.5"),
        ("influence:file={file},share=2", "share=2"),
        ("influence:file={file},top=2,k=3", "does not take 'k'"),
        ("influence:file=README.md,top=2", "was not written by"),
        ("influence:file={file},top=2,every=3", "same graph every time"),
    ],
)
def test_wrong_specs_are_one_sentence(file, spec, sentence):
    """Each names what is wrong."""
    with pytest.raises(InputError, match=sentence):
        build(spec.format(file=file), NAMES, None, 0)


def test_other_teams_are_refused(file):
    """Of another size, or with other names."""
    with pytest.raises(InputError, match="is of 4 agents, but there are 3"):
        build(f"influence:file={file},top=1", NAMES[:3], None, 0)
    with pytest.raises(InputError, match="of other agents; it has no e"):
        build(f"influence:file={file},top=1", ["a", "b", "c", "e"], None, 0)


def test_from_gain_to_a_run(tmp_path):
    """What the command wrote, as the graph of a run and in perla_net.topology; a run that goes on does not need the file."""
    file, run = tmp_path / "found.json", tmp_path / "run"
    job(
        0,
        "perla_net.gain",
        "games:climbing:graph=line,horizon=1",
        "--agents",
        "4",
        "--states",
        "8",
        "--json",
        str(file),
    )
    spec = f"influence:file={file},share=0.9"
    shown = job(0, "perla_net.topology", spec, "--env", "games:climbing:graph=line", "--agents", "4").stdout
    assert "directed edges                        6" in shown
    small = "--copies 2 --horizon 4 --ppo.minibatch 8 --evaluate-episodes 0 --display none".split()
    env = ("--env", "games:climbing:graph=line", "--agents", "4")
    job(0, "perla_net.run", *env, "--topology", spec, "--rounds", "1", "--out", str(run), *small)
    file.unlink()
    job(0, "perla_net.run", "--resume", str(run), "--rounds", "2", "--display", "none")
